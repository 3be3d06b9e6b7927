"""Nothing that the specification asks for goes unproved without a word.

Each MUST and each SHOULD of `osbkit/conformance/requirements.tsv` has a check of the
kit, or a test of osbkit that is named here, or is marked there as not to be seen from
outside, or stands here with the reason why nothing proves it. A test that is named here
runs, and names the ID itself: see `naming.py`.
"""

import sys
from collections import Counter
from collections.abc import Mapping

import pytest

from osbkit.conformance.registry import all_checks
from osbkit.conformance.requirements import REQUIREMENTS, Level
from tests.conformance.naming import TESTS, Naming, named_below, named_in

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


@pytest.fixture(scope="module")
def tests() -> list[Naming]:
    """Every test of osbkit."""
    return named_below()


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
    capsys: pytest.CaptureFixture[str], tests: list[Naming]
) -> None:
    ways = Counter((each.level.value, way(each.id)) for each in ASKED.values())
    naming = [test for test in tests if test.ids & ASKED.keys()]
    named = {name for test in naming for name in test.ids & ASKED.keys()}

    with capsys.disabled():
        for (level, how), number in sorted(ways.items()):
            sys.stdout.write(f"\n{number:4} {level} {how or 'NOT PROVED'}")
        sys.stdout.write(
            f"\n{len(named):4} of these {len(ASKED)} are named by {len(naming)} tests"
        )
    assert [each for each in ASKED if not way(each)] == []


@pytest.mark.parametrize(("requirement_id", "place"), NAMED.items())
def test_a_test_that_is_named_here_names_its_requirement(
    requirement_id: str, place: str, tests: list[Naming]
) -> None:
    (found,) = [test for test in tests if test.place == place]

    assert requirement_id in found.ids


@pytest.mark.parametrize("place", sorted({*NAMED.values()}))
def test_a_test_that_is_named_here_is_found_by_pytest(
    place: str, request: pytest.FixtureRequest
) -> None:
    module, _, name = place.partition(":")
    path = (TESTS.parent / module.replace(".", "/")).with_suffix(".py")

    collected = pytest.Module.from_parent(request.session, path=path).collect()

    assert name in {getattr(each, "originalname", None) for each in collected}


MODULE = '''"""All of it: AUTH-01."""
import pytest

SEVERAL = pytest.mark.parametrize("x", [pytest.param(1, id="CAT-02 and CAT-04")])


def helper():
    """AUTH-02."""


@SEVERAL
def test_with_a_table(x):
    assert helper() != "AUTH-03"


async def test_with_words():
    """PROV-01, PROV-09 to PROV-11."""
    assert helper()  # BIND-01


@pytest.mark.skip
def test_that_is_skipped():
    """CT-01."""


@pytest.mark.xfail(strict=True)
def test_that_fails():
    """CT-02."""


def test_that_skips_itself():
    """CT-03."""
    pytest.skip("not today")


def test_twice():
    """CT-04."""


def test_twice():
    """CT-05."""


class TestAll:
    def test_inside(self):
        """CT-06."""


class Other:
    def test_outside(self):
        """CT-07."""
'''


def test_a_test_names_what_stands_in_its_docstring_table_or_comments_and_runs() -> None:
    found = {test.place: sorted(test.ids) for test in named_in(MODULE, "m")}

    assert found == {
        "m:test_with_a_table": ["CAT-02", "CAT-04"],
        "m:test_with_words": ["BIND-01", "PROV-01", "PROV-09", "PROV-10", "PROV-11"],
        "m:test_twice": ["CT-05"],
        "m:TestAll.test_inside": ["CT-06"],
    }


def test_no_test_of_a_module_that_is_skipped_names_anything() -> None:
    assert named_in(f"{MODULE}\n\npytestmark = [pytest.mark.skip]\n", "m") == []


def test_the_tables_hold_nothing_that_has_a_check_or_does_not_exist():
    assert [each for each in {**NAMED, **UNPROVED} if each not in ASKED] == []
    assert CHECKED & {*NAMED, *UNPROVED} == set()
    assert NAMED.keys() & UNPROVED.keys() == set()
    assert all(UNPROVED.values())


def test_every_check_says_what_to_change_in_a_broker_that_fails_it():
    assert [check.name for check in all_checks() if not check.advice] == []
