"""Options and arguments that several client commands share."""

from typing import Annotated

import typer

HOUR = 3600.0  # seconds

InstanceId = Annotated[str, typer.Argument(metavar="INSTANCE_ID", show_default=False)]
BindingId = Annotated[str, typer.Argument(metavar="BINDING_ID", show_default=False)]
MaybeBindingId = Annotated[
    str | None, typer.Argument(metavar="[BINDING_ID]", show_default=False)
]
Service = Annotated[
    str | None,
    typer.Option(help="Name or id of the offering; may be left out if it is clear."),
]
Plan = Annotated[
    str | None,
    typer.Option(help="Name or id of the plan; may be left out if it is clear."),
]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--param",
        metavar="KEY=VALUE",
        help="A parameter; the value is JSON, or else text. May be repeated.",
    ),
]
Params = Annotated[
    str | None,
    typer.Option(metavar="JSON|@FILE", help="All parameters as one JSON object."),
]
Context = Annotated[
    str | None,
    typer.Option(metavar="JSON|@FILE", help="The platform's context, sent as it is."),
]
NoAsync = Annotated[
    bool, typer.Option("--no-async", help="Do not send accepts_incomplete=true.")
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Do not wait for an asynchronous operation.")
]
MaxWait = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for an asynchronous operation.")
]
