"""The options by which `osbkit client` and `osbkit check` say as whom they ask.

What they mean together is for `osbkit.cli.client.remote.Target`.
"""

from typing import Annotated

import typer

User = Annotated[
    str | None, typer.Option(envvar="OSB_USER", help="Basic authentication.")
]
Password = Annotated[
    str | None,
    typer.Option(envvar="OSB_PASSWORD", help="Better given by the environment."),
]
Token = Annotated[
    str | None,
    typer.Option(envvar="OSB_TOKEN", help="A bearer token; likewise."),
]
