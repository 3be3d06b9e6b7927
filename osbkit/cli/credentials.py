"""`osbkit credentials`: what platforms log in with.

Makes secrets and the entries of OSBKIT_CREDENTIALS_FILE that stand for them. The
file's grammar is `osbkit.api.credentials`. No command takes a secret as an
argument: other users of the machine can read those.
"""

import sys
from typing import Annotated

import typer

from osbkit.cli.terminal import Problem, Unusable, print_json
from osbkit.errors import SettingsInvalid

app = typer.Typer(
    no_args_is_help=True, help="Make the credentials that platforms log in with."
)


@app.command()
def new(
    label: Annotated[str, typer.Option(help="Its name in logs; unique in the file.")],
    platform: Annotated[
        str, typer.Option(help="Owner of every row that its requests make.")
    ],
    bearer: Annotated[
        bool, typer.Option("--bearer/--basic", help="A token, or user and password.")
    ] = False,
    user: Annotated[
        str | None, typer.Option(help="With --basic; the label if left out.")
    ] = None,
    offering: Annotated[
        list[str] | None,
        typer.Option(help="Name or id it may see; may be repeated. All if left out."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for programs.")
    ] = False,
) -> None:
    """Make a random secret, and the entry for OSBKIT_CREDENTIALS_FILE.

    The secret is shown this once; the entry holds only its hash.
    """
    from osbkit.api.credentials import new_credential

    if bearer and user is not None:
        raise Unusable("--user goes with --basic; a bearer token has no user.")
    try:
        made = new_credential(
            label,
            platform,
            "bearer" if bearer else "basic",
            user=user,
            offerings=offering or (),
        )
    except SettingsInvalid as refused:
        raise Unusable(str(refused)) from refused
    secret = {} if bearer else {"user": user or label}
    secret["token" if bearer else "password"] = made.secret
    if as_json:
        print_json({**secret, "label": label, "entry": made.snippet})
        return
    typer.echo("For the platform; it is not shown again:\n")
    for key, value in secret.items():
        typer.echo(f"  {key:<8}  {value}")
    typer.echo("\nFor OSBKIT_CREDENTIALS_FILE, under `credentials:`\n")
    typer.echo(made.snippet, nl=False)


@app.command("hash")
def hash_() -> None:
    """Print the argon2id hash of a password, for `password_hash`.

    The password is asked for twice on a terminal, else read from standard input,
    less one line break at its end.
    """
    from osbkit.api.hashes import hash_password

    try:
        typer.echo(hash_password(_password()))
    except SettingsInvalid as refused:
        raise Unusable(str(refused)) from refused


def _password() -> str:
    if sys.stdin.isatty():
        return str(
            typer.prompt(
                "Password", hide_input=True, confirmation_prompt=True, err=True
            )
        )
    try:
        text = sys.stdin.read()
    except UnicodeDecodeError as error:
        raise Problem("The password is not UTF-8 text.") from error
    return text.removesuffix("\n").removesuffix("\r")
