"""What the kit learns of a plan is true of that plan."""

from typing import Any

import pytest

from osbkit.conformance.registry import Check, all_checks
from osbkit.conformance.results import Outcome
from tests.kit.matrix import examine, refuses
from tests.kit.reference import Operation, ReferenceBroker


async def test_a_plan_is_deprovisioned_as_itself_when_only_plan_changes_are_known():
    broker = ReferenceBroker()
    for plan in broker.catalog["services"][0]["plans"]:
        plan.pop("schemas", None)

    report = await examine(broker, [])

    learned = dict(report.plans)
    assert "update async only" in learned["everything/async"]
    assert "deprovision async only" in learned["everything/async"]
    assert "deprovision sync" in learned["everything/sync"]
    assert report.left == ()


def _named(*names: str) -> list[Check]:
    return [each for each in all_checks() if each.name in names]


def _two_plans_that_bind(broker: ReferenceBroker, mode: str) -> None:
    """The catalog is one offering with two plans of a mode, none with an override."""
    (offering, *_) = broker.catalog["services"]
    offering["plans"] = [
        plan
        for plan in offering["plans"]
        if plan["x-mode"] == mode and plan["name"].startswith(mode)
    ]
    broker.catalog["services"] = [offering]


@pytest.mark.parametrize("code", [400, 500])
async def test_bindings_that_are_refused_everywhere_are_no_lack_of_the_catalog(
    code: int,
):
    broker = ReferenceBroker()
    _two_plans_that_bind(broker, "sync")
    refuses("bind", code, lambda broker, asked: True)(broker)

    report = await examine(
        broker, _named("binding_that_has_begun_is_202", "drain_tells_its_url")
    )

    said = {each.check.name: (each.outcome, each.said) for each in report.results}
    assert not report.conforms
    outcome, why = said["binding_that_has_begun_is_202"]
    assert outcome is Outcome.BLOCKED
    assert why.startswith("No binding of any plan could be made. everything/sync: ")
    assert f"answered {code}" in why
    assert f"bind in vain: answered {code}" in dict(report.plans)["everything/sync"]
    assert said["drain_tells_its_url"][0] is Outcome.SKIPPED


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (
            "bind",
            "binding_that_has_begun_is_202",
            "No binding of any plan could be made.",
        ),
        (
            "unbind",
            "unbinds_can_be_repeated",
            "No binding of any plan could be removed.",
        ),
        (
            "update",
            "update_that_has_begun_is_202",
            "No instance of any plan could be updated.",
        ),
        (
            "deprovision",
            "deprovision_without_service_id_is_400",
            "No instance of any plan could be deprovisioned.",
        ),
    ],
)
async def test_what_always_ends_as_failed_blocks_what_builds_upon_it(
    kind: str, check: str, words: str
):
    broker = ReferenceBroker()
    _two_plans_that_bind(broker, "async")
    _fails_always(broker, kind)

    report = await examine(broker, _named(check))

    blocked = [each.said for each in report.results if each.outcome is Outcome.BLOCKED]
    assert not report.conforms
    assert any(said.startswith(words) for said in blocked)
    assert f"{kind} fails" in dict(report.plans)["everything/async"]


def _fails_always(broker: ReferenceBroker, kind: str) -> None:
    """Every operation of a kind begins, and fails."""
    begin = broker.begin

    def begun(
        thing: Any, verb: str, outcome: str, state: str, *apply: Any
    ) -> Operation:
        outcome = "failed" if verb == kind else outcome
        return begin(thing, verb, outcome, state, *apply)

    vars(broker)["begin"] = begun


async def test_updates_that_are_refused_are_skipped_with_the_refusal():
    broker = ReferenceBroker()
    refuses("update", 422, lambda broker, asked: True)(broker)

    report = await examine(broker, _named("update_that_has_begun_is_202"))

    said = {each.check.name: each.said for each in report.results}
    assert "No plan was found" in said["update_that_has_begun_is_202"]
    assert "everything/sync: answered 422" in said["update_that_has_begun_is_202"]


async def test_parameters_that_cannot_be_updated_are_told_beside_a_plan_that_can():
    broker = ReferenceBroker()
    refuses("update", 400, lambda broker, asked: "parameters" in asked.body)(broker)

    report = await examine(broker, [])

    learned = dict(report.plans)["everything/sync"]
    assert "update sync" in learned
    assert "update of parameters in vain: answered 400" in learned
