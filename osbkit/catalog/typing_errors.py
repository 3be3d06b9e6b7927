"""What pydantic says of a wrong type, in the words of a catalog's author.

No value is repeated: a dashboard's secret may be among them.
"""

from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from osbkit.catalog.findings import Remark

_WRONG: Final[dict[str, tuple[str, str]]] = {
    "string_type": (
        "is not text",
        "Write text, and in quotes what looks like a number or like null.",
    ),
    "bool_type": ("is not a boolean", "Write true or false, without quotes."),
    "int_type": ("is not a whole number", "Write an integer, without quotes."),
    "int_from_float": ("is not a whole number", "Write an integer."),
    "float_type": ("is not a number", "Write a number of seconds, without quotes."),
    "finite_number": ("is not a finite number", "Write a number of seconds."),
    "greater_than": ("is not above 0", "Write a number of seconds above 0."),
    "dict_type": ("is not an object", "Write an object with keys and values."),
    "model_type": ("is not an object", "Write an object with keys and values."),
    "model_attributes_type": ("is not an object", "Write an object with keys."),
    "sequence_str": ("is not a list", "Write a list, also for one entry."),
    "is_instance_of": ("is not a list", "Write a list, also for one entry."),
    "list_type": ("is not a list", "Write a list, also for one entry."),
}

_MISSING: Final[dict[str, str]] = {
    "id": "Write an id that no other offering or plan has, best a GUID.",
    "name": "Write a short name of letters, digits, periods and hyphens.",
    "description": "Write a sentence about it.",
    "bindable": "Write true or false.",
    "plans": "Write at least one plan.",
    "services": "Write the list of offerings.",
    "version": "Write a semantic version, for instance 1.0.0.",
}


def type_remarks(wrong: ValidationError) -> Iterator[Remark]:
    """One remark for each error, at its place in the document."""
    for error in wrong.errors(
        include_url=False, include_input=False, include_context=True
    ):
        kind, place = error["type"], error["loc"]
        context: dict[str, Any] = error.get("ctx", {})
        if kind == "missing":
            fix = _MISSING.get(str(place[-1]), "Write it.")
            yield Remark(place, "is missing", fix)
        elif kind == "extra_forbidden":
            fix = "Leave it out; known are mode, bind_mode, deadline and sync_budget."
            yield Remark(place, "is no setting of osbkit", fix)
        elif kind == "literal_error":
            yield Remark(
                place,
                "is not one of the words allowed here",
                (f"Write {context['expected']}."),
            )
        elif kind in _WRONG:
            yield Remark(place, *_WRONG[kind])
        else:
            yield Remark(place, "has the wrong type", f"{error['msg']}.")
