"""Two replicas on one database server: an operation runs on one of them.

Both run in this process, each with a store, an engine and an owner's name of its
own. Leases are short here; what must hold does not depend on how short.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from osbkit import ServiceBackend
from osbkit.domain import OperationState
from osbkit.errors import Unavailable
from osbkit.operations import halting, leases
from osbkit.store import migrate
from tests import servers
from tests.flows.serving import (
    ASYNC,
    PATIENCE,
    SYNC,
    Served,
    a_catalog,
    serving,
    soon,
    states,
    until,
)

KEYS = SecretStr("test:" + base64.b64encode(bytes(32)).decode())


class Ledger:
    """What exists, who is at it, and in which order."""

    def __init__(self) -> None:
        self.things: set[str] = set()
        self.events: list[str] = []
        self.at_once = 0
        self.most = 0
        self.opened = asyncio.Event()


class Careful(ServiceBackend):
    """One replica's backend; a provision waits until the ledger lets it go on.

    Attributes:
        deaf: a provision is not ended by a cancellation.
    """

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.ledger = ledger
        self.name = name
        self.deaf = False
        self.opened = ledger.opened
        self.calls = 0

    async def provision(self, request: Any, run: Any) -> None:
        self.calls += 1
        with self._at("provision"):
            while not self.opened.is_set():
                try:
                    await self.opened.wait()
                except asyncio.CancelledError:
                    if not self.deaf:
                        raise
            self.ledger.things.add(request.name)

    async def deprovision(self, request: Any, run: Any) -> None:
        with self._at("deprovision"):
            self.ledger.things.discard(request.name)

    async def update(self, request: Any, run: Any) -> None:
        pass

    async def bind(self, request: Any, run: Any) -> Any:
        raise NotImplementedError

    async def unbind(self, request: Any, run: Any) -> None:
        pass

    @contextlib.contextmanager
    def _at(self, verb: str) -> Any:
        ledger = self.ledger
        ledger.at_once += 1
        ledger.most = max(ledger.most, ledger.at_once)
        ledger.events.append(f"{self.name} {verb}")
        try:
            yield
        finally:
            ledger.at_once -= 1
            ledger.events.append(f"{self.name} {verb} over")


class Pair:
    """Two replicas, `one` and `other`, and what they work on."""

    def __init__(self, ledger: Ledger, served: list[Served], backends: Any) -> None:
        self.ledger = ledger
        self.one, self.other = served
        self.first, self.second = backends

    async def in_provision(self, backend: Careful) -> None:
        await until(lambda: backend.calls)

    async def ended(self, served: Served, state: str = "succeeded") -> None:
        async with asyncio.timeout(PATIENCE):
            while (await served.poll()).json()["state"] != state:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@pytest.fixture(params=servers.KINDS)
async def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pair]:
    """Two replicas on a new database, with short leases."""
    for name, value in {
        "LEASE": 3.0,
        "MARGIN": 1.0,
        "RENEW": 0.5,
        "WATCH": 0.1,
    }.items():
        monkeypatch.setattr(leases, name, value)
    monkeypatch.setattr(halting, "GRACE", 200_000)
    url = await asyncio.to_thread(servers.fresh, request.param)
    await asyncio.to_thread(migrate.upgrade, url)
    ledger = Ledger()
    backends = [Careful(ledger, "one"), Careful(ledger, "other")]
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
        yield Pair(ledger, served, backends)
        ledger.opened.set()


@contextlib.contextmanager
def cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A replica that does not reach the database."""

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("cut off")

    store = served.running.house.store
    with monkeypatch.context() as patched:
        patched.setattr(store, "write", away)
        patched.setattr(store, "read", away)
        yield


async def test_request_waits_for_an_operation_that_another_replica_runs(pair):
    """CONC-01: one operation, whichever replica is asked."""
    mine = asyncio.ensure_future(pair.one.put(plan=SYNC))
    await pair.in_provision(pair.first)
    same = asyncio.ensure_future(pair.other.put(plan=SYNC))
    await asyncio.sleep(0)
    assert not same.done()

    pair.ledger.opened.set()

    assert (await soon(mine)).status_code == 201
    assert (await soon(same)).status_code == 200
    assert pair.second.calls == 0
    assert await pair.one.kinds() == ["provision"]


async def test_fifty_requests_to_both_replicas_make_one_operation(pair):
    asked = [
        asyncio.ensure_future((pair.one, pair.other)[n % 2].put(plan=ASYNC, flag=True))
        for n in range(50)
    ]
    answers = await asyncio.gather(*asked)

    assert {one.status_code for one in answers} == {202}
    assert len({one.json()["operation"] for one in answers}) == 1
    pair.ledger.opened.set()
    await pair.ended(pair.one)
    assert (pair.first.calls, pair.second.calls) in {(1, 0), (0, 1)}


async def test_delete_reaches_a_call_on_another_replica_and_waits_for_it(pair):
    await pair.one.put(plan=ASYNC, flag=True)
    await pair.in_provision(pair.first)

    answer = await pair.other.delete(plan_id=ASYNC, flag=True)

    assert answer.status_code == 202
    await pair.ended(pair.other)
    assert pair.ledger.events == [
        "one provision",
        "one provision over",
        "other deprovision",
        "other deprovision over",
    ]
    assert states(await pair.one.operations()) == [
        ("provision", "failed"),
        ("deprovision", "succeeded"),
    ]


async def test_operation_of_a_replica_that_stops_goes_on_elsewhere(pair):
    put = await pair.one.put(plan=ASYNC, flag=True)
    await pair.in_provision(pair.first)

    await pair.one.running.house.engine.close()
    await pair.in_provision(pair.second)
    pair.ledger.opened.set()
    await pair.ended(pair.other)

    assert pair.ledger.most == 1
    (operation,) = await pair.other.operations()
    assert operation.id == put.json()["operation"]
    assert (operation.attempt, operation.claims) == (2, 1)


async def test_replica_that_loses_the_database_stops_before_another_begins(
    pair, monkeypatch
):
    """No call of a backend runs twice at a time, and the result is one."""
    await pair.one.put(plan=ASYNC, flag=True)
    await pair.in_provision(pair.first)

    with cut_off(pair.one, monkeypatch):
        await pair.in_provision(pair.second)
        pair.ledger.opened.set()
        await pair.ended(pair.other)

    assert pair.ledger.most == 1
    assert pair.first.calls == pair.second.calls == 1
    assert states(await pair.other.operations()) == [("provision", "succeeded")]


async def test_late_effect_of_a_lost_call_is_swept(pair, monkeypatch):
    """Taken over, ended and deleted elsewhere; then the first call returns."""
    pair.first.deaf = True
    pair.first.opened = late = asyncio.Event()
    await pair.one.put(plan=ASYNC, flag=True)
    await pair.in_provision(pair.first)
    with cut_off(pair.one, monkeypatch):
        pair.ledger.opened.set()
        await pair.ended(pair.other)
        await pair.other.delete(plan_id=ASYNC, flag=True)
        await pair.ended(pair.other)
        assert pair.ledger.things == set()
        late.set()
        await until(lambda: pair.ledger.things)

    await until(lambda: not pair.ledger.things)
    await until(lambda: not pair.ledger.at_once)
    kinds = await pair.other.kinds()
    assert kinds == ["provision", "deprovision", "sweep"]


async def test_operation_whose_commit_nobody_knew_of_is_run(pair, monkeypatch):
    """The request gets 503; what was recorded all the same is not left lying, though
    its holder lives and renews its leases."""
    real = sa.Connection.commit

    def commit(connection: Any) -> None:
        real(connection)
        raise ConnectionResetError("the cable was pulled")

    await pair.one.put("i-0", plan=ASYNC, flag=True)
    await pair.in_provision(pair.first)
    with monkeypatch.context() as patched:
        patched.setattr(sa.Connection, "commit", commit)
        put = await pair.one.put(plan=ASYNC, flag=True)

    assert put.status_code == 503
    await until(lambda: pair.first.calls == 2)
    pair.ledger.opened.set()
    await pair.ended(pair.one)
    (operation,) = await pair.one.operations()
    assert (operation.state, operation.claims) == (OperationState.SUCCEEDED, 1)
    assert pair.second.calls == 0


async def test_operation_is_due_on_one_replica_only(pair):
    """What neither runs is claimed by one, however often both look."""
    put = await pair.one.put(plan=ASYNC, flag=True)
    await pair.in_provision(pair.first)
    await pair.one.running.house.engine.close()
    await pair.in_provision(pair.second)
    before = pair.second.calls
    engine = pair.other.running.house.engine

    await asyncio.gather(*(engine._look_around() for _ in range(20)))
    pair.ledger.opened.set()
    await pair.ended(pair.other)

    assert pair.second.calls == before
    assert put.status_code == 202
