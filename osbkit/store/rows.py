"""What the statements of every table share: insert-or-ignore, the clock, row ids."""

import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from osbkit.domain import LETTERS, MICROSECONDS, base32
from osbkit.store.entropy import random_bytes

SORTING = str.maketrans(LETTERS, "0123456789abcdefghijklmnopqrstuv")
"""From base32 to the alphabet whose texts sort as their numbers do."""


def now() -> int:
    """This moment, in microseconds since 1970.

    On SQLite one process owns the file, so its clock is the database's.
    """
    return time.time_ns() * MICROSECONDS // 1_000_000_000


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
    CLIENT_FOUND_ROWS, which SQLAlchemy asks for: a store that tells the two apart
    by `rowcount` must connect without that flag.
    """
    kept = mysql.insert(table).on_duplicate_key_update(uid=table.c.uid)
    return {
        "sqlite": sqlite.insert(table).on_conflict_do_nothing(),
        "postgresql": postgresql.insert(table).on_conflict_do_nothing(),
        "mysql": kept,
        "mariadb": kept,
    }


def dialect(db: sa.Connection) -> str:
    """The name that `insert_or_ignore` is keyed by."""
    return db.engine.dialect.name
