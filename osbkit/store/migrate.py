"""Bringing a database to the schema that this code knows.

The revisions stand in `migrations/`, shipped in the wheel as `osbkit/migrations`.
Alembic is imported only when there is work for it.

    the database is at        this version
    nothing, an older one     upgrades it (a SQLite file), or wants `osbkit db upgrade`
    `SCHEMA`                  serves it
    a newer one, expanded     serves it: the newer one said that it may
    a newer one, contracted   refuses

An expanding migration only adds what older code neither reads nor misses, so the
last release may go on, or be rolled back to. Which code may is a row in `meta`,
`schema.oldest`: every migration says it (`keeps_running`).
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from osbkit.errors import DatabaseUnusable
from osbkit.store.address import Server, file_of, server_of
from osbkit.store.tables import SCHEMA
from osbkit.telemetry import log

UPGRADE = 0x6F73626B6974  # "osbkit": the advisory lock's number on PostgreSQL
UPGRADE_NAME = "osbkit.upgrade"
UPGRADE_WAIT = 60
"""Seconds to wait for another `osbkit db upgrade`."""
FOUND: sa.Select[Any] = sa.select(sa.column("version_num")).select_from(
    sa.table("alembic_version")
)
OLDEST = "schema.oldest"
META = sa.table("meta", sa.column("name", sa.String), sa.column("value", sa.String))
OLDEST_FOUND: sa.Select[Any] = sa.select(META.c.value).where(META.c.name == OLDEST)


class Standing(Enum):
    """How a database stands to the code."""

    BEHIND = "behind"
    CURRENT = "current"
    AHEAD = "ahead"
    CONTRACTED = "contracted"


@dataclass(frozen=True)
class Found:
    """What a database says of its schema.

    Attributes:
        revision: what it is at; None without tables of ours.
        oldest: the schema of the oldest code that may run on it, read only where
            `revision` is not this version's.
    """

    revision: str | None
    oldest: str | None = None

    @cached_property
    def standing(self) -> Standing:
        """Whether this version may serve it."""
        if self.revision == SCHEMA:
            return Standing.CURRENT
        if self.revision is None or known(self.revision):
            return Standing.BEHIND
        if self.oldest is not None and self.oldest <= SCHEMA:
            return Standing.AHEAD
        return Standing.CONTRACTED

    @property
    def served(self) -> bool:
        """Whether this version may serve it as it is; says so where it is newer.

        Raises:
            DatabaseUnusable: a newer version has taken away what this one needs.
        """
        if self.standing is Standing.CONTRACTED:
            raise DatabaseUnusable(ahead(self.revision))
        if self.standing is Standing.AHEAD:
            log.warning(
                "schema.ahead", found=self.revision, known=SCHEMA, oldest=self.oldest
            )
        return self.standing is not Standing.BEHIND


def head() -> str:
    """The revision this code reads and writes."""
    return SCHEMA


def folder() -> Path:
    """Where the revisions are: in the wheel, or in the repository.

    An editable install leaves a stale copy in site-packages, so they are looked
    for beside the code that runs.
    """
    package = Path(__file__).parent.parent
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def revision_of(path: Path) -> str | None:
    """The revision a SQLite file is at; None if it has no tables of ours."""
    return found_at(path).revision


def found_at(path: Path) -> Found:
    """What a SQLite file says of its schema."""
    if not path.exists():
        return Found(None)

    def ask(statement: sa.Select[Any]) -> str | None:
        text = str(statement.compile(compile_kwargs={"literal_binds": True}))
        try:
            row = connection.execute(text).fetchone()
        except sqlite3.OperationalError:
            return None
        return None if row is None else str(row[0])

    with closing(sqlite3.connect(path, timeout=10)) as connection:
        return _found(ask)


def private(path: str, flags: int) -> int:
    """An `opener` whose new files are the owner's alone, whatever the umask."""
    return os.open(path, flags, 0o600)


def upgrade_file(path: Path) -> None:
    """Upgrade a SQLite file whose lock the caller holds: whole, or not at all.

    Raises:
        DatabaseUnusable: a newer version has taken away what this one needs.
    """
    if found_at(path).served:
        return
    if not path.exists():  # SQLite gives -wal and -shm the mode of their file
        open(path, "ab", opener=private).close()
    database = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(database, isolation_level="AUTOCOMMIT")
    try:
        with engine.begin() as connection:  # the driver begins nothing before DDL
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            run(connection, "upgrade", SCHEMA)
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def upgrade(url: str) -> None:
    """What `osbkit db upgrade` does; one at a time.

    Takes the lock of a SQLite file, and an advisory lock on a server.

    Raises:
        SettingsInvalid, DatabaseUnusable: one sentence with the fix.
    """
    server = server_of(url)
    if server is not None:
        server.run(upgrade_server)
        return
    from osbkit.store.sqlite import LockFile

    path = file_of(url)
    lock = LockFile(path)
    lock.take()
    try:
        upgrade_file(path)
    finally:
        lock.release()


def upgrade_server(db: sa.Connection) -> None:
    """Upgrade the database of a server, in the transaction of a connection.

    On PostgreSQL the upgrade is whole or not at all; MariaDB commits every change
    of a table by itself.

    Raises:
        DatabaseUnusable: a newer version has taken away what this one needs, or
            another upgrade does not end.
    """
    postgresql = db.dialect.name == "postgresql"
    if postgresql:
        db.execute(sa.text(f"SET LOCAL lock_timeout = '{UPGRADE_WAIT}s'"))
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE)))
    elif db.scalar(sa.select(sa.func.get_lock(UPGRADE_NAME, UPGRADE_WAIT))) != 1:
        raise DatabaseUnusable(
            "Another `osbkit db upgrade` works on this database and does not end."
        )
    try:
        if not found_in(db).served:
            run(db, "upgrade", SCHEMA)
    finally:
        if not postgresql:
            db.execute(sa.select(sa.func.release_lock(UPGRADE_NAME)))


def revision_in(db: sa.Connection) -> str | None:
    """The revision that the database of a connection is at; None without tables."""
    return found_in(db).revision


def found_in(db: sa.Connection) -> Found:
    """What the database of a connection says of its schema."""
    if not sa.inspect(db).has_table("alembic_version"):
        return Found(None)
    return _found(db.scalar)


def _found(ask: Callable[[sa.Select[Any]], str | None]) -> Found:
    revision = ask(FOUND)
    return Found(revision, None if revision in {None, SCHEMA} else ask(OLDEST_FOUND))


def keeps_running(op: Any, oldest: str) -> None:
    """Say in a migration which code may run on the schema it leaves behind.

    Every migration says it once, before it takes anything away; online or printed.

    Args:
        op: `alembic.op`.
        oldest: the revision of the oldest code. A migration that only adds names
            what its predecessor named (or "0001"); one that takes something away
            names the first revision whose code does without it.
    """
    op.execute(sa.delete(META).where(META.c.name == OLDEST))
    op.execute(sa.insert(META).values(name=OLDEST, value=oldest))


def ahead(found: str | None) -> str:
    """What is said of a schema that a newer version has made."""
    return (
        f"The database is at schema {found}, which this version of osbkit does"
        f" not know (it knows {SCHEMA}). Run the version that made it, or a newer"
        " one."
    )


def known(revision: str) -> bool:
    """Whether a revision is one of this version's."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(config())
    return any(one.revision == revision for one in scripts.walk_revisions())


def require_current(server: Server, found: Found) -> None:
    """Refuse to serve a database that is behind, or too far ahead.

    Raises:
        DatabaseUnusable: the sentence names the command to run.
    """
    if found.served:
        return
    raise DatabaseUnusable(
        f"The database {server.where()} is at {found.revision or 'no schema at all'};"
        f" this version of osbkit works with {SCHEMA}: run `osbkit db upgrade`."
    )


def require_file(path: Path) -> None:
    """The same of a SQLite file that is not to be made or upgraded.

    Raises:
        DatabaseUnusable: the sentence names the command to run.
    """
    found = found_at(path)
    if found.revision is None:
        raise DatabaseUnusable(
            f"There is no database of osbkit in {path}; OSBKIT_DATABASE_URL names it."
        )
    if not found.served:
        raise DatabaseUnusable(
            f"The database {path} is at {found.revision}; this version of osbkit works"
            f" with {SCHEMA}: run `osbkit db upgrade`."
        )


def look(url: str) -> Found:
    """What the database of a URL says of its schema."""
    server = server_of(url)
    return found_at(file_of(url)) if server is None else server.run(found_in)


def current(url: str) -> str | None:
    """What `osbkit db current` prints: the revision, or None for an empty one."""
    return look(url).revision


def config() -> Any:
    """Alembic's configuration, without a file."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(folder()).replace("%", "%%"))
    return made


def run(connection: sa.Connection, verb: str, revision: str) -> None:
    """Run an Alembic command on a connection of ours."""
    from alembic import command

    made = config()
    made.attributes["connection"] = connection
    getattr(command, verb)(made, revision)
