"""What a service has against what the rows say: every pairing, as a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from osbkit import Found
from osbkit.domain import OperationKind, ResourceState
from osbkit.lifecycle.compare import (
    LIVES,
    Comparison,
    Life,
    Listed,
    life_named,
    lives_before,
)
from osbkit.store.standings import Moving, Standing

BROKER = "broker-1"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
MOMENT = int(NOON.timestamp() * 1_000_000)
INSTANCE = Life(instance_id="i-1", generation=3)
BINDING = Life(instance_id="i-1", generation=3, binding_id="b-1", binding_generation=2)


def row(life, state=ResourceState.READY, **fields):
    base = Standing(
        instance_id=life.instance_id,
        generation=life.generation,
        binding_id=life.binding_id,
        binding_generation=life.binding_generation,
        state=state,
        platform="default",
        backend="queue",
        offering="queue",
        plan="tiny",
        residue=False,
        expires_at=None,
        ended_at=None,
    )
    return replace(base, **fields)


def moving(life, *, open_=True, kind=OperationKind.UPDATE):
    return Moving(
        kind=kind,
        instance_id=life.instance_id,
        generation=life.generation,
        binding_id=life.binding_id,
        binding_generation=life.binding_generation,
        open=open_,
    )


def found(life, **fields):
    return Found(name=life.name(BROKER), kind=life.kind, **fields)


def compared(things, rows, operations=(), *, older_than=600.0, **listed):
    listed = {"instances": {"queue"}, "bindings": {"queue"}} | listed
    comparison = Comparison(
        BROKER,
        Listed(found={one.name: ("queue", one) for one in things}, **listed),
        MOMENT,
    )
    comparison.take(rows)
    return comparison.report(operations, older_than)


def outcome(report):
    """One word for the only thing that was compared."""
    told = [f"orphan: {one.why}" for one in report.orphans]
    told += ["lost"] * len(report.lost) + [f"busy: {one.why}" for one in report.busy]
    told += ["matched"] * report.matched
    return told


@pytest.mark.parametrize("life", [INSTANCE, BINDING], ids=["instance", "binding"])
@pytest.mark.parametrize(
    ("state", "there", "at", "expected"),
    [
        pytest.param("ready", True, None, ["matched"], id="ready and there"),
        pytest.param("ready", True, True, ["busy: operation"], id="an operation is on"),
        pytest.param("ready", True, False, ["matched"], id="an operation was"),
        pytest.param("ready", False, None, ["lost"], id="ready and not there"),
        pytest.param("ready", False, True, ["busy: operation"], id="missing, on"),
        pytest.param("ready", False, False, ["busy: operation"], id="missing, was"),
        pytest.param("making", True, None, ["busy: operation"], id="made"),
        pytest.param("making", False, None, [], id="made, not there yet"),
        pytest.param("gone", True, None, ["orphan: deleted"], id="tombstone, there"),
        pytest.param("gone", True, False, ["busy: operation"], id="deleted just now"),
        pytest.param("gone", False, None, [], id="tombstone"),
        pytest.param("failed", True, None, ["orphan: failed"], id="left behind"),
        pytest.param("failed", True, True, ["busy: operation"], id="being cleaned up"),
        pytest.param("failed", False, None, [], id="failed, nothing there"),
    ],
)
def test_a_row_and_a_thing_are_one_of_five(life, state, there, at, expected):
    things = [found(life)] if there else []
    operations = [] if at is None else [moving(life, open_=at)]

    assert outcome(compared(things, [row(life, ResourceState(state))], operations)) == (
        expected
    )


def test_an_operation_on_an_instance_is_one_on_its_bindings():
    rows = [row(INSTANCE), row(BINDING)]

    assert outcome(compared([], rows, [moving(INSTANCE)])) == ["busy: operation"] * 2
    report = compared([], rows, [moving(BINDING)])
    assert [one.life for one in report.lost] == [INSTANCE]
    assert [one.life for one in report.busy] == [BINDING]


def test_an_operation_on_another_life_says_nothing_of_this_one():
    later = replace(INSTANCE, generation=4)

    report = compared([found(INSTANCE)], [row(later)], [moving(later)])

    assert [(one.life, one.why) for one in report.orphans] == [(INSTANCE, "replaced")]


@pytest.mark.parametrize(
    "former",
    [
        pytest.param(replace(INSTANCE, generation=1), id="an instance's"),
        pytest.param(replace(BINDING, binding_generation=1), id="a binding's"),
        pytest.param(
            replace(BINDING, generation=1, binding_generation=1),
            id="a binding's of a former instance",
        ),
    ],
)
def test_a_former_life_is_known_by_the_row_of_the_present_one(former):
    present = INSTANCE if former.binding_id is None else BINDING

    report = compared([found(former), found(present)], [row(present)])

    assert [(one.life, one.why) for one in report.orphans] == [(former, "replaced")]
    assert report.matched == 1


def test_former_lives_are_bounded():
    """An id that a monitor uses every minute has half a million of them a year."""
    many = Life(
        instance_id="i-1",
        generation=500_000,
        binding_id="b-1",
        binding_generation=500_000,
    )

    lives = list(lives_before(many))

    assert len(lives) == LIVES * (LIVES + 1)
    assert len(set(lives)) == len(lives)
    assert many not in lives


def test_a_name_that_nothing_explains_is_unknown():
    report = compared([Found(name="osb-stranger", kind="binding")], [row(INSTANCE)])

    assert [(one.name, one.kind, one.life, one.why) for one in report.orphans] == [
        ("osb-stranger", "binding", None, "unknown")
    ]


@pytest.mark.parametrize(
    "life",
    [
        pytest.param(Life(instance_id="i-9", generation=4), id="instance"),
        pytest.param(
            Life(
                instance_id="i-9", generation=4, binding_id="b-9", binding_generation=7
            ),
            id="binding",
        ),
    ],
)
def test_ids_that_the_service_knows_prove_a_life_without_a_row(life):
    marked = found(life, instance_id="i-9", binding_id=life.binding_id)

    report = compared([marked], [])

    assert [(one.life, one.why) for one in report.orphans] == [(life, "no row")]


def test_ids_that_do_not_lead_to_the_name_prove_nothing():
    stranger = Found(name="osb-stranger", instance_id="i-1")

    assert compared([stranger], [row(INSTANCE)]).orphans[0].life is None


def test_a_life_after_that_of_an_old_row_is_proven_as_well():
    """The database was restored from a copy that knows less."""
    later = Life(instance_id="i-1", generation=300)
    old = row(Life(instance_id="i-1", generation=290), ResourceState.GONE)

    report = compared([found(later, instance_id="i-1")], [old])

    assert [(one.life, one.why) for one in report.orphans] == [(later, "no row")]


def test_what_is_young_is_left_alone():
    young = Found(name="osb-young", created_at=NOON - timedelta(minutes=9))
    old = Found(name="osb-old", created_at=NOON - timedelta(minutes=11))

    report = compared([young, old], [])

    assert [(one.name, one.why) for one in report.busy] == [("osb-young", "young")]
    assert [one.name for one in report.orphans] == ["osb-old"]
    assert len(compared([young, old], [], older_than=60).orphans) == 2


def test_of_a_backend_that_lists_no_bindings_none_is_missing():
    rows = [row(INSTANCE), row(BINDING)]

    report = compared([found(INSTANCE)], rows, bindings=())

    assert outcome(report) == ["matched"]
    assert report.unjudged == {}


def test_rows_of_a_backend_that_was_not_asked_are_counted():
    rows = [row(INSTANCE, backend="other"), row(BINDING, backend="other")]

    report = compared([], rows)

    assert report.clean
    assert report.unjudged == {"other": 2}


def test_a_binding_that_has_expired_is_not_missed():
    assert compared([], [row(BINDING, expires_at=MOMENT)]).clean
    assert not compared([], [row(BINDING, expires_at=MOMENT + 1)]).clean


def test_the_row_says_what_a_name_is_not_the_service():
    mistaken = replace(found(BINDING), kind="instance")

    report = compared([mistaken], [row(BINDING, ResourceState.GONE)])

    assert report.orphans[0].kind == "binding"


def test_a_life_is_found_by_its_name():
    assert life_named(BROKER, INSTANCE.name(BROKER), "i-1") == INSTANCE
    assert life_named(BROKER, INSTANCE.name(BROKER), "i-2") is None
    assert life_named("broker-2", INSTANCE.name(BROKER), "i-1") is None
    named = life_named(
        BROKER, BINDING.name(BROKER), "i-1", "b-1", instance_name=INSTANCE.name(BROKER)
    )
    assert named == BINDING
    wrong = life_named(
        BROKER, BINDING.name(BROKER), "i-1", "b-1", instance_name="osb-other"
    )
    assert wrong is None
