"""Where schemas stand inside a JSON Schema.

A property may be called `default` or `$ref`, and an enum may hold an object that
looks like a schema: so a schema is walked by its keywords, never key by key.
All drafts from 4 on are known; what has the wrong shape is passed over.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import unquote

from osbkit.catalog.places import Place

Schema = dict[str, Any]

NAMED: Final = frozenset(
    {
        "properties",
        "patternProperties",
        "definitions",
        "$defs",
        "dependencies",
        "dependentSchemas",
    }
)
"""Keywords whose value is an object of schemas."""

LISTED: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
"""Keywords whose value is, or may be, a list of schemas."""

SINGLE: Final = frozenset(
    {
        "items",
        "additionalItems",
        "additionalProperties",
        "not",
        "if",
        "then",
        "else",
        "contains",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords whose value is, or may be, one schema."""

SAME_VALUE: Final = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else"}
    | {"dependencies", "dependentSchemas"}
)
"""Keywords whose schemas judge the same value as the schema they stand in."""


def children(schema: Schema) -> Iterator[tuple[Place, Schema]]:
    """The schemas directly below one, each with its place in it."""
    for keyword, value in schema.items():
        if keyword in NAMED and isinstance(value, dict):
            for name, child in value.items():
                if isinstance(child, dict):
                    yield (keyword, name), child
        elif keyword in LISTED and isinstance(value, list):
            for index, child in enumerate(value):
                if isinstance(child, dict):
                    yield (keyword, index), child
        elif keyword in SINGLE and isinstance(value, dict):
            yield (keyword,), value


def walk(schema: Schema, place: Place = ()) -> Iterator[tuple[Place, Schema]]:
    """A schema and every schema in it, each with its place."""
    yield place, schema
    for below, child in children(schema):
        yield from walk(child, (*place, *below))


def rebuilt(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A copy in which every schema, the innermost first, went through `change`.

    `change` gets a copy of its own and may alter it.
    """

    def of(value: Any) -> Any:
        return rebuilt(value, change) if isinstance(value, dict) else value

    copy: Schema = {}
    for keyword, value in schema.items():
        if keyword in NAMED and isinstance(value, dict):
            copy[keyword] = {name: of(child) for name, child in value.items()}
        elif keyword in LISTED and isinstance(value, list):
            copy[keyword] = [of(child) for child in value]
        elif keyword in SINGLE:
            copy[keyword] = of(value)
        else:
            copy[keyword] = value
    return change(copy)


def resolve(root: Schema, reference: str) -> Schema | None:
    """What a local `$ref` points to (`#` or `#/…`); None if there is nothing."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    here: Any = root
    for part in reference.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict) and key in here:
            here = here[key]
        elif isinstance(here, list) and key.isdecimal() and int(key) < len(here):
            here = here[int(key)]
        else:
            return None
    return here if isinstance(here, dict) else None
