"""`osbkit db`: the schema of the broker's database.

The work is done in `osbkit.store.migrate`.
"""

from typing import Annotated

import typer

from osbkit.cli.terminal import Problem

app = typer.Typer(no_args_is_help=True, help="Look after the database's schema.")

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Which database; OSBKIT_DATABASE_URL if left out.", show_default=False
    ),
]


@app.command()
def upgrade(database_url: DatabaseUrl = None) -> None:
    """Bring the database to the schema of this version; nothing if it is there."""
    from osbkit.store import migrate

    url = _url(database_url)
    before = migrate.current(url)
    migrate.upgrade(url)
    after = migrate.current(url)
    if before == after:
        typer.echo(f"The database is at {after} already.")
    else:
        typer.echo(f"The database is at {after} now; before: {before or 'empty'}.")


@app.command()
def current(database_url: DatabaseUrl = None) -> None:
    """Print the schema the database is at, or `empty`."""
    from osbkit.store import migrate

    typer.echo(migrate.current(_url(database_url)) or "empty")


@app.command()
def check(database_url: DatabaseUrl = None) -> None:
    """Tell whether the database is at the schema of this version; 1 if not."""
    from osbkit.store import migrate

    found, wanted = migrate.current(_url(database_url)), migrate.head()
    if found != wanted:
        raise Problem(
            f"The database is at {found or 'no schema at all'}; this version of osbkit"
            f" works with {wanted}.",
            hint="`osbkit db upgrade` brings it there.",
        )
    typer.echo(f"The database is at {found}, as this version wants it.")


def _url(given: str | None) -> str:
    if given is not None:
        return given
    from osbkit.settings import Settings

    return Settings.from_environment().database_url.get_secret_value()
