"""A real database in a temporary file, with its tables and a key ring."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from osbkit.store import migrate
from osbkit.store.sealing import KeyRing
from osbkit.store.sqlite import make_engine


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


@pytest.fixture
def db(file: Path, ring: KeyRing) -> Iterator[sa.Connection]:
    """A connection as the store makes it; every statement commits by itself."""
    engine = make_engine(file, ring)
    with engine.connect() as connection:
        yield connection
    engine.dispose()
