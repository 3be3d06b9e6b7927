"""What a backend works on: things by name, and a ledger of every effect.

A SQLite file outside of the broker, or `:memory:`. It outlives the broker's
process, so what a crash has doubled, lost or left behind can be read here.

    things   what exists: name, kind (instance, credential), parent, detail
    ledger   what happened, in order: event, name, operation, attempt, detail

`hold(place)` lets a backend wait at a place until `release(place)`.
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

TABLES = """
CREATE TABLE IF NOT EXISTS things (
    name TEXT PRIMARY KEY, kind TEXT, parent TEXT, detail TEXT);
CREATE TABLE IF NOT EXISTS ledger (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT, name TEXT, operation TEXT, attempt INTEGER, detail TEXT);
CREATE TABLE IF NOT EXISTS holds (place TEXT PRIMARY KEY);
"""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that exists.

    Attributes:
        parent: of a credential, the name of its instance.
    """

    name: str
    kind: str
    parent: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    event: str
    name: str
    operation: str
    attempt: int
    detail: Any


class Cloud:
    """See the module. Every method is one transaction."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")  # outlives a process: enough
        self._db.executescript(TABLES)

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def copy(self) -> Self:
        """The same world once more, as it is now."""
        twin = type(self)()
        self._db.backup(twin._db)
        return twin

    # --- effects ----------------------------------------------------------------

    def make(
        self,
        name: str,
        kind: str,
        *,
        parent: str = "",
        detail: dict[str, Any] | None = None,
    ) -> bool:
        """Make a thing or change it; the ledger says `made` only of a new one."""
        text = json.dumps(detail or {})
        fresh = self._db.execute(
            "INSERT OR IGNORE INTO things VALUES (?, ?, ?, ?)",
            (name, kind, parent, text),
        ).rowcount
        if fresh:
            self.note("made", name, detail=kind)
        else:
            self._db.execute(
                "UPDATE things SET detail = ? WHERE name = ?", (text, name)
            )
        return bool(fresh)

    def remove(self, name: str) -> bool:
        """Remove a thing; the ledger says `removed` only if it was there."""
        there = self._db.execute("DELETE FROM things WHERE name = ?", (name,)).rowcount
        if there:
            self.note("removed", name)
        return bool(there)

    def note(
        self,
        event: str,
        name: str,
        *,
        operation: str = "",
        attempt: int = 0,
        detail: Any = None,
    ) -> int:
        """Write a line; returns its number, which no other line has."""
        done = self._db.execute(
            "INSERT INTO ledger (event, name, operation, attempt, detail)"
            " VALUES (?, ?, ?, ?, ?)",
            (event, name, operation, attempt, json.dumps(detail)),
        )
        assert done.lastrowid is not None
        return done.lastrowid

    # --- what is there ------------------------------------------------------------

    def things(self, kind: str | None = None) -> dict[str, Thing]:
        """Everything that exists, by name."""
        rows = self._db.execute(
            "SELECT name, kind, parent, detail FROM things WHERE ?1 IN ('', kind)",
            (kind or "",),
        )
        return {
            row[0]: Thing(row[0], row[1], row[2], json.loads(row[3])) for row in rows
        }

    def ledger(self, event: str | None = None) -> list[Entry]:
        """What happened, in order."""
        return [entry for entry in self._entries() if event in {None, entry.event}]

    def _entries(self) -> Iterator[Entry]:
        rows = self._db.execute(
            "SELECT event, name, operation, attempt, detail FROM ledger ORDER BY number"
        )
        for row in rows:
            yield Entry(row[0], row[1], row[2], row[3], json.loads(row[4]))

    def lines(self, operation: str) -> int:
        """How far an operation is: its lines in the ledger."""
        found: int = self._db.execute(
            "SELECT count(*) FROM ledger WHERE operation = ?", (operation,)
        ).fetchone()[0]
        return found

    # --- holding ------------------------------------------------------------------

    def hold(self, place: str) -> None:
        """Let backends wait at a place."""
        self._db.execute("INSERT OR IGNORE INTO holds VALUES (?)", (place,))

    def release(self, *places: str) -> None:
        """Let them go on."""
        for place in places:
            self._db.execute("DELETE FROM holds WHERE place = ?", (place,))

    def held(self, place: str) -> bool:
        """Whether backends wait there."""
        found = self._db.execute("SELECT 1 FROM holds WHERE place = ?", (place,))
        return found.fetchone() is not None
