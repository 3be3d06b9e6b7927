"""A blocking backend in a broker: the whole way over HTTP, and the ends of threads."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from osbkit import (
    BindRequest,
    Bound,
    Description,
    Failed,
    ProvisionRequest,
    Refused,
    UnbindRequest,
    UpdateRequest,
)
from osbkit.backends.contract import DeprovisionRequest, InstanceView
from osbkit.backends.scripted import Verb
from osbkit.backends.threaded import BlockingBackend, BlockingRun, threaded
from tests.flows.serving import (
    ASYNC,
    AUTO,
    SYNC,
    a_catalog,
    body_of,
    is_error,
    plan,
    queue,
    serving,
    soon,
    until,
)
from tests.flows.verbs import CHANGES

WAY: tuple[tuple[Verb, int], ...] = (
    ("provision", 1),
    ("update", 1),
    ("bind", 2),
    ("unbind", 1),
    ("deprovision", 0),
)
"""Each change, and how many things there are after it."""


class Size(BaseModel, extra="forbid"):
    """Parameters of an instance."""

    size: int = 1


class Role(BaseModel, extra="forbid"):
    """Parameters of a binding."""

    role: str = "r"


class Shelf(BlockingBackend[Size, Role]):
    """Keeps things by name, in threads.

    Attributes:
        things: what exists.
        attempts: of every call to provision.
        within: called by provision, in its thread.
    """

    def __init__(self) -> None:
        self.things: dict[str, Any] = {}
        self.attempts: list[int] = []
        self.within: Callable[[BlockingRun], None] = lambda run: None

    def check(self, request: Any) -> None:
        if getattr(request.parameters, "size", 1) > 9:
            raise Refused("Nine is the most.")

    def describe(self, instance: InstanceView[Size]) -> Description:
        return Description(labels={"size": str(instance.parameters.size)})

    def provision(
        self, request: ProvisionRequest[Size], run: BlockingRun
    ) -> dict[str, Any]:
        self.attempts.append(run.attempt)
        self.within(run)
        number = run.step("number", lambda: 7)
        self.things[request.name] = request.parameters.size
        return {"number": number, "secret": run.secret("key")}

    def update(self, request: UpdateRequest[Size], run: BlockingRun) -> None:
        self.things[request.name] = request.parameters.size

    def bind(self, request: BindRequest[Size, Role], run: BlockingRun) -> Bound:
        self.things[request.name] = request.parameters.role
        assert request.facts is not None
        return Bound(credentials={"key": request.facts["secret"]})

    def unbind(self, request: UnbindRequest, run: BlockingRun) -> None:
        self.things.pop(request.name, None)

    def deprovision(self, request: DeprovisionRequest, run: BlockingRun) -> None:
        self.things.pop(request.name, None)


class Door:
    """Keeps a call inside its thread."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.open = threading.Event()

    def __call__(self, run: BlockingRun) -> None:
        run.progress("Inside.", percent=10)
        self.inside.set()
        assert self.open.wait(20)


@pytest.mark.parametrize("mode", [SYNC, AUTO, ASYNC])
async def test_a_blocking_backend_goes_the_whole_way(tmp_path: Path, mode: str) -> None:
    author = Shelf()
    async with serving(tmp_path, {"queue": threaded(author)}) as broker:
        flag = True if mode == ASYNC else None
        is_error(await broker.put(plan=mode, flag=flag, parameters={"size": 10}), 400)
        is_error(await broker.put(plan=mode, flag=flag, parameters={"size": "5"}), 400)
        for verb, things in WAY:
            change = CHANGES[verb]
            answer = await change.ask(broker, mode, flag)
            await broker.quiet()
            assert answer.status_code == (202 if mode == ASYNC else change.done)
            assert body_of(await change.poll(broker)) == {"state": "succeeded"}
            assert len(author.things) == things
            if verb == "update":
                assert body_of(await broker.get())["metadata"] == {
                    "labels": {"size": "2"}
                }
            if verb == "bind":
                row = await broker.row()
                assert row.facts is not None
                bound = body_of(await broker.get_binding())
                assert bound["credentials"] == {"key": row.facts["secret"]}


async def test_the_loop_serves_others_while_a_thread_is_busy(tmp_path: Path) -> None:
    author, door = Shelf(), Door()
    author.within = door
    async with serving(tmp_path, {"queue": threaded(author)}) as broker:
        made = asyncio.create_task(broker.put())
        await until(door.inside.is_set)

        assert body_of(await broker.poll()) == {
            "state": "in progress",
            "description": "Inside. (10 %)",
        }
        door.open.set()
        assert (await soon(made)).status_code == 201


async def test_a_thread_that_is_too_late_is_rolled_back_when_it_returns(
    tmp_path: Path,
) -> None:
    author, door = Shelf(), Door()
    author.within = door
    only = plan(AUTO, "auto", "async", settings={"deadline": 0.02})
    catalog = a_catalog(queue(plans=[only]))
    async with serving(tmp_path, {"queue": threaded(author)}, catalog) as broker:
        await broker.put(flag=True)
        await until(door.inside.is_set)
        await asyncio.sleep(0.05)
        assert body_of(await broker.poll())["state"] == "in progress"
        door.open.set()
        await broker.quiet()

        assert body_of(await broker.poll())["state"] == "failed"
        assert author.things == {}


async def test_what_a_stopping_process_leaves_in_a_thread_is_done_at_the_next_start(
    tmp_path: Path,
) -> None:
    author = Shelf()
    inside = threading.Event()

    def leaves_when_told(run: BlockingRun) -> None:
        inside.set()
        if run.attempt == 1:
            assert run.wait(20)

    author.within = leaves_when_told
    async with serving(tmp_path, {"queue": threaded(author)}) as broker:
        running = body_of(await broker.put(plan=ASYNC, flag=True))["operation"]
        await until(inside.is_set)
    assert author.attempts == [1]

    async with serving(tmp_path, {"queue": threaded(author)}) as broker:
        await broker.quiet()
        assert author.attempts == [1, 2]
        polled = await broker.poll(operation=running)
        assert body_of(polled) == {"state": "succeeded"}
        assert len(author.things) == 1


async def test_what_a_thread_raises_is_told_as_of_any_backend(tmp_path: Path) -> None:
    author = Shelf()

    def full(run: BlockingRun) -> None:
        raise Failed("The shelf is full.")

    author.within = full
    async with serving(tmp_path, {"queue": threaded(author)}) as broker:
        body = is_error(await broker.put(), 500)

        assert body == {"description": "The shelf is full."}
        assert author.things == {}
