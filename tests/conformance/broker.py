"""A broker with every feature that there is, and nothing behind it.

    osbkit serve tests.conformance.broker:app        the conformance kit's target
    make(settings, services=backends(slow=0.1))      the same in a test

    offering    plans                                what for
    queue       sync sync-large async async-large    one way of answering, two plans
                auto newer polled fixed unbindable   each; and see `PLANS_OF_QUEUE`
                sized
    slow        slow slow-large                      async, every verb takes a while
                either                               auto, likewise
    turned      bindable updateable                  plans that say otherwise than
                                                     their offering
    trouble     provision update bind unbind         the verb that fails, always or
                deprovision                          (removals) the first time only
    app-only    plan                                 binds applications, no keys
    drain       plan                                 syslog_drain
    route       plan                                 route_forwarding
    volume      plan                                 volume_mount
    plain       plan                                 nothing optional

What fails or is slow is asynchronous: no answer of a run is a 5xx. Everything is
made in the ledger of a scripted backend; only `slow` looks at a clock, and not even
that where a test says what its calls wait for.

Units: spans are seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, Field

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
    ProvisionRequest,
    Run,
    UnbindRequest,
    UpdateFailed,
    UpdateRequest,
    VolumeMount,
)
from osbkit.backends.contract import Request
from osbkit.backends.scripted import BOUND, ScriptedBackend, Verb, fail
from osbkit.settings import Settings

Json = dict[str, Any]
Wait = Callable[[Request], Awaitable[None]]
SLOW = 1.0
VERSION = "1.0.0"
HERE = UUID("6f0f2c0e-5a0c-4b7e-9a2e-0c5f6f1d7a10")


def ident(name: str) -> str:
    """The id of an offering, or of a plan as `offering/plan`: for ever the same."""
    return str(uuid5(HERE, name))


# --- parameters -------------------------------------------------------------------


class QueueParameters(BaseModel, extra="forbid"):
    """What a user may say of a queue."""

    color: Literal["red", "green", "blue"] = "red"
    name: str | None = Field(None, min_length=1, max_length=64)
    size: int = Field(1, ge=1, le=1000)


class SizedParameters(QueueParameters):
    """The same, where the size must be said."""

    size: int = Field(ge=1, le=1000)


class RoleParameters(BaseModel, extra="forbid"):
    """What a user may say of a binding."""

    role: Literal["reader", "writer"] = "reader"


# --- backends ---------------------------------------------------------------------


class Queues(ScriptedBackend[QueueParameters, RoleParameters]):
    """A ledger of queues. Each binding gets a principal of its own.

    Args:
        gives: what a bind gives besides its credentials.
        shown: as of ScriptedBackend.
    """

    plan_parameters = {"sized": SizedParameters}  # noqa: RUF012 (as the contract's)

    def __init__(
        self, *, gives: Bound | None = None, shown: Description | None = None
    ) -> None:
        super().__init__(shown=shown)
        self.gives = gives or Bound()

    async def bind(
        self, request: BindRequest[QueueParameters, RoleParameters], run: Run
    ) -> Bound:
        """See ServiceBackend; what a script returns stands as it is."""
        bound = await super().bind(request, run)
        if bound is not BOUND:
            return bound
        credentials = {
            "uri": f"amqps://queues.example/{request.instance.name}",
            "user": request.name,
            "password": run.secret("password"),
            "port": 5671,
            "role": request.parameters.role,
        }
        return replace(self.gives, credentials=credentials)


class SlowQueues(Queues):
    """Says that half of it is done, waits, and does it.

    Args:
        wait: called in the middle of every verb.
    """

    def __init__(self, wait: Wait) -> None:
        super().__init__(shown=SHOWN, gives=GIVES)
        self._wait = wait

    async def provision(
        self, request: ProvisionRequest[QueueParameters], run: Run
    ) -> Facts | None:
        """See ServiceBackend."""
        await self._half(request, run)
        return await super().provision(request, run)

    async def update(
        self, request: UpdateRequest[QueueParameters], run: Run
    ) -> Facts | None:
        """See ServiceBackend."""
        await self._half(request, run)
        return await super().update(request, run)

    async def bind(
        self, request: BindRequest[QueueParameters, RoleParameters], run: Run
    ) -> Bound:
        """See ServiceBackend."""
        await self._half(request, run)
        return await super().bind(request, run)

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self._half(request, run)
        await super().unbind(request, run)

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self._half(request, run)
        await super().deprovision(request, run)

    async def _half(self, request: Request, run: Run) -> None:
        await run.progress("Half of it is done", percent=50, poll_after=1)
        await self._wait(request)


class OnlyApps(Queues):
    """Binds applications only."""

    requires_app = True


class RemovedAtTheSecondTry(Queues):
    """Fails each removal once, and says what is left."""

    def __init__(self, *, verb: Literal["unbind", "deprovision"]) -> None:
        super().__init__()
        self._verb = verb
        self._refused: set[str] = set()

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """See ServiceBackend."""
        if self._first("unbind", request.name):
            raise Failed("The queue could not revoke this principal.")
        await super().unbind(request, run)

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """See ServiceBackend."""
        if self._first("deprovision", request.name):
            raise UpdateFailed("The queue is not empty yet.", usable=True)
        await super().deprovision(request, run)

    def _first(self, verb: str, name: str) -> bool:
        first = verb == self._verb and name not in self._refused
        self._refused.add(name)
        return first


SHOWN = Description(
    dashboard_url="https://queues.example/dashboard",
    labels={"team": "queues"},
    attributes={"region": "nowhere"},
)
GIVES = Bound(
    endpoints=[Endpoint(host="queues.example", ports=[5671, "9000-9010"])],
    expires_at=datetime(2999, 12, 31, tzinfo=UTC),
    renew_before=datetime(2999, 12, 1, tzinfo=UTC),
)
MOUNT = VolumeMount(
    driver="nfs",
    container_dir="/data",
    mode="rw",
    volume_id="volume-1",
    mount_config={"source": "nfs://volumes.example/1"},
)
VERBS: tuple[Verb, ...] = ("provision", "update", "bind", "unbind", "deprovision")


def backends(*, slow: float = SLOW, wait: Wait | None = None) -> dict[str, Queues]:
    """The backends by key, each with its own ledger and script.

    Args:
        slow: how long each verb of the offering `slow` takes.
        wait: what it waits for instead.
    """

    async def sleep(request: Request) -> None:
        await asyncio.sleep(slow)

    made: dict[str, Queues] = {
        "queue": Queues(shown=SHOWN, gives=GIVES),
        "slow": SlowQueues(wait or sleep),
        "turned": Queues(),
        "app-only": OnlyApps(),
        "drain": Queues(gives=Bound(syslog_drain_url="syslog-tls://logs.example:6514")),
        "route": Queues(gives=Bound(route_service_url="https://routes.example/queue")),
        "volume": Queues(gives=Bound(volume_mounts=[MOUNT])),
        "plain": Queues(),
        "trouble/unbind": RemovedAtTheSecondTry(verb="unbind"),
        "trouble/deprovision": RemovedAtTheSecondTry(verb="deprovision"),
    }
    full = Failed("The queue server is full.")
    made["trouble/provision"] = Queues()
    made["trouble/provision"].always("provision", fail(full, leaves=True))
    made["trouble/update"] = Queues()
    made["trouble/update"].always(
        "update",
        fail(UpdateFailed("The queue is in use.", usable=True, repeatable=False)),
    )
    made["trouble/bind"] = Queues()
    made["trouble/bind"].always("bind", fail(full, leaves=True))
    return made


# --- the catalog ------------------------------------------------------------------


def plan(offering: str, name: str, mode: str, **fields: Any) -> Json:
    """A plan; `mode` is said of instances, and of bindings unless `bind_mode` is."""
    settings: Json = {"mode": mode, "bind_mode": fields.pop("bind_mode", mode)}
    if "sync_budget" in fields:
        settings["sync_budget"] = fields.pop("sync_budget")
    return {
        "id": ident(f"{offering}/{name}"),
        "name": name,
        "description": f"Queues that are {name}.",
        "free": False,
        "x-osbkit": settings,
        **fields,
    }


def offering(name: str, plans: list[Json], **fields: Any) -> Json:
    """An offering; it can be bound unless `fields` say otherwise."""
    return {
        "id": ident(name),
        "name": name,
        "description": f"Queues for conformance: {name}.",
        "bindable": True,
        "plans": plans,
        **fields,
    }


FETCHED = {"instances_retrievable": True, "bindings_retrievable": True}
NEWER: Json = {"version": "2.0.0", "description": "Larger queues need a new engine."}
FULL: Json = {
    "binding_rotatable": True,
    "maintenance_info": {"version": VERSION, "description": "Nothing to wait for."},
    "maximum_polling_duration": 3600,
    "metadata": {"displayName": "A queue", "bullets": ["A queue", "and no more"]},
}
PLANS_OF_QUEUE: list[Json] = [
    plan("queue", "sync", "sync", **FULL),
    plan("queue", "sync-large", "sync", **FULL),
    plan("queue", "async", "async", **FULL),
    plan("queue", "async-large", "async", **FULL),
    plan("queue", "auto", "auto", **FULL),
    plan("queue", "newer", "auto", **FULL | {"maintenance_info": NEWER}),
    # instances asynchronously, bindings for clients that cannot, too
    plan("queue", "polled", "async", bind_mode="auto", **FULL),
    plan("queue", "fixed", "auto", plan_updateable=False),
    plan("queue", "unbindable", "auto", bindable=False, free=True),
    plan("queue", "sized", "auto"),
]
OFFERINGS: list[Json] = [
    offering(
        "queue",
        PLANS_OF_QUEUE,
        **FETCHED,
        plan_updateable=True,
        allow_context_updates=True,
        tags=["queue", "amqp"],
        metadata={
            "displayName": "Queues",
            "documentationUrl": "https://queues.example/docs",
            "shareable": True,
        },
        dashboard_client={
            "id": "queue-dashboard",
            "secret": "only-for-tests",
            "redirect_uri": "https://queues.example/login",
        },
    ),
    offering(
        "slow",
        [
            *(plan("slow", name, "async", **FULL) for name in ("slow", "slow-large")),
            plan("slow", "either", "auto", sync_budget=0.001, **FULL),
        ],
        **FETCHED,
        plan_updateable=True,
    ),
    offering(
        "turned",
        [
            plan("turned", "bindable", "auto", bindable=True),
            plan("turned", "updateable", "auto", plan_updateable=True),
        ],
        **FETCHED,
        bindable=False,
        plan_updateable=False,
    ),
    offering("trouble", [plan("trouble", verb, "async") for verb in VERBS], **FETCHED),
    offering("app-only", [plan("app-only", "plan", "auto")], **FETCHED),
    offering(
        "drain", [plan("drain", "plan", "auto")], **FETCHED, requires=["syslog_drain"]
    ),
    offering(
        "route",
        [plan("route", "plan", "auto")],
        **FETCHED,
        requires=["route_forwarding"],
    ),
    offering(
        "volume", [plan("volume", "plan", "auto")], **FETCHED, requires=["volume_mount"]
    ),
    offering("plain", [plan("plain", "plan", "auto")]),
]


def catalog() -> Catalog:
    """Every offering; the schemas come from the backends' models."""
    return Catalog.from_dict({"services": OFFERINGS})


def make(
    settings: Settings | None = None, *, services: Mapping[str, Queues] | None = None
) -> Broker:
    """The conformance broker.

    Args:
        settings: instead of the environment.
        services: what `backends` returned, for a test that looks into them.
    """
    return Broker(catalog=catalog(), backends=services or backends(), settings=settings)


broker = make()
app = broker.app
