"""The types of metadata that has a conventional name.

Metadata is opaque, yet a client that reads one of these names with another type
refuses the whole catalog (eden), or stops working (Korifi).
Spec (profile): "Service Metadata".
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from osbkit.catalog.findings import Remark
from osbkit.catalog.places import Place

Shape = Callable[[Any, Place], Iterator[Remark]]


def _text(value: Any, place: Place) -> Iterator[Remark]:
    if not isinstance(value, str):
        yield Remark(place, "is not text", "Write text, or leave it out.")


def _boolean(value: Any, place: Place) -> Iterator[Remark]:
    if not isinstance(value, bool):
        yield Remark(place, "is not a boolean", "Write true or false.")


def _list_of(shape: Shape) -> Shape:
    def judge(value: Any, place: Place) -> Iterator[Remark]:
        if not isinstance(value, list | tuple):
            yield Remark(place, "is not a list", "Write a list, also for one entry.")
            return
        for index, entry in enumerate(value):
            yield from shape(entry, (*place, index))

    return judge


def _cost(value: Any, place: Place) -> Iterator[Remark]:
    """Spec (profile): "Cost Object"."""
    example = "Write for instance {amount: {usd: 9.0}, unit: MONTHLY}."
    amount = value.get("amount") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping):
        yield Remark(place, "is not an object", example)
        return
    if not isinstance(amount, Mapping):
        yield Remark((*place, "amount"), "is not an object", example)
    else:
        for currency, price in amount.items():
            if isinstance(price, bool) or not isinstance(price, int | float):
                yield Remark((*place, "amount", str(currency)), "is no number", example)
    unit = value.get("unit")
    if not isinstance(unit, str) or not unit.strip():
        yield Remark((*place, "unit"), "is missing or not text", example)


_OFFERING_SHAPES: Final[dict[str, Shape]] = {
    "displayName": _text,
    "imageUrl": _text,
    "longDescription": _text,
    "providerDisplayName": _text,
    "documentationUrl": _text,
    "supportUrl": _text,
    "shareable": _boolean,
}
_PLAN_SHAPES: Final[dict[str, Shape]] = {
    "displayName": _text,
    "bullets": _list_of(_text),
    "costs": _list_of(_cost),
}


def offering_metadata(metadata: Any, place: Place) -> Iterator[Remark]:
    """Spec (profile): "Service Metadata Fields", "Cloud Foundry Service Metadata"."""
    yield from _typed(metadata, place, _OFFERING_SHAPES)


def plan_metadata(metadata: Any, place: Place) -> Iterator[Remark]:
    """Spec (profile): "Plan Metadata Fields"."""
    yield from _typed(metadata, place, _PLAN_SHAPES)


def _typed(
    metadata: Any, place: Place, shapes: Mapping[str, Shape]
) -> Iterator[Remark]:
    if isinstance(metadata, Mapping):
        for name, shape in shapes.items():
            if name in metadata:
                yield from shape(metadata[name], (*place, name))
