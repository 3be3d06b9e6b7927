"""Statements on `instances`: one row an id, each write on what was read."""

from dataclasses import replace

import pytest

from osbkit.domain import ResourceState
from osbkit.errors import Stale
from osbkit.store import instances, operations, retention
from osbkit.store.tables import instances as instances_table
from tests.store.plans import uses_an_index
from tests.store.records import DAY, NOON, an_instance, an_operation

FULL = an_instance(
    state=ResourceState.READY,
    generation=3,
    parameters={"max_messages": 5, "ü": [1, 2.5, None, True]},
    context={"platform": "kubernetes"},
    facts={"node": "n-7"},
    maintenance_version="1.2.0+b",
    residue=True,
    usable=False,
    revision=7,
    latest="op-9",
    ended_at=NOON + 1,
)


@pytest.mark.parametrize("instance", [an_instance(), FULL], ids=["bare", "full"])
def test_record_comes_back_as_it_was_written(db, instance):
    assert instances.add(db, instance)

    assert instances.find(db, "i-1") == instance
    assert instances.lock(db, "i-1") == instance
    assert instances.share(db, "i-1") == instance


def test_unknown_id_has_no_row(db):
    assert instances.find(db, "i-1") is None
    assert instances.lock(db, "i-1") is None
    assert not instances.untouched(db, an_instance())


def test_id_has_one_row_whoever_asks(db):
    assert instances.add(db, an_instance())
    assert not instances.add(
        db, an_instance(uid="f" * 32, platform="other", plan_id="p-2")
    )

    assert instances.find(db, "i-1") == an_instance()


@pytest.mark.parametrize("other", ["I-1", "i-1 ", " i-1", "i-1\u0301", "i\u20101"])
def test_ids_are_compared_byte_for_byte(db, other):
    instances.add(db, an_instance())

    assert instances.find(db, other) is None
    assert instances.add(db, an_instance(2, instance_id=other))


def test_saved_record_replaces_what_was_read_and_counts_the_revision(db):
    instances.add(db, an_instance())
    changed = replace(FULL, revision=0)

    instances.save(db, changed)

    assert instances.find(db, "i-1") == replace(changed, revision=1)


def test_record_that_was_read_before_a_change_is_not_written(db):
    instances.add(db, an_instance())
    instances.save(db, an_instance(plan_id="p-2"))

    with pytest.raises(Stale):
        instances.save(db, an_instance(plan_id="p-3"))

    assert instances.find(db, "i-1") == an_instance(plan_id="p-2", revision=1)


def test_record_of_a_row_that_is_gone_is_not_written(db):
    with pytest.raises(Stale):
        instances.save(db, an_instance())


def test_row_keeps_its_uid_and_its_birth(db):
    instances.add(db, an_instance())
    instances.save(db, an_instance(created_at=NOON + 5, uid="f" * 32))

    found = db.exec_driver_sql("SELECT uid, created_at FROM instances").one()
    assert found == (f"{1:032x}", NOON)


def test_made_instance_is_ready_with_its_facts_and_nothing_left_over(db):
    made = an_instance(residue=True, usable=False, parameters={"a": 1})
    instances.add(db, made)

    instances.mark_ready(db, made, 1, {"node": "n-7"})

    assert instances.find(db, "i-1") == replace(
        made,
        state=ResourceState.READY,
        facts={"node": "n-7"},
        residue=False,
        usable=True,
        revision=1,
    )


def test_end_of_an_earlier_generation_makes_nothing_ready(db):
    instances.add(db, an_instance(generation=2))

    instances.mark_ready(db, an_instance(), 1, {"node": "old"})

    assert instances.find(db, "i-1") == an_instance(generation=2)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        pytest.param(None, True, id="nothing runs"),
        pytest.param({}, False, id="a change of the instance runs"),
        pytest.param({"ended_at": NOON}, True, id="it has ended"),
        pytest.param({"binding_id": "b-1"}, True, id="a binding is made"),
        pytest.param({"instance_id": "i-2"}, True, id="another instance's"),
    ],
)
def test_untouched_is_what_nothing_is_done_to(db, operation, expected):
    instances.add(db, an_instance())
    if operation is not None:
        operations.add(db, an_operation(**operation | {"ended_at": None}))
        if ended := operation.get("ended_at"):
            db.exec_driver_sql(f"UPDATE operations SET ended_at = {ended}")  # noqa: S608

    assert instances.untouched(db, an_instance()) is expected


def test_instance_of_another_revision_is_not_untouched(db):
    instances.add(db, an_instance(revision=1))

    assert not instances.untouched(db, an_instance())


def test_tombstones_are_forgotten_from_a_moment_on(db):
    for number, ended in enumerate([None, NOON - 1, NOON, NOON + DAY], start=1):
        instances.add(db, an_instance(number, ended_at=ended, state=ResourceState.GONE))
    instances.add(db, an_instance(9))

    assert retention.drop(db, instances_table, NOON) == 1
    assert instances.find(db, "i-2") is None
    assert all(instances.find(db, f"i-{number}") for number in (1, 3, 4, 9))


def test_look_up_by_id_uses_an_index(db):
    instances.add(db, an_instance())

    assert uses_an_index(db, "instances", "instance_id = 'i-1'")
