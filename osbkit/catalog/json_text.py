"""What the text of parameters may not hold, though it parses.

NaN and the infinities (written out, or as a number that is too large), and NUL
characters: JSON has no such numbers, and a database no such text. Nearly every
request is let through by one search of its bytes; only what looks suspicious is
taken apart.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import from_json

from osbkit.catalog.places import Place

_WORDS: Final = (b"NaN", b"Infinity", b"\\u0000")
_LARGE_NUMBER: Final = re.compile(
    rb"(?:^|[\[:,\s])-?[0-9](?:[0-9]{299}|[0-9.]*[eE]\+?[0-9]{2})"
)
"""Behind what stands before a value, so that the hexadecimal of ids is none."""
_LARGEST: Final = 2**1023  # about 9e307; an integer beyond is no double


def flaws(raw: bytes) -> list[tuple[Place, str]]:
    """Where a text holds what it may not, and what is to be said of it.

    A text that is no JSON at all has no flaws: its parser will tell.
    """
    if not any(word in raw for word in _WORDS) and not _LARGE_NUMBER.search(raw):
        return []
    try:
        value = from_json(raw)
    except ValueError:
        return []
    return list(_flaws(value, ()))


def _flaws(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        if "\0" in value:
            yield place, "must not hold a NUL character"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield place, "must be a finite number"
    elif isinstance(value, int):
        if abs(value) > _LARGEST:
            yield place, "must be a smaller number"
    elif isinstance(value, dict):
        for key, child in value.items():
            if "\0" in key:
                yield place, "must not hold a name with a NUL character"
            yield from _flaws(child, (*place, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _flaws(child, (*place, index))
