"""The command line: `osbkit`.

    client        ask any broker, as a platform would
    check         does a broker do what the specification says?
    serve         run a broker
    worker        run its operations apart
    db            its database's schema
    reconcile     what the service has, held against the broker's rows
    catalog       check, show and compare a catalog before it is served
    credentials   make what platforms log in with
    keys          make what the database is sealed with

One module per group. What a command needs it imports when it runs: `osbkit client`
loads neither SQLAlchemy nor FastAPI. Exit statuses stand in `osbkit.cli.terminal`.
"""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from osbkit.cli import (
    catalog,
    check,
    client,
    credentials,
    db,
    keys,
    reconcile,
    serve,
    worker,
)
from osbkit.cli.terminal import REFUSED, Problem, complain, note
from osbkit.errors import StartRefused


class Commands(TyperGroup):
    """The root: a problem anywhere below ends as words and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; no traceback for what has a sentence."""
        try:
            return super().invoke(ctx)
        except Problem as problem:
            complain(problem)
            raise typer.Exit(problem.status) from problem
        except StartRefused as refusal:
            note(str(refusal))
            raise typer.Exit(REFUSED) from refusal


app = typer.Typer(
    name="osbkit",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would print local variables
    help="The broker side of the Open Service Broker API, and a client for any broker.",
)
app.add_typer(client.app, name="client")
app.command("check")(check.check)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.add_typer(db.app, name="db")
app.command("reconcile")(reconcile.reconcile)
app.add_typer(catalog.app, name="catalog")
app.add_typer(credentials.app, name="credentials")
app.add_typer(keys.app, name="keys")


def _print_version(wanted: bool) -> None:
    if wanted:
        from osbkit import __version__

        typer.echo(f"osbkit {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Takes the options that stand before a command."""


def main() -> None:
    """Entry point of the `osbkit` command."""
    app()
