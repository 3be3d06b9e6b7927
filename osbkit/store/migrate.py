"""Bringing a database to the schema that this code knows.

The revisions stand in `migrations/`, shipped in the wheel as `osbkit/migrations`.
Alembic is imported only when there is work for it.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from osbkit.errors import DatabaseUnusable
from osbkit.store.address import Server, file_of, server_of
from osbkit.store.tables import SCHEMA

UPGRADE = 0x6F73626B6974  # "osbkit": the advisory lock's number on PostgreSQL
UPGRADE_NAME = "osbkit.upgrade"
UPGRADE_WAIT = 60
"""Seconds to wait for another `osbkit db upgrade`."""
FOUND: sa.Select[Any] = sa.select(sa.column("version_num")).select_from(
    sa.table("alembic_version")
)


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
    if not path.exists():
        return None
    connection = sqlite3.connect(path, timeout=10)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    return None if row is None else str(row[0])


def private(path: str, flags: int) -> int:
    """An `opener` whose new files are the owner's alone, whatever the umask."""
    return os.open(path, flags, 0o600)


def upgrade_file(path: Path) -> None:
    """Upgrade a SQLite file whose lock the caller holds: whole, or not at all.

    Raises:
        DatabaseUnusable: the file is newer than this code.
    """
    found = revision_of(path)
    if found == SCHEMA:
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
    except _unknown_revision() as error:
        raise DatabaseUnusable(ahead(found)) from error
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
        DatabaseUnusable: the database is newer than this code, or another upgrade
            does not end.
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
        found = revision_in(db)
        if found == SCHEMA:
            return
        try:
            run(db, "upgrade", SCHEMA)
        except _unknown_revision() as error:
            raise DatabaseUnusable(ahead(found)) from error
    finally:
        if not postgresql:
            db.execute(sa.select(sa.func.release_lock(UPGRADE_NAME)))


def revision_in(db: sa.Connection) -> str | None:
    """The revision that the database of a connection is at; None without tables."""
    if not sa.inspect(db).has_table("alembic_version"):
        return None
    found: str | None = db.scalar(FOUND)
    return found


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


def require_current(server: Server, found: str | None) -> None:
    """Refuse to serve a database that is behind or ahead.

    Raises:
        DatabaseUnusable: the sentence names the command to run.
    """
    if found == SCHEMA:
        return
    if found is not None and not known(found):
        raise DatabaseUnusable(ahead(found))
    raise DatabaseUnusable(
        f"The database {server.where()} is at {found or 'no schema at all'}; this"
        f" version of osbkit works with {SCHEMA}: run `osbkit db upgrade`."
    )


def current(url: str) -> str | None:
    """What `osbkit db current` prints: the revision, or None for an empty one."""
    server = server_of(url)
    return revision_of(file_of(url)) if server is None else server.run(revision_in)


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


def _unknown_revision() -> type[Exception]:
    from alembic.util.exc import CommandError

    return CommandError
