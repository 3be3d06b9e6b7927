"""A database that is away: locked by a stranger, half gone, or too busy.

Requests get 503 with Retry-After, readiness says why, nothing is half written, and
what runs goes on when it is back: the end of an operation is recorded then, without
calling the backend again.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from osbkit.errors import DatabaseUnusable, Unavailable
from osbkit.store import operations
from tests.flows.crash.backend import attempts, judge
from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.gates import Gates
from tests.flows.crash.scene import (
    Answer,
    Json,
    Scene,
    binding_path,
    instance_path,
    until,
)

FLAG: Json = {"accepts_incomplete": "true"}
INSTANCE = instance_path("i")
BINDING = binding_path("i", "b")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr("osbkit.operations.backoff.delay", lambda *_: 0.005)


@asynccontextmanager
async def served(scene: Scene) -> AsyncIterator[Scene]:
    """A broker whose writer waits for nobody's lock."""
    async with scene.running():
        scene.house.store._writer._busy = 0.0
        yield scene


@contextmanager
def locked(scene: Scene) -> Iterator[None]:
    """A stranger holds the file."""
    stranger = sqlite3.connect(scene.file, isolation_level=None)
    try:
        stranger.execute("BEGIN EXCLUSIVE")
        yield
        stranger.execute("ROLLBACK")
    finally:
        stranger.close()


@contextmanager
def without(scene: Scene, table: str) -> Iterator[None]:
    """A stranger has taken a table away."""
    stranger = sqlite3.connect(scene.file, isolation_level=None)
    try:
        stranger.execute(f"ALTER TABLE {table} RENAME TO taken")
        yield
        stranger.execute(f"ALTER TABLE taken RENAME TO {table}")
    finally:
        stranger.close()


class Failures:
    """Counts the writes that met no database."""

    def __init__(self, scene: Scene) -> None:
        self.count = 0
        self._write = scene.house.store.write
        scene.house.store.write = self._counted

    async def _counted(self, *arguments: Any, **more: Any) -> Any:
        try:
            return await self._write(*arguments, **more)
        except Unavailable:
            self.count += 1
            raise

    async def reach(self, number: int) -> None:
        """Return when so many have failed."""

        async def reached() -> bool:
            return self.count >= number

        await until(reached, f"{number} writes in vain")


def is_away(answer: Answer) -> bool:
    """503, when to come again, and a sentence."""
    return (
        answer.status == 503
        and int(answer.headers["retry-after"]) > 0
        and answer.body["description"].endswith(".")
    )


async def nothing(scene: Scene) -> None:
    """Nothing has to be there."""


async def an_instance(scene: Scene) -> None:
    assert (await scene.put("i", instance_body("quick", size=1))).status == 201


async def a_binding(scene: Scene) -> None:
    await an_instance(scene)
    assert (await scene.bind("i", "b", binding_body("quick"))).status == 201


Prepare = Callable[[Scene], Awaitable[None]]
Act = Callable[[Scene], Awaitable[Answer]]
VERBS: dict[str, tuple[Prepare, Act, int]] = {
    "provision": (nothing, lambda s: s.put("i", instance_body("quick")), 201),
    "update": (
        an_instance,
        lambda s: s.ask("PATCH", INSTANCE, instance_body("quick", size=2)),
        200,
    ),
    "deprovision": (
        a_binding,
        lambda s: s.ask("DELETE", INSTANCE, **deletion("quick")),
        200,
    ),
    "bind": (an_instance, lambda s: s.bind("i", "b", binding_body("quick")), 201),
    "unbind": (
        a_binding,
        lambda s: s.ask("DELETE", BINDING, **deletion("quick")),
        200,
    ),
}


async def everything(scene: Scene) -> dict[str, list[Any]]:
    """Every row of every table that requests write."""
    reader = sqlite3.connect(scene.file)
    try:
        return {
            "instances": reader.execute("SELECT * FROM instances").fetchall(),
            "bindings": reader.execute("SELECT * FROM bindings").fetchall(),
            "operations": reader.execute("SELECT * FROM operations").fetchall(),
        }
    finally:
        reader.close()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_change_meets_no_database_and_records_nothing_of_itself(
    tmp_path: Path, verb: str
) -> None:
    prepare, act, done = VERBS[verb]
    async with served(Scene(tmp_path)) as scene:
        await prepare(scene)
        before, calls = await everything(scene), scene.cloud.ledger()
        with locked(scene):
            refused = await act(scene)
        after, called = await everything(scene), scene.cloud.ledger()
        again = await act(scene)
        await scene.settled()
        await scene.agree()

        assert is_away(refused)
        assert "database" in refused.body["description"]
        assert after == before
        assert called == calls
        assert again.status == done


async def test_readiness_says_that_the_database_is_away_and_that_it_is_back(
    tmp_path: Path,
) -> None:
    async with served(Scene(tmp_path)) as scene:
        with locked(scene):
            away = await scene.ask("GET", "/health/ready")
            live = await scene.ask("GET", "/health/live")
        back = await scene.ask("GET", "/health/ready")

        assert away.status == 503
        assert any("database" in problem for problem in away.body["problems"])
        assert live.status == 200
        assert back.status == 200


async def test_what_only_reads_is_answered_while_nobody_can_write(
    tmp_path: Path,
) -> None:
    async with served(Scene(tmp_path)) as scene:
        await a_binding(scene)
        with locked(scene):
            answers = [
                await scene.ask("GET", path)
                for path in (
                    "/v2/catalog",
                    INSTANCE,
                    BINDING,
                    INSTANCE + "/last_operation",
                    BINDING + "/last_operation",
                )
            ]

        assert [answer.status for answer in answers] == [200] * 5


@pytest.mark.parametrize("table", ["instances", "operations"])
async def test_a_read_that_fails_is_503_and_never_a_word_about_the_database(
    tmp_path: Path, table: str
) -> None:
    """LOP: a poll is never answered 400 or 500 for a fault of ours."""
    async with served(Scene(tmp_path)) as scene:
        await an_instance(scene)
        poll = INSTANCE + "/last_operation"
        with without(scene, table):
            answers = [await scene.ask("GET", path) for path in (INSTANCE, poll)]
            answers += [await act(scene) for _, act, _ in VERBS.values()]
        found = await scene.ask("GET", poll)
        shown = await scene.ask("GET", INSTANCE)

        assert all(map(is_away, answers)), answers
        assert not any(table in str(answer.body) for answer in answers)
        assert (found.status, shown.status) == (200, 200)
        await scene.agree()


LAST = {
    "provision": "provision.last",
    "update": "update.last",
    "deprovision": "deprovision.last",
    "bind": "bind.last",
    "unbind": "unbind.last",
}


@pytest.mark.parametrize("verb", VERBS)
async def test_what_was_done_meanwhile_is_recorded_when_the_database_is_back(
    tmp_path: Path, verb: str
) -> None:
    """Unit B is tried again and again; the backend was called once."""
    gates = Gates()
    prepare, act, done = VERBS[verb]
    async with served(Scene(tmp_path, pause=gates.pause)) as scene:
        await prepare(scene)
        called = len(scene.cloud.ledger("call"))
        gate = gates.shut(LAST[verb])
        asked = asyncio.ensure_future(act(scene))
        await gate.reached()
        calls = len(scene.cloud.ledger("call"))
        failures = Failures(scene)
        with locked(scene):
            gate.open()
            await failures.reach(3)
            still = asked.done()
        answer = await asked
        await scene.settled()
        await scene.agree()

        assert not still
        assert answer.status == done
        assert len(scene.cloud.ledger("call")) == calls > called


async def test_progress_and_steps_that_cannot_be_stored_are_tried_again(
    tmp_path: Path,
) -> None:
    """The attempt fails as passing trouble does; what is made is made once."""
    gates = Gates()
    async with served(Scene(tmp_path, pause=gates.pause)) as scene:
        for number, place in enumerate(("step.reserve", "provision.made")):
            instance = f"i{number}"
            gate = gates.shut(place)
            put = await scene.put(instance, instance_body("slow"), **FLAG)
            await gate.reached()
            failures = Failures(scene)
            with locked(scene):
                gate.open()
                await failures.reach(2)
            gates.forget(place)
            await scene.settled()
            await scene.agree()
            polled = await scene.poll(instance)

            assert polled.body["state"] == "succeeded"
            assert attempts(scene.cloud, put.body["operation"]) == [1, 2]
            made = [entry.name for entry in scene.cloud.ledger("made")]
            assert len(made) == len(set(made)) == number + 1
            assert judge(scene.cloud, put.body["operation"]) == []


async def test_a_caller_whose_time_is_over_is_answered_though_nobody_can_write(
    tmp_path: Path,
) -> None:
    """The roll-back cannot be recorded; the creation ends, and is told by a poll."""
    gates = Gates()
    async with served(Scene(tmp_path, pause=gates.pause)) as scene:
        gate = gates.shut("provision.last")
        engine = scene.house.engine
        wait = engine.wait

        async def over(operation: Any, seconds: float) -> Any:
            engine.wait = wait
            await gate.reached()
            return operation

        engine.wait = over
        put = asyncio.ensure_future(scene.put("i", instance_body("quick")))
        await gate.reached()
        with locked(scene):
            answer = await put
        gate.open()
        await scene.settled()
        await scene.agree()
        again = await scene.put("i", instance_body("quick"))

        assert is_away(answer)
        assert again.status in {200, 201}


async def test_a_delete_that_cannot_see_what_it_halted_still_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a call, and the database is away when it looks."""
    monkeypatch.setattr("osbkit.operations.leases.RENEW", 0.02)
    gates = Gates()
    async with served(Scene(tmp_path, pause=gates.pause)) as scene:
        gate = gates.shut("provision.2", stubborn=True)
        await scene.put("i", instance_body("slow"), **FLAG)
        await gate.reached()
        read = scene.house.store.read
        failed = asyncio.Event()

        async def failing(unit: Any) -> Any:
            if getattr(unit, "func", None) is operations.known_of:
                failed.set()
                scene.house.store.read = read
                raise Unavailable("away")
            return await read(unit)

        scene.house.store.read = failing
        gone = await scene.ask("DELETE", INSTANCE, **FLAG, **deletion("slow"))
        async with asyncio.timeout(30):
            await failed.wait()
        gate.open()
        await scene.settled()
        await scene.agree()

        polled = await scene.poll("i", operation=gone.body["operation"])
        assert polled.body["state"] == "succeeded"
        assert scene.cloud.things() == {}


async def test_a_process_that_leaves_while_nobody_can_write_loses_no_operation(
    tmp_path: Path,
) -> None:
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    with ExitStack() as stranger:
        async with served(scene):
            gate = gates.shut("provision.last")
            put = await scene.put("i", instance_body("slow"), **FLAG)
            await gate.reached()
            failures = Failures(scene)
            stranger.enter_context(locked(scene))
            gate.open()
            await failures.reach(2)
    after = Scene(tmp_path, cloud=scene.cloud)
    async with after.running():
        await after.settled()
        await after.agree()

        assert (await after.poll("i")).body["state"] == "succeeded"
        assert judge(after.cloud, put.body["operation"]) == []


async def test_a_start_that_meets_a_stranger_on_its_file_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With operations to take up and without: never a broker that cannot write."""
    monkeypatch.setattr("osbkit.store.sqlite.BUSY", 0.0)
    gates = Gates()
    gates.shut("provision.2")
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        await scene.put("i", instance_body("slow"), **FLAG)
    after = Scene(tmp_path, cloud=scene.cloud)
    refused = pytest.raises(DatabaseUnusable, match=r"no other program holds it\.$")
    with locked(scene), refused:
        async with after.running():
            pass
    async with after.running():
        await after.settled()

        assert (await after.poll("i")).body["state"] == "succeeded"


class Held:
    """The writer's thread, busy until it is let go."""

    def __init__(self, scene: Scene) -> None:
        self._store = scene.house.store
        self._busy, self._go = threading.Event(), threading.Event()

    async def __aenter__(self) -> None:
        self._task = asyncio.ensure_future(self._store.write(self._wait, long=True))
        await asyncio.to_thread(self._busy.wait, 30)

    def _wait(self, db: Any) -> None:
        self._busy.set()
        self._go.wait(30)

    async def __aexit__(self, *_: object) -> None:
        self._go.set()
        await self._task


async def test_more_changes_than_the_writer_takes_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bounded queue: those within it are answered, those beyond are 503."""
    monkeypatch.setattr("osbkit.store.writer.QUEUE", 8)
    async with served(Scene(tmp_path)) as scene:
        async with Held(scene):
            puts = [
                asyncio.ensure_future(scene.put(f"i{n}", instance_body("quick")))
                for n in range(20)
            ]
            await until(partial(some_done, puts), "some are refused")
            early = [put.result() for put in puts if put.done()]
        answers = await asyncio.gather(*puts)
        await scene.settled()
        await scene.agree()

        assert all(map(is_away, early))
        made = [answer for answer in answers if answer.status == 201]
        assert 0 < len(made) <= 8
        assert len(made) + len(early) == 20
        assert len(scene.cloud.things()) == len(made)


async def some_done(puts: Sequence[asyncio.Future[Answer]]) -> bool:
    return sum(put.done() for put in puts) >= 12


async def test_a_batch_that_cannot_be_committed_is_503_for_everyone_in_it(
    tmp_path: Path,
) -> None:
    """Nobody is told of what did not last, and nothing of it is there."""
    async with served(Scene(tmp_path)) as scene:

        def break_down(db: Any) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        async with Held(scene):
            puts = [
                asyncio.ensure_future(scene.put(f"i{n}", instance_body("quick")))
                for n in range(3)
            ]
            for _ in range(20):
                await asyncio.sleep(0)
            broken = asyncio.ensure_future(scene.house.store.write(break_down))
            for _ in range(5):
                await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await broken
        answers = await asyncio.gather(*puts)
        rows = await everything(scene)
        again = [await scene.put(f"i{n}", instance_body("quick")) for n in range(3)]

        assert all(map(is_away, answers))
        assert rows["instances"] == rows["operations"] == []
        assert [answer.status for answer in again] == [201] * 3
        assert len(scene.cloud.things()) == 3
