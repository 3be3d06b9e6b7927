"""What jsonschema finds in refused parameters, in words for the platform's user.

Its own messages repeat the value that was refused; here only the schema's words
and the names of fields are used.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from jsonschema.exceptions import ValidationError

from osbkit.catalog.places import Place
from osbkit.catalog.problems import TYPES, counted, either, one_of

Patterns = Mapping[str, str]
"""From an expression as Python reads it to the expression as it was written."""

_GENERAL: Final = "is not valid"


def problems(
    errors: Iterable[ValidationError], patterns: Patterns
) -> Iterator[tuple[Place, str]]:
    """The first error at each place in the parameters."""
    seen: set[Place] = set()
    for place, message in _all(errors, patterns):
        if place not in seen:
            seen.add(place)
            yield place, message


def _all(
    errors: Iterable[ValidationError], patterns: Patterns
) -> Iterator[tuple[Place, str]]:
    for error in errors:
        place = tuple(error.absolute_path)
        if error.validator in _FIELDS:
            for name, message in _FIELDS[str(error.validator)](error):
                yield (*place, name), message
        elif error.validator in ("anyOf", "oneOf") and error.context:
            yield from _forms(error, place, patterns)
        else:
            yield place, _said(error, patterns)


def _said(error: ValidationError, patterns: Patterns) -> str:
    keyword = str(error.validator)
    limit: Any = error.validator_value
    schema: Any = error.schema
    if keyword == "type":
        return _types(limit)
    if keyword == "enum":
        return one_of(limit)
    if keyword == "const":
        return one_of([limit])
    if keyword == "pattern":
        return f"must match the pattern {patterns.get(str(limit), limit)}"
    if keyword == "minimum" and schema.get("exclusiveMinimum") is True:
        return f"must be greater than {limit}"
    if keyword == "maximum" and schema.get("exclusiveMaximum") is True:
        return f"must be less than {limit}"
    return counted(_LIMITS.get(keyword, _GENERAL).format(limit))


_LIMITS: Final = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be greater than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} entries",
    "maxItems": "must have at most {} entries",
    "additionalItems": "must not have further entries",
    "uniqueItems": "must not have an entry twice",
    "minProperties": "must have at least {} fields",
    "maxProperties": "must have at most {} fields",
    "contains": "must hold an entry that it lacks",
    "not": "is not allowed",
    "anyOf": "has none of the allowed forms",
    "oneOf": "has more than one of the allowed forms",
}


def _types(wanted: Any) -> str:
    names = [wanted] if isinstance(wanted, str) else wanted
    return f"must be {' or '.join(TYPES.get(str(name), str(name)) for name in names)}"


# --- errors of an object that belong to its fields -----------------------------------

Fields = Iterator[tuple[str, str]]


def _required(error: ValidationError) -> Fields:
    sent: Any = error.instance
    wanted: Any = error.validator_value
    for name in wanted:
        if name not in sent:
            yield name, "is required"


def _unknown(error: ValidationError) -> Fields:
    schema: Any = error.schema
    sent: Any = error.instance
    for name in sent:
        if name not in schema.get("properties", {}) and not any(
            re.search(pattern, name) for pattern in schema.get("patternProperties", {})
        ):
            yield name, "is not a known parameter"


def _missing_companion(error: ValidationError) -> Fields:
    sent: Any = error.instance
    wanted: Any = error.validator_value
    for name, companions in wanted.items():
        if name in sent and isinstance(companions, list):
            for companion in companions:
                if companion not in sent:
                    yield companion, "is required here"


_FIELDS: Final[dict[str, Callable[[ValidationError], Fields]]] = {
    "required": _required,
    "additionalProperties": _unknown,
    "dependencies": _missing_companion,
    "dependentRequired": _missing_companion,
}


# --- anyOf and oneOf ------------------------------------------------------------------


def _forms(
    error: ValidationError, place: Place, patterns: Patterns
) -> Iterator[tuple[Place, str]]:
    """Of several forms, speak of the one that was meant, if that can be told."""
    by_form: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        by_form.setdefault(inner.schema_path[0], []).append(inner)
    meant = [form for form in by_form.values() if not any(map(_other_type, form))]
    if len(meant) == 1:
        yield from problems(meant[0], patterns)
    elif meant:
        yield place, _LIMITS["anyOf"]
    else:
        types = (inner for form in by_form.values() for inner in form)
        yield (
            place,
            either(
                _types(inner.validator_value) for inner in types if _other_type(inner)
            ),
        )


def _other_type(error: ValidationError) -> bool:
    """Whether the value itself, not something in it, has another type."""
    return error.validator == "type" and not error.relative_path
