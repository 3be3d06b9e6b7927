"""Statements on `bindings`: unique within their instance, revoked with it."""

from dataclasses import replace

import pytest

from osbkit.domain import ResourceState
from osbkit.errors import Stale
from osbkit.store import bindings, retention
from osbkit.store.tables import bindings as bindings_table
from tests.store.records import DAY, NOON, a_binding

FULL = a_binding(
    state=ResourceState.READY,
    generation=2,
    instance_generation=3,
    parameters={"role": "reader"},
    app_guid="app",
    bind_resource={"route": "r.example"},
    context={"platform": "cloudfoundry"},
    predecessor="b-0",
    bound={"credentials": {"password": "p"}},
    facts={"user": "u"},
    expires_at=NOON + 5,
    residue=True,
    revision=4,
    latest="op-1",
    ended_at=NOON,
)


@pytest.mark.parametrize("binding", [a_binding(), FULL], ids=["bare", "full"])
def test_record_comes_back_as_it_was_written(db, binding):
    assert bindings.add(db, binding)

    assert bindings.find(db, "i-1", "b-1") == binding
    assert bindings.lock(db, "i-1", "b-1") == binding


def test_id_is_unique_within_its_instance_and_not_beyond(db):
    assert bindings.add(db, a_binding())
    assert not bindings.add(db, a_binding(uid="f" * 32))
    assert bindings.add(db, a_binding(2, binding_id="b-1", instance_id="i-2"))

    assert bindings.find(db, "i-1", "b-1") == a_binding()
    assert bindings.find(db, "i-3", "b-1") is None


@pytest.mark.parametrize("other", ["B-1", "b-1 ", " b-1"])
def test_ids_are_compared_byte_for_byte(db, other):
    bindings.add(db, a_binding())

    assert bindings.find(db, "i-1", other) is None
    assert bindings.add(db, a_binding(2, binding_id=other))


def test_saved_record_replaces_what_was_read_and_counts_the_revision(db):
    bindings.add(db, a_binding())

    bindings.save(db, replace(FULL, revision=0))

    assert bindings.find(db, "i-1", "b-1") == replace(FULL, revision=1)


def test_record_that_was_read_before_a_change_is_not_written(db):
    bindings.add(db, a_binding())
    bindings.save(db, a_binding(residue=True))

    with pytest.raises(Stale):
        bindings.save(db, a_binding())
    with pytest.raises(Stale):
        bindings.save(db, a_binding(2))

    assert bindings.find(db, "i-1", "b-1") == a_binding(residue=True, revision=1)


def test_made_binding_is_ready_with_what_it_gives(db):
    bindings.add(db, a_binding(residue=True))

    bindings.mark_ready(
        db, a_binding(), 1, {"credentials": {"a": 1}}, {"user": "u"}, NOON
    )

    assert bindings.find(db, "i-1", "b-1") == a_binding(
        state=ResourceState.READY,
        bound={"credentials": {"a": 1}},
        facts={"user": "u"},
        expires_at=NOON,
        revision=1,
    )


def test_end_of_an_earlier_generation_makes_nothing_ready(db):
    bindings.add(db, a_binding(generation=2))

    bindings.mark_ready(db, a_binding(), 1, {"credentials": {}}, None, None)

    assert bindings.find(db, "i-1", "b-1") == a_binding(generation=2)


def test_bindings_of_one_life_of_an_instance_are_found_oldest_first(db):
    bindings.add(db, a_binding(1, created_at=NOON + 2))
    bindings.add(db, a_binding(2, created_at=NOON + 1))
    bindings.add(db, a_binding(3, ended_at=NOON))
    bindings.add(db, a_binding(4, instance_generation=2))
    bindings.add(db, a_binding(5, instance_id="i-2"))

    found = bindings.of_instance(db, "i-1", 1)

    assert [binding.binding_id for binding in found] == ["b-2", "b-1"]


def test_bindings_end_with_their_instance_and_keep_nothing_sealed(db):
    ready = replace(FULL, instance_generation=1, ended_at=None, revision=0)
    bindings.add(db, ready)
    bindings.add(db, a_binding(2, instance_generation=2))
    bindings.add(db, a_binding(3, ended_at=NOON - 1))
    bindings.add(db, a_binding(4, instance_id="i-2"))

    bindings.end_all(db, "i-1", 1, NOON + 9)

    gone = bindings.find(db, "i-1", "b-1")
    assert gone is not None
    assert (gone.state, gone.ended_at, gone.revision) == ("gone", NOON + 9, 1)
    assert (gone.bound, gone.facts, gone.residue) == (None, None, False)
    assert bindings.find(db, "i-1", "b-2") == a_binding(2, instance_generation=2)
    assert bindings.find(db, "i-1", "b-3") == a_binding(3, ended_at=NOON - 1)
    assert bindings.find(db, "i-2", "b-4") == a_binding(4, instance_id="i-2")


def test_tombstones_are_forgotten_from_a_moment_on(db):
    for number, ended in enumerate([None, NOON - 1, NOON, NOON + DAY], start=1):
        bindings.add(db, a_binding(number, ended_at=ended))

    assert retention.drop(db, bindings_table, NOON) == 1
    assert bindings.find(db, "i-1", "b-2") is None
    assert all(bindings.find(db, "i-1", f"b-{number}") for number in (1, 3, 4))
