"""Running the store's statements: Core's text, on SQLite without Core's per-call work.

The statements are SQLAlchemy Core constants, for every database the same. On SQLite
each is compiled once, and its text goes to the driver with its values in order: half
of a statement's time is Core preparing a call that is the same every time. Elsewhere
Core runs it, where the network costs more than the preparation.

What the raw way leaves to its callers: booleans come back as 0 and 1 (`booleans`),
and errors are the driver's own (`IntegrityError` names both).
"""

import sqlite3
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

IntegrityError = (sa.exc.IntegrityError, sqlite3.IntegrityError)
Values = Mapping[str, Any]
_Prepared = tuple[str, dict[str, Any], Callable[[Mapping[str, Any]], tuple[Any, ...]]]
_prepared: dict[tuple[Any, int], _Prepared] = {}


def run(db: sa.Connection, statement: Any, values: Values | None = None) -> Any:
    """Run a statement; the result has `rowcount`, `fetchone()` and `fetchall()`.

    Args:
        statement: a module constant; it is compiled once and kept.
        values: by the names of its bind parameters, or of an INSERT's columns;
            always the same names for the same statement.
    """
    values = values or {}
    if db.dialect.name != "sqlite":
        return db.execute(statement, values)
    key = (statement, len(values))
    prepared = _prepared.get(key)
    if prepared is None:
        prepared = _prepared[key] = _prepare(db, statement, values)
    text, fixed, pick = prepared
    raw: Any = db.connection.driver_connection
    return raw.execute(text, pick({**fixed, **values} if fixed else values))


def _prepare(db: sa.Connection, statement: Any, values: Values) -> _Prepared:
    """The text, the values that stand in the statement itself, and their order."""
    inserts = isinstance(statement, sa.Insert)
    compiled = statement.compile(
        dialect=db.dialect, column_keys=list(values) if inserts else None
    )
    names: list[str] = list(compiled.positiontup or ())
    fixed = {
        name: _plain(value)
        for name, value in compiled.params.items()
        if name not in values
    }
    missing = [n for n in names if n not in values and compiled.binds[n].required]
    if missing:
        raise KeyError(f"a statement was run without {', '.join(missing)}")
    return compiled.string, fixed, _picker(names)


def _plain(value: Any) -> Any:
    """An enum's member as the text that is stored."""
    return str(value) if isinstance(value, str) else value


def _picker(names: list[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Picks values in the order of the text's marks."""
    if len(names) > 1:
        return itemgetter(*names)
    if names:
        only = names[0]
        return lambda values: (values[only],)
    return lambda values: ()


def booleans(got: dict[str, Any], names: tuple[str, ...]) -> None:
    """Make true and false of what SQLite keeps as 1 and 0; NULL stays None."""
    for name in names:
        value = got[name]
        if value is not None:
            got[name] = bool(value)
