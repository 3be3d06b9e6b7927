"""One queue in one SQLite file: its tables, its statements, its transactions.

    queue         one row: the limits, and how many messages are stored
    messages      what waits or is leased
    dead_letters  what was received `max_receives` times and never acknowledged
    tokens        one row per binding: SHA-256 of its token, and its role
    marks         the platform's id of the queue and of each binding, and since when

Everything here is synchronous and blocks on the disk; `queue_store` calls it from
threads, one at a time per file. A unit is a plain function of the open connection;
units that wait together are committed together, so they share one fsync.
No HTTP, no event loop, no clock: the moment is an argument.

Units: moments are integers of microseconds since 1970 (UTC), spans are seconds.
"""

import contextlib
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MICROSECONDS = 1_000_000
BURIALS_PER_RECEIVE = 100  # keeps one unit short when many messages died at once

Unit = Callable[[sqlite3.Connection], object]


class Role(StrEnum):
    """What the token of a binding may do."""

    READWRITE = "readwrite"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Right(StrEnum):
    """What a request needs."""

    SEND = "send"
    RECEIVE = "receive"


ROLES_WITH = {
    Right.SEND: frozenset({Role.READWRITE, Role.PRODUCER}),
    Right.RECEIVE: frozenset({Role.READWRITE, Role.CONSUMER}),
}


class QueueRefused(Exception):
    """A queue said no; nothing was changed. The message is for the caller."""


class NotAuthorized(QueueRefused):
    """The queue is unknown, or the token is not one of its tokens."""

    def __init__(self) -> None:
        super().__init__("The bearer token is missing, wrong or revoked.")


class RoleMissing(QueueRefused):
    """The token is good, its role does not allow this."""

    def __init__(self, right: Right) -> None:
        super().__init__(f"The role of this binding does not allow to {right}.")


class QueueFull(QueueRefused):
    """The limits of the plan are reached."""

    def __init__(self) -> None:
        super().__init__(
            "The queue is full: receive and acknowledge messages, delete dead"
            " letters, or update the instance to a larger plan."
        )


class LeaseLost(QueueRefused):
    """The receipt does not hold the message any more."""

    def __init__(self) -> None:
        super().__init__(
            "This receipt does not hold the message: its lease ran out, or the"
            " message was acknowledged before."
        )


class TooManyStored(QueueRefused):
    """New limits are below what is stored already."""

    def __init__(self, stored: int, limit: int) -> None:
        super().__init__(
            f"The queue holds {stored} messages and the plan allows {limit}:"
            " receive or delete some first."
        )


class QueueMissing(QueueRefused):
    """There is no such queue."""

    def __init__(self) -> None:
        super().__init__("There is no such queue.")


class StoreUnavailable(Exception):
    """The file could not be read or written just now; trying again may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """The limits and habits of one queue.

    Attributes:
        max_messages: waiting, leased and dead ones together.
        max_bytes: pages in use of the file, about; a send beyond is refused.
        max_receives: how often a message is handed out before it is dead (1–100).
        lease_seconds: how long a receiver holds a message if it does not say.
        dead_letter: keep dead messages for a look, else drop them.
    """

    max_messages: int
    max_bytes: int
    max_receives: int = 5
    lease_seconds: int = 30
    dead_letter: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The settings of a queue, and how many messages it stores, dead ones too."""

    settings: QueueSettings
    stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as handed out: `receipt` acknowledges it while the lease lasts."""

    id: int
    body: bytes
    receipt: str
    receive_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message that nobody acknowledged in time."""

    id: int
    body: bytes
    receive_count: int
    died_at: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose something is: the platform's id, and when it was made.

    Attributes:
        name: of the binding; empty for the queue itself.
        id, made_at: None for what was made before there were marks.
    """

    name: str
    id: str | None
    made_at: int | None


@dataclass(frozen=True, slots=True)
class Nothing:
    """No message is to be had now. `due` is when the next may be (None: no idea)."""

    due: int | None


MARKS_TABLE = """CREATE TABLE IF NOT EXISTS marks (
    name TEXT PRIMARY KEY, id TEXT NOT NULL, made_at INTEGER NOT NULL)"""
"""Made when it is needed: files of earlier versions lack it."""
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS queue (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        max_messages INTEGER NOT NULL, max_bytes INTEGER NOT NULL,
        max_receives INTEGER NOT NULL, lease_seconds INTEGER NOT NULL,
        dead_letter INTEGER NOT NULL, stored INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        visible_at INTEGER NOT NULL, receives INTEGER NOT NULL DEFAULT 0,
        receipt TEXT, body BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS messages_by_time ON messages (visible_at, id)",
    """CREATE TABLE IF NOT EXISTS dead_letters (
        id INTEGER PRIMARY KEY, receives INTEGER NOT NULL,
        died_at INTEGER NOT NULL, body BLOB NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS tokens (
        binding TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, role TEXT NOT NULL)""",
    # count(*) walks the table; a counter costs the same at 10 and 100,000 messages.
    """CREATE TRIGGER IF NOT EXISTS message_in AFTER INSERT ON messages
        BEGIN UPDATE queue SET stored = stored + 1; END""",
    """CREATE TRIGGER IF NOT EXISTS message_out AFTER DELETE ON messages
        BEGIN UPDATE queue SET stored = stored - 1; END""",
    """CREATE TRIGGER IF NOT EXISTS dead_letter_in AFTER INSERT ON dead_letters
        BEGIN UPDATE queue SET stored = stored + 1; END""",
    """CREATE TRIGGER IF NOT EXISTS dead_letter_out AFTER DELETE ON dead_letters
        BEGIN UPDATE queue SET stored = stored - 1; END""",
)

UPSERT_QUEUE = """
INSERT INTO queue (one, max_messages, max_bytes, max_receives, lease_seconds,
                   dead_letter)
VALUES (1, ?, ?, ?, ?, ?)
ON CONFLICT (one) DO UPDATE SET
    max_messages = excluded.max_messages, max_bytes = excluded.max_bytes,
    max_receives = excluded.max_receives, lease_seconds = excluded.lease_seconds,
    dead_letter = excluded.dead_letter
"""
SELECT_QUEUE = """
SELECT max_messages, max_bytes, max_receives, lease_seconds, dead_letter, stored
FROM queue WHERE one = 1
"""
LET_IN = """
INSERT INTO tokens (binding, digest, role) VALUES (?, ?, ?)
ON CONFLICT (binding) DO UPDATE SET digest = excluded.digest, role = excluded.role
"""
MARKS = """
SELECT '', (SELECT id FROM marks WHERE name = ''),
       (SELECT made_at FROM marks WHERE name = '')
UNION ALL
SELECT * FROM (
    SELECT binding, id, made_at FROM tokens LEFT JOIN marks ON marks.name = binding
    ORDER BY binding
)
"""
SELECT_NEXT = """
SELECT id, visible_at, receives, body FROM messages
ORDER BY visible_at, id LIMIT 1
"""
LEASE = "UPDATE messages SET receives = ?, receipt = ?, visible_at = ? WHERE id = ?"
BURY = """
INSERT INTO dead_letters (id, receives, died_at, body)
SELECT id, receives, ?, body FROM messages WHERE id = ?
"""
ACKNOWLEDGE = "DELETE FROM messages WHERE id = ? AND receipt = ? AND visible_at > ?"


def digest_of(token: str) -> bytes:
    """What is stored of a token: it is random, so one SHA-256 is enough."""
    return hashlib.sha256(token.encode()).digest()


def settle(db: sqlite3.Connection, settings: QueueSettings) -> None:
    """Make the tables and set the limits, from any earlier state.

    Raises:
        TooManyStored: the queue holds more than the new limit; nothing changed.
    """
    for statement in SCHEMA:
        db.execute(statement)
    db.execute(
        UPSERT_QUEUE,
        (
            settings.max_messages,
            settings.max_bytes,
            settings.max_receives,
            settings.lease_seconds,
            settings.dead_letter,
        ),
    )
    stored = state(db).stored
    if stored > settings.max_messages:
        raise TooManyStored(stored, settings.max_messages)


def state(db: sqlite3.Connection) -> QueueState:
    """Read the limits and the number of stored messages."""
    row = db.execute(SELECT_QUEUE).fetchone()
    return QueueState(
        settings=QueueSettings(
            max_messages=row[0],
            max_bytes=row[1],
            max_receives=row[2],
            lease_seconds=row[3],
            dead_letter=bool(row[4]),
        ),
        stored=row[5],
    )


def grant(db: sqlite3.Connection, binding: str, token: str, role: Role) -> None:
    """Let this token in with this role; an earlier token of the binding is out."""
    db.execute(LET_IN, (binding, digest_of(token), role))


def revoke(db: sqlite3.Connection, binding: str) -> None:
    """Let the token of this binding in no more."""
    db.execute(MARKS_TABLE)
    db.execute("DELETE FROM tokens WHERE binding = ?", (binding,))
    db.execute("DELETE FROM marks WHERE name = ?", (binding,))


def mark(db: sqlite3.Connection, name: str, id_: str, now: int) -> None:
    """Note the id of the queue (an empty name) or of a binding; the first counts."""
    db.execute(MARKS_TABLE)
    db.execute(
        "INSERT INTO marks (name, id, made_at) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO NOTHING",
        (name, id_, now),
    )


def marks(db: sqlite3.Connection) -> list[Mark]:
    """The queue's mark, then that of every binding."""
    db.execute(MARKS_TABLE)
    return [Mark(*row) for row in db.execute(MARKS)]


def authorize(db: sqlite3.Connection, token: str, right: Right) -> None:
    """Pass if the token is known and its role has the right.

    Raises:
        NotAuthorized, RoleMissing: it is not, or it has not.
    """
    row = db.execute(
        "SELECT role FROM tokens WHERE digest = ?", (digest_of(token),)
    ).fetchone()
    if row is None:
        raise NotAuthorized
    if Role(row[0]) not in ROLES_WITH[right]:
        raise RoleMissing(right)


def send(db: sqlite3.Connection, body: bytes, visible_at: int) -> int:
    """Store a message and return its id, never used twice in a queue.

    Raises:
        QueueFull: by number of messages or by size of the file.
    """
    now = state(db)
    size = bytes_in_use(db) + len(body)
    if now.stored >= now.settings.max_messages or size > now.settings.max_bytes:
        raise QueueFull
    sent = db.execute(
        "INSERT INTO messages (visible_at, body) VALUES (?, ?)", (visible_at, body)
    )
    return int(sent.lastrowid or 0)


def bytes_in_use(db: sqlite3.Connection) -> int:
    """Bytes of the pages that hold something, so that freed ones count no more."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def receive(
    db: sqlite3.Connection, now: int, lease_seconds: float | None
) -> Message | Nothing:
    """Lease the message that waits longest; bury the dead ones met on the way."""
    settings = state(db).settings
    for _ in range(BURIALS_PER_RECEIVE):
        row = db.execute(SELECT_NEXT).fetchone()
        if row is None:
            return Nothing(None)
        message_id, visible_at, receives, body = row
        if visible_at > now:
            return Nothing(visible_at)
        if receives < settings.max_receives:
            lease = settings.lease_seconds if lease_seconds is None else lease_seconds
            receipt = secrets.token_urlsafe(12)
            until = now + int(lease * MICROSECONDS)
            db.execute(LEASE, (receives + 1, receipt, until, message_id))
            return Message(
                id=message_id, body=body, receipt=receipt, receive_count=receives + 1
            )
        if settings.dead_letter:
            db.execute(BURY, (now, message_id))
        db.execute("DELETE FROM messages WHERE id = ?", (message_id,))
    return Nothing(now)


def acknowledge(
    db: sqlite3.Connection, message_id: int, receipt: str, now: int
) -> None:
    """Remove a message that this receipt still holds.

    Raises:
        LeaseLost: the receipt is not the last one, or its lease ran out.
    """
    if db.execute(ACKNOWLEDGE, (message_id, receipt, now)).rowcount != 1:
        raise LeaseLost


def dead_letters(db: sqlite3.Connection, limit: int) -> list[DeadLetter]:
    """The oldest dead letters."""
    rows = db.execute(
        "SELECT id, body, receives, died_at FROM dead_letters ORDER BY id LIMIT ?",
        (limit,),
    )
    return [
        DeadLetter(id=row[0], body=row[1], receive_count=row[2], died_at=row[3])
        for row in rows
    ]


def delete_dead_letter(db: sqlite3.Connection, message_id: int) -> None:
    """Remove one dead letter; one that is not there is as good as removed."""
    db.execute("DELETE FROM dead_letters WHERE id = ?", (message_id,))


class QueueFile:
    """The file of one queue and its one connection, opened when first needed.

    Not for two threads at once: the caller holds a lock around every method.
    Another process may write or remove the file: SQLite's own lock (5 s) serves
    the first, and a look at the file's number before every batch the second.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @property
    def opened(self) -> bool:
        """Whether a file descriptor is held."""
        return self._db is not None

    def create(self, settings: QueueSettings, id_: str, now: int) -> None:
        """Make the file or bring an existing one to these settings.

        Args:
            id_: noted as the queue's mark; empty for none.

        Raises:
            TooManyStored: as `settle`.
            StoreUnavailable: the disk or the file refused.
        """
        try:
            made = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            os.close(made)
        except OSError as error:
            raise StoreUnavailable("the file of a queue cannot be made") from error
        with self._transaction(self._connect()) as db:
            settle(db, settings)
            if id_:
                mark(db, "", id_, now)

    def run(self, units: Sequence[Unit]) -> list[object]:
        """Run units in one transaction; a unit that refuses undoes only itself.

        Returns:
            For each unit what it returned, or the `QueueRefused` it raised. Nothing
            is returned before the commit, refusals included: they may rest on what
            a neighbour wrote.

        Raises:
            QueueMissing: there is no such file, or it was never settled.
            StoreUnavailable: nothing of the batch happened.
        """
        with self._transaction(self._connect()) as db:
            if db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
                raise QueueMissing
            return [self._run_one(db, unit) for unit in units]

    def remove(self) -> None:
        """Close and unlink; a file that is not there is as good as removed.

        The file itself goes first: nobody can open it any more, so nobody makes
        the side files again.
        """
        self.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the connection; the last one to do so folds the WAL in."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
        self._db = self._identity = None

    def _connect(self) -> sqlite3.Connection:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self.close()
            raise QueueMissing from None
        except OSError as error:
            raise StoreUnavailable("the file of a queue cannot be found") from error
        if self._db is not None and self._identity == (found.st_dev, found.st_ino):
            return self._db
        self.close()
        try:
            db = sqlite3.connect(
                f"{self.path.as_uri()}?mode=rw",
                uri=True,
                timeout=5,
                isolation_level=None,
                check_same_thread=False,
            )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            raise StoreUnavailable("the file of a queue cannot be opened") from error
        self._db, self._identity = db, (found.st_dev, found.st_ino)
        return db

    @contextlib.contextmanager
    def _transaction(self, db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()  # rolls back; the next call opens afresh
            raise StoreUnavailable("a queue could not be written") from error
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def _run_one(self, db: sqlite3.Connection, unit: Unit) -> object:
        db.execute("SAVEPOINT unit")
        try:
            outcome = unit(db)
        except QueueRefused as refused:
            db.execute("ROLLBACK TO unit")
            outcome = refused
        db.execute("RELEASE unit")
        return outcome
