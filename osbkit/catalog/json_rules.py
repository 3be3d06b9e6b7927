"""What JSON cannot hold, though Python and YAML can."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from osbkit.catalog.findings import Remark
from osbkit.catalog.places import Place

DEEPEST: Final = 64
"""Levels of a catalog as JSON; also what ends data that lies in itself."""


def unfit_for_json(value: Any, place: Place) -> Iterator[Remark]:
    """What cannot be served of a value that stands at a place."""
    if len(place) >= DEEPEST:
        yield Remark(place, "is nested too deeply", f"Stay below {DEEPEST} levels.")
    elif isinstance(value, str):
        if not _encodable(value):
            yield Remark(place, "holds half a character", "Write it in full.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield Remark(place, "is no finite number", "Write one, or leave it out.")
    elif isinstance(value, Mapping):
        for key, child in value.items():
            if isinstance(key, str) and _encodable(key):
                yield from unfit_for_json(child, (*place, key))
            else:
                yield Remark(place, "has a key that is no text", "Write it in quotes.")
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from unfit_for_json(child, (*place, index))
    elif value is not None and not isinstance(value, bool | int):
        yield Remark(
            place,
            f"is a {type(value).__name__}, which JSON does not have",
            "Write it as text, in quotes.",
        )


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
