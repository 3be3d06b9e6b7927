"""A database with many instances, written by the store's own functions.

One row of an instance and one of its ended creation each, sealed and indexed as a
PUT would have left them; in transactions of a thousand, without HTTP.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from osbkit.domain import (
    Instance,
    Operation,
    OperationKind,
    OperationState,
    ResourceState,
)
from osbkit.store import instances, operations
from osbkit.store.rows import new_operation_id, new_uid, now
from osbkit.store.sqlite import SqliteStore
from osbkit.telemetry import configure
from scripts.benchmarks import workload

AT_ONCE = 1_000
PLAN = "inline"


@dataclass(frozen=True, slots=True)
class Filled:
    """A directory for one server.

    Attributes:
        ids: instance id and operation id on each line.
    """

    directory: Path
    ids: Path


def fill(directory: Path, count: int) -> Filled:
    """Make a database of so many instances that are ready."""
    configure("ERROR")  # a key file is made, and nobody needs to back it up
    directory.mkdir()
    pairs = [(str(uuid4()), new_operation_id()) for _ in range(count)]
    asyncio.run(_write(directory / "broker.db", pairs))
    ids = directory / "ids"
    ids.write_text(
        "".join(f"{instance} {operation}\n" for instance, operation in pairs)
    )
    return Filled(directory, ids)


async def _write(path: Path, pairs: list[tuple[str, str]]) -> None:
    store = SqliteStore(path)
    await store.open()
    try:
        for start in range(0, len(pairs), AT_ONCE):
            some = pairs[start : start + AT_ONCE]
            await store.write(partial(_add, pairs=some))
    finally:
        await store.close()


def _add(db: sa.Connection, pairs: list[tuple[str, str]]) -> None:
    moment = now()
    for instance_id, operation_id in pairs:
        instances.add(db, instance_of(instance_id, operation_id, moment))
        created = operation_of(instance_id, operation_id, moment)
        operations.add(db, created)
        operations.finish(db, created, OperationState.SUCCEEDED, now=moment)


def instance_of(instance_id: str, operation_id: str, moment: int) -> Instance:
    """An instance that is ready."""
    return Instance(
        uid=new_uid(),
        instance_id=instance_id,
        platform="default",
        service_id=workload.SERVICE_ID,
        plan_id=workload.PLANS[PLAN],
        offering=workload.OFFERING,
        plan=PLAN,
        backend=workload.OFFERING,
        generation=1,
        state=ResourceState.READY,
        organization_guid=workload.ORGANIZATION,
        space_guid=workload.SPACE,
        parameters=workload.PARAMETERS,
        context=workload.CONTEXT,
        latest=operation_id,
        created_at=moment,
    )


def operation_of(
    instance_id: str, operation_id: str, moment: int, **fields: Any
) -> Operation:
    """Its creation, while it runs."""
    given: dict[str, Any] = {
        "live_key": operations.key_of(OperationKind.PROVISION, instance_id),
        "fence": 1,
        "attempt": 1,
        "claims": 1,
        "asked": {"seed": "00" * 32},
    }
    return Operation(
        id=operation_id,
        kind=OperationKind.PROVISION,
        instance_id=instance_id,
        platform="default",
        backend=workload.OFFERING,
        generation=1,
        created_at=moment,
        **given | fields,
    )
