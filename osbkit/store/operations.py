"""Statements on `operations`: the one truth about every piece of backend work.

A row is *live* while its state is `in progress`; it is *open* until `ended_at` is
set. A halted operation is open but not live: its call may still be running, and
what comes after it waits for `stopped()` or for its lease to run out.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from osbkit.domain import (
    Json,
    Operation,
    OperationKind,
    OperationState,
    Phase,
    ResourceState,
)
from osbkit.errors import (
    DatabaseUnusable,
    LeaseLost,
    OperationInProgress,
    RecordUnknown,
)
from osbkit.store import jobs
from osbkit.store.sealing import KeyRing, ring_of
from osbkit.store.statements import IntegrityError, booleans, run
from osbkit.store.tables import bindings, instances, operations
from osbkit.telemetry import log
from osbkit.version import VERSION

TOLD = 10_000
"""Operations of a newer version that a process remembers to have told of."""

ID = operations.c.id == sa.bindparam("id_")
FENCE = operations.c.fence == sa.bindparam("fence_")
LIVE = operations.c.state == OperationState.IN_PROGRESS
OPEN = operations.c.ended_at.is_(None)
KNOWN = sa.and_(
    sa.or_(*(operations.c.kind == kind for kind in OperationKind)),
    sa.or_(*(operations.c.phase == phase for phase in Phase)),
)
"""What a newer version recorded may be of a kind that this one does not know."""
PHASES = {phase.value: phase for phase in Phase}

COLUMNS = [column for column in operations.c if column.name not in {"steps", "version"}]
SHOWN = [column for column in COLUMNS if column.name != "asked"]
BOOLEANS = (
    "answer_owed",
    "refused",
    "instance_usable",
    "update_repeatable",
    "parked",
    "stop_asked",
)
NAMES = tuple(column.name for column in COLUMNS)
SHOWN_NAMES = tuple(column.name for column in SHOWN)
SHOWN_ = [column.label(f"o_{column.name}") for column in SHOWN]

INSERT = sa.insert(operations)
FIND = sa.select(*COLUMNS).where(ID)
SHOW = sa.select(*SHOWN).where(ID)
LATEST_OF_INSTANCE = (
    sa.select(instances.c.platform, instances.c.state, instances.c.ended_at, *SHOWN_)
    .select_from(instances.outerjoin(operations, operations.c.id == instances.c.latest))
    .where(instances.c.instance_id == sa.bindparam("instance_"))
)
LATEST_OF_BINDING = (
    sa.select(bindings.c.platform, bindings.c.state, bindings.c.ended_at, *SHOWN_)
    .select_from(bindings.outerjoin(operations, operations.c.id == bindings.c.latest))
    .where(bindings.c.instance_id == sa.bindparam("instance_"))
    .where(bindings.c.binding_id == sa.bindparam("binding_"))
)
OPEN_OF_INSTANCE = (
    sa.select(*COLUMNS)
    .where(operations.c.instance_id == sa.bindparam("instance_"))
    .where(OPEN)
    .order_by(operations.c.created_at)
)
ALL_OPEN = sa.select(*COLUMNS).where(OPEN).order_by(operations.c.run_at)
SEIZE = FIND.with_for_update(skip_locked=True)
DUE = (
    sa.select(operations.c.id, operations.c.claims, KNOWN)
    .where(OPEN, LIVE)
    .where(operations.c.run_at <= sa.bindparam("now_"))
    .order_by(operations.c.run_at)
    .limit(100)
)
DUE_AND_KNOWN = DUE.where(KNOWN)
HELD_BY = (
    sa.select(
        operations.c.id, operations.c.fence, operations.c.stop_asked, operations.c.phase
    )
    .where(OPEN)
    .where(operations.c.owner == sa.bindparam("owner_"))
)
HALTED = (
    sa.select(operations.c.id)
    .where(operations.c.instance_id == sa.bindparam("instance_"))
    .where(OPEN)
    .where(operations.c.stop_asked)
    .limit(1)
)
FORSAKEN = (
    sa.select(*COLUMNS)
    .where(OPEN)
    .where(operations.c.stop_asked)
    .where(operations.c.run_at < sa.bindparam("before_"))
    .limit(100)
)
CLAIM = (
    sa.update(operations)
    .where(ID, FENCE, LIVE)
    .values(
        fence=operations.c.fence + 1,
        owner=sa.bindparam("owner_"),
        run_at=sa.bindparam("until_"),
        attempt=operations.c.attempt + 1,
        claims=operations.c.claims + 1,
    )
)
RENEW = (
    sa.update(operations)
    .where(operations.c.owner == sa.bindparam("owner_"), OPEN)
    .values(run_at=sa.bindparam("until_"))
)
STOPPING = (
    sa.select(operations.c.id)
    .where(operations.c.owner == sa.bindparam("owner_"), OPEN)
    .where(operations.c.stop_asked)
)
PROGRESS = (
    sa.update(operations)
    .where(ID, FENCE, LIVE)
    .values(
        description=sa.bindparam("text_"),
        percent=sa.bindparam("percent_"),
        poll_after=sa.bindparam("poll_"),
    )
)
RETRY = (
    sa.update(operations)
    .where(ID, FENCE, LIVE)
    .values(attempt=sa.bindparam("attempt_"), claims=1)
)
TURN = (
    sa.update(operations)
    .where(ID, LIVE)
    .where(operations.c.phase == Phase.FORWARD)
    .values(
        phase=Phase.ROLLBACK,
        description=sa.bindparam("text_"),
        percent=None,
        poll_after=None,
        fence=operations.c.fence + 1,
    )
)
TURN_BACK = (
    sa.update(operations)
    .where(ID, FENCE, LIVE)
    .values(
        phase=Phase.ROLLBACK,
        description=sa.bindparam("text_"),
        refused=sa.bindparam("refused_"),
        status=sa.bindparam("status_"),
        percent=None,
        poll_after=None,
    )
)
TURN_OWED = TURN.where(operations.c.answer_owed)
JOIN = sa.update(operations).where(ID, LIVE).values(answer_owed=False)
FINISH = (
    sa.update(operations)
    .where(ID, FENCE, LIVE)
    .values(
        state=sa.bindparam("state_"),
        description=sa.bindparam("text_"),
        percent=None,
        poll_after=None,
        refused=sa.bindparam("refused_"),
        status=sa.bindparam("status_"),
        instance_usable=sa.bindparam("usable_"),
        update_repeatable=sa.bindparam("repeatable_"),
        parked=sa.bindparam("parked_"),
        live_key=None,
        run_at=None,
        asked=None,
        steps=None,
        ended_at=sa.bindparam("now_"),
    )
)
HALT = (
    sa.update(operations)
    .where(ID, LIVE)
    .values(
        state=OperationState.FAILED,
        description=sa.bindparam("text_"),
        live_key=None,
        fence=operations.c.fence + 1,
        stop_asked=True,
        halted_by=sa.bindparam("by_"),
        percent=None,
        poll_after=None,
        ended_at=sa.bindparam("ended_"),
    )
)
STOPPED = (
    sa.update(operations)
    .where(ID, OPEN)
    .where(operations.c.stop_asked)
    .values(ended_at=sa.bindparam("now_"), run_at=None, asked=None, steps=None)
)
HALTER_BEGAN = sa.select(operations.c.begun_at).where(
    operations.c.id == sa.select(operations.c.halted_by).where(ID).scalar_subquery()
)
BEGIN = (
    sa.update(operations).where(ID, FENCE, LIVE).values(begun_at=sa.bindparam("now_"))
)
POSTPONE = (
    sa.update(operations)
    .where(ID, FENCE, LIVE)
    .values(
        run_at=sa.bindparam("run_at_"),
        owner=None,
        claims=0,
        fence=operations.c.fence + 1,
    )
)
STEPS = sa.select(operations.c.steps).where(ID)
SAVE_STEPS = (
    sa.update(operations).where(ID, FENCE, LIVE).values(steps=sa.bindparam("steps_"))
)
HELD = sa.select(operations.c.id).where(ID, FENCE, LIVE)
TAKEN = sa.select(operations.c.id).where(operations.c.live_key == sa.bindparam("key_"))


def key_of(
    kind: OperationKind,
    instance_id: str,
    binding_id: str | None = None,
    generation: int = 0,
    binding_generation: int = 0,
) -> str:
    """The key that keeps two live operations of one thing apart, hashed.

    Instance operations share one key, binding operations one per binding; what
    the broker does on its own account is keyed by generation, so it never stands
    in the way of a platform.
    """
    if kind is OperationKind.SWEEP or kind is OperationKind.CLEANUP:
        lives = (str(generation), str(binding_generation))
        parts: tuple[str, ...] = (kind.value, instance_id, binding_id or "", *lives)
    elif binding_id is None:
        parts = ("i", instance_id)
    else:
        parts = ("b", instance_id, binding_id)
    text = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()


def add(db: sa.Connection, operation: Operation) -> None:
    """Record an operation; `live_key` is the last word on concurrency.

    Raises:
        OperationInProgress: another live operation holds the key.
    """
    try:
        run(db, INSERT, values(operation, ring_of(db)))
    except IntegrityError:
        raise OperationInProgress from None
    if operation.owner is None:
        jobs.enqueue(db, operation.id, operation.run_at)


def taken(db: sa.Connection, key: str) -> bool:
    """Whether a live operation holds this key."""
    return run(db, TAKEN, {"key_": key}).fetchone() is not None


def find(db: sa.Connection, operation_id: str) -> Operation | None:
    """The whole record."""
    row = run(db, FIND, {"id_": operation_id}).fetchone()
    return None if row is None else record(row, ring_of(db))


def show(db: sa.Connection, operation_id: str) -> Operation | None:
    """The record without what it works towards: enough to poll."""
    row = run(db, SHOW, {"id_": operation_id}).fetchone()
    return None if row is None else record(row, None)


@dataclass(frozen=True, slots=True)
class Latest:
    """How a resource stands, and the newest operation its platform may ask about.

    Attributes:
        operation: None when it is no longer kept.
    """

    platform: str
    state: ResourceState
    ended_at: int | None
    operation: Operation | None


def latest(
    db: sa.Connection, instance_id: str, binding_id: str | None = None
) -> Latest | None:
    """One look-up for a poll that names no operation; None for an unknown id."""
    if binding_id is None:
        row = run(db, LATEST_OF_INSTANCE, {"instance_": instance_id}).fetchone()
    else:
        row = run(
            db, LATEST_OF_BINDING, {"instance_": instance_id, "binding_": binding_id}
        ).fetchone()
    if row is None:
        return None
    platform, state, ended_at, *shown = row
    operation = None if shown[0] is None else _shown(shown)
    return Latest(platform, ResourceState(state), ended_at, operation)


def _shown(values_: Iterable[Any]) -> Operation:
    return _typed(dict(zip(SHOWN_NAMES, values_, strict=True)))


def open_of(db: sa.Connection, instance_id: str) -> list[Operation]:
    """Every open operation of an instance and its bindings, oldest first.

    Raises:
        RecordUnknown: one is of a newer version, and what it does nobody knows here.
    """
    ring = ring_of(db)
    rows = run(db, OPEN_OF_INSTANCE, {"instance_": instance_id})
    return [record(row, ring) for row in rows.fetchall()]


def known_of(db: sa.Connection, instance_id: str) -> list[Operation]:
    """Those of them that can be read and understood: for what goes on beside them."""
    rows = run(db, OPEN_OF_INSTANCE, {"instance_": instance_id})
    return _readable(db, rows.fetchall(), tell=False)


def all_open(db: sa.Connection) -> list[Operation]:
    """Every open operation that can be read, the one due first in front."""
    return _readable(db, run(db, ALL_OPEN).fetchall())


def _readable(
    db: sa.Connection, rows: Iterable[Any], *, tell: bool = True
) -> list[Operation]:
    """The records of rows; one that is damaged must not stop all others."""
    ring = ring_of(db)
    found = []
    for row in rows:
        try:
            found.append(record(row, ring))
        except DatabaseUnusable as damaged:
            if tell:
                problem = str(damaged)
                log.error("operation.unreadable", operation=row[0], problem=problem)
        except RecordUnknown:
            leave_unknown([row[0]])
    return found


_told: dict[str, None] = {}


def leave_unknown(ids: Iterable[str]) -> None:
    """Log once what a newer version of osbkit has recorded: it is left to that one."""
    for operation_id in ids:
        if operation_id not in _told:
            _told[operation_id] = None
            problem = "recorded by a newer version of osbkit; it is left to that one"
            log.error("operation.unreadable", operation=operation_id, problem=problem)
    while len(_told) > TOLD:
        del _told[next(iter(_told))]


def claim(
    db: sa.Connection, operation: Operation, *, owner: str, until: int
) -> Operation:
    """Take an operation over: one fence further, one attempt more.

    Args:
        operation: as it was read; a claim by anybody else since then wins.
        owner: the claiming process.
        until: when the lease runs out (microseconds).

    Raises:
        LeaseLost: it has ended or was claimed by another.
    """
    _guarded(db, CLAIM, operation, {"owner_": owner, "until_": until})
    return replace(
        operation,
        fence=operation.fence + 1,
        owner=owner,
        run_at=until,
        attempt=operation.attempt + 1,
        claims=operation.claims + 1,
    )


def seize(db: sa.Connection, operation_id: str) -> Operation | None:
    """The record, held against other processes until the transaction ends.

    None when another holds it at this moment, or it is forgotten.
    """
    row = run(db, SEIZE, {"id_": operation_id}).fetchone()
    return None if row is None else record(row, ring_of(db))


@dataclass(frozen=True, slots=True)
class Held:
    """How an operation stands that a process holds.

    Attributes:
        phase: None for one that only a newer version knows.
    """

    fence: int
    stop_asked: bool
    phase: Phase | None


@dataclass(frozen=True, slots=True)
class Glance:
    """What one process has to know of a table that many share.

    Attributes:
        due: id → claims, of what nobody holds, or no longer.
        held: id → how it stands, of what we hold.
    """

    due: dict[str, int]
    held: dict[str, Held]


def glance(db: sa.Connection, *, owner: str, now: int) -> Glance:
    """What is due, and what a process holds; not what a newer version recorded."""
    due = run(db, DUE, {"now_": now}).fetchall()
    unknown = [row[0] for row in due if not row[2]]
    if unknown:  # so many that the others would never have their turn
        leave_unknown(unknown)
        due = run(db, DUE_AND_KNOWN, {"now_": now}).fetchall()
    held = run(db, HELD_BY, {"owner_": owner}).fetchall()
    return Glance(
        due={row[0]: row[1] for row in due},
        held={row[0]: Held(row[1], bool(row[2]), PHASES.get(row[3])) for row in held},
    )


def forsaken(db: sa.Connection, before: int) -> list[Operation]:
    """Halted operations whose holder has not been seen since a moment."""
    return _readable(db, run(db, FORSAKEN, {"before_": before}).fetchall())


def renew(db: sa.Connection, *, owner: str, until: int) -> list[str]:
    """Renew the lease of everything a process holds.

    Returns:
        ids of what it is asked to stop.
    """
    run(db, RENEW, {"owner_": owner, "until_": until})
    return [row[0] for row in run(db, STOPPING, {"owner_": owner}).fetchall()]


def progress(
    db: sa.Connection,
    operation: Operation,
    text: str,
    percent: int | None,
    poll_after: int | None,
) -> None:
    """Store what a user sees while it runs.

    Raises:
        LeaseLost: the operation is another's or has ended.
    """
    _guarded(
        db,
        PROGRESS,
        operation,
        {"text_": text, "percent_": percent, "poll_": poll_after},
    )


def retry(db: sa.Connection, operation: Operation, attempt: int) -> None:
    """Count a further attempt under the same claim.

    Raises:
        LeaseLost: the operation is another's or has ended.
    """
    _guarded(db, RETRY, operation, {"attempt_": attempt})


def postpone(db: sa.Connection, operation: Operation, run_at: int) -> None:
    """Give the claim back until a moment.

    Raises:
        LeaseLost: the operation is another's or has ended.
    """
    _guarded(db, POSTPONE, operation, {"run_at_": run_at})
    jobs.enqueue(db, operation.id, run_at)


def turn(
    db: sa.Connection, operation_id: str, text: str, *, owed: bool
) -> Operation | None:
    """Turn a live operation towards its roll-back, one fence further.

    Args:
        owed: only while its answer is owed: nobody who polls has joined.

    Returns:
        the record as it is now; None when it has ended, was joined, or had
        turned before.
    """
    statement = TURN_OWED if owed else TURN
    done = run(db, statement, {"id_": operation_id, "text_": text})
    return find(db, operation_id) if done.rowcount == 1 else None


def turn_back(
    db: sa.Connection, operation: Operation, *, text: str, status: int, refused: bool
) -> Operation:
    """Record that a claimed operation is taken back, before anything is: whoever
    takes it over goes the same way.

    Raises:
        LeaseLost: the operation is another's or has ended.
    """
    _guarded(
        db,
        TURN_BACK,
        operation,
        {"text_": text, "status_": status, "refused_": refused},
    )
    return replace(
        operation,
        phase=Phase.ROLLBACK,
        description=text,
        status=status,
        refused=refused,
    )


def join(db: sa.Connection, operation_id: str) -> None:
    """Somebody polls it now: no answer is owed any longer."""
    run(db, JOIN, {"id_": operation_id})


def finish(
    db: sa.Connection,
    operation: Operation,
    state: OperationState,
    *,
    now: int,
    description: str | None = None,
    refused: bool = False,
    status: int | None = None,
    usable: bool | None = None,
    repeatable: bool | None = None,
    parked: bool = False,
) -> None:
    """End a claimed operation, if the claim still stands.

    Raises:
        LeaseLost: the row has ended or carries a newer fence; nothing changed.
    """
    _guarded(
        db,
        FINISH,
        operation,
        {
            "state_": state.value,
            "text_": description,
            "refused_": refused,
            "status_": status,
            "usable_": usable,
            "repeatable_": repeatable,
            "parked_": parked,
            "now_": now,
        },
    )


def halt(
    db: sa.Connection, operation: Operation, *, by: str, text: str, now: int
) -> bool:
    """End a live operation for the platform and ask its runner to stop.

    Returns:
        whether a call may still be running (somebody holds the claim).
    """
    held = operation.owner is not None
    run(
        db,
        HALT,
        {
            "id_": operation.id,
            "text_": text,
            "by_": by,
            "ended_": None if held else now,
        },
    )
    return held


def stopped(db: sa.Connection, operation_id: str, now: int) -> bool:
    """A halted call has really returned, even if it was taken for gone before.

    Returns:
        whether what halted it had begun without waiting: something may be left.
    """
    began = run(db, HALTER_BEGAN, {"id_": operation_id}).fetchone()
    run(db, STOPPED, {"id_": operation_id, "now_": now})
    return began is not None and began[0] is not None


def require(db: sa.Connection, operation: Operation) -> None:
    """Go on only while the claim stands.

    Raises:
        LeaseLost: the operation is another's or has ended.
    """
    held = run(db, HELD, {"id_": operation.id, "fence_": operation.fence}).fetchone()
    if held is None:
        raise LeaseLost(f"operation {operation.id} was claimed again or has ended")


def begin(db: sa.Connection, operation: Operation, now: int) -> None:
    """The backend is about to be called, whoever has not stopped by now.

    Raises:
        LeaseLost: the operation is another's or has ended.
    """
    _guarded(db, BEGIN, operation, {"now_": now})


def steps(db: sa.Connection, operation_id: str) -> Json:
    """The steps done so far: name → `result`, and the `version` that took it."""
    row = run(db, STEPS, {"id_": operation_id}).fetchone()
    blob = None if row is None else row[0]
    found: Json = ring_of(db).open(blob, "operations.steps", operation_id) or {}
    return found


def save_steps(db: sa.Connection, operation: Operation, done: Json) -> None:
    """Store the results of steps.

    Raises:
        LeaseLost: the operation is another's or has ended.
    """
    blob = ring_of(db).seal(done, "operations.steps", operation.id)
    _guarded(db, SAVE_STEPS, operation, {"steps_": blob})


def halted(db: sa.Connection, instance_id: str) -> bool:
    """Whether a halted call on an instance or its bindings may still be running."""
    return run(db, HALTED, {"instance_": instance_id}).fetchone() is not None


def unattended(db: sa.Connection, before: int) -> int:
    """How many operations have been due since a moment, at most 100."""
    return len(run(db, DUE_AND_KNOWN, {"now_": before}).fetchall())


def live(operations_: Iterable[Operation]) -> list[Operation]:
    """Those that the platform has not seen end."""
    return [operation for operation in operations_ if operation.live]


def _guarded(
    db: sa.Connection, statement: Any, operation: Operation, values_: dict[str, Any]
) -> None:
    done = run(
        db, statement, {"id_": operation.id, "fence_": operation.fence, **values_}
    )
    if done.rowcount != 1:  # MariaDB may count no row that has these values already
        require(db, operation)


def values(operation: Operation, ring: KeyRing) -> dict[str, Any]:
    """A new record as a row."""
    return {
        "id": operation.id,
        "kind": operation.kind.value,
        "instance_id": operation.instance_id,
        "binding_id": operation.binding_id,
        "platform": operation.platform,
        "backend": operation.backend,
        "generation": operation.generation,
        "binding_generation": operation.binding_generation,
        "state": operation.state.value,
        "phase": operation.phase.value,
        "live_key": operation.live_key,
        "fence": operation.fence,
        "owner": operation.owner,
        "run_at": operation.run_at,
        "attempt": operation.attempt,
        "claims": operation.claims,
        "answer_owed": operation.answer_owed,
        "deadline": operation.deadline,
        "asked": ring.seal(operation.asked, "operations.asked", operation.id),
        "description": operation.description,
        "refused": False,
        "parked": False,
        "stop_asked": False,
        "created_at": operation.created_at,
        "version": VERSION,
    }


def record(row: Any, ring: KeyRing | None) -> Operation:
    """A row as a record; without a ring, `asked` stays empty."""
    names = NAMES if ring is not None else SHOWN_NAMES
    got: dict[str, Any] = dict(zip(names, row, strict=True))
    if ring is not None:
        blob = got["asked"]
        got["asked"] = ring.open(blob, "operations.asked", got["id"]) or {}
    return _typed(got)


def _typed(got: dict[str, Any]) -> Operation:
    booleans(got, BOOLEANS)
    try:
        got["kind"] = OperationKind(got["kind"])
        got["state"] = OperationState(got["state"])
        got["phase"] = Phase(got["phase"])
    except ValueError as unknown:
        raise RecordUnknown(f"operation {got['id']}") from unknown
    return Operation(**got)
