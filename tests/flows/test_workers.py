"""Serving processes that do no work, and workers that do nothing else.

All run in this process, each with a store and an engine of its own, on one database
server: on PostgreSQL the distributed engine, on MariaDB workers that look around.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from osbkit import Bound, Broker, ServiceBackend
from osbkit.domain import OperationState, ResourceState
from osbkit.errors import SettingsInvalid, Unavailable
from osbkit.lifecycle import housekeeping
from osbkit.lifecycle.housekeeping import Housekeeping
from osbkit.operations import leases
from osbkit.operations.engines import Engine
from osbkit.settings import Settings
from osbkit.store import leadership, migrate, operations
from osbkit.store.address import server_of
from osbkit.store.rows import now
from osbkit.store.tables import bindings as bindings_table
from osbkit.store.tables import meta
from osbkit.store.tables import operations as operations_table
from tests import servers
from tests.flows.serving import (
    ASYNC,
    PATIENCE,
    SYNC,
    Served,
    a_catalog,
    serving,
    soon,
    until,
)
from tests.store.records import an_operation

KEYS = SecretStr("test:" + base64.b64encode(bytes(32)).decode())
JOBS = sa.text("SELECT args->>'operation_id' FROM procrastinate_jobs")


@dataclass
class Cloud:
    """What exists, and what was called where."""

    things: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    expires: timedelta | None = None


class Backend(ServiceBackend):
    """Of one process; a provision waits until the cloud lets it go on."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.cloud = cloud
        self.name = name

    async def provision(self, request: Any, run: Any) -> None:
        self.cloud.calls.append(f"{self.name} provision")
        self.cloud.things.add(request.name)
        await run.step("counted", self._count)
        self.cloud.inside.append(self.name)
        await self.cloud.opened.wait()

    async def _count(self) -> int:
        self.cloud.steps.append(self.name)
        return len(self.cloud.steps)

    async def deprovision(self, request: Any, run: Any) -> None:
        self.cloud.calls.append(f"{self.name} deprovision")
        self.cloud.things.discard(request.name)

    async def update(self, request: Any, run: Any) -> None:
        self.cloud.calls.append(f"{self.name} update")

    async def bind(self, request: Any, run: Any) -> Bound:
        self.cloud.things.add(request.name)
        ends = self.cloud.expires
        moment = None if ends is None else datetime.now(UTC) + ends
        return Bound(credentials={"user": request.name}, expires_at=moment)

    async def unbind(self, request: Any, run: Any) -> None:
        self.cloud.calls.append(f"{self.name} unbind")
        self.cloud.things.discard(request.name)


@dataclass
class Place:
    """A database, and the processes on it."""

    url: str
    folder: Path
    cloud: Cloud
    stack: AsyncExitStack

    def settings(self, **more: Any) -> dict[str, Any]:
        """Of every process."""
        given = {"database_url": SecretStr(self.url), "encryption_keys": KEYS}
        return given | more

    async def server(self, **more: Any) -> Served:
        """A process that serves, and works only if it is told to."""
        given = self.settings(worker="none", **more)
        backends = {"queue": Backend(self.cloud, "server")}
        return await self.stack.enter_async_context(
            serving(self.folder, backends, a_catalog(), **given)
        )

    @asynccontextmanager
    async def worker(self, name: str = "worker", **more: Any) -> AsyncIterator[Engine]:
        """A process that works."""
        settings = Settings(auth="disabled", log_level="ERROR", **self.settings(**more))
        backends = {"queue": Backend(self.cloud, name)}
        broker = Broker(catalog=a_catalog(), backends=backends, settings=settings)
        async with broker.working() as engine:
            yield engine

    def jobs(self) -> list[str]:
        """The operations that have a job."""
        if not self.url.startswith("postgresql"):
            return []
        server = server_of(self.url)
        assert server is not None
        return [str(row[0]) for row in server.run(lambda db: db.execute(JOBS).all())]

    async def no_jobs(self) -> None:
        """Return when every job is done."""
        async with asyncio.timeout(PATIENCE):
            while await asyncio.to_thread(self.jobs):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def place_on(kind: str, folder: Path, stack: AsyncExitStack) -> Place:
    url = await asyncio.to_thread(servers.fresh, kind)
    await asyncio.to_thread(migrate.upgrade, url)
    cloud = Cloud()
    stack.callback(cloud.opened.set)
    return Place(url, folder, cloud, stack)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds does not depend on how short the spans are."""
    for name, value in {"RENEW": 0.5, "WATCH": 0.1, "OVERDUE": 0.2}.items():
        monkeypatch.setattr(leases, name, value)


@pytest.fixture(params=servers.KINDS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield await place_on(request.param, tmp_path, stack)


@pytest.fixture
async def queued(tmp_path: Path) -> AsyncIterator[Place]:
    """On PostgreSQL, where there are jobs."""
    async with AsyncExitStack() as stack:
        yield await place_on("postgresql", tmp_path, stack)


async def ended(
    served: Served, state: str = "succeeded", instance: str = "i-1"
) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await served.poll(instance)).json().get("state") != state:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def ready_of(served: Served) -> httpx.Response:
    return await served.http.get("/health/ready")


# --- who works ------------------------------------------------------------------------


async def test_what_one_process_records_another_one_does(place: Place) -> None:
    place.cloud.opened.set()
    served = await place.server()
    async with place.worker():
        made = await soon(served.put(plan=SYNC))
        begun = await soon(served.put("i-2", plan=ASYNC, flag=True))
        await ended(served, instance="i-2")
        bound = await soon(served.bind(plan=SYNC))
        gone = await soon(served.delete(flag=True))
        await ended(served)
        await place.no_jobs()

    assert (made.status_code, begun.status_code) == (201, 202)
    assert bound.json()["credentials"]["user"].startswith("osb-")
    assert gone.status_code in {200, 202}
    assert set(place.cloud.calls) == {
        "worker provision",
        "worker unbind",
        "worker deprovision",
    }
    assert len(place.cloud.things) == 1


async def test_nothing_is_done_before_a_worker_is_there(place: Place) -> None:
    place.cloud.opened.set()
    served = await place.server()

    await served.put(plan=ASYNC, flag=True)

    assert served.engine.running == 0
    assert (await served.poll()).json()["state"] == "in progress"
    async with place.worker():
        await ended(served)
    assert place.cloud.calls == ["worker provision"]


async def test_a_process_that_serves_and_works_does_its_own(place: Place) -> None:
    place.cloud.opened.set()
    served = await place.stack.enter_async_context(
        serving(
            place.folder,
            {"queue": Backend(place.cloud, "server")},
            a_catalog(),
            **place.settings(),
        )
    )

    assert (await served.put(plan=SYNC)).status_code == 201
    assert await asyncio.to_thread(place.jobs) == []
    assert place.cloud.calls == ["server provision"]


async def test_two_workers_never_do_the_same(place: Place) -> None:
    place.cloud.opened.set()
    served = await place.server()
    async with place.worker("one"), place.worker("two"):
        names = [f"i-{number}" for number in range(20)]
        await asyncio.gather(*(served.put(i, plan=ASYNC, flag=True) for i in names))
        for name in names:
            await ended(served, instance=name)

    assert len(place.cloud.calls) == 20 == len(place.cloud.things)


# --- the job and its row --------------------------------------------------------------


async def test_a_row_that_is_rolled_back_leaves_no_job(queued: Place) -> None:
    served = await queued.server()

    def unit(db: sa.Connection) -> None:
        operations.add(db, an_operation(run_at=now()))
        assert db.execute(JOBS).all() == [("op-1",)]
        raise ValueError("something is wrong")

    with pytest.raises(ValueError, match="something"):
        await served.running.house.store.write(unit)

    assert await asyncio.to_thread(queued.jobs) == []
    assert await served.operations() == []


async def test_a_row_that_nobody_holds_has_its_job(queued: Place) -> None:
    served = await queued.server()

    token = (await served.put(plan=ASYNC, flag=True)).json()["operation"]

    assert await asyncio.to_thread(queued.jobs) == [token]


async def test_a_job_that_was_lost_is_not_missed(queued: Place) -> None:
    queued.cloud.opened.set()
    served = await queued.server()
    await served.put(plan=ASYNC, flag=True)
    await served.running.house.store.write(
        lambda db: db.execute(sa.text("DELETE FROM procrastinate_jobs")).rowcount
    )

    async with queued.worker():
        await ended(served)


async def test_a_job_too_many_does_nothing(queued: Place) -> None:
    from osbkit.store import jobs

    queued.cloud.opened.set()
    served = await queued.server()
    token = (await served.put(plan=ASYNC, flag=True)).json()["operation"]
    for _ in range(3):
        await served.running.house.store.write(
            partial(jobs.enqueue, operation_id=token, run_at=None)
        )

    async with queued.worker("one"), queued.worker("two"):
        await ended(served)
        await queued.no_jobs()

    assert len(queued.cloud.calls) == 1


async def test_jobs_of_killed_workers_are_deleted(queued: Place) -> None:
    from osbkit.store import jobs

    queued.cloud.opened.set()
    served = await queued.server()
    async with queued.worker():
        await soon(served.put(plan=SYNC))
        await queued.no_jobs()
    (over,) = [one.id for one in await served.operations()]
    waiting = (await served.put("i-2", plan=ASYNC, flag=True)).json()["operation"]
    store = served.running.house.store
    await store.write(partial(jobs.enqueue, operation_id=over, run_at=None))

    await Housekeeping(served.running.house).tidy_jobs()

    assert await asyncio.to_thread(queued.jobs) == [waiting]


# --- a worker that leaves, is cancelled, or hangs -------------------------------------


async def test_what_a_leaving_worker_has_begun_another_one_finishes(
    place: Place,
) -> None:
    """Its steps are kept, and it goes on at once: nobody waits for a lease."""
    served = await place.server()
    async with place.worker("first"):
        token = (await served.put(plan=ASYNC, flag=True)).json()["operation"]
        await until(lambda: place.cloud.inside)
    place.cloud.opened.set()
    async with place.worker("second"):
        await ended(served)

    assert place.cloud.calls == ["first provision", "second provision"]
    assert place.cloud.steps == ["first"]
    (only,) = await served.operations()
    assert (only.id, only.state) == (token, OperationState.SUCCEEDED)


async def test_a_delete_reaches_the_call_of_a_worker(place: Place) -> None:
    served = await place.server()
    async with place.worker():
        first = (await served.put(plan=ASYNC, flag=True)).json()["operation"]
        await until(lambda: place.cloud.inside)
        await served.delete(flag=True)
        await ended(served)

    assert place.cloud.things == set()
    assert (await served.poll(operation=first)).json()["state"] == "failed"
    assert place.cloud.calls == ["worker provision", "worker deprovision"]


async def test_what_a_request_has_given_up_is_rolled_back_by_the_worker(
    place: Place,
) -> None:
    served = await place.server()
    served.allow(sync_budget_required=0.3)
    async with place.worker():
        answer = await soon(served.put(plan=SYNC))

    assert answer.status_code == 503
    assert place.cloud.things == set()
    assert (await served.row()).state is ResourceState.FAILED


async def test_a_worker_that_stands_still_is_taken_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hears of nothing for longer than its lease."""
    monkeypatch.setattr(leases, "LEASE", 3.0)
    monkeypatch.setattr(leases, "MARGIN", 1.0)
    served = await place.server()
    async with place.worker("still") as still:
        await served.put(plan=ASYNC, flag=True)
        await until(lambda: place.cloud.inside)

        async def away(*_: Any, **__: Any) -> Any:
            raise Unavailable("cut off")

        with monkeypatch.context() as cut:
            cut.setattr(still._store, "write", away)
            cut.setattr(still._store, "read", away)
            async with place.worker("awake"):
                await until(lambda: "awake provision" in place.cloud.calls)
                place.cloud.opened.set()
                await ended(served)

    assert place.cloud.steps == ["still"]
    assert len(place.cloud.things) == 1


# --- readiness, and settings that cannot be -------------------------------------------


async def test_readiness_says_that_nobody_works(place: Place) -> None:
    served = await place.server()
    await served.put(plan=ASYNC, flag=True)

    assert "warnings" not in (await ready_of(served)).json()
    long_ago = now() - 31_000_000
    await served.set(operations_table, sa.true(), run_at=long_ago)
    ready = await ready_of(served)

    assert ready.status_code == 200
    (warning,) = ready.json()["warnings"]
    assert warning.startswith("1 operations have been due for 30 seconds")
    assert "osbkit worker" in warning


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"worker": "none"}, "belongs to the one process", id="none"),
        pytest.param({"engine": "distributed"}, "needs PostgreSQL", id="engine"),
    ],
)
async def test_a_file_is_worked_on_by_the_process_that_serves(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        async with serving(tmp_path, {"queue": Backend(Cloud(), "one")}, **settings):
            raise AssertionError("it started")


async def test_a_worker_on_a_file_is_refused(tmp_path: Path) -> None:
    url = SecretStr(f"sqlite:///{tmp_path / 'osbkit.db'}")
    broker = Broker(
        catalog=a_catalog(),
        backends={"queue": Backend(Cloud(), "one")},
        settings=Settings(auth="disabled", database_url=url),
    )
    with pytest.raises(SettingsInvalid, match="needs a database server"):
        async with broker.working():
            raise AssertionError("it started")


# --- housekeeping --------------------------------------------------------------------


async def test_one_process_does_the_housekeeping(place: Place) -> None:
    served = await place.server()
    store = served.running.house.store
    later = now() + 10_000_000

    def take(owner: str, until_: int = later) -> Any:
        return store.write(partial(leadership.take, owner=owner, until=until_))

    assert await take("a")
    assert not await take("b")
    assert await take("a")
    await store.write(partial(leadership.leave, owner="b"))
    assert not await take("b")
    await store.write(partial(leadership.leave, owner="a"))
    assert await take("b", now() - 1)
    assert await take("a")  # its term is over


async def test_the_term_of_the_housekeeper_ends_with_its_process(place: Place) -> None:
    served = await place.server()
    async with place.worker() as engine:
        await until(lambda: True)
        holder = sa.select(meta.c.value).where(meta.c.name == leadership.NAME)

        async def held() -> str | None:
            return await served.read(lambda db: db.execute(holder).scalar())

        async with asyncio.timeout(PATIENCE):
            while await held() is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert str(await held()).endswith(engine.owner)
    assert await held() is None


async def test_a_binding_whose_time_is_over_is_removed(place: Place) -> None:
    """Rows: BFETCH. As if its platform had asked for it; DELETE says 410."""
    place.cloud.opened.set()
    place.cloud.expires = timedelta(hours=1)
    served = await place.server()
    async with place.worker():
        await soon(served.put(plan=SYNC))
        await soon(served.bind(plan=SYNC))
        assert len(place.cloud.things) == 2
        chores = Housekeeping(served.running.house)
        await chores.expire()
        assert len(place.cloud.things) == 2  # not yet
        await served.set(bindings_table, sa.true(), expires_at=now() - 1)
        await soon(chores.expire())
        async with asyncio.timeout(PATIENCE):
            while len(place.cloud.things) == 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await until_gone(served)

    assert (await served.unbind()).status_code == 410
    assert place.cloud.calls.count("worker unbind") == 1


async def until_gone(served: Served) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await served.binding_row()).state is not ResourceState.GONE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_what_could_not_be_removed_is_tried_again_a_minute_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.cloud.opened.set()
    served = await place.server()
    async with place.worker():
        await soon(served.put(plan=SYNC))
        await soon(served.bind(plan=SYNC))
        await served.set(bindings_table, sa.true(), expires_at=now() - 1)
        tried = operations_table.c.kind == "bind"
        await served.set(operations_table, tried, kind="unbind", state="failed")
        chores = Housekeeping(served.running.house)
        await chores.expire()
        assert (await served.binding_row()).state is ResourceState.READY

        monkeypatch.setattr(housekeeping, "RETRY", -1.0)
        await soon(chores.expire())
        await until_gone(served)
