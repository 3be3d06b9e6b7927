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
    """Print the schema the database is at, or `empty`; for a newer one also whether
    this version may serve it."""
    from osbkit.store import migrate

    found = migrate.look(_url(database_url))
    said = found.revision or "empty"
    if found.standing is migrate.Standing.AHEAD:
        said += f" (newer than {migrate.head()}, whose code may still run on it)"
    elif found.standing is migrate.Standing.CONTRACTED:
        said += f" (newer than {migrate.head()}, whose code may not run on it)"
    typer.echo(said)


@app.command()
def check(database_url: DatabaseUrl = None) -> None:
    """Tell whether this version may serve the database as it is; 1 if not."""
    from osbkit.store import migrate

    found, wanted = migrate.look(_url(database_url)), migrate.head()
    match found.standing:
        case migrate.Standing.CURRENT:
            typer.echo(f"The database is at {wanted}, as this version wants it.")
        case migrate.Standing.AHEAD:
            typer.echo(
                f"The database is at {found.revision}, newer than {wanted}; code from"
                f" {found.oldest} on may run on it, so this version may."
            )
        case migrate.Standing.CONTRACTED:
            raise Problem(migrate.ahead(found.revision))
        case _:
            raise Problem(
                f"The database is at {found.revision or 'no schema at all'}; this"
                f" version of osbkit works with {wanted}.",
                hint="`osbkit db upgrade` brings it there.",
            )


def _url(given: str | None) -> str:
    if given is not None:
        return given
    from osbkit.settings import Settings

    return Settings.from_environment().database_url.get_secret_value()
