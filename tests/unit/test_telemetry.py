"""Events: one line each, of names, ids and numbers; a line that fails is lost."""

import errno
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from pydantic import BaseModel

from osbkit import telemetry
from osbkit.telemetry import Unfailing, is_json, trouble


class Terminal(io.StringIO):
    """Standard error that a person reads."""

    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    """Standard error on a disk without room."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error

    def flush(self) -> None:
        raise self._error


@pytest.fixture
def configuration() -> Iterator[None]:
    """Put structlog's configuration back."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def configured(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *given: Any
) -> Any:
    """A logger that writes to this standard error."""
    monkeypatch.setattr(sys, "stderr", stream)
    telemetry.configure(*given)
    return structlog.get_logger("osbkit")


pytestmark = pytest.mark.usefixtures("configuration")


def test_event_is_one_line_of_json_where_no_person_reads(monkeypatch):
    stream = io.StringIO()
    log = configured(monkeypatch, stream)

    log.info("operation.finished", operation="op-1", seconds=1.5, text="two\nlines")

    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said.pop("timestamp").endswith("Z")
    assert said == {
        "event": "operation.finished",
        "level": "info",
        "operation": "op-1",
        "seconds": 1.5,
        "text": "two\nlines",
    }


def test_event_is_for_people_on_a_terminal(monkeypatch):
    stream = Terminal()

    configured(monkeypatch, stream).warning("keys.file_made", file="osbkit.db.key")

    assert "keys.file_made" in stream.getvalue()
    with pytest.raises(json.JSONDecodeError):
        json.loads(stream.getvalue())


@pytest.mark.parametrize(
    ("style", "terminal", "expected"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("json", True, True),
        ("console", False, False),
    ],
)
def test_style_that_is_said_outweighs_the_terminal(
    monkeypatch, style, terminal, expected
):
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())

    assert is_json(style) is expected


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("WARNING", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_events_below_the_level_are_left_out(monkeypatch, level, expected):
    stream = io.StringIO()
    log = configured(monkeypatch, stream, level)

    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("an.event")

    lines = stream.getvalue().splitlines()
    assert [json.loads(line)["level"] for line in lines] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(ValueError, "<class 'ValueError'>", id="an object"),
        pytest.param(b"\xff", "b'\\xff'", id="bytes"),
        pytest.param("half \ud800", "half \ud800", id="half a character"),
        pytest.param(["\ud800", 1], "['\\ud800', 1]", id="deep inside"),
    ],
)
def test_field_that_is_no_json_does_not_fail_the_line(monkeypatch, value, expected):
    stream = io.StringIO()

    configured(monkeypatch, stream).info("an.event", field=value)

    said = json.loads(stream.getvalue())
    assert (said["event"], said["field"]) == ("an.event", expected)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(OSError(errno.ENOSPC, "no space left"), id="the disk is full"),
        pytest.param(BrokenPipeError(), id="nobody reads any longer"),
        pytest.param(ValueError("I/O operation on closed file"), id="closed"),
    ],
)
def test_line_that_cannot_be_written_is_lost_and_raises_nothing(monkeypatch, error):
    """It would end the writer of the database, and every write with it."""
    stream = Full(error)
    log = configured(monkeypatch, stream)

    log.error("store.batch_failed")
    Unfailing(stream).flush()


def test_what_can_be_written_is_written_and_handed_on():
    stream = io.StringIO()
    unfailing = Unfailing(stream)

    unfailing.write("a line\n")
    unfailing.flush()

    assert stream.getvalue() == "a line\n"


def test_trouble_tells_type_and_place_and_never_the_text():
    with pytest.raises(KeyError) as caught:
        raise KeyError("a password")

    told = trouble(caught.value)
    assert told["trouble"] == "KeyError"
    assert told["where"].startswith(f"{__file__}:")
    assert "password" not in str(told)


def test_trouble_in_a_library_tells_the_line_that_called_it_and_what_led_to_it():
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("a password")
    caught.value.__cause__ = KeyError("a password")

    told = trouble(caught.value)
    assert told["because"] == "KeyError"
    assert "/json/" in told["where"]
    assert told["called_at"].startswith(f"{__file__}:")
    assert "password" not in str(told)


def test_trouble_that_was_never_raised_has_no_place():
    assert trouble(ValueError("x")) == {"trouble": "ValueError", "where": "unknown"}


def test_trouble_is_told_where_it_happened_not_where_it_was_caught():
    def inner() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError) as caught:
        inner()

    line = inner.__code__.co_firstlineno + 1
    assert trouble(caught.value)["where"] == f"{__file__}:{line}"


@dataclass
class Holder:
    shown: str
    hidden: str = field(repr=False)


class Model(BaseModel):
    secret: str


@pytest.mark.parametrize("style", ["json", "console"])
def test_objects_of_an_author_show_in_a_line_no_more_than_they_mean_to(
    monkeypatch, style
):
    """A renderer would walk through a request, parameters and all."""
    stream = io.StringIO()
    given = [Holder("seen", "hunter2"), Model(secret="hunter2")]
    configured(monkeypatch, stream, "INFO", style).info("an.event", of={"in": given})

    assert "hunter2" not in stream.getvalue()
    assert "seen" in stream.getvalue()
