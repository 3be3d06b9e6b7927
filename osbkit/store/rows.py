"""What the statements of every table share: insert-or-ignore, the clock, row ids."""

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from osbkit.domain import LETTERS, MICROSECONDS, base32
from osbkit.store.entropy import random_bytes

SORTING = str.maketrans(LETTERS, "0123456789abcdefghijklmnopqrstuv")
"""From base32 to the alphabet whose texts sort as their numbers do."""


class _Clock:
    """How far the clock of a database server goes ahead of ours (microseconds)."""

    ahead = 0


def now() -> int:
    """This moment, in microseconds since 1970, by the database's clock.

    On SQLite one process owns the file, so its own clock is the database's.
    """
    return time.time_ns() * MICROSECONDS // 1_000_000_000 + _Clock.ahead


def follow_clock(ahead: int) -> None:
    """Count moments by a database's clock from now on: leases of many processes
    are compared with each other."""
    _Clock.ahead = ahead


def new_uid() -> str:
    """A row's own id: 32 hexadecimal characters."""
    return random_bytes(16).hex()


def new_operation_id() -> str:
    """26 URL-safe characters that sort by time: 48 bits of milliseconds, 80 random."""
    milliseconds = time.time_ns() // 1_000_000
    number = milliseconds << 82 | int.from_bytes(random_bytes(10), "big") << 2
    return base32(number, 26).translate(SORTING)


def insert_or_ignore(table: sa.Table) -> dict[str, Any]:
    """INSERT that changes nothing when a unique key is taken, per dialect.

    MySQL's own INSERT IGNORE would also cut what is too long and store it. What
    stands here instead counts one row, inserted or not, on a connection with
    CLIENT_FOUND_ROWS, which SQLAlchemy asks for: so `osbkit.store.address` connects
    without that flag. Elsewhere than on SQLite SQLAlchemy has to be asked to keep
    the count of an INSERT.
    """
    kept = mysql.insert(table).on_duplicate_key_update(uid=table.c.uid)
    ignored = postgresql.insert(table).on_conflict_do_nothing()
    counted = {"preserve_rowcount": True}
    return {
        "sqlite": sqlite.insert(table).on_conflict_do_nothing(),
        "postgresql": ignored.execution_options(**counted),
        "mysql": kept.execution_options(**counted),
        "mariadb": kept.execution_options(**counted),
    }


def dialect(db: sa.Connection) -> str:
    """The name that `insert_or_ignore` is keyed by."""
    return db.engine.dialect.name
