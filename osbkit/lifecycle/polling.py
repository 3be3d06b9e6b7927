"""Polling last_operation. Spec: "Polling Last Operation".

`operation` selects one; absent, empty or unknown means the latest: platforms poll
with tokens of their own invention, and with none. After a deletion the tombstone
answers, first with `succeeded`, later with 410, last with 404.
"""

from functools import partial

import sqlalchemy as sa

from osbkit.domain import (
    Binding,
    Caller,
    Instance,
    Operation,
    OperationKind,
    OperationState,
    ResourceState,
)
from osbkit.errors import Gone, NotThere
from osbkit.lifecycle.decide import BINDING_UNKNOWN, INSTANCE_UNKNOWN
from osbkit.lifecycle.house import House
from osbkit.lifecycle.outcomes import Polled
from osbkit.store import bindings, instances, operations
from osbkit.store.rows import now

DAY = 86_400 * 1_000_000


class Polling:
    """How far an operation is."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def of_instance(
        self, caller: Caller, instance_id: str, operation: str | None
    ) -> Polled:
        """Spec: "Polling Last Operation for Service Instances"."""
        found = await self._house.store.read(
            partial(
                poll_instance,
                platform=caller.platform,
                instance_id=instance_id,
                wanted=operation,
                told_until=self._told_until(),
            )
        )
        return Polled(operation=found)

    async def of_binding(
        self, caller: Caller, instance_id: str, binding_id: str, operation: str | None
    ) -> Polled:
        """Spec: "Polling Last Operation for Service Bindings"."""
        found = await self._house.store.read(
            partial(
                poll_binding,
                platform=caller.platform,
                instance_id=instance_id,
                binding_id=binding_id,
                wanted=operation,
                told_until=self._told_until(),
            )
        )
        return Polled(operation=found, of_binding=True)

    def _told_until(self) -> int:
        """What ended before this moment is told by 410 only."""
        return now() - self._house.settings.retention_days * DAY


def poll_instance(
    db: sa.Connection,
    *,
    platform: str,
    instance_id: str,
    wanted: str | None,
    told_until: int,
) -> Operation:
    """The operation meant; one look-up by key where the token is ours.

    Raises:
        NotThere: the instance was never here, or is another platform's.
        Gone: it was deleted longer ago than operations are kept.
    """
    if wanted:
        named = operations.show(db, wanted)
        if (
            named is not None
            and named.instance_id == instance_id
            and named.binding_id is None
            and named.platform == platform
        ):
            return named
    found = instances.find(db, instance_id)
    if found is None or found.platform != platform:
        raise NotThere(INSTANCE_UNKNOWN)
    return _latest(db, found, found, told_until)


def poll_binding(
    db: sa.Connection,
    *,
    platform: str,
    instance_id: str,
    binding_id: str,
    wanted: str | None,
    told_until: int,
) -> Operation:
    """The same of a binding, looked up under its instance only.

    Raises:
        NotThere: no such binding under this instance of this platform.
        Gone: it was removed longer ago than operations are kept.
    """
    if wanted:
        named = operations.show(db, wanted)
        if (
            named is not None
            and named.instance_id == instance_id
            and named.binding_id == binding_id
            and named.platform == platform
        ):
            return named
    instance = instances.find(db, instance_id)
    found = bindings.find(db, instance_id, binding_id)
    if instance is None or instance.platform != platform or found is None:
        raise NotThere(BINDING_UNKNOWN)
    return _latest(db, instance, found, told_until)


def _latest(
    db: sa.Connection, instance: Instance, of: Instance | Binding, told_until: int
) -> Operation:
    gone = of.state is ResourceState.GONE
    if gone and of.ended_at is not None and of.ended_at < told_until:
        raise Gone
    found = None if of.latest is None else operations.show(db, of.latest)
    if found is not None:
        if gone and not _removal(found):
            return _ended(instance, of)  # revoked with its instance
        return found
    if gone:
        raise Gone
    return _ended(instance, of)


def _removal(operation: Operation) -> bool:
    return operation.kind in {OperationKind.DEPROVISION, OperationKind.UNBIND}


def _ended(instance: Instance, of: Instance | Binding) -> Operation:
    """What is known of an operation that is no longer kept: how it ended."""
    failed = of.state is ResourceState.FAILED
    return Operation(
        id=of.latest or "",
        kind=OperationKind.PROVISION,
        instance_id=instance.instance_id,
        platform=instance.platform,
        backend=instance.backend,
        generation=instance.generation,
        state=OperationState.FAILED if failed else OperationState.SUCCEEDED,
    )
