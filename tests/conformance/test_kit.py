"""The kit against osbkit: every check, on the queue broker and the conformance broker.

    broker        catalog                                   stores
    conformance   every feature that the kit knows of       STORES
    queue         examples/queue_broker: a real service     sqlite, postgresql

Nothing fails, a MUST as little as a SHOULD, and nothing is skipped but for a reason
that `SKIPPED` holds, with the cause for which the catalog cannot offer it.

Slow calls do not look at a clock: they end when they have been polled twice, or as
soon as a request waits for them.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import yaml
from pydantic import SecretStr

from examples.queue_broker import settings as queue_settings
from examples.queue_broker.backend import MOUNTED_AT, EmbeddedQueueBackend
from examples.queue_broker.messages import MessagesApp
from examples.queue_broker.queue_store import QueueStore
from examples.queue_broker.settings import QueueBrokerSettings
from osbkit import Broker, Catalog, Run
from osbkit.backends.contract import Request
from osbkit.conformance.polling import Tempo
from osbkit.conformance.registry import all_checks
from osbkit.conformance.requirements import Level
from osbkit.conformance.results import Outcome, Report
from osbkit.conformance.runner import run
from osbkit.conformance.sending import Connection, Credentials
from osbkit.conformance.session import Choices, Session
from osbkit.domain import Operation
from osbkit.settings import Settings
from osbkit.store import migrate
from osbkit.store.sealing import new_key
from tests import servers
from tests.conformance import broker as conformance

URL = "https://broker.example"  # in process: nothing is encrypted, the URL says so
USER, PASSWORD = "kit", "a password for tests"
KEYS = SecretStr(f"test:{new_key()}")
QUICK = Tempo(first=0.005, longest=0.05, patience=60.0)
BAD = [each for each in Outcome if each.bad]
POLLS = 2  # of a slow call, before it ends
PATIENT = 30.0  # seconds that only a request without accepts_incomplete waits
CATALOG = Path(queue_settings.__file__).with_name("catalog.yaml")
INSTANCE = re.compile(rb"/v2/service_instances/([^/?]+)")


class Pace(httpx.ASGITransport):
    """A broker in process whose slow calls wait for platforms, not for time."""

    def __init__(self) -> None:
        super().__init__(app=self._none)
        self._polls: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._news = asyncio.Condition()

    @staticmethod
    async def _none(*_: Any) -> None:
        raise AssertionError("no broker is served yet")

    async def wait(self, request: Request, polls: int = POLLS) -> None:
        """Let a call go on when it was polled, or a request waits for its end."""
        instance = request.instance_id
        enough = self._polls[instance] + polls
        async with self._news:
            await self._news.wait_for(
                lambda: self._polls[instance] >= enough or self._waiting[instance] > 0
            )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask the broker, and tell the calls of polls."""
        found = INSTANCE.search(request.url.raw_path)
        instance = unquote(found[1].decode("latin-1")) if found else ""
        polls = b"last_operation" in request.url.raw_path
        try:
            return await super().handle_async_request(request)
        finally:
            await self._tell(self._polls, instance, int(polls))

    def listen(self, engine: Any) -> None:
        """Tell the calls of requests that wait for their end.

        One that may be answered 202 waits for its budget only: it does not count.
        """
        wait = engine.wait

        async def waits(operation: Operation, seconds: float) -> Operation:
            patient = int(seconds >= PATIENT)
            await self._tell(self._waiting, operation.instance_id, patient)
            try:
                ended: Operation = await wait(operation, seconds)
                return ended
            finally:
                await self._tell(self._waiting, operation.instance_id, -patient)

        engine.wait = waits

    async def _tell(self, counter: Counter[str], instance: str, more: int) -> None:
        if more:
            async with self._news:
                counter[instance] += more
                self._news.notify_all()


# --- brokers and stores -------------------------------------------------------------

Serving = Callable[[Settings, Pace, Path], Broker]


def conformance_broker(settings: Settings, pace: Pace, folder: Path) -> Broker:
    """Every feature."""
    return conformance.make(settings, services=conformance.backends(wait=pace.wait))


def queue_broker(settings: Settings, pace: Pace, folder: Path) -> Broker:
    """The example with its own catalog; its slow plan waits for platforms."""
    current: ContextVar[Request] = ContextVar("current")
    catalog = yaml.safe_load(CATALOG.read_text())
    for plan in catalog["services"][0]["plans"]:
        if plan["name"] == "slow":  # 202 at once: nothing ends before it is polled
            plan["x-osbkit"]["sync_budget"] = 0.001
    store = QueueStore()

    async def step(seconds: float) -> None:
        await pace.wait(current.get(), polls=1)

    backend: Any = EmbeddedQueueBackend(
        store,
        settings=lambda: QueueBrokerSettings(directory=folder / "queues"),
        sleep=step,
    )
    for verb in conformance.VERBS:
        setattr(backend, verb, _noting(current, getattr(backend, verb)))
    return Broker(
        catalog=Catalog.from_dict(catalog),
        backends={"osbkit-queue": backend},
        mounts={MOUNTED_AT: MessagesApp(store)},
        settings=settings,
    )


def _noting(current: ContextVar[Request], verb: Any) -> Any:
    """A verb that says what it is about to the steps it takes."""

    async def call(request: Request, run: Run) -> Any:
        current.set(request)
        return await verb(request, run)

    return call


Store = Callable[[Path], AbstractAsyncContextManager[str]]


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[str]:
    """A file of its own."""
    yield f"sqlite:///{folder / 'osbkit.db'}"


def server(kind: str) -> Store:
    """A database of its own on a server of the run."""

    @asynccontextmanager
    async def store(folder: Path) -> AsyncIterator[str]:
        url = await asyncio.to_thread(servers.fresh, kind)
        await asyncio.to_thread(migrate.upgrade, url)
        yield url

    return store


STORES: Mapping[str, Store] = {
    "sqlite": sqlite,
    "postgresql": server("postgresql"),
    "mariadb": server("mariadb"),
    "distributed": server("postgresql"),
}
BROKERS: Mapping[str, Serving] = {
    "conformance": conformance_broker,
    "queue": queue_broker,
}

SERVED = [
    *(("conformance", store) for store in STORES),
    *(("queue", store) for store in ("sqlite", "postgresql", "distributed")),
]
"""What a broker is served on; the queue broker has no database of its own kind."""


async def examined(
    serve: Serving,
    store: Store,
    folder: Path,
    *,
    version: str = "2.17",
    distributed: bool = False,
) -> Report:
    """Everything that the kit finds of a broker.

    Args:
        distributed: it only serves, and a worker runs the operations.
    """
    pace = Pace()
    async with store(folder) as url:
        settings = Settings(
            database_url=SecretStr(url),
            basic_user=USER,
            basic_password=SecretStr(PASSWORD),
            encryption_keys=KEYS,
            log_level="ERROR",
            worker="none" if distributed else "inline",
        )
        broker = serve(settings, pace, folder)
        worker = serve(settings, pace, folder)
        pace.app = broker.app
        connection = Connection(
            URL,
            Credentials(user=USER, password=PASSWORD),
            version=version,
            transport=pace,
        )
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(broker.lifespan())
            if distributed:
                await stack.enter_async_context(worker.working())
            running = broker.running
            assert running is not None
            pace.listen(running.house.engine)
            session = Session(connection, choices=Choices(), tempo=QUICK)
            try:
                return await run(session, all_checks())
            finally:
                await connection.close()


# --- what may be skipped ------------------------------------------------------------

SKIPPED: Mapping[str, Mapping[str, str]] = {
    "conformance": {},
    "queue": {
        r"dashboard": "It has no dashboard.",
        r"shareable": "It does not say whether its queues can be shared.",
        r"requires|route_service|mounts|devices": "It needs no permission.",
        r"allow_context_updates": "It has no use for a context.",
        r"without maintenance_info": "Every plan has a maintenance version.",
        r"different maintenance versions": "Every plan has the same version.",
        r"bindable: false": "Every plan can be bound.",
        r"plan_updateable": "Every plan can be left for another.",
        r"beside another offering|second offering": "It has one offering.",
        r"without instances_retrievable": "Every instance can be fetched.",
        r"Every change of plan": "Its plans are of one kind: what fits can be changed.",
        r"begins and then fails|failed_": "Nothing that it begins fails.",
        r"(un)?binds asynchronously only": "Bindings can always be had at once.",
        r"with 202 .* deprovisions within": "A slow plan is slow in both.",
        r"changed for another with 202": "That takes two plans that are slow.",
        r"expire|renew": "Its credentials are good until they are revoked.",
        r"without binding_rotatable": "Every binding can be followed by another.",
        r"need an app": "It needs no application to bind.",
    },
}
"""Broker → part of what a skipped check is called and says → why the catalog cannot
offer what the check needs."""


def told(report: Report, *outcomes: Outcome) -> list[str]:
    """The checks of a run that ended so, with what they said."""
    return [
        f"{each.check.name}: {each.said}"
        for each in report.results
        if each.outcome in outcomes
    ]


@pytest.mark.parametrize(("name", "store"), SERVED)
async def test_the_kit_fails_nothing_and_skips_only_what_is_not_offered(
    name: str, store: str, tmp_path: Path
) -> None:
    apart = store == "distributed"
    report = await examined(BROKERS[name], STORES[store], tmp_path, distributed=apart)

    assert report.unread == ""
    assert told(report, *BAD) == []
    assert report.left == ()
    skipped = told(report, Outcome.SKIPPED)
    assert [each for each in skipped if not _reasons(name, each)] == []
    used = {reason for each in skipped for reason in _reasons(name, each)}
    assert SKIPPED[name].keys() - used == set()  # what is offered by now
    assert report.of_level(Level.MUST, Outcome.PASSED)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["2.13", "2.14", "2.15", "2.16"])
@pytest.mark.parametrize("name", BROKERS)
async def test_the_kit_fails_nothing_when_it_asks_as_an_older_platform(
    name: str, version: str, tmp_path: Path
) -> None:
    report = await examined(BROKERS[name], sqlite, tmp_path, version=version)

    assert told(report, *BAD) == []
    assert report.left == ()


def _reasons(name: str, skipped: str) -> list[str]:
    return [each for each in SKIPPED[name] if re.search(each, skipped)]
