"""Regular expressions of JSON Schema, made fit for Python.

JSON Schema means those of ECMAScript. Python's differ in what bites: `$` also
matches before a last line break, and `\\d`, `\\w`, `\\b` take letters and digits
of every script.

Python's engine tries every way to match: `^(a+)+$` and 40 letters keep it busy for
ever. So the linear engine that pydantic brings along judges wherever it can read the
expression the same way; look-around and back references are left to Python.
"""

import re
import warnings
from collections.abc import Callable
from functools import cache
from typing import Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

_TOKEN: Final = re.compile(r"\\.|[\[\]$]|[^\\\[\]$]+", re.DOTALL)


def for_python(pattern: str) -> str:
    """The same expression for Python's `re`.

    Raises:
        re.error: Python cannot read it (`\\p{…}`, `(?<name>…)`, a wrong bracket).
    """
    inside_class = False
    parts = []
    for match in _TOKEN.finditer(pattern):
        part = match[0]
        if part == "[":
            part = r"\[" if inside_class else part
            inside_class = True
        elif part == "]":
            inside_class = False
        elif part == "$" and not inside_class:
            part = r"\Z"
        parts.append(part)
    translated = "(?a)" + "".join(parts)
    with warnings.catch_warnings():  # of set operators that Python may get one day
        warnings.simplefilter("ignore", FutureWarning)
        re.compile(translated)
    return translated


@cache
def searcher(translated: str) -> Callable[[str], bool]:
    """Whether a text holds what an expression describes.

    Args:
        translated: what `for_python` made.
    """
    search = re.compile(translated).search
    linear = _LETTERS.sub(
        lambda found: _PLAIN.get(found[0], found[0]),
        translated.removeprefix("(?a)"),
    )
    if _READ_OTHERWISE.search(linear) or ("[" in translated and r"\b" in translated):
        return lambda text: search(text) is not None
    try:
        return SchemaValidator(core_schema.str_schema(pattern=linear)).isinstance_python
    except SchemaError:
        return lambda text: search(text) is not None


_LETTERS: Final = re.compile(r"\\.", re.DOTALL)
_PLAIN: Final = {
    r"\Z": r"\z",
    r"\b": r"(?-u:\b)",
    r"\d": "[0-9]",
    r"\D": "[^0-9]",
    r"\s": r"[ \t\n\r\f\v]",
    r"\S": r"[^ \t\n\r\f\v]",
    r"\w": "[0-9A-Za-z_]",
    r"\W": "[^0-9A-Za-z_]",
}
_READ_OTHERWISE: Final = re.compile(r"\\[BpPk1-9]|&&|--|~~|\(\?(?!:|-u:)")
"""What the linear engine would take for something else than Python does."""
