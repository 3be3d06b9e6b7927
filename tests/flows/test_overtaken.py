"""What a runner does that was overtaken: it stood still, another went on, it wakes.

Two replicas on one database server, as in `test_replicas`; the first one is cut off
from the database while it is in a call, which nothing ends, so that the other takes
over when the lease ran out. Whatever the first one's call does then, and however it
ends: it takes back nothing that is not its own, and what it changed is put right.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from osbkit import Failed, ServiceBackend
from osbkit.operations import engines, halting, leases
from osbkit.operations.claiming import settle_forsaken
from osbkit.store import migrate
from tests import servers
from tests.flows.serving import ASYNC, PATIENCE, Served, a_catalog, serving, until
from tests.flows.test_replicas import KEYS, cut_off

TIMES = {"LEASE": 3.0, "MARGIN": 1.0, "RENEW": 0.5, "WATCH": 0.1}


class Deaf(ServiceBackend):
    """One replica's backend; no cancellation ends its calls.

    Attributes:
        things: what exists, with its values; both replicas see the same.
        events: verbs that began, with the replica's name.
        gates: a verb waits for its gate before its effect.
        after: the same, after it.
        failing: verbs that fail for good.
    """

    def __init__(self, name: str, things: dict[str, Any], events: list[str]) -> None:
        self.name = name
        self.things = things
        self.events = events
        self.gates: dict[str, asyncio.Event] = {}
        self.after: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()

    async def provision(self, request: Any, run: Any) -> None:
        await self._do("provision", request, dict)

    async def update(self, request: Any, run: Any) -> None:
        await self._do("update", request, request.parameters.model_dump)

    async def deprovision(self, request: Any, run: Any) -> None:
        await self._do("deprovision", request, None)

    async def bind(self, request: Any, run: Any) -> Any:
        raise NotImplementedError

    async def unbind(self, request: Any, run: Any) -> None:
        raise NotImplementedError

    async def _do(self, verb: str, request: Any, made: Any) -> None:
        self.events.append(f"{self.name} {verb}")
        await self._passed(self.gates.get(verb))
        if verb in self.failing:
            raise Failed("It cannot be done.")
        if made is None:
            self.things.pop(request.name, None)
        else:
            self.things[request.name] = made()
        await self._passed(self.after.get(verb))

    async def _passed(self, gate: asyncio.Event | None) -> None:
        while gate is not None and not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    def hold(self, verb: str) -> asyncio.Event:
        """Let a verb wait before its effect."""
        return self.gates.setdefault(verb, asyncio.Event())

    def hold_after(self, verb: str) -> asyncio.Event:
        """Let it wait after its effect."""
        return self.after.setdefault(verb, asyncio.Event())


class Two:
    """The replicas `one` and `other`, their backends, and what exists."""

    def __init__(self, served: list[Served], backends: list[Deaf]) -> None:
        self.one, self.other = served
        self.first, self.second = backends
        self.things, self.events = self.first.things, self.first.events

    async def begun(self, event: str) -> None:
        await until(lambda: event in self.events)

    async def ended(self, state: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.other.poll()).json()["state"] != state:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def first_has_returned(self) -> None:
        await until(lambda: not self.one.engine.running)


@pytest.fixture(params=servers.KINDS)
async def two(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Two]:
    """Two replicas on a new database, with short leases."""
    for name, value in TIMES.items():
        monkeypatch.setattr(leases, name, value)
    monkeypatch.setattr(engines, "POLL", 0.05)
    monkeypatch.setattr(halting, "GRACE", 200_000)
    url = await asyncio.to_thread(servers.fresh, request.param)
    await asyncio.to_thread(migrate.upgrade, url)
    things: dict[str, Any] = {}
    events: list[str] = []
    backends = [Deaf("one", things, events), Deaf("other", things, events)]
    async with AsyncExitStack() as stack:
        served = [
            await stack.enter_async_context(
                serving(
                    tmp_path,
                    {"queue": backend},
                    a_catalog(),
                    database_url=SecretStr(url),
                    encryption_keys=KEYS,
                )
            )
            for backend in backends
        ]
        yield Two(served, backends)
        for backend in backends:
            for gate in (*backend.gates.values(), *backend.after.values()):
                gate.set()


async def test_a_failure_takes_back_nothing_that_another_has_finished(two, monkeypatch):
    late = two.first.hold("provision")
    two.first.failing.add("provision")
    await two.one.put(plan=ASYNC, flag=True)
    await two.begun("one provision")

    with cut_off(two.one, monkeypatch):
        await two.ended("succeeded")
        late.set()
    await two.first_has_returned()

    assert two.events == ["one provision", "other provision"]
    assert len(two.things) == 1


async def test_a_roll_back_is_taken_over_as_a_roll_back(two, monkeypatch):
    """Else the other one would make what the first is about to remove."""
    late = two.first.hold("deprovision")
    two.first.failing.add("provision")
    await two.one.put(plan=ASYNC, flag=True)
    await two.begun("one deprovision")

    with cut_off(two.one, monkeypatch):
        await two.ended("failed")
        late.set()
    await two.first_has_returned()

    assert two.events == ["one provision", "one deprovision", "other deprovision"]
    assert (await two.other.row()).ended_at is not None


async def test_what_comes_late_into_anothers_roll_back_is_swept(two, monkeypatch):
    """The other one has removed it already, and has not yet said so."""
    late = two.first.hold("provision")
    two.second.failing.add("provision")
    removed = two.second.hold_after("deprovision")
    await two.one.put(plan=ASYNC, flag=True)
    await two.begun("one provision")

    with cut_off(two.one, monkeypatch):
        await two.begun("other deprovision")
        late.set()
        await until(lambda: two.things)
    await two.first_has_returned()
    removed.set()
    await two.ended("failed")

    await until(lambda: not two.things)
    assert "sweep" in await two.other.kinds()


async def test_a_late_update_does_not_outlive_the_next_one(two, monkeypatch):
    """What is stored is brought back; nothing else tells whose call came last."""
    await two.one.put(plan=ASYNC, flag=True)
    await two.ended("succeeded")
    late = two.first.hold("update")
    await two.one.patch(parameters={"size": 1}, flag=True)
    await two.begun("one update")

    with cut_off(two.one, monkeypatch):
        await two.ended("succeeded")
        await two.other.patch(parameters={"size": 2}, flag=True)
        await two.ended("succeeded")
        late.set()
        await until(lambda: two.things and [*two.things.values()] == [{"size": 1}])

    await until(lambda: [*two.things.values()] == [{"size": 2}])
    await two.first_has_returned()
    kinds = await two.other.kinds()
    assert kinds == ["provision", "update", "update", "cleanup"]


async def test_a_halted_call_that_was_taken_for_gone_is_swept_when_it_returns(
    two, monkeypatch
):
    """Its process stood still for longer than anybody waits for one."""
    late = two.first.hold("provision")
    await two.one.put(plan=ASYNC, flag=True)
    await two.begun("one provision")

    with cut_off(two.one, monkeypatch):
        await two.other.delete(plan_id=ASYNC, flag=True)
        await two.ended("succeeded")
        monkeypatch.setattr(leases, "FORSAKEN", 0.0)
        await two.other.running.house.store.write(settle_forsaken)
        await until(lambda: two.events.count("other deprovision") == 2)
        late.set()
        await until(lambda: two.things)

    await until(lambda: not two.things)
    kinds = await two.other.kinds()
    assert kinds == ["provision", "deprovision", "sweep", "sweep"]


async def test_a_call_halted_after_it_was_anothers_is_swept_when_it_returns(
    two, monkeypatch
):
    late = two.first.hold("provision")
    taken_over = two.second.hold("provision")
    await two.one.put(plan=ASYNC, flag=True)
    await two.begun("one provision")

    with cut_off(two.one, monkeypatch):
        await two.begun("other provision")
        deleted = await two.other.delete(plan_id=ASYNC, flag=True)
        taken_over.set()
        assert deleted.status_code == 202
        await two.ended("succeeded")
        assert not two.things
        late.set()
        await until(lambda: two.things)

    await until(lambda: not two.things)


async def test_a_late_update_of_what_is_being_deleted_is_left_to_the_deletion(
    two, monkeypatch
):
    """There will be nothing to set back: it would be tried for ever."""
    await two.one.put(plan=ASYNC, flag=True)
    await two.ended("succeeded")
    late = two.first.hold("update")
    removing = two.second.hold("deprovision")
    await two.one.patch(parameters={"size": 1}, flag=True)
    await two.begun("one update")

    with cut_off(two.one, monkeypatch):
        await two.ended("succeeded")
        await two.other.delete(plan_id=ASYNC, flag=True)
        await two.begun("other deprovision")
        late.set()
    await two.first_has_returned()
    removing.set()
    await two.ended("succeeded")

    assert await two.other.kinds() == ["provision", "update", "deprovision"]
    assert not two.things
