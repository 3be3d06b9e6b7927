"""The writer: batches, their COMMIT, and who is told what, and when."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from osbkit.errors import Stale, Unavailable
from osbkit.store import writer as module
from osbkit.store.writer import AWAY, FULL, Writer

SCHEMA = """
    CREATE TABLE word (text TEXT PRIMARY KEY);
    CREATE TABLE leaf (
        word TEXT REFERENCES word DEFERRABLE INITIALLY DEFERRED
    );
"""


@dataclass
class Watched:
    """A writer, and what it says to its database.

    Attributes:
        said: statements of transactions, in order.
        on_commit: called in the writer's thread when COMMIT is about to run.
    """

    writer: Writer
    file: Path
    said: list[str] = field(default_factory=list)
    on_commit: Callable[[], None] = lambda: None

    def hear(self, statement: str) -> None:
        word = statement.split()[0]
        if word in {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"}:
            self.said.append(statement)
        if word == "COMMIT":
            self.on_commit()

    def words(self) -> list[str]:
        """What another reader of the file finds."""
        with sqlite3.connect(self.file) as db:
            found = [row[0] for row in db.execute("SELECT text FROM word ORDER BY 1")]
        db.close()
        return found


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    file = tmp_path / "words.db"
    db = sqlite3.connect(file)
    db.executescript(SCHEMA)
    db.close()
    engine = sa.create_engine(
        f"sqlite:///{file}",
        poolclass=sa.pool.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": 0.01},
    )
    made = Watched(Writer(engine, busy=0.01), file)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.set_trace_callback(made.hear)

    made.writer.start()
    yield made
    await made.writer.finish()
    await asyncio.to_thread(made.writer.close)
    engine.dispose()


def adding(text: str) -> Callable[[sa.Connection], str]:
    """A unit that writes a word and returns it."""

    def unit(db: sa.Connection) -> str:
        db.execute(sa.text("INSERT INTO word VALUES (:text)"), {"text": text})
        return text

    return unit


def failing(text: str) -> Callable[[sa.Connection], None]:
    """A unit that writes a word and then refuses."""

    def unit(db: sa.Connection) -> None:
        adding(text)(db)
        raise Stale(text)

    return unit


def refusing(_: sa.Connection) -> None:
    """A unit that writes nothing and refuses."""
    raise Stale("nothing written")


def spoiling(db: sa.Connection) -> None:
    """A unit that cannot be committed."""
    db.execute(sa.text("INSERT INTO leaf VALUES ('no such word')"))


class Held:
    """A unit that keeps the writer busy until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, _: sa.Connection) -> None:
        self.entered.set()
        assert self.go.wait(timeout=60)


async def hold(watched: Watched) -> tuple[Held, "asyncio.Task[None]"]:
    """The writer is in the middle of a batch."""
    held = Held()
    task = asyncio.ensure_future(watched.writer.write(held, long=True))
    assert await asyncio.to_thread(held.entered.wait, 60)
    return held, task


async def test_unit_is_committed_when_its_caller_is_told(watched):
    assert await watched.writer.write(adding("a")) == "a"

    assert watched.words() == ["a"]
    assert watched.said == ["BEGIN IMMEDIATE", "COMMIT"]


async def test_what_waits_together_is_committed_together(watched):
    held, first = await hold(watched)
    texts = [f"{number:03}" for number in range(module.BATCH - 1)]
    rest = [asyncio.ensure_future(watched.writer.write(adding(t))) for t in texts]
    await asyncio.sleep(0)
    held.go.set()

    assert await asyncio.gather(first, *rest) == [None, *texts]
    assert watched.said == ["BEGIN IMMEDIATE", "COMMIT"] * 2
    assert watched.words() == texts


async def test_units_of_several_rounds_that_wait_share_a_batch(watched):
    held, first = await hold(watched)
    rest = []
    for text in "abc":
        rest.append(asyncio.ensure_future(watched.writer.write(adding(text))))
        for _ in range(3):
            await asyncio.sleep(0)
    held.go.set()
    await asyncio.gather(first, *rest)

    assert watched.said == ["BEGIN IMMEDIATE", "COMMIT"] * 2


async def test_batch_has_its_limit(watched, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    held, first = await hold(watched)
    rest = []
    for text in "abcd":
        rest.append(asyncio.ensure_future(watched.writer.write(adding(text))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    held.go.set()
    await asyncio.gather(first, *rest)

    assert watched.said == ["BEGIN IMMEDIATE", "COMMIT"] * 3


@pytest.mark.parametrize("wrong", [failing("x"), refusing], ids=["half", "nothing"])
async def test_unit_that_raises_leaves_nothing_and_hurts_nobody(watched, wrong):
    held, first = await hold(watched)
    units = [adding("a"), wrong, adding("b"), wrong, adding("c")]
    rest = [asyncio.ensure_future(watched.writer.write(unit)) for unit in units]
    await asyncio.sleep(0)
    held.go.set()
    await first
    told = await asyncio.gather(*rest, return_exceptions=True)

    assert [type(one) for one in told] == [str, Stale, str, Stale, str]
    assert watched.words() == ["a", "b", "c"]


async def test_unit_sees_what_its_neighbour_wrote_before_it(watched):
    def looking(db: sa.Connection) -> int:
        return int(db.execute(sa.text("SELECT count(*) FROM word")).scalar_one())

    counts = await asyncio.gather(
        *(watched.writer.write(unit) for unit in (looking, adding("a"), looking)),
    )

    assert counts == [0, "a", 1]


async def test_refusal_that_rests_on_a_unit_that_fails_is_judged_again(watched):
    """The second unit meets the word of the first only until that one raises."""

    def first(db: sa.Connection) -> None:
        adding("a")(db)
        raise Stale("the first")

    told = await asyncio.gather(
        watched.writer.write(first),
        watched.writer.write(adding("a")),
        return_exceptions=True,
    )

    assert [type(one) for one in told] == [Stale, str]
    assert watched.words() == ["a"]


async def test_nobody_is_told_before_the_commit(watched):
    seen: list[bool] = []
    units = [adding("a"), refusing, failing("b")]
    tasks = [asyncio.ensure_future(watched.writer.write(unit)) for unit in units]
    watched.on_commit = lambda: seen.extend(task.done() for task in tasks)
    await asyncio.gather(*tasks, return_exceptions=True)

    assert seen == [False] * 3


async def test_commit_that_fails_is_unavailable_for_every_unit(watched):
    units = [adding("a"), spoiling, refusing, adding("b")]
    told = await asyncio.gather(
        *(watched.writer.write(unit) for unit in units), return_exceptions=True
    )

    assert [type(one) for one in told] == [Unavailable] * 4
    assert {str(one) for one in told} == {AWAY}
    assert watched.words() == []
    assert await watched.writer.write(adding("c")) == "c"
    assert watched.words() == ["c"]


async def test_database_that_is_locked_from_outside_is_unavailable(watched):
    other = sqlite3.connect(watched.file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(Unavailable):
        await watched.writer.write(adding("a"))

    other.execute("ROLLBACK")
    other.close()
    assert await watched.writer.write(adding("b")) == "b"


async def test_loop_goes_on_while_a_write_waits_for_another_program(watched):
    watched.writer._busy = 60
    other = sqlite3.connect(watched.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO word VALUES ('theirs')")
    waiting = asyncio.ensure_future(watched.writer.write(adding("ours")))
    for _ in range(10):
        await asyncio.sleep(0)
    other.execute("COMMIT")
    other.close()

    assert await waiting == "ours"
    assert watched.words() == ["ours", "theirs"]
    assert await watched.writer.write(adding("later")) == "later"


async def test_unit_that_meets_an_absent_database_takes_its_batch_along(watched):
    def broken(db: sa.Connection) -> None:
        db.execute(sa.text("SELECT * FROM a_table_that_is_not_there"))

    told = await asyncio.gather(
        watched.writer.write(adding("a")),
        watched.writer.write(broken),
        return_exceptions=True,
    )

    assert [type(one) for one in told] == [Unavailable] * 2
    assert watched.words() == []


async def test_queue_that_is_full_refuses_at_once(watched, monkeypatch):
    monkeypatch.setattr(module, "QUEUE", 3)
    held, first = await hold(watched)
    rest = [asyncio.ensure_future(watched.writer.write(adding(t))) for t in "ab"]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable) as refused:
        await watched.writer.write(adding("c"))

    held.go.set()
    await asyncio.gather(first, *rest)
    assert (refused.value.description, refused.value.retry_after) == (FULL, 1)
    assert await watched.writer.write(adding("d")) == "d"


async def test_what_follows_the_commit_happens_without_the_caller(watched):
    held, first = await hold(watched)
    after: list[str] = []
    gone = asyncio.ensure_future(watched.writer.write(adding("a"), after.append))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    held.go.set()
    await first
    await watched.writer.write(adding("b"), after.append)

    assert gone.cancelled()
    assert after == ["a", "b"]
    assert watched.words() == ["a", "b"]


async def test_what_follows_the_commit_happens_before_the_caller_goes_on(watched):
    order: list[str] = []
    await watched.writer.write(adding("a"), lambda _: order.append("committed"))
    order.append("told")

    assert order == ["committed", "told"]


async def test_nothing_follows_a_commit_that_failed_or_a_unit_that_refused(watched):
    after: list[Any] = []
    for unit in (refusing, failing("a"), spoiling):
        with pytest.raises((Stale, Unavailable)):
            await watched.writer.write(unit, after.append)

    assert after == []


async def test_fault_of_what_follows_the_commit_is_its_callers_alone(watched):
    def faulty(_: str) -> None:
        raise RuntimeError("after the commit")

    told = await asyncio.gather(
        watched.writer.write(adding("a"), faulty),
        watched.writer.write(adding("b")),
        return_exceptions=True,
    )

    assert told[1] == "b"
    assert watched.words() == ["a", "b"]


async def test_writer_that_ends_finishes_what_it_was_given(watched):
    held, first = await hold(watched)
    rest = [asyncio.ensure_future(watched.writer.write(adding(t))) for t in "abc"]
    await asyncio.sleep(0)
    ending = asyncio.ensure_future(watched.writer.finish())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="does not answer"):
        await watched.writer.write(adding("d"))
    held.go.set()
    await ending
    await asyncio.to_thread(watched.writer.close)

    assert await asyncio.gather(first, *rest) == [None, "a", "b", "c"]
    assert watched.words() == ["a", "b", "c"]


async def test_unit_of_the_very_round_in_which_the_writer_ends_is_finished(watched):
    last = asyncio.ensure_future(watched.writer.write(adding("a")))
    await asyncio.sleep(0)  # it is pending, and not begun yet
    await watched.writer.finish()

    assert last.done()
    assert await last == "a"


def test_writer_survives_a_loop_that_was_closed_under_it(tmp_path, monkeypatch):
    warned: list[str] = []

    class Log:
        def warning(self, event: str, **_: Any) -> None:
            warned.append(event)

    monkeypatch.setattr(module, "log", Log())
    engine = sa.create_engine(
        f"sqlite:///{tmp_path}/a.db",
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False},
    )
    writer, held = Writer(engine), Held()
    writer.start()

    async def leave() -> None:
        asking = asyncio.ensure_future(writer.write(held, long=True))
        assert await asyncio.to_thread(held.entered.wait, 60)
        asking.cancel()

    asyncio.run(leave())
    held.go.set()
    writer.close()
    engine.dispose()

    assert warned == ["store.nobody_waits"]


def test_writer_that_cannot_open_its_file_says_so_at_once(tmp_path):
    writer = Writer(sa.create_engine(f"sqlite:///{tmp_path}/missing/a.db"))

    with pytest.raises(sa.exc.OperationalError):
        writer.start()
