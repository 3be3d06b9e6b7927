"""Statements on `bindings`, and the way between row and record."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from osbkit.domain import Binding, Json, OperationKind, ResourceState
from osbkit.errors import Stale
from osbkit.store.rows import dialect, insert_or_ignore
from osbkit.store.sealing import KeyRing, ring_of
from osbkit.store.statements import booleans, run
from osbkit.store.tables import bindings, operations

BOOLEANS = ("residue",)
NAMES = tuple(column.name for column in bindings.c)
INSERT = insert_or_ignore(bindings)
ONE = sa.and_(
    bindings.c.instance_id == sa.bindparam("instance_"),
    bindings.c.binding_id == sa.bindparam("binding_"),
)
FIND = sa.select(bindings).where(ONE)
LOCK = FIND.with_for_update()
OF_INSTANCE = (
    sa.select(bindings)
    .where(bindings.c.instance_id == sa.bindparam("instance_"))
    .where(bindings.c.instance_generation == sa.bindparam("generation_"))
    .where(bindings.c.ended_at.is_(None))
    .order_by(bindings.c.created_at)
)
SAVE = (
    sa.update(bindings)
    .where(ONE)
    .where(bindings.c.revision == sa.bindparam("revision_"))
    .values(
        {
            column: sa.bindparam(column.name)
            for column in bindings.c
            if column.name
            not in {"uid", "instance_id", "binding_id", "revision", "created_at"}
        }
        | {bindings.c.revision: bindings.c.revision + 1}
    )
)
READY = (
    sa.update(bindings)
    .where(ONE)
    .where(bindings.c.generation == sa.bindparam("generation_"))
    .values(
        state=ResourceState.READY,
        bound=sa.bindparam("bound_"),
        facts=sa.bindparam("facts_"),
        expires_at=sa.bindparam("expires_"),
        residue=False,
        revision=bindings.c.revision + 1,
    )
)
END_ALL = (
    sa.update(bindings)
    .where(bindings.c.instance_id == sa.bindparam("instance_"))
    .where(bindings.c.instance_generation <= sa.bindparam("generation_"))
    .where(bindings.c.ended_at.is_(None))
    .values(
        state=ResourceState.GONE,
        parameters=None,
        bind_resource=None,
        context=None,
        bound=None,
        facts=None,
        residue=False,
        ended_at=sa.bindparam("now_"),
        revision=bindings.c.revision + 1,
    )
)
EXPIRED = (
    sa.select(
        bindings.c.instance_id,
        bindings.c.binding_id,
        bindings.c.platform,
        bindings.c.service_id,
        bindings.c.plan_id,
    )
    .outerjoin(operations, operations.c.id == bindings.c.latest)
    .where(bindings.c.expires_at <= sa.bindparam("now_"))
    .where(bindings.c.ended_at.is_(None))
    .where(bindings.c.state == ResourceState.READY)
    .where(
        sa.or_(
            operations.c.id.is_(None),
            operations.c.kind == OperationKind.BIND,
            operations.c.ended_at < sa.bindparam("before_"),
        )
    )
    .order_by(bindings.c.expires_at)
    .limit(100)
)


def find(db: sa.Connection, instance_id: str, binding_id: str) -> Binding | None:
    """The row of a binding under its instance, tombstones included."""
    return _one(db, FIND, instance_id, binding_id)


def lock(db: sa.Connection, instance_id: str, binding_id: str) -> Binding | None:
    """The same, and no other transaction changes it until ours ends."""
    return _one(db, LOCK, instance_id, binding_id)


def _one(
    db: sa.Connection, statement: Any, instance: str, binding: str
) -> Binding | None:
    row = run(db, statement, {"instance_": instance, "binding_": binding}).fetchone()
    return None if row is None else record(row, ring_of(db))


def of_instance(db: sa.Connection, instance_id: str, generation: int) -> list[Binding]:
    """Every binding of one generation that may have something on the service."""
    ring = ring_of(db)
    found = run(db, OF_INSTANCE, {"instance_": instance_id, "generation_": generation})
    return [record(row, ring) for row in found.fetchall()]


def add(db: sa.Connection, binding: Binding) -> bool:
    """Insert a new id; False when the id has a row under this instance already."""
    done = run(db, INSERT[dialect(db)], values(binding, ring_of(db)))
    return bool(done.rowcount == 1)


def save(db: sa.Connection, binding: Binding) -> None:
    """Write a record that was read in this transaction.

    Raises:
        Stale: the row has another revision now.
    """
    row = values(binding, ring_of(db))
    row["instance_"] = row.pop("instance_id")
    row["binding_"] = row.pop("binding_id")
    row["revision_"] = row.pop("revision")
    del row["uid"], row["created_at"]
    if run(db, SAVE, row).rowcount != 1:
        raise Stale(f"binding {binding.uid} changed")


def mark_ready(
    db: sa.Connection,
    binding: Binding,
    generation: int,
    bound: Json,
    facts: Json | None,
    expires_at: int | None,
) -> None:
    """End a bind: one statement, without reading the row."""
    ring, uid = ring_of(db), binding.uid
    run(
        db,
        READY,
        {
            "instance_": binding.instance_id,
            "binding_": binding.binding_id,
            "generation_": generation,
            "bound_": ring.seal(bound, "bindings.bound", uid),
            "facts_": ring.seal(facts, "bindings.facts", uid),
            "expires_": expires_at,
        },
    )


def end_all(db: sa.Connection, instance_id: str, generation: int, now: int) -> None:
    """Every binding of an instance that was just deleted is gone as well."""
    run(db, END_ALL, {"instance_": instance_id, "generation_": generation, "now_": now})


@dataclass(frozen=True, slots=True)
class Expired:
    """A binding whose time is over, as a DELETE would name it."""

    instance_id: str
    binding_id: str
    platform: str
    service_id: str
    plan_id: str


def expired(db: sa.Connection, now: int, tried_before: int) -> list[Expired]:
    """Bindings whose `expires_at` has passed, the oldest first; at most 100.

    Args:
        tried_before: leaves out what somebody tried to remove since (microseconds).
    """
    rows = run(db, EXPIRED, {"now_": now, "before_": tried_before}).fetchall()
    return [Expired(*row) for row in rows]


def values(binding: Binding, ring: KeyRing) -> dict[str, Any]:
    """A record as a row."""
    uid = binding.uid
    return {
        "uid": uid,
        "instance_id": binding.instance_id,
        "binding_id": binding.binding_id,
        "platform": binding.platform,
        "service_id": binding.service_id,
        "plan_id": binding.plan_id,
        "generation": binding.generation,
        "instance_generation": binding.instance_generation,
        "state": binding.state.value,
        "parameters": ring.seal(binding.parameters, "bindings.parameters", uid),
        "app_guid": binding.app_guid,
        "bind_resource": ring.seal(
            binding.bind_resource, "bindings.bind_resource", uid
        ),
        "context": ring.seal(binding.context, "bindings.context", uid),
        "predecessor": binding.predecessor,
        "bound": ring.seal(binding.bound, "bindings.bound", uid),
        "facts": ring.seal(binding.facts, "bindings.facts", uid),
        "expires_at": binding.expires_at,
        "residue": binding.residue,
        "revision": binding.revision,
        "latest": binding.latest,
        "created_at": binding.created_at,
        "ended_at": binding.ended_at,
    }


def record(row: Any, ring: KeyRing) -> Binding:
    """A row as a record, its secrets opened."""
    got: dict[str, Any] = dict(zip(NAMES, row, strict=True))
    uid = got["uid"]
    booleans(got, BOOLEANS)
    got["state"] = ResourceState(got["state"])
    got["parameters"] = ring.open(got["parameters"], "bindings.parameters", uid) or {}
    for name in ("bind_resource", "context", "bound", "facts"):
        got[name] = ring.open(got[name], f"bindings.{name}", uid)
    return Binding(**got)
