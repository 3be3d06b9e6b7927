"""What a schema of parameters must obey. Spec: "Input Parameters Schema Object".

Draft-04 is what every platform reads; a later draft is judged by its own rules
and drawn attention to. A schema that passes here can be compiled, and judges
every value without an error of its own.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)
from jsonschema.exceptions import ValidationError

from osbkit.catalog.findings import Remark
from osbkit.catalog.patterns import for_python
from osbkit.catalog.places import Place
from osbkit.catalog.positions import SAME_VALUE, Schema, children, resolve, walk

DRAFT_04: Final = "http://json-schema.org/draft-04/schema#"
LARGEST: Final = 64 * 1024
"""Bytes of a schema as compact JSON ("MUST NOT be larger than 64kB")."""

_DRAFTS: Final[dict[str, Any]] = {
    "http://json-schema.org/draft-04/schema": Draft4Validator,
    "http://json-schema.org/draft-06/schema": Draft6Validator,
    "http://json-schema.org/draft-07/schema": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
_MOST_REMARKS: Final = 20


def draft_of(schema: Schema) -> Any:
    """The validator class of the draft that `$schema` names; None if unknown."""
    named = schema.get("$schema")
    return _DRAFTS.get(named.removesuffix("#")) if isinstance(named, str) else None


def remarks(schema: Schema, place: Place) -> Iterator[Remark]:
    """What is wrong with one `parameters` schema that stands at a place."""
    yield from _draft(schema, place)
    draft = draft_of(schema) or Draft4Validator
    against_meta = list(islice(_meta(draft, schema, place), _MOST_REMARKS))
    yield from against_meta
    if schema.get("type") != "object":
        yield Remark(
            (*place, "type"),
            "is not object: parameters always are",
            "Write type: object.",
        )
    yield from _size(schema, place)
    for below, part in walk(schema):
        yield from _references(schema, part, (*place, *below))
        yield from _patterns(part, (*place, *below))
    if not against_meta and _loops(schema):
        yield Remark(
            place,
            "a $ref leads back to itself before it judges anything",
            "Put a property or an item between the reference and its target.",
        )


def _draft(schema: Schema, place: Place) -> Iterator[Remark]:
    at = (*place, "$schema")
    if "$schema" not in schema:
        yield Remark(at, "is missing", f"Write {DRAFT_04}")
    elif (draft := draft_of(schema)) is None:
        yield Remark(at, "is no draft that platforms know", f"Write {DRAFT_04}")
    elif draft is not Draft4Validator:
        yield Remark(
            at,
            "is later than draft-04; Cloud Foundry refuses the catalog",
            f"Write {DRAFT_04} and what belongs to it.",
            "warning",
        )


_DRAFT_04_HABITS: Final[dict[str, tuple[str, str]]] = {
    "exclusiveMinimum": (
        "is a number, which draft-04 does not know",
        "Write `minimum` with the number and `exclusiveMinimum: true`.",
    ),
    "exclusiveMaximum": (
        "is a number, which draft-04 does not know",
        "Write `maximum` with the number and `exclusiveMaximum: true`.",
    ),
    "required": (
        "is not a list of names with at least one entry",
        "List the required properties beside `properties`, or leave it out.",
    ),
}


def _meta(draft: Any, schema: Schema, place: Place) -> Iterator[Remark]:
    error: ValidationError
    for error in draft(draft.META_SCHEMA).iter_errors(schema):
        at = tuple(error.absolute_path)
        habit = _DRAFT_04_HABITS.get(str(at[-1])) if at else None
        if habit and draft is Draft4Validator and not _is_name(at):
            yield Remark((*place, *at), *habit)
        else:
            yield Remark(
                (*place, *at),
                f"does not satisfy the draft's own schema ({error.validator})",
                "Write the keyword as the draft has it.",
            )


def _is_name(at: Place) -> bool:
    """Whether the last step is the name of a property, not a keyword."""
    return len(at) > 1 and at[-2] in {"properties", "patternProperties"}


def _size(schema: Schema, place: Place) -> Iterator[Remark]:
    try:
        size = len(compact(schema))
    except (TypeError, ValueError):
        return  # not JSON: told elsewhere
    if size > LARGEST:
        yield Remark(
            place,
            f"is {size} bytes as JSON, more than the {LARGEST} allowed",
            "Shorten it, or describe less of the parameters.",
        )


def compact(value: Any) -> bytes:
    """JSON without blanks, in UTF-8."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _references(root: Schema, part: Schema, place: Place) -> Iterator[Remark]:
    for keyword in ("$dynamicRef", "$recursiveRef"):
        if isinstance(part.get(keyword), str):
            yield Remark((*place, keyword), "is not supported", "Write a local $ref.")
    if part is not root:
        for keyword in ("id", "$id"):
            if isinstance(part.get(keyword), str):
                yield Remark(
                    (*place, keyword),
                    "changes what a $ref below it means",
                    "Leave it out and refer by `#/definitions/…`.",
                )
    reference = part.get("$ref")
    if not isinstance(reference, str):
        return
    if reference != "#" and not reference.startswith("#/"):
        yield Remark(
            (*place, "$ref"),
            "leads out of the schema",
            "Copy the target below `definitions` and refer by `#/definitions/…`.",
        )
    elif "/patternProperties/" in reference or resolve(root, reference) is None:
        yield Remark(
            (*place, "$ref"),
            "leads to nothing",
            "Refer to a schema below `definitions`, as `#/definitions/…`.",
        )


def _patterns(part: Schema, place: Place) -> Iterator[Remark]:
    found: list[tuple[Place, str]] = []
    if isinstance(pattern := part.get("pattern"), str):
        found.append((("pattern",), pattern))
    if isinstance(named := part.get("patternProperties"), dict):
        found += [(("patternProperties", name), name) for name in named]
    for at, pattern in found:
        try:
            for_python(pattern)
        except (re.error, OverflowError, RecursionError):
            yield Remark(
                (*place, *at),
                "is no regular expression that ECMAScript and Python share",
                r"Write it without \p{…}, named groups and open brackets.",
            )


def _loops(root: Schema) -> bool:
    """Whether judging a value may come back to the same schema and value."""
    done: set[int] = set()

    def visits(schema: Schema, path: frozenset[int]) -> bool:
        if id(schema) in path:
            return True
        if id(schema) in done:
            return False
        following = path | {id(schema)}
        found = any(
            visits(child, following)
            for below, child in children(schema)
            if below[0] in SAME_VALUE
        )
        reference = schema.get("$ref")
        target = resolve(root, reference) if isinstance(reference, str) else None
        found = found or (target is not None and visits(target, following))
        done.add(id(schema))
        return found

    return any(visits(schema, frozenset()) for _, schema in walk(root))
