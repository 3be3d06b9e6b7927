"""`osbkit keys`: what the database is sealed with."""

import base64
import re
import secrets
from datetime import UTC, datetime
from typing import Annotated

import typer

from osbkit.cli.terminal import Unusable

KEY_BYTES = 32  # AES-256
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

app = typer.Typer(no_args_is_help=True, help="Make encryption keys.")


@app.callback()
def group() -> None:
    """Make encryption keys."""


@app.command()
def new(
    label: Annotated[
        str | None,
        typer.Option(help="Names the key; `k` and today's date if left out."),
    ] = None,
) -> None:
    """Print a random key for OSBKIT_ENCRYPTION_KEYS, as label:base64.

    The first key of the list seals and all of them open: put a new one in front
    and keep the old ones as long as rows are sealed with them.
    """
    name = f"k{datetime.now(UTC):%Y%m%d}" if label is None else label
    if not LABEL.fullmatch(name):
        raise Unusable(
            "--label must be 1 to 32 letters, digits and . _ -, a letter or digit"
            " first."
        )
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    typer.echo(f"{name}:{key}")
