"""What every part of the lifecycle is given, and the small questions they share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from osbkit.backends.contract import Description
from osbkit.backends.registry import Registry
from osbkit.catalog import (
    Catalog,
    ParameterRules,
    Plan,
    PlanRules,
    ServiceOffering,
    Unfit,
)
from osbkit.domain import (
    MICROSECONDS,
    Identity,
    Instance,
    Json,
    Operation,
)
from osbkit.errors import (
    BackendFault,
    Malformed,
    Refused,
    RequestRejected,
    Unavailable,
)
from osbkit.lifecycle.outcomes import Shown
from osbkit.lifecycle.waiting import Mode, Waiting
from osbkit.operations.engines import Engine
from osbkit.operations.work import Requests
from osbkit.settings import Settings
from osbkit.store import operations
from osbkit.store.entropy import random_bytes
from osbkit.store.protocol import Store
from osbkit.store.rows import now
from osbkit.telemetry import log, trouble

DELETED = "The operation was ended by a deletion."


@dataclass(slots=True)
class House:
    """The rooms below, wired by the broker; the catalog may be exchanged."""

    store: Store
    engine: Engine
    registry: Registry
    requests: Requests
    settings: Settings
    catalog: Catalog
    rules: dict[tuple[str, str], PlanRules]

    @property
    def waiting(self) -> Waiting:
        """Waits for operations."""
        return Waiting(self.store, self.engine)

    def placed(
        self,
        service_id: str,
        plan_id: str,
        visible: frozenset[str] | None = None,
    ) -> tuple[ServiceOffering, Plan]:
        """Offering and plan of a request for something new.

        Args:
            visible: the offerings that the caller may see; None for all.

        Raises:
            Malformed: not a pair of the catalog. Spec: "MUST be ... from the
                catalog", 400 "invalid data".
        """
        offering = self.catalog.offering(service_id)
        if offering is None or not offering.visible_to(visible):
            raise Malformed("service_id is not the id of an offering in the catalog.")
        plan = self.catalog.plan(service_id, plan_id)
        if plan is None:
            raise Malformed("plan_id is not the id of a plan of this offering.")
        return offering, plan

    def plan_of(self, instance: Instance) -> Plan | None:
        """An instance's plan; None when it has left the catalog."""
        return self.catalog.plan(instance.service_id, instance.plan_id)

    def mode_of(self, instance: Instance | None) -> Mode:
        """How instances of a plan are made; a plan that left is `auto`."""
        plan = None if instance is None else self.plan_of(instance)
        return "auto" if plan is None else plan.osbkit.mode

    def bind_mode_of(self, instance: Instance) -> Mode:
        """How bindings are made: `auto` is inline where no GET could follow."""
        plan = self.plan_of(instance)
        mode: Mode = "auto" if plan is None else plan.osbkit.bind_mode
        if mode == "auto" and not self.bindings_retrievable(instance):
            return "sync"
        return mode

    def bindings_retrievable(self, instance: Instance) -> bool:
        """Whether GET binding is offered; an offering that left keeps it."""
        offering = self.catalog.offering(instance.service_id)
        return True if offering is None else offering.bindings_retrievable

    def shown(self, instance: Instance) -> Shown:
        """What `describe()` says; a fault of its own never fails a request."""
        if not self.registry.describes(instance.backend):
            return Shown()
        try:
            backend = self.registry.backend(instance.backend)
            said: Description = backend.describe(self.requests.view(instance))
            metadata = {
                name: texts(name, values)
                for name, values in (
                    ("labels", said.labels),
                    ("attributes", said.attributes),
                )
                if values
            }
            if not isinstance(said.dashboard_url, str | None):
                raise BackendFault("Description.dashboard_url must be text")
        except Exception as error:  # noqa: BLE001 (an author's code)
            log.error(
                "describe.failed", instance_id=instance.instance_id, **trouble(error)
            )
            return Shown()
        return Shown(dashboard_url=said.dashboard_url, metadata=metadata)

    async def check(
        self,
        key: str,
        request: Any,
        refusal: Callable[[str], RequestRejected] = Malformed,
    ) -> None:
        """Ask a backend's `check()`, if its author wrote one.

        Raises:
            RequestRejected: what `refusal` makes of a Refused.
            Unavailable: it did not answer within `sync_budget_required`.
        """
        if not self.registry.checks(key):
            return
        span = self.settings.sync_budget_required
        try:
            async with asyncio.timeout(span) as limit:
                await self.registry.backend(key).check(request)
        except Refused as refused:
            raise refusal(refused.description) from refused
        except TimeoutError:
            if not limit.expired():
                raise
            log.error("check.slow", backend=key, seconds=span)
            raise Unavailable(
                "The service did not answer in time. Try again shortly."
            ) from None

    def deadline(self, plan: Plan | None) -> int:
        """When an operation that begins now is given up (microseconds).

        A tenth before the platform would: `maximum_polling_duration` "less 10 %".
        """
        seconds = self.settings.operation_deadline
        if plan is not None:
            if plan.osbkit.deadline is not None:
                seconds = plan.osbkit.deadline
            elif plan.maximum_polling_duration is not None:
                seconds = plan.maximum_polling_duration * 0.9
        return now() + int(seconds * MICROSECONDS)


def fitting(rules: ParameterRules[Any], parameters: Json) -> None:
    """Judge parameters.

    Raises:
        Malformed: field by field what is wrong; never a value.
    """
    judged = rules.judge(parameters)
    if isinstance(judged, Unfit):
        raise Malformed(judged.sentence)


def texts(name: str, values: Any) -> dict[str, str]:
    """Spec: "Service Instance Metadata": labels and attributes are key-value pairs.

    Raises:
        BackendFault: a name or a value is not text.
    """
    told = dict(values)
    if not all(isinstance(part, str) for pair in told.items() for part in pair):
        raise BackendFault(f"Description.{name} must have texts as names and values")
    return told


def asked_by(identity: Identity | None, **more: Any) -> Json:
    """What an operation works towards; the seed of its secrets comes first."""
    asked: Json = {"seed": random_bytes(32).hex(), **more}
    if identity is not None:
        asked["identity"] = {
            "platform": identity.platform,
            "value": dict(identity.value),
        }
    return asked


def running_of(
    db: sa.Connection, instance: Instance | None
) -> tuple[list[Operation], bool]:
    """The live operations of this generation, and whether halted calls are open."""
    if instance is None:
        return [], False
    opened = [
        operation
        for operation in operations.open_of(db, instance.instance_id)
        if operation.generation == instance.generation
    ]
    return operations.live(opened), any(not operation.live for operation in opened)
