"""Parameters and other JSON from the command line.

    -p max_messages=5      a number: the value is read as JSON if it is JSON
    -p name=orders         a text, for it is not
    -p name='"5"'          a text, quoted as JSON
    --params '{…}'         one JSON object; `@file` reads it, `@-` from standard input

No message repeats a value: it may be a secret.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from osbkit.cli.terminal import Unusable


def parameters(pairs: Sequence[str], whole: str | None) -> dict[str, Any] | None:
    """What `-p` and `--params` say together; None if neither was given.

    A key given by `-p` takes the place of the same key in `--params`.
    """
    if not pairs and whole is None:
        return None
    given = {} if whole is None else json_object(whole, "--params")
    return given | dict(_pair(pair) for pair in pairs)


def json_object(text: str, option: str) -> dict[str, Any]:
    """Read a JSON object given as it is, as `@file` or as `@-`.

    Raises:
        Unusable: no such file, not JSON, or not an object.
    """
    try:
        value = _strict(_text_of(text, option))
    except ValueError as error:
        raise Unusable(
            f"{option} is not valid JSON.",
            hint="""Quote it for the shell: '{"key": "value"}', or use @file.""",
        ) from error
    if not isinstance(value, dict):
        raise Unusable(f"{option} must be a JSON object, as in {{…}}.")
    return value


def _text_of(text: str, option: str) -> str:
    if not text.startswith("@"):
        return text
    name = text[1:]
    if name == "-":
        return sys.stdin.read()
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{option} names {name}, which cannot be read.") from error


def _pair(pair: str) -> tuple[str, Any]:
    key, equals, value = pair.partition("=")
    if not key or not equals:
        raise Unusable(
            "-p takes key=value, and one of them has no key or no equals sign.",
            hint="For example: -p max_messages=500",
        )
    try:
        return key, _strict(value)
    except ValueError:
        return key, value


def _strict(text: str) -> Any:
    """JSON as the specification of JSON has it: no NaN, no infinities."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
