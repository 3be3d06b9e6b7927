"""Fields of a body or a query: replaced, or left out."""

from collections.abc import Mapping
from typing import Any, Final

OMIT: Final[Any] = object()
"""As a field's value: the field is left out."""


def changed(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A body with fields replaced, and those that are OMIT left out."""
    return {key: each for key, each in {**body, **changes}.items() if each is not OMIT}
