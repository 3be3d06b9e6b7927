"""One process serves one SQLite file: the second is refused with the first's pid."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from osbkit.errors import DatabaseUnusable
from osbkit.store.sqlite import LockFile
from tests.flows.crash.server import Runner, Server

pytestmark = pytest.mark.slow  # a start waits five seconds for the lock


def sentence(pid: int) -> str:
    return f"Another process (pid {pid}) serves this SQLite file"


def test_a_second_server_on_the_same_file_ends_with_status_3(
    make_server: Callable[..., Server],
) -> None:
    """However it is started; the first one is not disturbed."""
    first = make_server()
    first.start()
    runners: tuple[Runner, ...] = ("uvicorn", "osbkit serve")
    seconds = [make_server(runner) for runner in runners]
    for number, second in enumerate(seconds):
        second.log = second.folder / f"second-{number}.log"
        second.spawn()
    statuses = [second.wait() for second in seconds]

    assert statuses == [3, 3]
    for second in seconds:
        assert second.told().count(sentence(first.pid)) == 1
        assert "Traceback" not in second.told()
    assert first.ready()


def test_the_next_server_waits_until_the_first_has_left(
    make_server: Callable[..., Server],
) -> None:
    """A rolling restart: the new process starts before the old one is gone."""
    first, second = make_server(), make_server()
    first.start()
    second.log = second.folder / "second.log"
    second.spawn()
    first.terminate()
    second._comes_up()

    assert second.ready()


def test_a_lock_that_another_process_holds_is_refused_with_its_pid(
    tmp_path: Path,
) -> None:
    """The lock is the kernel's: it ends with its holder, the file may stay."""
    database = tmp_path / "broker.db"
    told, tells = os.pipe()
    ends, end = os.pipe()
    holder = os.fork()
    if holder == 0:  # the other process
        lock = LockFile(database)
        lock.take()
        os.write(tells, b"1")
        os.close(end)
        os.read(ends, 1)
        os._exit(0)
    os.close(ends)
    try:
        os.read(told, 1)
        with pytest.raises(
            DatabaseUnusable, match=rf"pid {holder}\b.*one worker process"
        ):
            LockFile(database).take(wait=0)
    finally:
        os.close(end)
        os.waitpid(holder, 0)
        os.close(told)
        os.close(tells)

    mine = LockFile(database)
    mine.take(wait=0)
    pid = database.with_name("broker.db.lock").read_text()
    mine.release()
    assert pid == f"{os.getpid()}\n"


def test_a_lock_file_without_a_pid_is_refused_all_the_same(tmp_path: Path) -> None:
    database = tmp_path / "broker.db"
    with open(tmp_path / "broker.db.lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DatabaseUnusable, match="pid unknown"):
            LockFile(database).take(wait=0)
