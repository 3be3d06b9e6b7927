"""A real database with its tables and a key ring: SQLite, PostgreSQL, MariaDB.

One suite for all three. Every test begins with empty tables.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa

from osbkit.store import migrate
from osbkit.store.sealing import KeyRing
from osbkit.store.sqlite import make_engine
from osbkit.store.tables import metadata
from tests import servers

SYNCHRONOUS = {"postgresql": "psycopg", "mariadb": "pymysql"}


@pytest.fixture
def ring() -> KeyRing:
    """A ring of one key."""
    return KeyRing({"test": os.urandom(32)})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A SQLite file with the tables."""
    path = tmp_path / "store.db"
    migrate.upgrade_file(path)
    return path


@cache
def upgraded(kind: str) -> str:
    """A database of this run, with the tables."""
    url = servers.fresh(kind)
    migrate.upgrade(url)
    return url


def empty(db: sa.Connection) -> None:
    """Forget what another test has left."""
    for table in metadata.tables.values():
        db.execute(sa.delete(table))


@pytest.fixture(params=["sqlite", *servers.KINDS])
def db(
    request: pytest.FixtureRequest, tmp_path: Path, ring: KeyRing
) -> Iterator[sa.Connection]:
    """A connection on which every statement commits by itself."""
    if request.param == "sqlite":
        engine = make_engine(request.getfixturevalue("file"), ring)
    else:
        servers.require(request.param)
        engine = connecting(upgraded(request.param), ring)
    with engine.connect() as connection:
        if request.param != "sqlite":
            empty(connection)
        yield connection
    engine.dispose()


@cache
def engine_of(url: str) -> sa.Engine:
    """One engine for a whole run: its connections outlive the tests."""
    parsed = sa.make_url(url)
    driver = SYNCHRONOUS[parsed.drivername]
    return sa.create_engine(
        parsed.set(drivername=f"{parsed.drivername}+{driver}"),
        isolation_level="AUTOCOMMIT",
        # as the store connects; see rows.insert_or_ignore
        connect_args={"client_flag": 0} if driver == "pymysql" else {},
    )


def connecting(url: str, ring: KeyRing) -> sa.Engine:
    """The engine, its connections with a ring."""
    engine = engine_of(url)

    @sa.event.listens_for(engine, "checkout")
    def _prepare(connection: object, record: object, proxy: object) -> None:
        record.info["osbkit_ring"] = ring  # type: ignore[attr-defined]

    return engine
