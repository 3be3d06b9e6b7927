"""A serving process of the new version that is started before its schema is there.

On a database server it waits for `osbkit db upgrade`, not ready and alive, and then
serves by itself. Versions to come are made up (`tests.migrations.made_up`).
"""

import asyncio
import base64
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from osbkit import broker as module
from osbkit.backends.scripted import ScriptedBackend
from osbkit.errors import DatabaseUnusable, SettingsInvalid
from osbkit.store import migrate, upgraded
from osbkit.store.address import Server
from tests import servers
from tests.flows.crash.server import until as wait_until
from tests.flows.serving import SYNC, Served, body_of, is_error, serving, soon, until
from tests.migrations.made_up import NEWER, Log, future
from tests.migrations.versions import TODAY, Version

KEYS = SecretStr("test:" + base64.b64encode(bytes(32)).decode())
kinds = pytest.mark.parametrize("kind", servers.KINDS)


class Looks:
    """Counts the looks at the schema, and lets one be made to fail."""

    def __init__(self) -> None:
        self.made = 0
        self.away = False
        self._look = upgraded.look

    async def __call__(self, server: Any) -> migrate.Found:
        self.made += 1
        if self.away:
            raise DatabaseUnusable("The server is away.")
        return await self._look(server)

    async def more(self, number: int = 2) -> None:
        """Return when so many more have been made."""
        wanted = self.made + number
        await until(lambda: self.made >= wanted)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Looks that follow one another at once."""
    counted = Looks()
    monkeypatch.setattr(upgraded, "look", counted)
    monkeypatch.setattr(upgraded, "LOOK", 0.001)
    return counted


class Opened(ScriptedBackend):
    """Tells what becomes of it; its first opening may fail."""

    def __init__(self, *, fails: int = 0) -> None:
        super().__init__()
        self.fails = fails
        self.told: list[str] = []
        self.tasks: set[Any] = set()

    async def open(self) -> None:
        self.tasks.add(asyncio.current_task())
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the service is away")
        self.told.append("opened")

    async def close(self) -> None:
        self.tasks.add(asyncio.current_task())
        self.told.append("closed")


@pytest.fixture
def backend() -> Opened:
    return Opened()


def on(url: str, folder: Path, backend: Opened, **settings: Any) -> Any:
    """A broker on a database server."""
    settings |= {"database_url": SecretStr(url), "encryption_keys": KEYS}
    return serving(folder, {"queue": backend}, **settings)


async def empty(kind: str) -> str:
    """A database without tables."""
    return await asyncio.to_thread(servers.fresh, kind)


async def upgrade(url: str) -> None:
    """`osbkit db upgrade`."""
    await asyncio.to_thread(migrate.upgrade, url)


async def problems(broker: Served) -> list[str]:
    """What the readiness probe says is wrong."""
    answer = await broker.http.get("/health/ready")
    body = body_of(answer)
    assert (answer.status_code, body["status"]) == (503, "not ready")
    found: list[str] = body["problems"]
    return found


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """What the start tells."""
    kept = Log()
    monkeypatch.setattr(upgraded, "log", kept)
    monkeypatch.setattr(module, "log", kept)
    return kept


@kinds
async def test_broker_without_its_schema_is_alive_and_answers_503(
    kind, tmp_path, backend, looks
):
    url = await empty(kind)

    async with on(url, tmp_path, backend) as broker:
        answers = [
            await broker.put(plan=SYNC),
            await broker.ask("GET", "/catalog"),
            await broker.http.get("/anything"),
        ]
        alive = await broker.http.get("/health/live")
        (problem,) = await problems(broker)

    for answer in answers:
        assert "being upgraded" in is_error(answer, 503)["description"]
        assert int(answer.headers["retry-after"]) > 0
    assert alive.status_code == 200
    assert "run `osbkit db upgrade`" in problem
    assert backend.told == []


@kinds
async def test_broker_opens_by_itself_once_the_schema_is_there(
    kind, tmp_path, backend, looks, log
):
    url = await empty(kind)

    async with on(url, tmp_path, backend) as broker:
        await looks.more()
        await upgrade(url)
        await until(lambda: broker.broker.running)
        ready = await broker.http.get("/health/ready")
        made = await broker.put(plan=SYNC)

    assert ready.status_code == 200
    assert made.status_code == 201
    assert backend.told == ["opened", "closed"]
    assert len(backend.tasks) == 1, "what a backend opens may need its own task"
    told = log.named("schema.behind", "broker.started", "broker.stopped")
    assert told == ["schema.behind", "broker.started", "broker.stopped"]


@kinds
async def test_older_schema_is_waited_for_and_what_it_holds_is_served(
    kind, tmp_path, backend, looks
):
    """The version before serves meanwhile, and afterwards."""
    url = await empty(kind)
    await upgrade(url)

    async with on(url, tmp_path, backend) as before:
        assert (await before.put(plan=SYNC)).status_code == 201
        with future(tmp_path / "newer", migrate.head()):
            async with on(url, tmp_path, Opened()) as after:
                await looks.more()
                assert len(await problems(after)) == 1
                assert (await before.put(plan=SYNC)).status_code == 200
                await upgrade(url)
                await until(lambda: after.broker.running)
                again = await after.put(plan=SYNC)
        still = await before.put(plan=SYNC)

    assert again.status_code == 200
    assert still.status_code == 200


async def test_schema_that_was_contracted_is_refused_at_the_start(
    tmp_path, backend, looks
):
    url = await empty("postgresql")
    with future(tmp_path / "newer", NEWER):
        await upgrade(url)

    with pytest.raises(DatabaseUnusable, match="or a newer one"):
        async with on(url, tmp_path, backend):
            pass

    assert backend.told == []


async def test_server_that_is_away_is_refused_at_the_start(tmp_path, backend):
    url = f"postgresql://osbkit:x@127.0.0.1:{servers.free_port()}/osbkit"

    with pytest.raises(DatabaseUnusable, match="check OSBKIT_DATABASE_URL"):
        async with on(url, tmp_path, backend):
            pass
    with pytest.raises(DatabaseUnusable, match="check OSBKIT_DATABASE_URL"):
        await upgraded.until_upgraded(Server(sa.make_url(url)))


async def test_server_that_goes_away_during_the_upgrade_is_waited_for(
    tmp_path, backend, looks
):
    url = await empty("postgresql")

    async with on(url, tmp_path, backend) as broker:
        await looks.more()
        looks.away = True
        await looks.more()
        await upgrade(url)
        looks.away = False
        await until(lambda: broker.broker.running)

    assert backend.told == ["opened", "closed"]


async def test_keys_that_are_missing_are_said_before_anything_is_waited_for(
    tmp_path, backend, looks
):
    url = SecretStr(await empty("postgresql"))

    with pytest.raises(SettingsInvalid, match="OSBKIT_ENCRYPTION_KEYS is not set"):
        async with serving(tmp_path, {"queue": backend}, database_url=url):
            pass

    assert looks.made == 0


async def test_waiting_broker_stops_at_once(tmp_path, backend, monkeypatch):
    monkeypatch.setattr(upgraded, "LOOK", 3600)
    url = await empty("postgresql")
    stack = on(url, tmp_path, backend)
    broker = await stack.__aenter__()

    await soon(stack.__aexit__(None, None, None))

    assert backend.told == []
    assert broker.broker.running is None
    assert not [t for t in asyncio.all_tasks() if t.get_name() == "osbkit-start"]


async def test_start_that_is_refused_late_is_told_once_and_tried_again(
    tmp_path, backend, looks, log
):
    url = await empty("postgresql")
    file = tmp_path / "credentials.yaml"

    async with on(url, tmp_path, backend, credentials_file=file) as broker:
        await upgrade(url)
        await until(lambda: "start.refused" in log.named("start.refused"))
        (problem,) = await problems(broker)
        await looks.more(3)
        assert len(log.named("start.refused")) == 1
        file.write_text("credentials: []\n")
        await until(lambda: len(log.named("start.refused")) == 2)

    assert "the log says why" in problem
    assert str(file) not in problem
    assert broker.broker.running is None
    assert backend.told == ["opened", "closed"] * (len(backend.told) // 2)


async def test_backend_that_cannot_be_opened_late_is_tried_again(tmp_path, looks, log):
    url = await empty("postgresql")
    backend = Opened(fails=2)

    async with on(url, tmp_path, backend) as broker:
        await upgrade(url)
        await until(lambda: broker.broker.running)
        assert (await broker.put(plan=SYNC)).status_code == 201

    assert log.named("start.fault", "broker.started") == [
        "start.fault",
        "start.fault",
        "broker.started",
    ]
    assert backend.told == ["opened", "closed"]


@pytest.mark.slow
def test_waiting_process_serves_after_the_upgrade_and_ends_at_once_before_it(tmp_path):
    url = servers.fresh("postgresql")
    waiting = Version(TODAY, tmp_path, url)
    told = Version(TODAY, tmp_path, url)
    told.log = tmp_path / "told.log"
    for one in (waiting, told):
        one.spawn()
    try:
        for one in (waiting, told):
            wait_until(one.alive, "it is alive")
            assert not one.ready()
        began = time.monotonic()
        told.terminate()
        took = time.monotonic() - began
        migrate.upgrade(url)
        wait_until(waiting.ready, "it serves by itself")
    finally:
        waiting.close()
        told.close()

    assert took < 15, "far less than what the server gives open requests"
    assert len(waiting.events("schema.behind")) == 1
    assert [one["event"] for one in told.events("broker.started")] == []
