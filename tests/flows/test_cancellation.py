"""A client that is gone: its request is cancelled at every await, one by one.

A request is driven by hand. At its k-th suspension its task is cancelled, once
before what it waits for has happened and once after, for k = 0, 1, 2 … until it
ends by itself. Whatever was recorded must come to its end without a restart, and
the client's next try must get an answer.
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.gates import Gates
from tests.flows.crash.scene import (
    Client,
    Json,
    Scene,
    binding_path,
    instance_path,
)

When = Literal["before", "after"]
FLAG = {"accepts_incomplete": "true"}


@types.coroutine
def watched(
    work: Coroutine[Any, Any, Any], suspended: Callable[[Any], None]
) -> Generator[Any, Any, Any]:
    """Run a coroutine and tell of each time it suspends, and upon what."""
    error: BaseException | None = None
    while True:
        try:
            upon = work.send(None) if error is None else work.throw(error)
        except StopIteration as end:
            return end.value
        suspended(upon)
        try:
            yield upon
            error = None
        except BaseException as thrown:  # noqa: BLE001 (passed on)
            error = thrown


async def cancelled_at(
    k: int, when: When, work: Coroutine[Any, Any, Any]
) -> tuple[bool, int]:
    """Run a coroutine and cancel it at its k-th suspension.

    Returns:
        whether it came that far, and how often it suspended.
    """
    count = 0
    reached = False
    loop = asyncio.get_running_loop()

    def suspended(upon: Any) -> None:
        nonlocal count, reached
        if count == k:
            reached = True
            if when == "after" and asyncio.isfuture(upon):
                upon.add_done_callback(lambda _: task.cancel())
            else:
                loop.call_soon(task.cancel)
        count += 1

    async def run() -> Any:
        return await watched(work, suspended)

    task = loop.create_task(run())
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return reached, count


@dataclass(frozen=True, slots=True)
class Case:
    """A request, what must be there before, and what its repeat may get."""

    method: str
    plan: str
    of_binding: bool = False
    query: Json | None = None
    json: Json | None = None
    prepared: Literal["nothing", "instance", "binding"] = "nothing"
    again: frozenset[int] = frozenset({200, 201})

    def client(self, number: int) -> Client:
        """The request for the ids of a round."""
        instance = f"i{number}"
        path = (
            binding_path(instance, "b") if self.of_binding else instance_path(instance)
        )
        return Client(self.method, path, dict(self.query or {}), self.json)


REMOVED = frozenset({200, 410})
CASES = {
    "PUT sync": Case("PUT", "quick", json=instance_body("quick")),
    "PUT auto": Case("PUT", "auto", json=instance_body("auto"), query=FLAG),
    "PUT async": Case("PUT", "slow", json=instance_body("slow"), query=FLAG),
    "PATCH sync": Case(
        "PATCH",
        "quick",
        json=instance_body("quick", size=2),
        prepared="instance",
    ),
    "PATCH async": Case(
        "PATCH",
        "slow",
        json=instance_body("slow", size=2),
        query=FLAG,
        prepared="instance",
    ),
    "DELETE sync": Case(
        "DELETE",
        "quick",
        query=deletion("quick"),
        prepared="binding",
        again=REMOVED,
    ),
    "DELETE async": Case(
        "DELETE",
        "slow",
        query=FLAG | deletion("slow"),
        prepared="binding",
        again=REMOVED,
    ),
    "bind sync": Case(
        "PUT",
        "quick",
        of_binding=True,
        json=binding_body("quick"),
        prepared="instance",
    ),
    "bind async": Case(
        "PUT",
        "slow",
        of_binding=True,
        json=binding_body("slow"),
        query=FLAG,
        prepared="instance",
    ),
    "unbind sync": Case(
        "DELETE",
        "quick",
        of_binding=True,
        query=deletion("quick"),
        prepared="binding",
        again=REMOVED,
    ),
    "unbind async": Case(
        "DELETE",
        "slow",
        of_binding=True,
        query=FLAG | deletion("slow"),
        prepared="binding",
        again=REMOVED,
    ),
}


async def prepare(scene: Scene, case: Case, number: int) -> None:
    instance, sent = f"i{number}", FLAG if case.plan == "slow" else {}
    if case.prepared in {"instance", "binding"}:
        await scene.put(instance, instance_body(case.plan), **sent)
        await scene.settled()
    if case.prepared == "binding":
        await scene.bind(instance, "b", binding_body(case.plan), **sent)
        await scene.settled()


async def every_suspension(
    scene: Scene, case: Case, when: When, judge: Callable[[], Awaitable[None]]
) -> None:
    """Cancel the request of a case at each of its suspensions, on ids of its own."""
    for number in range(1000):
        await prepare(scene, case, number)
        client = case.client(number)
        reached, count = await cancelled_at(number, when, client.ask(scene.broker.app))
        await judge()
        repeat = case.client(number)
        answer = await repeat.ask(scene.broker.app)
        assert answer.status in case.again | {202}, (number, answer)
        await scene.settled()
        await scene.agree()
        if not reached:
            assert client.answer is not None
            assert count >= 3  # the store, and two messages of the answer
            return
    raise AssertionError("the request never ended by itself")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", CASES)
async def test_a_request_cancelled_at_any_await_loses_no_operation(
    tmp_path: Path, name: str, when: When
) -> None:
    scene = Scene(tmp_path)

    async def judge() -> None:
        assert await scene.unattended() == []
        await scene.settled()
        await scene.agree()

    async with scene.running():
        await every_suspension(scene, CASES[name], when, judge)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["PUT sync", "PATCH sync", "bind sync"])
async def test_a_request_cancelled_while_it_gives_up_loses_no_operation(
    tmp_path: Path, name: str, when: When
) -> None:
    """Nothing left of its budget: what was begun is taken back, or has ended."""
    scene = Scene(tmp_path)

    async def judge() -> None:
        assert await scene.unattended() == []
        await scene.settled()
        await scene.agree()

    async with scene.running():
        case = CASES[name]
        hasty = scene.house.settings.model_copy(update={"sync_budget_required": 0.0})
        patient = scene.house.settings

        def budget(settings: Any) -> None:
            scene.house.settings = settings

        for number in range(1000):
            budget(patient)
            await prepare(scene, case, number)
            budget(hasty)
            client = case.client(number)
            reached, _ = await cancelled_at(number, when, client.ask(scene.broker.app))
            budget(patient)
            await judge()
            answer = await case.client(number).ask(scene.broker.app)
            assert answer.status in case.again
            await scene.settled()
            await scene.agree()
            if not reached:
                assert client.answer is not None
                assert client.answer.status == 503
                assert "retry-after" in client.answer.headers
                return
    raise AssertionError("the request never ended by itself")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("plan", ["quick", "slow"])
async def test_a_delete_cancelled_at_any_await_halts_a_creation_or_leaves_it(
    tmp_path: Path, plan: str, when: When
) -> None:
    """The creation runs and is halted by a DELETE whose client is gone."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    sent = FLAG if plan == "slow" else {}
    delete = Case("DELETE", plan, query=sent | deletion(plan))
    async with scene.running():
        for number in range(1000):
            gate = gates.shut("provision.3")
            put = asyncio.ensure_future(
                scene.put(f"i{number}", instance_body(plan), **sent)
            )
            await gate.reached()
            client = delete.client(number)
            reached, _ = await cancelled_at(number, when, client.ask(scene.broker.app))
            assert await scene.unattended() == []
            gate.open()
            made = await put
            await scene.settled()
            await scene.agree()
            assert made.status in {201, 202, 503}
            answer = await delete.client(number).ask(scene.broker.app)
            assert answer.status in {200, 202, 410}
            await scene.settled()
            assert scene.cloud.things() == {}
            if not reached:
                assert client.answer is not None
                assert client.answer.status in {200, 202}
                return
    raise AssertionError("the request never ended by itself")


async def test_who_joined_an_operation_is_answered_when_its_first_client_is_gone(
    tmp_path: Path,
) -> None:
    gates = Gates()
    gate = gates.shut("provision.3")
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        first, second = (
            asyncio.ensure_future(scene.put("i", instance_body("quick")))
            for _ in range(2)
        )
        await gate.reached()
        first.cancel()
        gate.open()
        answer = await second

        assert answer.status in {200, 201}
        assert len(scene.cloud.ledger("call")) == 1
        await scene.agree()


async def test_a_read_cancelled_at_any_await_harms_nobody(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    async with scene.running():
        await scene.put("i", instance_body("quick"))
        for path in ("/last_operation", ""):
            reached = True
            k = 0
            while reached:
                client = Client("GET", instance_path("i") + path)
                reached, _ = await cancelled_at(
                    k, "before", client.ask(scene.broker.app)
                )
                k += 1
            assert client.answer is not None
            assert client.answer.status == 200
