"""The units of work that claim an operation, park it, or let it go.

unclaimed, due ──┐
lease ran out ───┼─ take_up ─► claimed, fence + 1, lease
held by us ──────┘      └────► parked: it ended its process `MAX_CLAIMS` times
"""

import sqlalchemy as sa

from osbkit.domain import MICROSECONDS, Operation, OperationKind
from osbkit.errors import LeaseLost
from osbkit.operations import endings, leases
from osbkit.operations.work import Work, load
from osbkit.store import operations
from osbkit.store.rows import now

TAKEN_BACK = frozenset({OperationKind.PROVISION, OperationKind.BIND})


def lease_from_now() -> int:
    """When a claim of this moment runs out (microseconds)."""
    return now() + int(leases.LEASE * MICROSECONDS)


def take_up(
    db: sa.Connection,
    operation_id: str,
    owner: str,
    *,
    alone: bool = True,
    again: bool = False,
) -> Work | Operation:
    """Claim a row.

    An operation whose answer was owed when its process died is turned: the
    platform saw an error and keeps nothing.

    Args:
        alone: nobody else runs operations of this database; else only what is due
            is claimed.
        again: the owner claims anew what it holds and does not run; that it did
            not end its process is plain, so it is not counted.

    Returns:
        what is to be done; or the operation, when it was parked instead.

    Raises:
        LeaseLost: it has ended, or another has it.
        DatabaseUnusable: the row cannot be read.
    """
    operation = operations.seize(db, operation_id)
    if operation is None or not operation.live:
        raise LeaseLost(f"operation {operation_id} has ended, or is another's")
    mine = again and operation.owner == owner
    if not alone and not mine and (operation.run_at or 0) > now():
        raise LeaseLost(f"operation {operation_id} is held")
    if operation.claims >= leases.MAX_CLAIMS and not again:
        park(db, operation)
        return operation
    if operation.answer_owed and operation.attempt and operation.kind in TAKEN_BACK:
        turned = operations.turn(db, operation.id, endings.RESTARTED, owed=True)
        operation = turned or operation
    claimed = operations.claim(db, operation, owner=owner, until=lease_from_now())
    if again:
        operations.retry(db, claimed, claimed.attempt)
    work = load(db, claimed)
    if work is None:
        raise LeaseLost("its instance is forgotten")
    return work


def park(db: sa.Connection, operation: Operation) -> None:
    """End what crashes its process every time: failed, and loud to the operator."""
    work = load(db, operation)
    if work is None:
        raise LeaseLost("its instance is forgotten")
    endings.failed(db, work, endings.parked(operation))


def let_go(db: sa.Connection, operation_id: str) -> None:
    """A halted operation of ours has no call that runs."""
    found = operations.find(db, operation_id)
    if found is not None:
        endings.stopped(db, found)


def settle_forsaken(db: sa.Connection) -> None:
    """End halted operations whose process is long gone, and sweep after them."""
    long_ago = now() - int(leases.FORSAKEN * MICROSECONDS)
    for operation in operations.forsaken(db, long_ago):
        endings.stopped(db, operation)


def settle_halted(db: sa.Connection) -> None:
    """The process of every halted call is dead, so these calls have ended."""
    for operation in operations.all_open(db):
        if operation.stop_asked:
            endings.stopped(db, operation)
