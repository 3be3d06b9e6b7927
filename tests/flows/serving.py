"""A broker as a test talks to it: over HTTP, in process, on a SQLite file.

    async with serving(tmp_path, {"queue": backend}) as broker:
        answer = await broker.put("i-1", plan=AUTO, flag=True)
        assert answer.status_code == 202
        await broker.quiet()                      # what runs has ended
        assert (await broker.row("i-1")).state == "ready"

Requests go through the whole application (gate, routes, lifecycle, engine, store);
only the server is missing. The same path served again is the same broker after a
restart. Nothing here waits for time to pass: `quiet` and `until` return as soon as
what they wait for is there, and fail after `PATIENCE`.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import sqlalchemy as sa
from pydantic import SecretStr

from osbkit import Broker, Catalog, ServiceBackend
from osbkit.broker import Running
from osbkit.domain import Binding, Instance, Operation
from osbkit.settings import Settings
from osbkit.store import bindings, instances, operations
from osbkit.store.tables import metadata
from osbkit.store.tables import operations as operations_table

T = TypeVar("T")
Json = dict[str, Any]
PATIENCE = 20.0
USER, PASSWORD = "platform", "a password for tests"

QUEUE = "5e5e5e5e-0000-4000-8000-000000000001"
OTHER = "5e5e5e5e-0000-4000-8000-000000000002"
SYNC = "9a9a9a9a-0000-4000-8000-000000000001"
AUTO = "9a9a9a9a-0000-4000-8000-000000000002"
ASYNC = "9a9a9a9a-0000-4000-8000-000000000003"
FIXED = "9a9a9a9a-0000-4000-8000-000000000004"
ELSEWHERE = "9a9a9a9a-0000-4000-8000-000000000005"
PLANS = {SYNC: QUEUE, AUTO: QUEUE, ASYNC: QUEUE, FIXED: QUEUE, ELSEWHERE: OTHER}
BODY = {"organization_guid": "org", "space_guid": "space"}


def plan(plan_id: str, name: str, mode: str = "auto", **fields: Any) -> Json:
    """A plan; `mode` is said of instances and bindings alike."""
    settings = {"mode": mode, "bind_mode": mode} | fields.pop("settings", {})
    return {
        "id": plan_id,
        "name": name,
        "description": f"Queues of the kind {name}",
        "x-osbkit": settings,
        **fields,
    }


def offering(service_id: str, name: str, plans: Sequence[Json], **fields: Any) -> Json:
    """An offering that can do everything."""
    return {
        "id": service_id,
        "name": name,
        "description": f"Queues called {name}",
        "bindable": True,
        "plan_updateable": True,
        "instances_retrievable": True,
        "bindings_retrievable": True,
        "requires": ["syslog_drain", "route_forwarding", "volume_mount"],
        "plans": list(plans),
        **fields,
    }


def queue(**fields: Any) -> Json:
    """The offering `queue`: one plan of each mode, and one that cannot be left."""
    plans = [
        plan(SYNC, "sync", "sync", binding_rotatable=True),
        plan(AUTO, "auto", "auto", binding_rotatable=True),
        plan(ASYNC, "async", "async", binding_rotatable=True),
        plan(FIXED, "fixed", "auto", plan_updateable=False),
    ]
    return offering(QUEUE, "queue", fields.pop("plans", plans), **fields)


def other(**fields: Any) -> Json:
    """The offering `other`, with one plan."""
    plans = [plan(ELSEWHERE, "elsewhere")]
    return offering(OTHER, "other", fields.pop("plans", plans), **fields)


def a_catalog(*offerings: Json) -> Catalog:
    """A catalog; by default the offering `queue` alone."""
    return Catalog.from_dict({"services": list(offerings or [queue()])})


@dataclass(frozen=True)
class Served:
    """A running broker and a client of one platform.

    `flag` of every change is `accepts_incomplete`; None leaves it out of the query.
    """

    broker: Broker
    http: httpx.AsyncClient
    auth: tuple[str, str] | None = (USER, PASSWORD)
    headers: Mapping[str, str] = field(default_factory=dict)

    # --- who asks -----------------------------------------------------------------

    def of(self, user: str, password: str) -> "Served":
        """The same broker, asked with another credential."""
        return replace(self, auth=(user, password))

    def with_headers(self, **headers: str) -> "Served":
        """The same broker, asked with further headers (`_` stands for `-`)."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **named})

    async def ask(
        self, method: str, path: str, flag: bool | None = None, **more: Any
    ) -> httpx.Response:
        """Any request below /v2."""
        query = dict(more.pop("params", None) or {})
        if flag is not None:
            query["accepts_incomplete"] = "true" if flag else "false"
        return await self.http.request(
            method,
            f"/v2{path}",
            params=query,
            auth=self.auth or httpx.USE_CLIENT_DEFAULT,
            headers=dict(self.headers),
            **more,
        )

    # --- instances ------------------------------------------------------------------

    async def put(
        self,
        instance: str = "i-1",
        *,
        plan: str = AUTO,
        flag: bool | None = None,
        **fields: Any,
    ) -> httpx.Response:
        """Provision."""
        body = {"service_id": PLANS.get(plan, QUEUE), "plan_id": plan, **BODY, **fields}
        return await self.ask("PUT", f"/service_instances/{instance}", flag, json=body)

    async def patch(
        self, instance: str = "i-1", *, flag: bool | None = None, **fields: Any
    ) -> httpx.Response:
        """Update."""
        body = {"service_id": QUEUE, **fields}
        return await self.ask(
            "PATCH", f"/service_instances/{instance}", flag, json=body
        )

    async def delete(
        self,
        instance: str = "i-1",
        *,
        flag: bool | None = None,
        service_id: str = QUEUE,
        plan_id: str = AUTO,
    ) -> httpx.Response:
        """Deprovision."""
        return await self.ask(
            "DELETE",
            f"/service_instances/{instance}",
            flag,
            params={"service_id": service_id, "plan_id": plan_id},
        )

    async def get(self, instance: str = "i-1") -> httpx.Response:
        """Fetch an instance."""
        return await self.ask("GET", f"/service_instances/{instance}")

    async def poll(
        self, instance: str = "i-1", operation: str | None = None, **query: str
    ) -> httpx.Response:
        """Last operation of an instance."""
        if operation is not None:
            query["operation"] = operation
        return await self.ask(
            "GET", f"/service_instances/{instance}/last_operation", params=query
        )

    # --- bindings -------------------------------------------------------------------

    async def bind(
        self,
        binding: str = "b-1",
        instance: str = "i-1",
        *,
        plan: str = AUTO,
        flag: bool | None = None,
        **fields: Any,
    ) -> httpx.Response:
        """Bind."""
        body = {"service_id": PLANS.get(plan, QUEUE), "plan_id": plan, **fields}
        return await self.ask("PUT", self._binding(instance, binding), flag, json=body)

    async def rotate(
        self,
        binding: str,
        predecessor: str,
        instance: str = "i-1",
        *,
        flag: bool | None = None,
        **fields: Any,
    ) -> httpx.Response:
        """Rotate."""
        body = {"predecessor_binding_id": predecessor, **fields}
        return await self.ask("PUT", self._binding(instance, binding), flag, json=body)

    async def unbind(
        self,
        binding: str = "b-1",
        instance: str = "i-1",
        *,
        flag: bool | None = None,
        service_id: str = QUEUE,
        plan_id: str = AUTO,
    ) -> httpx.Response:
        """Unbind."""
        return await self.ask(
            "DELETE",
            self._binding(instance, binding),
            flag,
            params={"service_id": service_id, "plan_id": plan_id},
        )

    async def get_binding(
        self, binding: str = "b-1", instance: str = "i-1"
    ) -> httpx.Response:
        """Fetch a binding."""
        return await self.ask("GET", self._binding(instance, binding))

    async def poll_binding(
        self,
        binding: str = "b-1",
        instance: str = "i-1",
        operation: str | None = None,
    ) -> httpx.Response:
        """Last operation of a binding."""
        query = {} if operation is None else {"operation": operation}
        path = f"{self._binding(instance, binding)}/last_operation"
        return await self.ask("GET", path, params=query)

    @staticmethod
    def _binding(instance: str, binding: str) -> str:
        return f"/service_instances/{instance}/service_bindings/{binding}"

    # --- what is stored -------------------------------------------------------------

    @property
    def running(self) -> Running:
        """The broker between its start and its stop."""
        found = self.broker.running
        assert found is not None, "the broker is not running"
        return found

    @property
    def engine(self) -> Any:
        """The engine."""
        return self.running.house.engine

    async def read(self, unit: Callable[[sa.Connection], T]) -> T:
        """Read from the store."""
        found: T = await self.running.house.store.read(unit)
        return found

    async def row(self, instance: str = "i-1") -> Instance:
        """The stored row of an instance."""
        found = await self.read(partial(instances.find, instance_id=instance))
        assert found is not None, f"no row of instance {instance}"
        return found

    async def binding_row(self, binding: str = "b-1", instance: str = "i-1") -> Binding:
        """The stored row of a binding."""
        find = partial(bindings.find, instance_id=instance, binding_id=binding)
        found = await self.read(find)
        assert found is not None, f"no row of binding {binding}"
        return found

    async def operations(self, instance: str = "i-1") -> list[Operation]:
        """Every operation of an instance and its bindings, oldest first."""

        def unit(db: sa.Connection) -> list[Operation]:
            wanted = (
                sa.select(operations_table.c.id)
                .where(operations_table.c.instance_id == instance)
                .order_by(operations_table.c.created_at, operations_table.c.id)
            )
            found = [operations.find(db, one) for one in db.execute(wanted).scalars()]
            return [one for one in found if one is not None]

        return await self.read(unit)

    async def kinds(self, instance: str = "i-1") -> list[str]:
        """The kinds of these operations."""
        return [operation.kind.value for operation in await self.operations(instance)]

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table: equal before and after what changed nothing."""

        def unit(db: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
            return {
                table.name: sorted(
                    (tuple(row) for row in db.execute(sa.select(table))), key=repr
                )
                for table in metadata.sorted_tables
            }

        return await self.read(unit)

    async def set(self, table: sa.Table, where: Any, **values: Any) -> None:
        """Change stored rows by hand: a moment in the past, a count of claims."""
        change = sa.update(table).where(where).values(**values)
        await self.running.house.store.write(lambda db: db.execute(change).rowcount)

    def allow(self, **settings: Any) -> None:
        """Change settings from now on, the budgets for instance (seconds)."""
        house = self.running.house
        house.settings = house.settings.model_copy(update=settings)

    # --- waiting ----------------------------------------------------------------------

    async def quiet(self) -> None:
        """Return when no operation runs in this process, nor is about to."""
        await until(lambda: not self._busy())

    def _busy(self) -> bool:
        lasting = {f"Engine.{name}" for name in ("_heart", "_watch")}
        return any(
            task.get_coro().__qualname__ not in lasting for task in self.engine._tasks
        )

    async def hurry(self) -> None:
        """Let what waits for its time have its turn now."""
        await self.quiet()
        for operation_id, timer in list(self.engine._timers.items()):
            timer.cancel()
            self.engine._due(operation_id)
        await self.quiet()

    @property
    def waiting(self) -> int:
        """Operations that wait for their time."""
        return len(self.engine._timers)


async def until(true: Callable[[], object]) -> None:
    """Return as soon as something holds."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 (there is no event for it)
            await asyncio.sleep(0.001)


async def soon(awaited: Awaitable[T]) -> T:
    """Await what cannot take long."""
    async with asyncio.timeout(PATIENCE):
        return await awaited


@asynccontextmanager
async def serving(
    folder: Path,
    backends: Mapping[str, ServiceBackend[Any, Any]],
    catalog: Catalog | Callable[[], Catalog] | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """Start a broker on `folder`/osbkit.db, with a client.

    Args:
        settings: fields of Settings; without any credential among them, the one
            of USER and PASSWORD.
    """
    given = {
        "database_url": SecretStr(f"sqlite:///{folder / 'osbkit.db'}"),
        "log_level": "ERROR",
        **settings,
    }
    if not given.keys() & {"credentials_file", "bearer_token", "auth", "basic_user"}:
        given |= {"basic_user": USER, "basic_password": SecretStr(PASSWORD)}
    broker = Broker(
        catalog=catalog or a_catalog(), backends=backends, settings=Settings(**given)
    )
    async with (
        broker.lifespan(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=broker.app),
            base_url="http://broker",
            headers={"X-Broker-API-Version": "2.17"},
            timeout=PATIENCE,
        ) as http,
    ):
        yield Served(broker, http)


def body_of(answer: httpx.Response) -> Json:
    """The body of an answer, a JSON object whatever the status."""
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert isinstance(found, dict)
    assert None not in found.values()
    return found


def is_error(answer: httpx.Response, status: int, code: str | None = None) -> Json:
    """The body of a refusal: its status, its code or none, a sentence."""
    body = body_of(answer)
    assert answer.status_code == status, (answer.status_code, body)
    assert body.get("error") == code
    assert body["description"]
    return body


def states(operations_: Iterable[Operation]) -> list[tuple[str, str]]:
    """Kind and state of each."""
    return [(one.kind.value, one.state.value) for one in operations_]
