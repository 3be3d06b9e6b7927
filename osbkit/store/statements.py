"""Running the store's statements: Core's text, without Core's per-call work.

The statements are SQLAlchemy Core constants, for every database the same. Each is
compiled once, and its text goes to the driver with its values in order: half of a
statement's time is Core preparing a call that is the same every time. Drivers that
the store does not use itself (those of schema work and of tests) get it from Core.

What the raw way leaves to its callers: booleans may come back as 0 and 1
(`booleans`), and SQLite's errors are its driver's own (`IntegrityError` names both).
"""

import sqlite3
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

IntegrityError = (sa.exc.IntegrityError, sqlite3.IntegrityError)
Values = Mapping[str, Any]
_Picker = Callable[[Mapping[str, Any]], tuple[Any, ...]]
_Prepared = tuple[str, dict[str, Any], _Picker, bool]
_prepared: dict[tuple[str, Any, int], _Prepared] = {}
DIRECT = frozenset({"pysqlite", "asyncpg", "asyncmy"})
"""Drivers that are handed a text."""


def run(db: sa.Connection, statement: Any, values: Values | None = None) -> Any:
    """Run a statement; the result has `rowcount`, `fetchone()` and `fetchall()`.

    Args:
        statement: a module constant; it is compiled once and kept.
        values: by the names of its bind parameters, or of an INSERT's columns;
            always the same names for the same statement.
    """
    values = values or {}
    driver = db.dialect.driver
    if driver not in DIRECT:
        return db.execute(statement, values)
    key = (driver, statement, len(values))
    prepared = _prepared.get(key)
    if prepared is None:
        prepared = _prepared[key] = _prepare(db, statement, values)
    text, fixed, pick, reads = prepared
    picked = pick({**fixed, **values} if fixed else values)
    if driver == "pysqlite":
        raw: Any = db.connection.driver_connection
        return raw.execute(text, picked)
    cursor = _on_a_server(db, text, picked)
    if cursor.rowcount and not reads:
        db.info[WRITTEN] = True
    return cursor


# --- what a unit has done to its transaction, on a server ----------------------------

WRITTEN, BROKEN = "osbkit_written", "osbkit_broken"


def begin(db: sa.Connection) -> None:
    """Begin a transaction in which nothing has been done yet."""
    db.begin()
    db.info[BROKEN] = False


def watch(db: sa.Connection) -> None:
    """From here on `has_written` counts."""
    db.info[WRITTEN] = False


def count_core(engine: sa.Engine) -> None:
    """Take every statement that Core runs for one that writes."""

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _count(db: sa.Connection, *_: Any) -> None:
        db.info[WRITTEN] = True


def has_written(db: sa.Connection) -> bool:
    """Whether something may have been written since, or the transaction is broken."""
    return bool(db.info.get(WRITTEN)) or is_broken(db)


def is_broken(db: sa.Connection) -> bool:
    """Whether a statement has failed in this transaction."""
    return bool(db.info.get(BROKEN))


def _on_a_server(db: sa.Connection, text: str, picked: tuple[Any, ...]) -> Any:
    """By the cursor that SQLAlchemy puts around an asynchronous driver's: it begins
    the transaction, and prepares the text once a connection where it can.

    Raises:
        sqlalchemy.exc.DBAPIError: as Core would raise it, but without the text.
    """
    connection: Any = db.connection
    dialect: Any = db.dialect
    cursor = connection.cursor()
    try:
        cursor.execute(text, picked)
    except Exception as error:
        connection.info[BROKEN] = True
        driver = dialect.loaded_dbapi
        if not isinstance(error, driver.Error):
            raise
        lost = dialect.is_disconnect(error, connection.dbapi_connection, cursor)
        if lost:  # Core finds that out as well, and empties its pool
            db.exec_driver_sql("SELECT 1")
        raise sa.exc.DBAPIError.instance(
            None,
            None,
            error,
            driver.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=dialect,
        ) from error
    return cursor


def _prepare(db: sa.Connection, statement: Any, values: Values) -> _Prepared:
    """The text, the values that stand in the statement itself, their order, and
    whether it only reads."""
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
    return compiled.string, fixed, _picker(names), isinstance(statement, sa.Select)


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
