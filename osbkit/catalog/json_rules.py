"""What JSON cannot hold, though Python and YAML can."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from osbkit.catalog.findings import Remark
from osbkit.catalog.places import Place

DEEPEST: Final = 64
"""Levels of a catalog as JSON."""

_TOO_DEEP: Final = "is nested too deeply"
_ENDLESS: Final = "lies in itself"


def walkable(found: list[Remark]) -> bool:
    """Whether data of which this was found can be walked to its end."""
    return not any(remark.problem in (_TOO_DEEP, _ENDLESS) for remark in found)


def unfit_for_json(
    value: Any, place: Place = (), above: frozenset[int] = frozenset()
) -> Iterator[Remark]:
    """What cannot be served of a value that stands at a place.

    Args:
        above: the identities of the objects and lists it stands in.
    """
    if id(value) in above:
        yield Remark(place, _ENDLESS, "Write it out, as far as it is meant.")
    elif len(place) >= DEEPEST:
        yield Remark(place, _TOO_DEEP, f"Stay below {DEEPEST} levels.")
    elif isinstance(value, str):
        if not _encodable(value):
            yield Remark(place, "holds half a character", "Write it in full.")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield Remark(place, "is no finite number", "Write one, or leave it out.")
    elif isinstance(value, Mapping):
        inside = above | {id(value)}
        for key, child in value.items():
            if isinstance(key, str) and _encodable(key):
                yield from unfit_for_json(child, (*place, key), inside)
            else:
                yield Remark(place, "has a key that is no text", "Write it in quotes.")
    elif isinstance(value, list | tuple):
        inside = above | {id(value)}
        for index, child in enumerate(value):
            yield from unfit_for_json(child, (*place, index), inside)
    elif value is not None and not isinstance(value, bool | int):
        yield Remark(
            place,
            f"is a {type(value).__name__}, which JSON does not have",
            "Write it as text, in quotes.",
        )


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
