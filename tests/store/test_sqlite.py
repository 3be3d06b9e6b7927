"""SQLite as the store: lock file, key file, pragmas, and a clean end."""

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from osbkit.errors import DatabaseUnusable, SettingsInvalid, Unavailable
from osbkit.store import identity, instances, migrate, sqlite
from osbkit.store.sealing import new_key
from osbkit.store.sqlite import LockFile, SqliteStore, ring_beside
from tests.store.records import an_instance

HOLDING = """
import fcntl, os, sys
handle = open(sys.argv[1], "a+")
fcntl.flock(handle, fcntl.LOCK_EX)
handle.write(f"{os.getpid()}\\n")
handle.flush()
print("held", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def opened(path: Path, keys: str | None = None) -> AsyncIterator[SqliteStore]:
    """A store that is open within the block."""
    store = SqliteStore(path, keys)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def held_elsewhere(database: Path) -> Iterator[int]:
    """Another process holds the lock; gives its pid."""
    path = database.with_name(database.name + ".lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.stdin.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.db"


# --- lock file ----------------------------------------------------------------------


def test_second_process_is_told_the_pid_of_the_first_and_the_fix(path):
    with held_elsewhere(path) as pid, pytest.raises(DatabaseUnusable) as refused:
        LockFile(path).take(wait=0)

    message = str(refused.value)
    assert f"pid {pid}" in message
    assert "broker.db.lock" in message
    assert "Stop it" in message


def test_lock_is_waited_for_as_long_as_it_is_said(path):
    with held_elsewhere(path):
        before = time.monotonic()
        with pytest.raises(DatabaseUnusable):
            LockFile(path).take(wait=0.1)
        assert time.monotonic() - before >= 0.1


def test_lock_is_taken_as_soon_as_it_is_free(path):
    with held_elsewhere(path):
        pass
    lock = LockFile(path)

    lock.take(wait=0)

    assert path.with_name("broker.db.lock").read_text() == f"{os.getpid()}\n"
    lock.release()
    lock.release()
    again = LockFile(path)
    again.take(wait=0)
    again.release()


async def test_store_that_is_held_elsewhere_is_not_opened(path, monkeypatch):
    monkeypatch.setattr(LockFile.take, "__kwdefaults__", {"wait": 0})
    with held_elsewhere(path), pytest.raises(DatabaseUnusable, match="Another process"):
        await SqliteStore(path).open()

    assert not path.exists()
    async with opened(path) as store:
        assert store.alone


# --- modes --------------------------------------------------------------------------


@pytest.fixture
def no_umask() -> Iterator[None]:
    """A process that would let everybody read and write what it makes."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(path: Path) -> dict[str, str]:
    """The permissions of a database's files, by what follows its name."""
    return {
        one.name.removeprefix(path.name): oct(stat.S_IMODE(one.stat().st_mode))
        for one in path.parent.iterdir()
    }


@pytest.mark.usefixtures("no_umask")
async def test_every_file_is_the_owners_alone_whatever_the_umask(path):
    async with opened(path) as store:
        await store.write(partial(instances.add, instance=an_instance()))
        served = modes(path)

    assert served == dict.fromkeys(["", "-wal", "-shm", ".lock", ".key"], "0o600")


@pytest.mark.usefixtures("no_umask")
def test_file_made_by_an_upgrade_is_the_owners_alone(path):
    migrate.upgrade(f"sqlite:///{path}")

    assert set(modes(path).values()) == {"0o600"}


async def test_file_that_is_there_keeps_its_mode(path):
    """Whoever shares it with a group, for a backup, goes on doing so."""
    async with opened(path):
        pass
    path.chmod(0o640)
    async with opened(path):
        kept = modes(path)

    assert (kept[""], kept["-wal"]) == ("0o640", "0o640")


# --- keys ---------------------------------------------------------------------------


async def test_first_start_makes_a_key_file_that_only_its_owner_reads(path):
    async with opened(path):
        pass
    key = path.with_name("broker.db.key")

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert re.fullmatch(r"file:[A-Za-z0-9+/]{43}=\n", key.read_text())


def test_key_file_is_made_once_with_one_warning(path, monkeypatch):
    warned: list[str] = []

    class Log:
        def warning(self, event: str, **fields: Any) -> None:
            warned.append(f"{event} {fields}")

    monkeypatch.setattr(sqlite, "log", Log())
    first, second = ring_beside(path), ring_beside(path)

    assert second.open(first.seal([1], "p", "u"), "p", "u") == [1]
    (warning,) = warned
    assert "broker.db.key" in warning
    assert path.with_name("broker.db.key").read_text()[5:40] not in warning


async def test_database_without_its_key_file_is_refused_and_gets_no_new_one(path):
    async with opened(path):
        pass
    key = path.with_name("broker.db.key")
    text = key.read_text()
    key.unlink()

    with pytest.raises(DatabaseUnusable, match=r"broker\.db\.key does not"):
        await SqliteStore(path).open()
    assert not key.exists()

    key.write_text(text)
    async with opened(path):
        pass


async def test_database_sealed_with_other_keys_is_refused_at_the_start(path):
    right, wrong = new_key(), new_key()
    async with opened(path, f"main:{right}") as store:
        broker_id = store.broker_id

    with pytest.raises(DatabaseUnusable, match="does not open with the key"):
        await SqliteStore(path, f"main:{wrong}").open()
    with pytest.raises(DatabaseUnusable, match="labelled 'main', which is not in"):
        await SqliteStore(path, f"other:{wrong}").open()
    async with opened(path, f"new:{wrong},main:{right}") as store:
        assert store.broker_id == broker_id


async def test_keys_of_the_settings_make_no_key_file(path):
    async with opened(path, f"main:{new_key()}"):
        pass

    assert not path.with_name("broker.db.key").exists()


async def test_key_file_that_is_damaged_is_refused_without_its_text(path):
    path.with_name("broker.db.key").write_text("file:hunter2\n")

    with pytest.raises(SettingsInvalid) as refused:
        await SqliteStore(path).open()

    assert "hunter2" not in str(refused.value)


async def test_database_that_lost_its_proof_of_keys_is_refused(path):
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM meta WHERE name = 'keys'")
        db.commit()

    with pytest.raises(DatabaseUnusable, match="restore it from a back-up"):
        await SqliteStore(path).open()


# --- opening and closing ------------------------------------------------------------


async def test_broker_id_is_random_and_stays(path, tmp_path):
    ids = []
    for database in (path, path, tmp_path / "other.db"):
        async with opened(database) as store:
            ids.append(store.broker_id)

    assert ids[0] == ids[1] != ids[2]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


async def test_commits_are_durable_and_readers_do_not_wait(path):
    async with opened(path) as store:
        for run in (store.read, store.write):
            found = [
                await run(partial(pragma, name=name))
                for name in ("journal_mode", "synchronous")
            ]
            assert found == ["wal", 2]  # 2 is FULL


def pragma(db: sa.Connection, name: str) -> Any:
    """What a pragma says on this connection."""
    return db.exec_driver_sql(f"PRAGMA {name}").scalar()


async def test_nothing_but_the_database_its_key_and_its_lock_stays_behind(path):
    async with opened(path) as store:
        await store.write(lambda db: instances.add(db, an_instance()))
        assert path.with_name("broker.db-wal").exists()

    left = sorted(file.name for file in path.parent.iterdir())
    assert left == ["broker.db", "broker.db.key", "broker.db.lock"]


async def test_store_is_opened_again_after_a_refusal(path):
    async with opened(path):
        pass
    with pytest.raises(DatabaseUnusable):
        await SqliteStore(path, f"a:{new_key()}").open()

    async with opened(path) as store:
        await store.ping()


@pytest.mark.parametrize("what", ["missing folder", "no database", "a folder"])
async def test_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, what):
    path = tmp_path / "broker.db"
    if what == "missing folder":
        path = tmp_path / "missing" / "broker.db"
    elif what == "no database":
        path.write_bytes(b"this is no database at all\n" * 100)
        path.with_name("broker.db.key").write_text(f"file:{new_key()}")
    else:
        path.mkdir()
        path.with_name("broker.db.key").write_text(f"file:{new_key()}")

    with pytest.raises(DatabaseUnusable) as refused:
        await SqliteStore(path).open()

    assert str(path.parent) in str(refused.value)
    assert str(refused.value).endswith(".")


async def test_too_old_a_sqlite_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite, "NEEDED", (99, 0))

    with pytest.raises(DatabaseUnusable, match="too old"):
        await SqliteStore(path).open()


async def test_store_that_is_closed_is_unavailable(path):
    async with opened(path) as store:
        assert not store.closing
    assert store.closing

    with pytest.raises(Unavailable):
        await store.read(identity.of_database)
    with pytest.raises(Unavailable):
        await store.write(identity.of_database)
    with pytest.raises(Unavailable):
        await store.ping()
    await store.close()


async def test_read_sees_what_was_committed_before_it(path):
    async with opened(path) as store:
        for number in range(1, 4):
            await store.write(partial(instances.add, instance=an_instance(number)))
            found = await store.read(partial(instances.find, instance_id=f"i-{number}"))
            assert found == an_instance(number)


async def test_read_that_meets_trouble_is_unavailable_and_the_next_one_works(path):
    def broken(db: sa.Connection) -> None:
        db.execute(sa.text("SELECT * FROM a_table_that_is_not_there"))

    async with opened(path) as store:
        with pytest.raises(Unavailable):
            await store.read(broken)
        assert await store.read(identity.of_database) == store.broker_id


async def test_closing_waits_for_what_was_given(path):
    store = SqliteStore(path)
    await store.open()
    last = asyncio.ensure_future(
        store.write(lambda db: instances.add(db, an_instance()))
    )
    await asyncio.sleep(0)
    await store.close()

    assert await last is True
    async with opened(path) as again:
        assert await again.read(lambda db: instances.find(db, "i-1")) is not None
