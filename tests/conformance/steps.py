"""A broker whose service does nothing before it is told to: no clock, no sleep.

    async with stepping(folder) as broker:
        task = await broker.send(request)      # answered, or waits for its operation
        await broker.release(key, Ending.WELL) # the call of a resource ends
        await broker.late(undone=True)         # every request has waited long enough
        await broker.clean(well=True)          # clean-ups have their turn

Each returns when nothing moves any more: every request has its answer or waits for
an operation, every operation has ended or is held inside the service. That is read
off the engine's own books, so neither time nor the machine's speed counts.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import sqlalchemy as sa
import yaml
from pydantic import BaseModel, Field

from osbkit import (
    BindRequest,
    Bound,
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
    UnbindRequest,
    UpdateFailed,
    UpdateRequest,
)
from osbkit.backends.scripted import Hold, ScriptedBackend
from osbkit.domain import Operation
from osbkit.operations import backoff
from osbkit.store.tables import bindings, instances, operations
from tests.conformance.asking import PLANS, PLATFORMS, Json, Plan, Request, Verb
from tests.conformance.model import (
    EXPIRES,
    PERCENT,
    POLL_AFTER,
    PROGRESS,
    RENEW,
    SENTENCE,
    Ending,
    Key,
)
from tests.flows.serving import PATIENCE, Served, serving

NEVER = 3600.0  # seconds: budgets and clean-ups that only a step ends
CALM = 6  # turns of the loop in which what was woken shows itself


# --- the service ------------------------------------------------------------------


class Size(BaseModel, extra="forbid"):
    """Parameters of an instance; `asking.fits` says the same."""

    size: int = Field(1, ge=1, le=9)
    color: Literal["red", "green"] = "red"


class Role(BaseModel, extra="forbid"):
    """Parameters of a binding; `asking.fits_binding` says the same."""

    role: Literal["reader", "writer"] = "reader"


@dataclass
class Script:
    """What one operation is to do.

    Attributes:
        ending: None while it is not known, and for ever if it was abandoned.
        hold: where its first call waits; None if it does not.
    """

    kind: Verb
    key: Key
    ending: Ending | None
    hold: Hold | None
    attempt: int = 1


@dataclass
class Steps:
    """What the service was told, and where its calls are.

    Attributes:
        asked: the request on its way: whatever begins now began for it.
        ending: of what it begins; None holds that inside.
        undone: whether what is abandoned is taken back successfully.
        cleaning: whether the clean-ups that have their turn now succeed.
        inside: how many calls are held.
    """

    asked: Request | None = None
    ending: Ending | None = None
    undone: bool = True
    cleaning: bool | None = None
    inside: int = 0
    scripts: dict[str, Script] = field(default_factory=dict)

    @property
    def held(self) -> dict[Key, Script]:
        """The operations that wait inside."""
        return {one.key: one for one in self.scripts.values() if one.hold is not None}

    async def act(self, run: Run, *, last: bool = False) -> None:
        """One call of a verb: wait if it is the first of its operation, and end.

        Args:
            last: the call that removes an instance, after those of its bindings.
        """
        script = self.scripts.get(run.id)
        if script is not None and run.attempt > script.attempt:
            script.attempt, script.ending = run.attempt, Ending.WELL
        elif script is not None:
            self._go_on(script, last=last)
        elif self.cleaning is not None:
            if not self.cleaning:
                raise RuntimeError("the service is away")
        else:
            await self._begin(run, last=last)

    async def _begin(self, run: Run, *, last: bool) -> None:
        assert self.asked is not None
        hold = Hold() if self.ending is None else None
        key = (self.asked.instance, self.asked.binding)
        script = Script(self.asked.verb, key, self.ending, hold)
        self.scripts[run.id] = script
        if hold is not None:
            await run.progress(PROGRESS, percent=PERCENT, poll_after=POLL_AFTER)
            self.inside += 1
            try:
                await hold.stay()
            finally:
                script.hold = None
                self.inside -= 1
        now = last or script.kind != "deprovision" or script.ending in AT_ONCE
        if now and script.ending in ERRORS:
            raise ERRORS[script.ending]

    def _go_on(self, script: Script, *, last: bool) -> None:
        """A further call: the rest of a removal, or a roll-back."""
        if script.kind == "deprovision":
            if last and script.ending in ERRORS:
                raise ERRORS[script.ending]
        elif script.ending is Ending.LEAVES or not (script.ending or self.undone):
            raise RuntimeError("the service is away")


AT_ONCE = {Ending.LEAVES, Ending.TROUBLE}
ERRORS: dict[Ending | None, Exception] = {
    Ending.TROUBLE: RuntimeError("the service is away"),
    Ending.FAILED: Failed(SENTENCE),
    Ending.LEAVES: Failed(SENTENCE),
    Ending.REFUSED: Refused(SENTENCE),
    Ending.USABLE: UpdateFailed(SENTENCE, usable=True, repeatable=True),
    Ending.UNUSABLE: UpdateFailed(SENTENCE, usable=False, repeatable=False),
}


class Stepped(ScriptedBackend[Size, Role]):
    """Makes things before it waits, and removes them after: whatever ends a call
    early leaves something behind."""

    def __init__(self, steps: Steps) -> None:
        super().__init__()
        self._steps = steps

    def describe(self, instance: InstanceView[Size]) -> Description:
        """See ServiceBackend; `model.describes` says the same."""
        context = instance.context or {}
        return Description(
            dashboard_url=f"https://queues.example/{instance.name}",
            labels={"plan": instance.plan},
            attributes={
                "size": str(instance.parameters.size),
                "named": context.get("instance_name", "nothing"),
                "version": instance.maintenance_version or "none",
            },
        )

    async def provision(self, request: ProvisionRequest[Size], run: Run) -> Facts:
        """See ServiceBackend."""
        await super().provision(request, run)
        await self._steps.act(run)
        return {"name": request.name}

    async def update(self, request: UpdateRequest[Size], run: Run) -> Facts | None:
        """See ServiceBackend."""
        await super().update(request, run)
        await self._steps.act(run)
        return None

    async def bind(self, request: BindRequest[Size, Role], run: Run) -> Bound:
        """See ServiceBackend."""
        await super().bind(request, run)
        await self._steps.act(run)
        return Bound(
            credentials={
                "user": request.name,
                "key": run.secret("key"),
                "plan": request.plan,
                "role": request.parameters.role,
                "app": request.app_guid or "none",
            },
            endpoints=[Endpoint(host="queues.example", ports=[5671, "9000-9010"])],
            expires_at=datetime.fromisoformat(EXPIRES),
            renew_before=datetime.fromisoformat(RENEW),
        )

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self._steps.act(run)
        await super().unbind(request, run)

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self._steps.act(run, last=True)
        await super().deprovision(request, run)


class ForApps(Stepped):
    """Binds applications only."""

    requires_app = True


# --- the catalog ------------------------------------------------------------------

Versions = dict[str, str | None]


def catalog(versions: Versions) -> Catalog:
    """The plans of the model; their names are their ids."""
    named: dict[str, list[Plan]] = {}
    for plan in PLANS.values():
        named.setdefault(plan.offering, []).append(plan)
    return Catalog.from_dict(
        {"services": [offering(name, plans, versions) for name, plans in named.items()]}
    )


def offering(name: str, plans: list[Plan], versions: Versions) -> Json:
    """An offering with its plans."""
    return {
        "id": name,
        "name": name,
        "description": f"Queues: {name}.",
        "bindable": True,
        "plan_updateable": True,
        "instances_retrievable": plans[0].retrievable,
        "bindings_retrievable": plans[0].retrievable,
        "allow_context_updates": plans[0].contexts,
        "plans": [
            {
                "id": plan.name,
                "name": plan.name,
                "description": f"Queues that are {plan.name}.",
                "bindable": plan.bindable,
                "plan_updateable": plan.updateable,
                "binding_rotatable": plan.rotatable,
                "x-osbkit": {"mode": plan.mode, "bind_mode": plan.bind_mode},
                **maintained(versions[plan.name]),
            }
            for plan in plans
        ],
    }


def maintained(version: str | None) -> Json:
    """The maintenance_info of a plan, if it has any."""
    return {} if version is None else {"maintenance_info": {"version": version}}


# --- the broker -------------------------------------------------------------------


@dataclass
class Stepping:
    """A running broker, its service, and the requests that have no answer yet.

    Attributes:
        versions: of each plan, as the catalog has them now.
        lasting: how many tasks of the engine live as long as it does.
    """

    served: Served
    steps: Steps
    service: dict[str, Stepped]
    versions: Versions
    lasting: int
    open: set[asyncio.Task[httpx.Response]] = field(default_factory=set)

    async def send(
        self, request: Request, ending: Ending | None
    ) -> asyncio.Task[httpx.Response]:
        """Send a request.

        Args:
            ending: of the operation it begins, if it does; None holds that.
        """
        self.steps.asked, self.steps.ending = request, ending
        task = asyncio.ensure_future(self._ask(request))
        self.open.add(task)
        task.add_done_callback(self.open.discard)
        await self.settle()
        return task

    async def _ask(self, request: Request) -> httpx.Response:
        path = f"/v2/service_instances/{request.instance}"
        if request.binding is not None:
            path += f"/service_bindings/{request.binding}"
        method = METHODS[request.verb]
        if request.verb in {"poll", "poll_binding"}:
            path += "/last_operation"
        more: Json = {"json": request.body}
        if request.raw is not None:
            more = {"content": request.raw}
        flag = "true" if request.flag else request.no_flag
        query = {} if flag is None else {"accepts_incomplete": flag}
        if method in {"GET", "DELETE"}:
            more, query = {}, query | request.body
        headers = {
            "authorization": f"Bearer {token_of(request.platform)}",
            "x-broker-api-version": request.version,
            "x-broker-api-request-identity": request.identity,
            "x-broker-api-originating-identity": request.user,
        }
        return await self.served.http.request(
            method,
            path,
            params=query,
            headers={
                name: value for name, value in headers.items() if value is not None
            },
            **more,
        )

    async def move_on(self, plan: str, version: str) -> None:
        """The catalog has a newer maintenance_info of a plan."""
        self.versions[plan] = version
        await self.served.broker.reload_catalog()

    async def release(self, key: Key, ending: Ending) -> None:
        """End the call that is held for a resource."""
        script = self.steps.held[key]
        assert script.hold is not None
        script.ending = ending
        script.hold.release()
        await self.settle()

    async def late(self, *, undone: bool) -> None:
        """The budget of every request that waits is over."""
        self.steps.undone = undone
        while self.open:
            for wake in tuple(self.served.engine._waiting):
                wake()
            await self.settle()

    async def clean(self, *, well: bool) -> None:
        """What is on the broker's own account has its turn."""
        engine = self.served.engine
        self.steps.cleaning = well
        for operation, timer in list(engine._timers.items()):
            timer.cancel()
            engine._due(operation)
        await self.settle()
        self.steps.cleaning = None

    @property
    def cleanups(self) -> int:
        """How many wait for their turn."""
        return len(self.served.engine._timers)

    async def settle(self) -> None:
        """Return when nothing moves."""
        engine = self.served.engine
        calm = 0
        async with asyncio.timeout(PATIENCE):
            while calm < CALM:
                await asyncio.sleep(0)
                working = len(engine._tasks) - self.lasting
                still = working == self.steps.inside and len(engine._waiting) == len(
                    self.open
                )
                calm = calm + 1 if still else 0

    async def left(self) -> list[Any]:
        """What is alive in the service's ledger and in the store."""

        def unit(db: sa.Connection) -> list[Any]:
            return [
                *db.execute(
                    sa.select(instances.c.instance_id, instances.c.state).where(
                        instances.c.ended_at.is_(None)
                    )
                ),
                *db.execute(
                    sa.select(
                        bindings.c.instance_id, bindings.c.binding_id, bindings.c.state
                    ).where(bindings.c.ended_at.is_(None))
                ),
                *db.execute(
                    sa.select(operations.c.id, operations.c.kind).where(
                        operations.c.live_key.is_not(None)
                    )
                ),
            ]

        ledger = [name for one in self.service.values() for name in sorted(one.left)]
        return [*ledger, *await self.served.read(unit)]


METHODS: dict[Verb, str] = {
    "provision": "PUT",
    "bind": "PUT",
    "update": "PATCH",
    "deprovision": "DELETE",
    "unbind": "DELETE",
    "fetch": "GET",
    "fetch_binding": "GET",
    "poll": "GET",
    "poll_binding": "GET",
}


def token_of(platform: str) -> str:
    """The bearer token of a platform."""
    return f"the-token-of-{platform}"


def credentials() -> str:
    """The credentials file: two platforms."""
    entries = [
        {
            "label": platform,
            "platform": platform,
            "bearer": {
                "token_hash": "sha256:"
                + sha256(token_of(platform).encode()).hexdigest()
            },
        }
        for platform in PLATFORMS
    ]
    return yaml.safe_dump({"credentials": entries})


@asynccontextmanager
async def stepping(folder: Path) -> AsyncIterator[Stepping]:
    """Start the broker on a store in `folder`."""
    file = folder / "credentials.yaml"
    file.write_text(credentials())
    steps = Steps()
    service = {
        "queue": Stepped(steps),
        "queue/apps": ForApps(steps),
        "other": Stepped(steps),
    }
    versions = {plan.name: plan.version for plan in PLANS.values()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backoff, "delay", lambda *_: 0.0)
        async with serving(
            folder,
            service,
            lambda: catalog(versions),
            credentials_file=file,
            sync_budget=NEVER,
            sync_budget_required=NEVER,
        ) as served:
            engine = served.engine

            def later(operation: Operation) -> None:
                loop = asyncio.get_running_loop()
                engine._timers[operation.id] = loop.call_later(
                    NEVER, engine._due, operation.id
                )

            patch.setattr(engine, "_later", later)
            served.http.headers.pop("x-broker-api-version")
            # what is decided does not depend on what a disk keeps when power fails
            store: Any = served.running.house.store
            store._writer._raw.execute("PRAGMA synchronous=OFF")
            await served.quiet()
            yield Stepping(served, steps, service, versions, len(engine._tasks))
