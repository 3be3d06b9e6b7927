"""A broker in this process, a cloud in memory, and requests without a network.

    async with scene.running():           the lifespan of one process
        answer = await scene.put("i", instance_body("quick"))
        await scene.settled()             no operation is open any more
        scene.agree()                     store and cloud tell the same

`scene.crashed()` is the same broker after a crash at this very moment: another
scene on a copy of the database and of the cloud.
"""

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from pydantic import SecretStr

from osbkit import Broker
from osbkit.broker import Running
from osbkit.domain import resource_name
from osbkit.settings import Settings
from osbkit.store import tables
from tests.flows.crash.backend import CloudBackend
from tests.flows.crash.catalog import CATALOG
from tests.flows.crash.cloud import Cloud

PATIENCE = 60.0
"""Seconds after which a test gives up waiting for something that must come."""

TOKEN = "a-token-for-tests"
HEADERS = [
    (b"authorization", f"Bearer {TOKEN}".encode()),
    (b"x-broker-api-version", b"2.17"),
    (b"content-type", b"application/json"),
]
KEYS = "test:" + base64.b64encode(b"k" * 32).decode()

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Json:
        """The JSON object that every answer has."""
        found = json.loads(self.raw)
        assert isinstance(found, dict), f"not a JSON object: {self.raw!r}"
        return found


@dataclass(slots=True)
class Client:
    """One request as a server hands it to the application.

    Attributes:
        around: what is done before each message in either direction; the
            default gives way to others once.
    """

    method: str
    path: str
    query: Json = field(default_factory=dict)
    json: Json | None = None
    around: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
    answer: Answer | None = None

    async def ask(self, app: Any) -> Answer:
        """Send it and return the answer."""
        messages: list[Json] = []
        body = b"" if self.json is None else json.dumps(self.json).encode()
        half = len(body) // 2
        parts = [(body[:half], True), (body[half:], False)]

        async def receive() -> Json:
            await self.around()
            if not parts:
                await asyncio.Event().wait()
            content, more = parts.pop(0)
            return {"type": "http.request", "body": content, "more_body": more}

        async def send(message: Any) -> None:
            await self.around()
            messages.append(dict(message))

        await app(self._scope(), receive, send)
        start, *rest = messages
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        raw = b"".join(message.get("body", b"") for message in rest)
        self.answer = Answer(start["status"], headers, raw)
        return self.answer

    def _scope(self) -> Json:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": urlencode(self.query).encode(),
            "headers": list(HEADERS),
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }


def instance_path(instance: str) -> str:
    """Where an instance is."""
    return f"/v2/service_instances/{instance}"


def binding_path(instance: str, binding: str) -> str:
    """Where a binding is."""
    return f"{instance_path(instance)}/service_bindings/{binding}"


async def at_once(place: str) -> None:
    """A pause that only lets others in."""
    await asyncio.sleep(0)


class Scene:
    """See the module.

    Args:
        folder: for the database.
        pause: what the backend awaits between its effects.
        settings: further settings of the broker.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pause: Callable[[str], Awaitable[None]] = at_once,
        cloud: Cloud | None = None,
        backend: type[CloudBackend] = CloudBackend,
        **settings: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "broker.db"
        self.cloud = cloud or Cloud()
        self._made_with = {"backend": backend, **settings}
        self.backend = backend(self.cloud, pause)
        self.broker = Broker(
            catalog=CATALOG,
            backends={"cloud": self.backend},
            settings=Settings(
                database_url=SecretStr(f"sqlite:///{self.file}"),
                bearer_token=SecretStr(TOKEN),
                encryption_keys=SecretStr(KEYS),
                log_level="ERROR",
                **settings,
            ),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        """From the start of the process to its orderly end."""
        async with self.broker.lifespan():
            running = self.broker.running
            assert running is not None
            yield running

    def crashed(
        self,
        number: int,
        *,
        pause: Callable[[str], Awaitable[None]] = at_once,
    ) -> "Scene":
        """This scene as a crash at this moment would leave it, in a folder beside."""
        folder = self.folder / f"crash-{number}"
        folder.mkdir()
        with (
            sqlite3.connect(self.file) as source,
            sqlite3.connect(folder / "broker.db") as target,
        ):
            source.backup(target)
        source.close()
        target.close()
        return Scene(folder, pause=pause, cloud=self.cloud.copy(), **self._made_with)

    # --- requests -----------------------------------------------------------------

    async def ask(
        self, method: str, path: str, json: Json | None = None, **query: Any
    ) -> Answer:
        """One request; its answer is checked to be a JSON object."""
        answer = await Client(method, path, query, json).ask(self.broker.app)
        assert answer.body is not None
        return answer

    async def put(self, instance: str, body: Json, **query: Any) -> Answer:
        """Provision."""
        return await self.ask("PUT", instance_path(instance), body, **query)

    async def bind(
        self, instance: str, binding: str, body: Json, **query: Any
    ) -> Answer:
        """Bind."""
        return await self.ask("PUT", binding_path(instance, binding), body, **query)

    async def poll(self, instance: str, **query: Any) -> Answer:
        """The last operation of an instance."""
        path = instance_path(instance) + "/last_operation"
        return await self.ask("GET", path, **query)

    # --- what must hold -------------------------------------------------------------

    @property
    def house(self) -> Any:
        """The broker's inside: store and engine."""
        running = self.broker.running
        assert running is not None
        return running.house

    async def rows(self, statement: Any) -> list[Any]:
        """What the database says."""
        found: list[Any] = await self.house.store.read(
            lambda db: db.execute(statement).all()
        )
        return found

    async def open_operations(self) -> list[Any]:
        """Rows of operations that are not over."""
        return await self.rows(
            sa.select(tables.operations).where(tables.operations.c.ended_at.is_(None))
        )

    async def settled(self) -> None:
        """Return when every operation is over, without a restart."""

        async def over() -> bool:
            return not await self.open_operations()

        await until(over, "operations are over", self.open_operations)

    async def unattended(self) -> list[Any]:
        """Open operations that nobody in this process works on or will."""
        await self.house.store.write(lambda db: None)  # what was queued is written
        engine = self.house.engine
        opened = await self.open_operations()  # reads inline: nothing comes between
        known = {*engine._handles, *engine._timers}
        return [row for row in opened if row.id not in known]

    async def agree(self) -> None:
        """The store says that exactly those things exist that do.

        Call it when everything is settled.
        """
        assert set(self.cloud.things()) == await self.names()

    async def names(self) -> set[str]:
        """What must exist by the store: instances and bindings that are ready."""
        broker_id = self.house.store.broker_id
        instances = {
            row.instance_id: row
            for row in await self.rows(sa.select(tables.instances))
            if row.state == "ready"
        }
        names = {
            resource_name(broker_id, row.instance_id, row.generation)
            for row in instances.values()
        }
        for row in await self.rows(sa.select(tables.bindings)):
            if row.state == "ready":
                assert row.instance_id in instances, "a binding without its instance"
                names.add(
                    resource_name(
                        broker_id,
                        row.instance_id,
                        row.instance_generation,
                        row.binding_id,
                        row.generation,
                    )
                )
        return names


async def until(
    claim: Callable[[], Awaitable[bool]],
    what: str,
    tell: Callable[[], Awaitable[Any]] | None = None,
) -> None:
    """Wait until a claim holds; a test that waits too long fails with `what`."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + PATIENCE
    while not await claim():
        if loop.time() > give_up:
            told = await tell() if tell is not None else ""
            raise AssertionError(f"still not so: {what} {told}")
        await asyncio.sleep(0.002)
