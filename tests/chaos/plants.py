"""Faults put into osbkit on purpose: a run that does not find them proves nothing.

no-fence   a runner that lost its claim writes all the same
no-sweep   what a halted or lost call made too late is left where it is
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any


def plant(name: str) -> None:
    """Put a fault in; none for the empty name."""
    if name:
        PLANTS[name]()


def no_fence() -> None:
    """Every guarded statement compares the row's fence with itself."""
    from osbkit.store import operations

    guarded: Any = operations._guarded
    require: Any = operations.require

    def current(db: Any, operation: Any) -> Any:
        row = operations.show(db, operation.id)
        return operation if row is None else replace(operation, fence=row.fence)

    def open_guard(db: Any, statement: Any, operation: Any, values: Any) -> None:
        guarded(db, statement, current(db, operation), values)

    def open_require(db: Any, operation: Any) -> None:
        require(db, current(db, operation))

    setattr(operations, "_guarded", open_guard)  # noqa: B010 (mypy knows its type)
    setattr(operations, "require", open_require)  # noqa: B010


def no_sweep() -> None:
    """A late effect is nobody's."""
    from osbkit.operations import endings

    setattr(endings, "add_sweep", lambda *_: None)  # noqa: B010


PLANTS: dict[str, Callable[[], None]] = {"no-fence": no_fence, "no-sweep": no_sweep}
