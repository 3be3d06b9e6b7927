"""What the rows say should be on the service, without opening what is sealed.

Read in pages, for a look at a large database must not hold everything at once; what
happens between two pages is told by `moving`. What the service itself has is
compared with it in `osbkit.lifecycle.compare`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from osbkit.domain import OperationKind, ResourceState
from osbkit.store.statements import booleans, run
from osbkit.store.tables import bindings, instances, operations

PAGE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An instance or a binding, tombstones included.

    Attributes:
        generation: of the instance; of a binding, that of its instance.
        binding_id: None for an instance.
        backend, offering, plan: the instance's; empty where its row is forgotten.
        expires_at, ended_at: microseconds.
    """

    instance_id: str
    generation: int
    binding_id: str | None
    binding_generation: int
    state: ResourceState
    platform: str
    backend: str
    offering: str
    plan: str
    residue: bool
    expires_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """What an operation works on, or has worked on.

    Attributes:
        open: it has not ended, or its call may still be running.
    """

    kind: OperationKind
    instance_id: str
    generation: int
    binding_id: str | None
    binding_generation: int
    open: bool


Cursor = tuple[str, str]
Page = Callable[[sa.Connection, Cursor], list[Standing]]
START: Cursor = ("", "")

NAMES = tuple(Standing.__dataclass_fields__)
INSTANCES = (
    sa.select(
        instances.c.instance_id,
        instances.c.generation,
        sa.null(),
        sa.literal(0),
        instances.c.state,
        instances.c.platform,
        instances.c.backend,
        instances.c.offering,
        instances.c.plan,
        instances.c.residue,
        sa.null(),
        instances.c.ended_at,
    )
    .where(instances.c.instance_id > sa.bindparam("instance_"))
    .order_by(instances.c.instance_id)
    .limit(PAGE)
)
BINDINGS = (
    sa.select(
        bindings.c.instance_id,
        bindings.c.instance_generation,
        bindings.c.binding_id,
        bindings.c.generation,
        bindings.c.state,
        bindings.c.platform,
        sa.func.coalesce(instances.c.backend, ""),
        sa.func.coalesce(instances.c.offering, ""),
        sa.func.coalesce(instances.c.plan, ""),
        bindings.c.residue,
        bindings.c.expires_at,
        bindings.c.ended_at,
    )
    .select_from(
        bindings.outerjoin(instances, instances.c.instance_id == bindings.c.instance_id)
    )
    .where(
        sa.or_(
            bindings.c.instance_id > sa.bindparam("instance_"),
            sa.and_(
                bindings.c.instance_id == sa.bindparam("instance_"),
                bindings.c.binding_id > sa.bindparam("binding_"),
            ),
        )
    )
    .order_by(bindings.c.instance_id, bindings.c.binding_id)
    .limit(PAGE)
)
WORKED_ON = sa.select(
    operations.c.kind,
    operations.c.instance_id,
    operations.c.generation,
    operations.c.binding_id,
    operations.c.binding_generation,
)
OPEN = WORKED_ON.where(operations.c.ended_at.is_(None))
ENDED = WORKED_ON.where(operations.c.ended_at >= sa.bindparam("since_"))


def of_instances(db: sa.Connection, after: Cursor) -> list[Standing]:
    """The instances behind a cursor, at most a page of them."""
    return _page(db, INSTANCES, {"instance_": after[0]})


def of_bindings(db: sa.Connection, after: Cursor) -> list[Standing]:
    """The bindings behind a cursor, at most a page of them."""
    return _page(db, BINDINGS, {"instance_": after[0], "binding_": after[1]})


def cursor(last: Standing) -> Cursor:
    """Where the next page begins."""
    return last.instance_id, last.binding_id or ""


def moving(db: sa.Connection) -> list[Moving]:
    """What operations touch that have not ended."""
    return [_moving(row, open_=True) for row in run(db, OPEN).fetchall()]


def moved(db: sa.Connection, since: int) -> list[Moving]:
    """What operations touched that have ended since a moment (microseconds)."""
    rows = run(db, ENDED, {"since_": since}).fetchall()
    return [_moving(row, open_=False) for row in rows]


def _page(db: sa.Connection, statement: Any, values: dict[str, str]) -> list[Standing]:
    return [_standing(row) for row in run(db, statement, values).fetchall()]


def _standing(row: Any) -> Standing:
    got: dict[str, Any] = dict(zip(NAMES, row, strict=True))
    booleans(got, ("residue",))
    got["state"] = ResourceState(got["state"])
    return Standing(**got)


def _moving(row: Any, *, open_: bool) -> Moving:
    kind, instance_id, generation, binding_id, binding_generation = row
    return Moving(
        kind=OperationKind(kind),
        instance_id=instance_id,
        generation=generation,
        binding_id=binding_id,
        binding_generation=binding_generation,
        open=open_,
    )
