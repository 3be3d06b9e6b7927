"""Bringing a database to the schema that this code knows.

The revisions stand in `migrations/`, shipped in the wheel as `osbkit/migrations`.
Alembic is imported only when there is work for it.
"""

import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from osbkit.errors import DatabaseUnusable, SettingsInvalid
from osbkit.store.tables import SCHEMA


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


def file_of(url: str) -> Path:
    """The path in `sqlite:///relative.db` or `sqlite:////absolute.db`.

    Raises:
        SettingsInvalid: not a URL of a database that this version can use.
    """
    try:
        parsed = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        raise SettingsInvalid(
            "OSBKIT_DATABASE_URL is not a database URL; write sqlite:///osbkit.db."
        ) from None
    if parsed.get_backend_name() != "sqlite":
        raise SettingsInvalid(
            f"OSBKIT_DATABASE_URL names {parsed.get_backend_name()!r}; this version"
            " serves SQLite only: write sqlite:///osbkit.db."
        )
    if not parsed.database or parsed.database == ":memory:":
        raise SettingsInvalid(
            "OSBKIT_DATABASE_URL must name a file (sqlite:///osbkit.db): operations"
            " survive a crash only there."
        )
    return Path(parsed.database)


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
        raise DatabaseUnusable(
            f"The database is at schema {found}, which this version of osbkit does"
            f" not know (it knows {SCHEMA}). Run the version that made it, or a"
            " newer one."
        ) from error
    finally:
        engine.dispose()


def upgrade(url: str) -> None:
    """What `osbkit db upgrade` does; takes the lock of a SQLite file."""
    from osbkit.store.sqlite import LockFile

    path = file_of(url)
    lock = LockFile(path)
    lock.take()
    try:
        upgrade_file(path)
    finally:
        lock.release()


def current(url: str) -> str | None:
    """What `osbkit db current` prints: the revision, or None for an empty one."""
    return revision_of(file_of(url))


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
