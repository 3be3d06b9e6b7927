"""Event names go out here, and only names, ids and numbers go with them.

`log` is the one logger: `log.info("operation.finished", instance_id=…)`. A value
of a request, a credential or the text of a foreign exception is never a field;
`trouble()` turns an exception into its type and place.
"""

import contextlib
import json
import sys
import sysconfig
import traceback
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import structlog
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

LIBRARIES = tuple(
    {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")),
        *(sysconfig.get_path(name) for name in ("purelib", "platlib")),
        str(Path(__file__).parent),
        "<",
    }
)
"""Where lines stand that no author of a backend wrote: files begin with it."""

log: Any = structlog.get_logger("osbkit")


def configure(
    level: str = "INFO", style: Literal["auto", "console", "json"] = "auto"
) -> None:
    """Send events to standard error, one line each. Called by the server's start.

    Args:
        style: `auto` is `console` on a terminal, else `json`.
    """
    import logging

    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_json)
        if is_json(style)
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _plain_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelName(level.upper())
        ),
        logger_factory=structlog.WriteLoggerFactory(
            file=cast(TextIO, Unfailing(sys.stderr))
        ),
        cache_logger_on_first_use=True,
    )


class Unfailing:
    """A stream whose trouble is its own: a line that cannot be written is lost.

    On a full disk the log fails first, and must not take the writer of the database
    with it, or the answer to a request.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Hand on what can be handed on."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def is_json(style: str) -> bool:
    """Whether events are JSON: said, or `auto` where no person reads along."""
    return style == "json" or (style == "auto" and not sys.stderr.isatty())


def _plain_fields(logger: Any, name: str, event: Any) -> Any:
    """Fields as what JSON knows; of an author's objects no more than they show.

    A renderer would walk through a request or a Bound, and write its secrets.
    """
    return {key: _plain(value) for key, value in event.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, BaseModel):
        return type(value).__qualname__
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    return repr(value) if is_dataclass(value) else str(value)


def _json(event: Any, **_: Any) -> str:
    """Several times as fast as the standard library's, which stands in for it where a
    field holds bytes or half a character: a line must not fail for that."""
    try:
        return to_json(event, fallback=str).decode()
    except PydanticSerializationError:
        safe = {k: v if isinstance(v, str) else repr(v) for k, v in event.items()}
        return json.dumps(safe)


def trouble(error: BaseException) -> dict[str, str]:
    """The fields that tell an operator of an exception without its text.

    The text of a foreign exception may hold a password or a parameter; its type
    and the line it came from do not. Where a library raised it, `called_at` is the
    last line outside of libraries, and `because` are the types that led to it.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
    told = {"trouble": type(error).__qualname__, "where": where}
    code = getattr(getattr(error, "orig", error), "sqlite_errorname", None)
    if code is not None:
        told["code"] = code  # SQLITE_FULL, SQLITE_BUSY …
    authors = [frame for frame in frames if not frame.filename.startswith(LIBRARIES)]
    if authors and authors[-1] is not frames[-1]:
        told["called_at"] = f"{authors[-1].filename}:{authors[-1].lineno}"
    causes: list[str] = []
    while (cause := error.__cause__) is not None and len(causes) < 5:
        causes.append(type(cause).__qualname__)
        error = cause
    if causes:
        told["because"] = ", ".join(causes)
    return told
