"""Event names go out here, and only names, ids and numbers go with them.

`log` is the one logger: `log.info("operation.finished", instance_id=…)`. A value
of a request, a credential or the text of a foreign exception is never a field;
`trouble()` turns an exception into its type and place.
"""

import sys
import traceback
from typing import Any, Literal

import structlog

log: Any = structlog.get_logger("osbkit")


def configure(level: str = "INFO", style: Literal["console", "json"] = "json") -> None:
    """Send events to standard error, one line each. Called by the server's start."""
    import logging

    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if style == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelName(level.upper())
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def trouble(error: BaseException) -> dict[str, str]:
    """The fields that tell an operator of an exception without its text.

    The text of a foreign exception may hold a password or a parameter; its type
    and the line it came from do not.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
    return {"trouble": type(error).__qualname__, "where": where}
