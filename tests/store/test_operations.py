"""Statements on `operations`: claims, fences, halting, turning; moments are arguments.

Requirements proved here: CONC-01, LOP-13, LOP-17.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from osbkit.domain import Operation, OperationKind, OperationState, Phase, ResourceState
from osbkit.errors import LeaseLost, OperationInProgress
from osbkit.store import bindings, instances, operations, retention
from osbkit.store.operations import Held
from osbkit.store.tables import operations as table
from osbkit.version import VERSION
from tests.store.plans import uses_an_index
from tests.store.records import (
    DAY,
    LEASE,
    NOON,
    SECOND,
    a_binding,
    an_instance,
    an_operation,
)


def added(db: sa.Connection, **fields: Any) -> Operation:
    """An operation in the table."""
    made = an_operation(**fields)
    operations.add(db, made)
    return made


def claimed(db: sa.Connection, **fields: Any) -> Operation:
    """An operation that worker a holds."""
    return operations.claim(db, added(db, **fields), owner="a", until=NOON + LEASE)


def stored(db: sa.Connection, operation: Operation) -> Operation:
    """An operation as the table has it now."""
    found = operations.find(db, operation.id)
    assert found is not None
    return found


def column(db: sa.Connection, name: str, operation_id: str = "op-1") -> Any:
    """One column of one row, as it stands in the table."""
    one = sa.select(table.c[name]).where(table.c.id == operation_id)
    return db.execute(one).scalar_one()


def finish(db: sa.Connection, operation: Operation, **more: Any) -> None:
    """End it well, at noon and nine."""
    state = more.pop("state", OperationState.SUCCEEDED)
    operations.finish(db, operation, state, now=NOON + 9, **more)


# --- a row --------------------------------------------------------------------------

FULL = an_operation(
    kind=OperationKind.BIND,
    binding_id="b-1",
    binding_generation=2,
    generation=3,
    phase=Phase.ROLLBACK,
    fence=1,
    owner="a",
    attempt=1,
    claims=1,
    answer_owed=True,
    asked={"seed": "00", "identity": {"platform": "cf", "value": {}}},
    description="Copying",
)


@pytest.mark.parametrize("operation", [an_operation(), FULL], ids=["bare", "full"])
def test_record_comes_back_as_it_was_written(db, operation):
    operations.add(db, operation)

    assert operations.find(db, "op-1") == operation
    assert operations.show(db, "op-1") == replace(operation, asked={})
    assert column(db, "version") == VERSION


def test_unknown_operation_has_no_record(db):
    assert operations.find(db, "op-1") is None
    assert operations.show(db, "op-1") is None
    assert operations.steps(db, "op-1") == {}


def test_what_an_operation_works_towards_is_sealed(db):
    operations.add(db, FULL)

    assert b"identity" not in column(db, "asked")


# --- the key ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "kept_out"),
    [
        pytest.param({"kind": OperationKind.UPDATE}, True, id="an update"),
        pytest.param({"kind": OperationKind.DEPROVISION}, True, id="a delete"),
        pytest.param({"generation": 2}, True, id="another life of the id"),
        pytest.param({"platform": "other"}, True, id="another platform"),
        pytest.param({"instance_id": "i-2"}, False, id="another instance"),
        pytest.param(
            {"kind": OperationKind.BIND, "binding_id": "b-1"}, False, id="a binding"
        ),
        pytest.param({"kind": OperationKind.CLEANUP}, False, id="a clean-up"),
        pytest.param({"kind": OperationKind.SWEEP}, False, id="a sweep"),
    ],
)
def test_one_operation_of_an_instance_is_live(db, other, kept_out):
    added(db)
    second = an_operation(2, **other)

    assert operations.taken(db, second.live_key or "") is kept_out
    if kept_out:
        with pytest.raises(OperationInProgress):
            operations.add(db, second)
        assert operations.find(db, "op-2") is None
    else:
        operations.add(db, second)


def test_one_operation_of_a_binding_is_live(db):
    bind = {"kind": OperationKind.BIND, "binding_id": "b-1"}
    added(db, **bind)

    with pytest.raises(OperationInProgress):
        added(db, number=2, **bind | {"kind": OperationKind.UNBIND})
    added(db, number=3, **bind | {"binding_id": "b-2"})
    added(db, number=4, **bind | {"instance_id": "i-2"})


def test_own_account_is_kept_apart_by_generation(db):
    sweep = {"kind": OperationKind.SWEEP, "binding_id": "b-1"}
    added(db, **sweep)

    with pytest.raises(OperationInProgress):
        added(db, number=2, **sweep)
    added(db, number=3, **sweep, generation=2)
    added(db, number=4, **sweep, binding_generation=2)


def test_keys_of_ids_that_look_alike_differ():
    key = operations.key_of
    bind = OperationKind.BIND

    assert key(bind, "a", "bc") != key(bind, "ab", "c")
    assert key(bind, "a:1", "b") != key(bind, "a", "1:b")
    assert key(OperationKind.PROVISION, "a") != key(bind, "a", "")
    assert len(key(bind, "a" * 255, "b" * 255)) == 64


def test_key_is_free_when_the_operation_has_ended(db):
    finish(db, claimed(db))

    added(db, number=2)


# --- claims and fences --------------------------------------------------------------


def test_claim_goes_one_fence_further(db):
    taken = claimed(db)

    assert (taken.fence, taken.attempt, taken.claims) == (1, 1, 1)
    assert (taken.owner, taken.run_at) == ("a", NOON + LEASE)
    again = operations.claim(db, taken, owner="b", until=NOON + 2 * LEASE)
    assert (again.fence, again.attempt, again.claims) == (2, 2, 2)
    assert again == stored(db, again)


def test_two_claims_of_one_reading_are_not_both_granted(db):
    seen = added(db)
    operations.claim(db, seen, owner="a", until=NOON + LEASE)

    with pytest.raises(LeaseLost):
        operations.claim(db, seen, owner="b", until=NOON + LEASE)

    assert stored(db, seen).owner == "a"


def test_ended_operation_is_not_claimed(db):
    mine = claimed(db)
    finish(db, mine)

    with pytest.raises(LeaseLost):
        operations.claim(db, mine, owner="b", until=NOON + LEASE)


WRITES: list[Any] = [
    pytest.param(lambda db, op: finish(db, op), id="finish"),
    pytest.param(lambda db, op: operations.progress(db, op, "x", 1, 1), id="progress"),
    pytest.param(lambda db, op: operations.retry(db, op, 9), id="retry"),
    pytest.param(lambda db, op: operations.postpone(db, op, NOON), id="postpone"),
    pytest.param(lambda db, op: operations.begin(db, op, NOON), id="begin"),
    pytest.param(lambda db, op: operations.require(db, op), id="require"),
    pytest.param(lambda db, op: operations.save_steps(db, op, {"a": 1}), id="steps"),
    pytest.param(
        lambda db, op: operations.claim(db, op, owner="z", until=NOON), id="claim"
    ),
]
Write = Callable[[sa.Connection, Operation], None]


@pytest.mark.parametrize("write", WRITES)
def test_worker_that_lost_its_lease_changes_nothing(db, write: Write):
    slow = claimed(db)
    fast = operations.claim(db, slow, owner="b", until=NOON + 2 * LEASE)

    with pytest.raises(LeaseLost):
        write(db, slow)

    assert stored(db, fast) == fast
    write(db, fast)


@pytest.mark.parametrize("write", WRITES)
def test_ended_operation_is_never_changed(db, write: Write):
    mine = claimed(db)
    finish(db, mine)
    before = stored(db, mine)

    with pytest.raises(LeaseLost):
        write(db, mine)

    assert stored(db, mine) == before


def test_glance_tells_what_is_due_and_what_one_holds(db):
    held = claimed(db)
    due = added(db, number=2, instance_id="i-2", run_at=NOON, claims=3)
    added(db, number=3, instance_id="i-3", run_at=NOON + 1)
    over = claimed(db, number=4, instance_id="i-4")
    finish(db, over)

    seen = operations.glance(db, owner="a", now=NOON)

    assert seen.due == {due.id: 3}
    assert seen.held == {held.id: Held(held.fence, False, Phase.FORWARD)}
    later = operations.glance(db, owner="b", now=NOON + LEASE)
    assert set(later.due) == {"op-1", "op-2", "op-3"}
    assert later.held == {}


def test_glance_is_not_blocked_by_what_a_newer_version_recorded(db):
    """However many of them are due before what this version knows."""
    for number in range(120):
        added(db, id=f"theirs-{number}", live_key=f"key-{number}", run_at=NOON - 1)
    change = sa.update(table).values(kind="migrate").where(table.c.id != "theirs-7")
    db.execute(change)
    db.execute(sa.update(table).values(phase="back").where(table.c.id == "theirs-7"))
    added(db, run_at=NOON)

    seen = operations.glance(db, owner="a", now=NOON)

    assert seen.due == {"op-1": 0}


def test_glance_tells_what_is_to_be_stopped(db):
    mine = claimed(db)
    operations.halt(db, mine, by="op-2", text="Deleted.", now=NOON)

    seen = operations.glance(db, owner="a", now=NOON + LEASE)

    assert seen.held == {"op-1": Held(mine.fence + 1, True, Phase.FORWARD)}
    assert seen.due == {}


def test_halted_operation_is_forsaken_when_its_lease_is_long_over(db):
    mine = claimed(db)
    operations.halt(db, mine, by="op-2", text="Deleted.", now=NOON)
    claimed(db, number=2, instance_id="i-2")

    assert operations.forsaken(db, NOON + LEASE) == []
    assert [one.id for one in operations.forsaken(db, NOON + LEASE + 1)] == ["op-1"]


def test_same_progress_twice_is_no_lost_lease(db):
    mine = claimed(db)

    for _ in range(2):
        operations.progress(db, mine, "Copying", 40, 7)
        operations.retry(db, mine, 2)
        operations.begin(db, mine, NOON)


def test_renewal_is_for_what_a_worker_holds(db):
    claimed(db)
    other = operations.claim(
        db, added(db, number=2, instance_id="i-2"), owner="b", until=NOON
    )
    ended = claimed(db, number=3, instance_id="i-3")
    finish(db, ended)
    free = added(db, number=4, instance_id="i-4")

    assert operations.renew(db, owner="a", until=NOON + 3 * LEASE) == []

    assert column(db, "run_at") == NOON + 3 * LEASE
    for untouched in (other, free):
        assert stored(db, untouched) == untouched
    assert stored(db, ended).run_at is None


# --- what a runner writes -----------------------------------------------------------


def test_progress_is_shown_to_those_who_poll(db):
    mine = claimed(db)

    operations.progress(db, mine, "Copying", 40, 7)

    shown = operations.show(db, "op-1")
    assert shown is not None
    assert (shown.description, shown.percent, shown.poll_after) == ("Copying", 40, 7)


def test_steps_are_kept_sealed_for_the_next_attempt(db):
    mine = claimed(db)
    operations.save_steps(db, mine, {"user": {"result": "secret-of-a-step"}})
    again = operations.claim(db, mine, owner="b", until=NOON + LEASE)

    assert operations.steps(db, again.id) == {"user": {"result": "secret-of-a-step"}}
    assert b"secret-of-a-step" not in column(db, "steps")


def test_further_attempt_counts_under_the_same_claim(db):
    mine = claimed(db)
    again = operations.claim(db, mine, owner="a", until=NOON + LEASE)

    operations.retry(db, again, 3)

    assert (stored(db, again).attempt, stored(db, again).claims) == (3, 1)
    assert stored(db, again).fence == again.fence


def test_postponed_operation_is_nobodys_until_it_is_due(db):
    mine = claimed(db)

    operations.postpone(db, mine, NOON + 60 * SECOND)

    found = stored(db, mine)
    assert (found.owner, found.run_at) == (None, NOON + 60 * SECOND)
    assert (found.claims, found.fence) == (0, mine.fence + 1)
    assert found.live
    operations.claim(db, found, owner="b", until=NOON + 61 * SECOND)


def test_end_is_told_and_forgets_what_was_sealed(db):
    mine = claimed(db, asked={"seed": "00"})
    operations.progress(db, mine, "Copying", 40, 7)
    operations.save_steps(db, mine, {"a": 1})

    finish(
        db,
        mine,
        state=OperationState.FAILED,
        description="The disk is full.",
        refused=True,
        status=400,
        usable=False,
        repeatable=True,
        parked=True,
    )

    assert stored(db, mine) == replace(
        mine,
        state=OperationState.FAILED,
        description="The disk is full.",
        refused=True,
        status=400,
        instance_usable=False,
        update_repeatable=True,
        parked=True,
        live_key=None,
        run_at=None,
        asked={},
        ended_at=NOON + 9,
    )
    assert column(db, "asked") is None
    assert column(db, "steps") is None


# --- turning ------------------------------------------------------------------------


def test_owed_operation_is_turned_once_and_its_runner_loses_it(db):
    mine = claimed(db, answer_owed=True, description="Copying")

    turned = operations.turn(db, mine.id, "Too late.", owed=True)

    assert turned == replace(
        mine, phase=Phase.ROLLBACK, description="Too late.", fence=mine.fence + 1
    )
    assert turned == stored(db, mine)
    assert operations.turn(db, mine.id, "Again.", owed=True) is None
    with pytest.raises(LeaseLost):
        finish(db, mine)
    finish(db, turned)


def test_operation_that_somebody_polls_is_not_turned_for_its_caller(db):
    mine = claimed(db, answer_owed=True)
    operations.join(db, mine.id)

    assert operations.turn(db, mine.id, "Too late.", owed=True) is None
    assert stored(db, mine) == replace(mine, answer_owed=False)
    turned = operations.turn(db, mine.id, "Past its deadline.", owed=False)
    assert turned is not None
    assert turned.phase is Phase.ROLLBACK


def test_ended_operation_is_neither_turned_nor_joined(db):
    mine = claimed(db, answer_owed=True)
    finish(db, mine)

    assert operations.turn(db, mine.id, "Too late.", owed=False) is None
    operations.join(db, mine.id)
    assert stored(db, mine).answer_owed


# --- halting ------------------------------------------------------------------------


def test_halted_operation_has_failed_for_the_platform_and_is_open_for_us(db):
    mine = claimed(db)
    operations.progress(db, mine, "Copying", 40, 7)

    held = operations.halt(db, mine, by="op-2", text="Deleted.", now=NOON + 5)

    found = stored(db, mine)
    assert held
    assert (found.state, found.description) == (OperationState.FAILED, "Deleted.")
    assert (found.live_key, found.ended_at) == (None, None)
    assert (found.stop_asked, found.halted_by) == (True, "op-2")
    assert (found.percent, found.poll_after) == (None, None)
    assert operations.live([found]) == []
    assert [one.id for one in operations.open_of(db, "i-1")] == ["op-1"]
    with pytest.raises(LeaseLost):
        finish(db, mine)


def test_halting_what_nobody_runs_ends_it_at_once(db):
    mine = added(db)

    assert not operations.halt(db, mine, by="op-2", text="Deleted.", now=NOON + 5)
    assert stored(db, mine).ended_at == NOON + 5
    assert operations.open_of(db, "i-1") == []


def test_holder_of_a_halted_operation_hears_of_it_when_it_renews(db):
    mine = claimed(db)
    operations.halt(db, mine, by="op-2", text="Deleted.", now=NOON)

    assert operations.renew(db, owner="a", until=NOON + 2 * LEASE) == ["op-1"]
    assert operations.renew(db, owner="b", until=NOON + 9 * LEASE) == []
    assert column(db, "run_at") == NOON + 2 * LEASE


@pytest.mark.parametrize("began", [True, False], ids=["had begun", "still waits"])
def test_call_that_returned_after_its_take_over_may_have_left_something(db, began):
    mine = claimed(db, asked={"seed": "00"})
    operations.save_steps(db, mine, {"a": 1})
    operations.halt(db, mine, by="op-2", text="Deleted.", now=NOON)
    delete = claimed(db, number=2, kind=OperationKind.DEPROVISION)
    if began:
        operations.begin(db, delete, NOON + 20 * SECOND)

    assert operations.stopped(db, "op-1", NOON + 30 * SECOND) is began

    assert column(db, "ended_at") == NOON + 30 * SECOND
    assert column(db, "asked") is None
    assert column(db, "steps") is None
    # its process was taken for gone, and it returns all the same
    assert operations.stopped(db, "op-1", NOON + 40 * SECOND) is began
    assert column(db, "ended_at") == NOON + 30 * SECOND


def test_only_what_was_halted_can_be_stopped(db):
    mine = claimed(db)

    assert not operations.stopped(db, mine.id, NOON)
    assert stored(db, mine) == mine


# --- looking ------------------------------------------------------------------------


def test_open_operations_of_an_instance_are_found_oldest_first(db):
    added(db, number=3)
    added(db, number=2, kind=OperationKind.BIND, binding_id="b-1")
    added(db, number=4, instance_id="i-2")
    ended = claimed(db, number=1, kind=OperationKind.BIND, binding_id="b-2")
    finish(db, ended)

    assert [one.id for one in operations.open_of(db, "i-1")] == ["op-2", "op-3"]


def test_every_open_operation_is_found_the_one_due_first_in_front(db):
    for number, due in ((1, NOON + 5), (2, NOON - 5), (3, NOON)):
        added(db, number=number, instance_id=f"i-{number}", run_at=due)
    finish(db, claimed(db, number=4, instance_id="i-4"))

    assert [one.id for one in operations.all_open(db)] == ["op-2", "op-3", "op-1"]


def test_latest_operation_is_found_with_how_its_instance_stands(db):
    mine = claimed(db, asked={"seed": "00"})
    instances.add(db, an_instance(latest="op-1"))

    found = operations.latest(db, "i-1")

    assert found == operations.Latest(
        "default", ResourceState.MAKING, None, replace(mine, asked={})
    )
    assert operations.latest(db, "i-2") is None


def test_latest_operation_of_a_binding_is_looked_up_under_its_instance(db):
    mine = claimed(db, kind=OperationKind.BIND, binding_id="b-1")
    instances.add(db, an_instance(latest="op-9"))
    bindings.add(db, a_binding(latest="op-1", state=ResourceState.READY, ended_at=NOON))

    found = operations.latest(db, "i-1", "b-1")

    assert found == operations.Latest("default", ResourceState.READY, NOON, mine)
    assert operations.latest(db, "i-1", "b-2") is None
    assert operations.latest(db, "i-2", "b-1") is None


def test_latest_operation_that_was_forgotten_leaves_the_rest(db):
    instances.add(db, an_instance(latest="op-1", state=ResourceState.READY))

    assert operations.latest(db, "i-1") == operations.Latest(
        "default", ResourceState.READY, None, None
    )


def test_ended_operations_are_forgotten_from_a_moment_on(db):
    for number in (1, 2, 3):
        mine = claimed(db, number=number)
        operations.finish(db, mine, OperationState.SUCCEEDED, now=NOON + number * DAY)
    live = added(db, number=4)

    assert retention.drop(db, table, NOON + 2 * DAY) == 1
    assert operations.find(db, "op-1") is None
    assert operations.find(db, "op-2") is not None
    assert stored(db, live) == live


@pytest.mark.parametrize(
    "where",
    [
        "instance_id = 'i-1' AND ended_at IS NULL",
        "ended_at IS NULL AND run_at <= 1",
        "id = 'op-1'",
    ],
)
def test_look_ups_of_every_request_use_an_index(db, where):
    added(db)

    assert uses_an_index(db, "operations", where)
