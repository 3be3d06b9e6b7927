"""Nothing that the specification asks for goes unproved without a word.

Each MUST and each SHOULD of `osbkit/conformance/requirements.tsv` has a check of the
kit, or a test of osbkit that is named here, or is marked there as not to be seen from
outside, or stands here with the reason why nothing proves it.
"""

import importlib
import inspect
import sys
from collections import Counter
from collections.abc import Mapping

import pytest

from osbkit.conformance.registry import all_checks
from osbkit.conformance.requirements import REQUIREMENTS, Level

HARD = "tests.flows.test_hard_cases"
NAMED: Mapping[str, str] = {
    "ERR-13": f"{HARD}_failures:test_an_error_is_rolled_back_and_answered",
    "MAINT-10": (
        f"{HARD}_repeats:test_a_repeat_is_recognised_before_version_and_schema_are_judged"
    ),
    "ASYNC-01": (
        f"{HARD}_budgets:test_auto_with_the_flag_answers_inline_what_is_done_in_time"
    ),
    "ASYNC-02": (
        f"{HARD}_budgets:"
        "test_auto_with_the_flag_goes_on_with_the_same_call_after_its_budget"
    ),
}
"""ID → `module:function` of a test, for what only osbkit's own tests can show."""

UNPROVED: Mapping[str, str] = {}
"""ID → why neither a check nor a test proves it."""

ASKED = {each.id: each for each in REQUIREMENTS.values() if each.level is not Level.MAY}
CHECKED = {each.id for check in all_checks() for each in check.requirements}


def way(requirement_id: str) -> str:
    """How a requirement is proved; empty when it is not."""
    if requirement_id in CHECKED:
        return "check"
    if requirement_id in NAMED:
        return "named test"
    if ASKED[requirement_id].unseen:
        return "not to be seen from outside"
    if requirement_id in UNPROVED:
        return "unproved, with a reason"
    return ""


def test_every_must_and_should_is_proved_or_says_why_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ways = Counter((each.level.value, way(each.id)) for each in ASKED.values())

    with capsys.disabled():
        for (level, how), number in sorted(ways.items()):
            sys.stdout.write(f"\n{number:4} {level} {how or 'NOT PROVED'}")
    assert [each for each in ASKED if not way(each)] == []


@pytest.mark.parametrize(("requirement_id", "place"), NAMED.items())
def test_a_named_test_exists_and_speaks_of_its_requirement(
    requirement_id: str, place: str
) -> None:
    module, _, name = place.partition(":")
    test = getattr(importlib.import_module(module), name)

    assert name.startswith("test_")
    assert requirement_id in inspect.getsource(test)


def test_the_tables_hold_nothing_that_has_a_check_or_does_not_exist():
    assert [each for each in {**NAMED, **UNPROVED} if each not in ASKED] == []
    assert CHECKED & {*NAMED, *UNPROVED} == set()
    assert NAMED.keys() & UNPROVED.keys() == set()
    assert all(UNPROVED.values())


def test_every_check_says_what_to_change_in_a_broker_that_fails_it():
    assert [check.name for check in all_checks() if not check.advice] == []
