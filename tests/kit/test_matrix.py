"""The kit can fail: each mutant is failed by the checks that it names, by no other."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from osbkit.conformance.registry import all_checks
from osbkit.conformance.requirements import Level
from osbkit.conformance.results import Outcome, Report
from tests.kit.matrix import Mutant, all_mutants, examine
from tests.kit.reference import ReferenceBroker

MUTANTS = all_mutants()
NOT_ALONE_YET = {
    "any_context_is_provisioned",
    "app_may_stand_in_both_places",
    "begun_binding_is_fetched_at_once",
    "binding_needs_the_flag",
    "binding_that_has_begun_is_202",
    "binding_while_provisioning_is_no_fault",
    "bound_by_the_request_is_201",
    "cloud_foundry_provisions_with_its_context",
    "codes_mean_what_they_say",
    "dashboard_of_provisioning_is_text",
    "deletes_can_be_repeated",
    "deprovision_is_200",
    "deprovision_leaves_other_instances",
    "deprovisioned_is_gone",
    "every_instance_is_a_resource",
    "fetch_tells_what_the_answer_told",
    "fetched_as_soon_as_it_is_ready",
    "kubernetes_provisions_with_its_context",
    "no_202_without_the_flag",
    "no_version_is_provisioned",
    "old_version_does_not_go_with_the_new_plan",
    "only_a_put_creates",
    "other_plan_conflicts",
    "other_version_is_not_updated_to",
    "other_version_of_a_named_plan_is_not_updated_to",
    "poll_needs_no_query",
    "poll_of_a_binding_is_not_410",
    "poll_of_unknown_binding_is_404",
    "provisioning_needs_the_flag",
    "refused_provisioning_leaves_nothing",
    "repeat_makes_nothing",
    "repeat_of_a_binding_is_not_201",
    "running_deprovision_is_202",
    "running_unbind_is_202",
    "same_version_is_provisioned",
    "same_version_is_updated_to",
    "second_deprovision_is_410",
    "second_unbind_is_410",
    "success_has_a_known_status",
    "successes_are_objects",
    "unbind_is_200",
    "unbind_leaves_other_bindings",
    "unbind_of_unknown_binding_is_410",
    "unbinds_can_be_repeated",
    "unbound_is_gone",
    "unheard_bind_can_be_deleted",
    "unheard_provision_can_be_deleted",
    "update_within_the_request_is_200",
    "version_of_the_new_plan_goes_with_it",
    "what_has_begun_is_202",
}


def _bad(report: Report) -> dict[str, str]:
    return {
        each.check.name: f"{each.outcome}: {each.said}"
        for each in report.results
        if each.outcome.bad
    }


async def test_no_check_fails_the_broker_that_is_right():
    report = await examine(ReferenceBroker())

    assert _bad(report) == {}
    assert report.left == ()


async def test_no_check_is_skipped_on_the_broker_that_offers_everything():
    report = await examine(ReferenceBroker())

    skipped = {
        each.check.name: each.said
        for each in report.results
        if each.outcome is Outcome.SKIPPED
    }
    assert skipped == {}


@pytest.fixture(scope="session")
def examined(
    request: pytest.FixtureRequest,
) -> Iterator[dict[str, "Future[dict[str, str]]"]]:
    """What the kit finds at each mutant that is asked for: one process a core."""
    asked: list[Any] = [
        item.callspec.params["mutant"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and "mutant" in item.callspec.params
    ]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield {each.name: pool.submit(faults_of, each.name) for each in asked}
        pool.shutdown(cancel_futures=True)


def faults_of(name: str) -> dict[str, str]:
    """The checks that fail a mutant, and what they say."""
    (mutant,) = (each for each in MUTANTS if each.name == name)
    return _bad(asyncio.run(examine(mutant.broker(), url=mutant.url)))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broker_wrong_in_one_way_is_failed_by_the_checks_about_it(
    mutant: Mutant, examined: "dict[str, Future[dict[str, str]]]"
):
    bad = examined[mutant.name].result()

    assert set(bad) == set(mutant.fails), bad


def test_every_must_check_is_the_only_one_that_fails_some_mutant():
    alone = {mutant.fails[0] for mutant in MUTANTS if len(mutant.fails) == 1}
    musts = {each.name for each in all_checks() if each.level is Level.MUST}

    assert musts - alone - NOT_ALONE_YET == set()


def test_mutants_have_names_of_their_own():
    names = [mutant.name for mutant in MUTANTS]

    assert len(names) == len(set(names))


def test_mutants_name_checks_that_exist():
    known = {each.name for each in all_checks()}

    assert {name for mutant in MUTANTS for name in mutant.fails} <= known
