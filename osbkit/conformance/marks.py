"""Which parameters a catalog marks as secret, so that no report shows their values.

A property of a plan's schema is marked by `writeOnly: true` or `format: password`, as
JSON Schema and OpenAPI have it. Only names are gathered: a value is hidden wherever
its name stands.
"""

from collections.abc import Iterator
from typing import Any

from osbkit.conformance.catalog import Catalog

PLACES = (
    ("service_instance", "create"),
    ("service_instance", "update"),
    ("service_binding", "create"),
)


def marked(catalog: Catalog) -> frozenset[str]:
    """The names of all marked properties of a catalog's schemas."""
    return frozenset(
        name
        for plan in catalog.plans
        for place in PLACES
        for name in _names(plan.schema(*place))
    )


def _names(root: Any) -> Iterator[str]:
    waiting = [root]  # not by recursion: a catalog may be nested as deep as it likes
    while waiting:
        schema = waiting.pop()
        if isinstance(schema, list):
            waiting += schema
        elif isinstance(schema, dict):
            waiting += schema.values()
            properties = schema.get("properties")
            if isinstance(properties, dict):
                yield from (name for name, each in properties.items() if _is(each))


def _is(schema: Any) -> bool:
    return isinstance(schema, dict) and (
        schema.get("writeOnly") is True or schema.get("format") == "password"
    )
