"""Polling last_operation. Spec: "Polling Last Operation".

`operation` selects one; absent, empty or unknown means the latest: platforms poll
with tokens of their own invention, and with none. After a deletion the tombstone
answers, first with `succeeded`, later with 410, last with 404.
"""

from functools import partial

import sqlalchemy as sa

from osbkit.domain import (
    DAY,
    REMOVALS,
    Caller,
    Operation,
    OperationKind,
    OperationState,
    ResourceState,
)
from osbkit.errors import Gone, NotThere
from osbkit.lifecycle.decide import BINDING_UNKNOWN, INSTANCE_UNKNOWN
from osbkit.lifecycle.house import House
from osbkit.lifecycle.outcomes import Polled
from osbkit.store import operations
from osbkit.store.rows import now


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
                poll,
                platform=caller.platform,
                instance_id=instance_id,
                binding_id=None,
                wanted=operation,
                told_since=self._told_since(),
            )
        )
        return Polled(operation=found)

    async def of_binding(
        self, caller: Caller, instance_id: str, binding_id: str, operation: str | None
    ) -> Polled:
        """Spec: "Polling Last Operation for Service Bindings"."""
        found = await self._house.store.read(
            partial(
                poll,
                platform=caller.platform,
                instance_id=instance_id,
                binding_id=binding_id,
                wanted=operation,
                told_since=self._told_since(),
            )
        )
        return Polled(operation=found, of_binding=True)

    def _told_since(self) -> int:
        """What ended before this moment is told by 410 only."""
        return now() - self._house.settings.retention_days * DAY


def poll(
    db: sa.Connection,
    *,
    platform: str,
    instance_id: str,
    binding_id: str | None,
    wanted: str | None,
    told_since: int,
) -> Operation:
    """The operation meant: one look-up, by the token where it is ours.

    A binding is looked up under its instance only.

    Raises:
        NotThere: it was never here, or is another platform's.
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
    found = operations.latest(db, instance_id, binding_id)
    if found is None or found.platform != platform:
        raise NotThere(INSTANCE_UNKNOWN if binding_id is None else BINDING_UNKNOWN)
    gone = found.state is ResourceState.GONE
    if gone and (found.ended_at or 0) < told_since:
        raise Gone
    operation = found.operation
    if operation is None and gone:
        raise Gone
    if operation is None or (gone and not _removed(operation)):
        # no longer kept, or revoked with its instance: how it ended is known
        failed = found.state is ResourceState.FAILED
        return Operation(
            id="",
            kind=OperationKind.PROVISION,
            instance_id=instance_id,
            platform=platform,
            backend="",
            generation=0,
            state=OperationState.FAILED if failed else OperationState.SUCCEEDED,
        )
    return operation


def _removed(operation: Operation) -> bool:
    """Whether it is a removal, and not one that was halted for another."""
    return operation.kind in REMOVALS and operation.state is not OperationState.FAILED
