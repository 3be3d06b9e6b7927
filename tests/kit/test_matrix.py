"""The kit can fail: each mutant is failed by the checks that it names, by no other."""

import pytest

from osbkit.conformance.registry import all_checks
from osbkit.conformance.requirements import Level
from osbkit.conformance.results import Outcome, Report
from tests.kit.matrix import Mutant, all_mutants, examine
from tests.kit.reference import ReferenceBroker

MUTANTS = all_mutants()


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


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_a_broker_wrong_in_one_way_is_failed_by_the_checks_about_it(
    mutant: Mutant,
):
    report = await examine(mutant.broker())

    bad = _bad(report)
    assert set(bad) == set(mutant.fails), bad


def test_every_must_check_fails_some_mutant():
    caught = {name for mutant in MUTANTS for name in mutant.fails}
    musts = {each.name for each in all_checks() if each.level is Level.MUST}

    assert musts - caught == set()


def test_mutants_have_names_of_their_own():
    names = [mutant.name for mutant in MUTANTS]

    assert len(names) == len(set(names))


def test_mutants_name_checks_that_exist():
    known = {each.name for each in all_checks()}

    assert {name for mutant in MUTANTS for name in mutant.fails} <= known
