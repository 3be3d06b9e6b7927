"""Statements on `instances`, and the way between row and record."""

from typing import Any

import sqlalchemy as sa

from osbkit.domain import Instance, Json, ResourceState
from osbkit.errors import Stale
from osbkit.store.rows import dialect, insert_or_ignore
from osbkit.store.sealing import KeyRing, ring_of
from osbkit.store.statements import booleans, run
from osbkit.store.tables import instances, operations

BOOLEANS = ("residue", "usable")
NAMES = tuple(column.name for column in instances.c)
INSERT = insert_or_ignore(instances)
FIND = sa.select(instances).where(instances.c.instance_id == sa.bindparam("id_"))
LOCK = FIND.with_for_update()
SHARE = FIND.with_for_update(read=True)
UNTOUCHED = (
    sa.select(
        instances.c.revision,
        sa.exists()
        .where(operations.c.instance_id == instances.c.instance_id)
        .where(operations.c.binding_id.is_(None))
        .where(operations.c.ended_at.is_(None)),
    )
    .where(instances.c.instance_id == sa.bindparam("id_"))
    .with_for_update(read=True, of=instances)
)
SAVE = (
    sa.update(instances)
    .where(instances.c.instance_id == sa.bindparam("id_"))
    .where(instances.c.revision == sa.bindparam("revision_"))
    .values(
        {
            column: sa.bindparam(column.name)
            for column in instances.c
            if column.name not in {"uid", "instance_id", "revision", "created_at"}
        }
        | {instances.c.revision: instances.c.revision + 1}
    )
)
READY = (
    sa.update(instances)
    .where(instances.c.instance_id == sa.bindparam("id_"))
    .where(instances.c.generation == sa.bindparam("generation_"))
    .values(
        state=ResourceState.READY,
        facts=sa.bindparam("facts_"),
        residue=False,
        usable=True,
        revision=instances.c.revision + 1,
    )
)


def find(db: sa.Connection, instance_id: str) -> Instance | None:
    """The row of an id, tombstones included."""
    return _one(db, FIND, instance_id)


def lock(db: sa.Connection, instance_id: str) -> Instance | None:
    """The same, and no other transaction changes it until ours ends."""
    return _one(db, LOCK, instance_id)


def share(db: sa.Connection, instance_id: str) -> Instance | None:
    """The same, but others may share the lock: bind and unbind run side by side."""
    return _one(db, SHARE, instance_id)


def untouched(db: sa.Connection, instance: Instance) -> bool:
    """Whether an instance is as it was read, and nothing is done to it; shares it.

    One look without opening what is sealed: what a bind needs to know.
    """
    row = run(db, UNTOUCHED, {"id_": instance.instance_id}).fetchone()
    return row is not None and bool(row[0] == instance.revision and not row[1])


def _one(db: sa.Connection, statement: Any, instance_id: str) -> Instance | None:
    row = run(db, statement, {"id_": instance_id}).fetchone()
    return None if row is None else record(row, ring_of(db))


def add(db: sa.Connection, instance: Instance) -> bool:
    """Insert a new id; False when the id has a row already."""
    done = run(db, INSERT[dialect(db)], values(instance, ring_of(db)))
    return bool(done.rowcount == 1)


def save(db: sa.Connection, instance: Instance) -> None:
    """Write a record that was read in this transaction.

    Raises:
        Stale: the row has another revision now.
    """
    row = values(instance, ring_of(db))
    row["id_"] = row.pop("instance_id")
    row["revision_"] = row.pop("revision")
    del row["uid"], row["created_at"]
    if run(db, SAVE, row).rowcount != 1:
        raise Stale(f"instance {instance.uid} changed")


def mark_ready(
    db: sa.Connection, instance: Instance, generation: int, facts: Json | None
) -> None:
    """End a creation: one statement, without reading the row."""
    sealed = ring_of(db).seal(facts, "instances.facts", instance.uid)
    run(
        db,
        READY,
        {"id_": instance.instance_id, "generation_": generation, "facts_": sealed},
    )


def values(instance: Instance, ring: KeyRing) -> dict[str, Any]:
    """A record as a row."""
    uid = instance.uid
    return {
        "uid": uid,
        "instance_id": instance.instance_id,
        "platform": instance.platform,
        "service_id": instance.service_id,
        "plan_id": instance.plan_id,
        "offering": instance.offering,
        "plan": instance.plan,
        "backend": instance.backend,
        "generation": instance.generation,
        "state": instance.state.value,
        "organization_guid": instance.organization_guid,
        "space_guid": instance.space_guid,
        "parameters": ring.seal(instance.parameters, "instances.parameters", uid),
        "context": ring.seal(instance.context, "instances.context", uid),
        "facts": ring.seal(instance.facts, "instances.facts", uid),
        "maintenance_version": instance.maintenance_version,
        "residue": instance.residue,
        "usable": instance.usable,
        "revision": instance.revision,
        "latest": instance.latest,
        "created_at": instance.created_at,
        "ended_at": instance.ended_at,
    }


def record(row: Any, ring: KeyRing) -> Instance:
    """A row as a record, its secrets opened."""
    got: dict[str, Any] = dict(zip(NAMES, row, strict=True))
    uid = got["uid"]
    booleans(got, BOOLEANS)
    got["state"] = ResourceState(got["state"])
    got["parameters"] = ring.open(got["parameters"], "instances.parameters", uid) or {}
    got["context"] = ring.open(got["context"], "instances.context", uid)
    got["facts"] = ring.open(got["facts"], "instances.facts", uid)
    return Instance(**got)
