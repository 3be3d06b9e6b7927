"""SQLite as the store: one process, WAL, synchronous=FULL, a lock file beside it.

Writes go through `writer`; reads run inline on a connection of their own in
AUTOCOMMIT, so each sees a fresh snapshot. Both are closed at the end, or the -wal
and -shm files would stay.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from osbkit.errors import DatabaseUnusable, OsbkitError, Unavailable
from osbkit.store import identity, migrate
from osbkit.store.sealing import KeyRing, new_key
from osbkit.store.writer import AWAY, BUSY, Unit, Writer
from osbkit.telemetry import log, trouble

T = TypeVar("T")
LOCK_WAIT = 5.0
NEEDED = (3, 35)


class LockFile:
    """An exclusive flock beside the database: one process serves one file."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._handle: Any = None

    def take(self, *, wait: float = LOCK_WAIT) -> None:
        """Hold the lock until `release`.

        Raises:
            DatabaseUnusable: another process still holds it after `wait` seconds.
        """
        handle = open(self._path, "a+", opener=migrate.private)  # noqa: SIM115 (held)
        give_up = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= give_up:
                    handle.seek(0)
                    holder = handle.read().strip() or "unknown"
                    handle.close()
                    raise DatabaseUnusable(
                        f"Another process (pid {holder}) serves this SQLite file"
                        f" ({self._path.name} is locked). Stop it, and run one worker"
                        " process only."
                    ) from None
                time.sleep(0.05)
        handle.seek(0)
        handle.truncate()
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        self._handle = handle

    def release(self) -> None:
        """Let the next process in."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None


def make_engine(path: Path, ring: KeyRing | None = None) -> sa.Engine:
    """An engine whose connections carry the pragmas and the key ring."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=sa.pool.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": BUSY},
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        record.info["osbkit_ring"] = ring

    return engine


def ring_beside(database: Path) -> KeyRing:
    """The key file beside the database; made with one warning if it is not there."""
    path = database.with_name(database.name + ".key")
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        text = f"file:{new_key()}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            handle.write(text + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        log.warning(
            "keys.file_made",
            file=path.name,
            fix="back it up apart from the database, or set OSBKIT_ENCRYPTION_KEYS",
        )
    return KeyRing.from_text(text)


class SqliteStore:
    """See the module. Open it in the event loop that uses it.

    Attributes:
        broker_id: random, made with the database.
        ring: the keys that open and seal.
        alone: holding the lock file proves that no other process runs
            operations of this file.
        closing: nothing is to be tried again, the process is about to leave.
    """

    alone = True
    delivers = False
    ring: KeyRing
    closing: bool
    """The broker is stopping: nobody retries a write any longer."""

    def __init__(self, path: Path, keys: str | None = None) -> None:
        self._path = path
        self._keys = keys
        self._lock = LockFile(path)
        self._writer: Writer | None = None
        self._engine: sa.Engine | None = None
        self._reader: sa.Connection | None = None
        self.broker_id = ""
        self.closing = False

    async def open(self) -> None:
        """Take the lock, make or upgrade the tables, check the keys.

        Raises:
            DatabaseUnusable, SettingsInvalid: one sentence with the fix.
        """
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        if sqlite3.sqlite_version_info < NEEDED:
            raise DatabaseUnusable(
                f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed."
            )
        folder = self._path.parent
        if not folder.is_dir():
            raise DatabaseUnusable(
                f"OSBKIT_DATABASE_URL: the directory {folder} does not exist; make it"
                " or name another."
            )
        try:
            self._lock.take()
            self.ring = KeyRing.from_text(self._keys) if self._keys else self._ring()
            migrate.upgrade_file(self._path)
            self._engine = make_engine(self._path, self.ring)
            self._writer = Writer(self._engine)
            self._writer.start()
            self._reader = self._engine.connect()
            self.broker_id = identity.of_database(self._reader)
            # a start that could write nothing is refused, not every request after it
            self._reader.exec_driver_sql("BEGIN IMMEDIATE")
            self._reader.exec_driver_sql("ROLLBACK")
        except OsbkitError:
            self._close()
            raise
        except (sa.exc.DBAPIError, sqlite3.Error, OSError) as error:
            self._close()
            log.error("store.open_failed", **trouble(error))
            raise DatabaseUnusable(
                f"The SQLite file {self._path} cannot be opened for writing; check"
                " its owner, its directory and the space left, and that no other"
                " program holds it."
            ) from error

    def _ring(self) -> KeyRing:
        fresh = not self._path.exists() or self._path.stat().st_size == 0
        key_file = self._path.with_name(self._path.name + ".key")
        if not fresh and not key_file.exists():
            raise DatabaseUnusable(
                f"The database {self._path.name} exists but its key file"
                f" {key_file.name} does not: put the key file back, or set"
                " OSBKIT_ENCRYPTION_KEYS to the keys it was sealed with."
            )
        return ring_beside(self._path)

    async def close(self) -> None:
        """Finish what is queued and close both connections."""
        self.closing = True
        if self._writer is not None:
            await self._writer.finish()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        self._lock.release()

    async def write(
        self,
        unit: Unit[T],
        committed: Callable[[T], None] | None = None,
        *,
        long: bool = False,
    ) -> T:
        """Run a unit of work in one transaction.

        Args:
            unit: synchronous, without effects outside the database.
            committed: called in the event loop with the result once it is
                durable, even if the caller was cancelled meanwhile.
            long: it may touch many rows; it is kept out of the event loop.

        Raises:
            Unavailable: the database is away or the queue full; nothing changed.
        """
        if self._writer is None:
            raise Unavailable(AWAY)
        return await self._writer.write(unit, committed, long=long)

    async def read(self, unit: Unit[T]) -> T:
        """Run a unit that only reads."""
        if self._reader is None:
            raise Unavailable(AWAY)
        try:
            return unit(self._reader)
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            log.error("store.read_failed", **trouble(error))
            with contextlib.suppress(sa.exc.DBAPIError, sqlite3.Error):
                self._reader.rollback()
            raise Unavailable(AWAY) from error

    async def ping(self) -> None:
        """Raise Unavailable unless the file can be read and written."""
        await self.write(identity.touch)
