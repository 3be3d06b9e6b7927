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
    assert {each.partition(":")[0] for each in bad.values()} <= {Outcome.FAILED}, bad


def test_every_must_check_is_the_only_one_that_fails_some_mutant():
    alone = {mutant.fails[0] for mutant in MUTANTS if len(mutant.fails) == 1}
    musts = {each.name for each in all_checks() if each.level is Level.MUST}

    assert musts - alone == set()


def test_mutants_have_names_of_their_own():
    names = [mutant.name for mutant in MUTANTS]

    assert len(names) == len(set(names))


def test_mutants_name_checks_that_exist():
    known = {each.name for each in all_checks()}

    assert {name for mutant in MUTANTS for name in mutant.fails} <= known
