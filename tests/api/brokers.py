"""A broker for the tests of the API: plans of every mode, on a backend of nothing.

    async with serving(tmp_path) as served:
        await served.client.put(served.instance("i"), json=served.provision())

Requests go through the whole application in this process, without a socket.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import BaseModel, Field, SecretStr

from osbkit import (
    BindRequest,
    Bound,
    Broker,
    Catalog,
    DeprovisionRequest,
    Description,
    Endpoint,
    Facts,
    Failed,
    InstanceView,
    ProvisionRequest,
    Refused,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)
from osbkit.settings import Settings

USER, PASSWORD = "platform", "a-password-of-the-tests"
VERSION = {"X-Broker-API-Version": "2.17"}
OFFERING = "0f8a5b1e-queue"
SYNC, ASYNC, AUTO = "1a-plan-sync", "2b-plan-async", "3c-plan-auto"
SERVICES: dict[str, Any] = {
    "services": [
        {
            "id": OFFERING,
            "name": "queue",
            "description": "Queues that do not exist.",
            "bindable": True,
            "instances_retrievable": True,
            "bindings_retrievable": True,
            "plan_updateable": True,
            "allow_context_updates": True,
            "tags": ["queue"],
            "plans": [
                {
                    "id": SYNC,
                    "name": "tiny",
                    "description": "Answers when it is done.",
                    "x-osbkit": {"mode": "sync", "bind_mode": "sync"},
                },
                {
                    "id": ASYNC,
                    "name": "slow",
                    "description": "Answers at once.",
                    "x-osbkit": {"mode": "async"},
                },
                {
                    "id": AUTO,
                    "name": "standard",
                    "description": "Answers within its budget.",
                    "binding_rotatable": True,
                    "maintenance_info": {"version": "1.2.0"},
                    "free": False,
                },
            ],
        }
    ]
}


class QueueParameters(BaseModel, extra="forbid"):
    """What a user may say of a queue."""

    max_messages: int = Field(10_000, ge=1, le=1_000_000)
    note: str | None = None


class RoleParameters(BaseModel, extra="forbid"):
    """What a user may say of a binding."""

    role: Literal["reader", "writer"] = "reader"


class Queues(ServiceBackend[QueueParameters, RoleParameters]):
    """Makes nothing, quickly. Some notes make it fail.

    Attributes:
        calls: names of the verbs that were called.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def describe(self, instance: InstanceView[QueueParameters]) -> Description:
        return Description(
            dashboard_url=f"https://queues.example/{instance.name}",
            labels={"plan": instance.plan},
        )

    async def provision(
        self, request: ProvisionRequest[QueueParameters], run: Run
    ) -> Facts | None:
        self.calls.append("provision")
        return _judged(request.parameters.note)

    async def update(
        self, request: UpdateRequest[QueueParameters], run: Run
    ) -> Facts | None:
        self.calls.append("update")
        return _judged(request.parameters.note)

    async def bind(
        self, request: BindRequest[QueueParameters, RoleParameters], run: Run
    ) -> Bound:
        self.calls.append("bind")
        return Bound(
            credentials={"queue": request.instance.name, "token": run.secret("token")},
            endpoints=[Endpoint(host="queues.example", ports=[5671])],
            expires_at=datetime(2999, 12, 31, tzinfo=UTC),
        )

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        self.calls.append("unbind")

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        self.calls.append("deprovision")


def _judged(note: str | None) -> Facts:
    if note == "refused":
        raise Refused("This queue cannot be had.")
    if note == "failed":
        raise Failed("The queue server is full.")
    return {"note": note or ""}


@dataclass(frozen=True, slots=True)
class Served:
    """A broker that runs, and a client of it."""

    broker: Broker
    client: httpx.AsyncClient
    backend: Queues
    database: Path

    @staticmethod
    def instance(instance_id: str = "i-1") -> str:
        """The path of an instance."""
        return f"/v2/service_instances/{instance_id}"

    @classmethod
    def binding(cls, binding_id: str = "b-1", instance_id: str = "i-1") -> str:
        """The path of a binding."""
        return f"{cls.instance(instance_id)}/service_bindings/{binding_id}"

    @staticmethod
    def provision(plan: str = SYNC, **more: Any) -> dict[str, Any]:
        """A body that is taken."""
        return {
            "service_id": OFFERING,
            "plan_id": plan,
            "organization_guid": "org",
            "space_guid": "space",
            **more,
        }

    @staticmethod
    def bind(plan: str = SYNC, **more: Any) -> dict[str, Any]:
        """A body that is taken."""
        return {"service_id": OFFERING, "plan_id": plan, **more}

    @staticmethod
    def ids(plan: str = SYNC) -> dict[str, str]:
        """The query of a DELETE."""
        return {"service_id": OFFERING, "plan_id": plan}


def a_broker(
    folder: Path, *, backend: Queues | None = None, mounts: Any = None, **more: Any
) -> Broker:
    """A broker that was not started yet; `more` are settings."""
    given: dict[str, Any] = {
        "database_url": SecretStr(f"sqlite:///{folder}/broker.db"),
        "basic_user": USER,
        "basic_password": SecretStr(PASSWORD),
        "log_level": "ERROR",
    }
    return Broker(
        catalog=Catalog.from_dict(SERVICES),
        backends={"queue": backend or Queues()},
        mounts=mounts,
        settings=Settings(**given | more),
    )


def client_of(app: Any, **more: Any) -> httpx.AsyncClient:
    """A client of an application in this process."""
    given: dict[str, Any] = {
        "auth": (USER, PASSWORD),
        "headers": VERSION,
        "base_url": "http://broker.example",
    }
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, **given | more)


@asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncIterator[Served]:
    """A broker between its start and its stop."""
    backend = more.pop("backend", None) or Queues()
    broker = a_broker(folder, backend=backend, **more)
    async with broker.lifespan(), client_of(broker.app) as client:
        yield Served(broker, client, backend, folder / "broker.db")
