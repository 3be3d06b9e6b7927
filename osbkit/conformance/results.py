"""What a run found: one result per check, and what they say of each requirement.

Units: seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from osbkit.conformance.exchange import Exchange
from osbkit.conformance.registry import Check
from osbkit.conformance.requirements import REQUIREMENTS, Level, Requirement


class Outcome(StrEnum):
    """How a check ended, the worst first."""

    FAILED = "failed"
    BLOCKED = "blocked"  # what it builds upon does not work
    ERROR = "error"  # the kit itself is at fault
    PASSED = "passed"
    SKIPPED = "skipped"

    @property
    def bad(self) -> bool:
        """The requirement is not proved, and not for want of an offer."""
        return self in {Outcome.FAILED, Outcome.BLOCKED, Outcome.ERROR}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One check of a run.

    Attributes:
        said: what was expected and what came; why it was skipped; empty if passed.
        seen: the exchanges that show it.
        before: everything that the check sent, for a reader who wants more.
        advice: what to change.
        count: of an observer: how many answers it judged.
    """

    check: Check
    outcome: Outcome
    said: str = ""
    seen: tuple[Exchange, ...] = ()
    before: tuple[Exchange, ...] = ()
    advice: str = ""
    seconds: float = 0.0
    count: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole run.

    Attributes:
        url: of the broker.
        version: the API version that was sent.
        began: when, ISO 8601 in UTC.
        seconds: how long.
        results: in the order of the checks.
        exchanges: how many requests were made.
        plans: name of each plan that was tried, and what was learned.
        left: what could not be removed afterwards.
        unread: why the catalog could not be read; empty if it could.
    """

    url: str
    version: str
    began: str
    seconds: float
    results: tuple[Result, ...]
    exchanges: int
    plans: tuple[tuple[str, str], ...] = ()
    left: tuple[str, ...] = ()
    unread: str = ""
    stopped: bool = False

    def of_level(self, level: Level, *outcomes: Outcome) -> list[Result]:
        """Results of a level with one of these outcomes; any without."""
        return [
            each
            for each in self.results
            if each.check.level is level and (not outcomes or each.outcome in outcomes)
        ]

    @property
    def conforms(self) -> bool:
        """No MUST is broken, or left unproved by trouble."""
        return not self.stopped and not any(
            each.outcome.bad for each in self.of_level(Level.MUST)
        )

    def requirements(self) -> "list[Judged]":
        """Every requirement with what was found of it, in the order of the reports."""
        by_id: dict[str, list[Result]] = {each: [] for each in REQUIREMENTS}
        for result in self.results:
            for each in result.check.requirements:
                by_id[each.id].append(result)
        return [Judged(REQUIREMENTS[each], tuple(by_id[each])) for each in by_id]


@dataclass(frozen=True)
class Judged:
    """One requirement and the checks of a run that are about it."""

    requirement: Requirement
    results: tuple[Result, ...] = field(default=())

    @property
    def outcome(self) -> Outcome | None:
        """The worst of its checks; passed beats skipped; None when none ran."""
        return worst(each.outcome for each in self.results)


def worst(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The worst of some outcomes; None of none."""
    order = list(Outcome)
    return min(outcomes, key=order.index, default=None)
