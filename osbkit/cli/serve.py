"""`osbkit serve`: a broker under uvicorn, set up as platforms need it.

    keep-alive 120 s   platforms keep idle connections for 90 s
    graceful 20 s      for requests that are open at SIGTERM
    no access log      the broker logs its own events
    httptools          half the time of the parser in Python

Exit status 3 when the start was refused. `--host`, `--port` and `--allow` are the
settings OSBKIT_HOST, OSBKIT_PORT and OSBKIT_ALLOW_CATALOG_CHANGES under another
name: they are put into the environment, so the broker derives the same public URL
from them.
"""

import logging
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osbkit.cli.terminal import NOT_STARTED, note
from osbkit.errors import StartRefused

if TYPE_CHECKING:
    import uvicorn

    from osbkit.settings import Settings

KEEP_ALIVE = 120
GRACEFUL = 20


def serve(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:ATTR",
            help="A Broker, or a FastAPI application such as broker.app.",
            show_default=False,
        ),
    ],
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; OSBKIT_HOST.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; OSBKIT_PORT.", show_default=False),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Serve although the catalog's change of this id would be refused;"
            " several times, or `all`. OSBKIT_ALLOW_CATALOG_CHANGES.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a broker until SIGTERM or Ctrl-C."""
    from osbkit.cli.loading import load_application
    from osbkit.settings import Settings

    if host is not None:
        os.environ["OSBKIT_HOST"] = host
    if port is not None:
        os.environ["OSBKIT_PORT"] = str(port)
    if allow:
        os.environ["OSBKIT_ALLOW_CATALOG_CHANGES"] = ",".join(allow)
    try:
        settings = Settings.from_environment()
        application = load_application(target)
    except StartRefused as refusal:
        note(str(refusal))
        raise typer.Exit(NOT_STARTED) from refusal
    _run(server_config(application, settings))


def server_config(application: Any, settings: "Settings") -> "uvicorn.Config":
    """How uvicorn is to serve an application."""
    import uvicorn

    return uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        http="httptools",
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACEFUL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=log_config(settings.log_level, settings.log_format),
    )


def _run(config: "uvicorn.Config") -> None:
    import uvicorn

    server = uvicorn.Server(config)
    try:
        server.run()
    except KeyboardInterrupt:  # uvicorn raises it again after a clean stop
        return
    if not server.started:
        raise typer.Exit(NOT_STARTED)


def log_config(level: str, style: str) -> dict[str, Any]:
    """Logging of uvicorn and other libraries, in the shape of our own events.

    Args:
        level, style: as the settings log_level and log_format.
    """
    import structlog

    from osbkit.telemetry import is_json

    renderer: Any = (
        structlog.processors.JSONRenderer()
        if is_json(style)
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        "processors": [
            name_the_trouble,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            renderer,
        ],
    }
    stderr = {
        "class": "logging.StreamHandler",
        "stream": "ext://sys.stderr",
        "formatter": "events",
    }
    quiet = logging.getLevelName(max(logging.WARNING, logging.getLevelName(level)))
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"events": formatter},
        "handlers": {"stderr": stderr},
        "root": {"handlers": ["stderr"], "level": quiet},
        "loggers": {
            "uvicorn": {"handlers": ["stderr"], "level": level, "propagate": False}
        },
    }


def name_the_trouble(_: Any, __: str, event: Any) -> Any:
    """Put an exception's type and place where its text would stand.

    A structlog processor. The text may hold a password; see `osbkit.telemetry`.
    """
    from osbkit.telemetry import trouble

    raised = event.pop("exc_info", None)
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event.update(trouble(error))
    return event
