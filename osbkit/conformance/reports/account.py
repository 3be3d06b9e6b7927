"""A finished run as every report tells it: in order, counted, secrets masked.

Masking happens here, once: no report sees an exchange, only what may be shown of it.

Units: seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from osbkit.conformance.exchange import Mask, Shown
from osbkit.conformance.registry import Check, all_checks
from osbkit.conformance.requirements import FAMILIES, Level, Requirement
from osbkit.conformance.results import Judged, Outcome, Report, Result

Counts = Mapping[Outcome, int]
BEFORE = 30  # exchanges that are told of a check that went badly, at most


@dataclass(frozen=True, kw_only=True)
class Line:
    """One check of the run.

    Attributes:
        ids: of the requirements that it proves.
        said: what came, or why it was skipped; empty if it passed.
        advice: what to change in the broker; empty unless it went badly.
        shown: the exchanges that show it.
        before: the last of what the check sent; empty unless it went badly.
    """

    check: Check = field(repr=False)
    ids: tuple[str, ...]
    outcome: Outcome
    said: str
    advice: str
    seconds: float
    count: int
    shown: tuple[Shown, ...] = field(repr=False)
    before: tuple[Shown, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """Of the check."""
        return self.check.name

    @property
    def level(self) -> Level:
        """How much it weighs."""
        return self.check.level

    @property
    def sentence(self) -> str:
        """What must hold."""
        return self.check.sentence


@dataclass(frozen=True)
class Section:
    """The checks of one family of requirements."""

    family: str
    title: str
    lines: tuple[Line, ...]

    @property
    def bad(self) -> int:
        """How many went badly."""
        return sum(line.outcome.bad for line in self.lines)

    @property
    def counts(self) -> Counts:
        """How many ended in which way."""
        return _counts(self.lines)


@dataclass(frozen=True)
class Standing:
    """One requirement.

    Attributes:
        outcome: the worst of its checks; None when none ran.
        why: why none ran; empty when one did.
        checks: name and outcome of each.
    """

    requirement: Requirement
    outcome: Outcome | None
    why: str
    checks: tuple[tuple[str, Outcome], ...]


@dataclass(frozen=True, kw_only=True)
class Account:
    """The whole run.

    Attributes:
        kit: the version of the package that the kit came with; empty if unknown.
        began: ISO 8601, UTC.
        plans: each plan that was tried, and what was learned of it.
        left: what could not be removed, as sentences.
    """

    url: str
    version: str
    kit: str
    began: str
    seconds: float
    exchanges: int
    conforms: bool
    stopped: bool
    unread: str
    sections: tuple[Section, ...]
    standings: tuple[Standing, ...]
    plans: tuple[tuple[str, str], ...]
    left: tuple[str, ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every check, in the order of the sections."""
        return tuple(line for section in self.sections for line in section.lines)

    @property
    def troubles(self) -> tuple[Line, ...]:
        """What went badly, the weightiest level first."""
        bad = [line for line in self.lines if line.outcome.bad]
        return tuple(sorted(bad, key=lambda line: line.level.weight))

    @property
    def counts(self) -> Mapping[Level, Counts]:
        """How many checks of each level ended in which way."""
        return {
            level: _counts(line for line in self.lines if line.level is level)
            for level in Level
        }

    @property
    def skipped(self) -> Mapping[str, tuple[Line, ...]]:
        """The checks that were skipped, by reason."""
        found: dict[str, list[Line]] = {}
        for line in self.lines:
            if line.outcome is Outcome.SKIPPED:
                found.setdefault(line.said, []).append(line)
        return {said: tuple(lines) for said, lines in found.items()}

    @property
    def verdict(self) -> str:
        """The run in one sentence."""
        if self.stopped:
            return f"Stopped before its end, after {len(self.lines)} checks."
        musts = self.counts[Level.MUST]
        bad = [
            f"{musts[outcome]} {WORDS[outcome]}"
            for outcome in Outcome
            if outcome.bad and musts[outcome]
        ]
        ran = sum(musts.values()) - musts[Outcome.SKIPPED]
        if bad:
            return f"Does not conform: of {ran} MUST checks {', '.join(bad)}."
        if not ran:
            return "Nothing that is a MUST was tried."
        untried = musts[Outcome.SKIPPED]
        were = "was" if untried == 1 else "were"
        rest = f"; {untried} {were} skipped" if untried else ""
        return f"Conforms: all {ran} MUST checks passed that could be tried{rest}."


WORDS: Mapping[Outcome, str] = {
    Outcome.FAILED: "failed",
    Outcome.BLOCKED: "could not be tried",
    Outcome.ERROR: "broke in the kit itself",
    Outcome.PASSED: "passed",
    Outcome.SKIPPED: "skipped",
}
"""Each outcome as part of a sentence."""

ADVICE: Mapping[Outcome, str] = {
    Outcome.BLOCKED: "First what it builds upon; this may be well once that is mended.",
    Outcome.ERROR: "Nothing in the broker: this is a fault of the kit. Report it.",
}
"""What to change, where no check says it."""


def account(report: Report, mask: Mask) -> Account:
    """Tell a run.

    Args:
        mask: of its session.
    """
    lines = [_line(each, mask) for each in report.results]
    return Account(
        url=report.url,
        version=report.version,
        kit=_kit(),
        began=report.began,
        seconds=report.seconds,
        exchanges=report.exchanges,
        conforms=report.conforms,
        stopped=report.stopped,
        unread=mask.text(report.unread),
        sections=tuple(_sections(lines)),
        standings=tuple(_standings(report.requirements())),
        plans=tuple((mask.text(name), mask.text(said)) for name, said in report.plans),
        left=tuple(mask.text(each) for each in report.left),
    )


def _line(result: Result, mask: Mask) -> Line:
    return Line(
        check=result.check,
        ids=tuple(each.id for each in result.check.requirements),
        outcome=result.outcome,
        said=mask.text(result.said),
        advice=mask.text(result.advice or ADVICE.get(result.outcome, "")),
        seconds=result.seconds,
        count=result.count,
        shown=tuple(mask.shown(seen) for seen in result.seen),
        before=tuple(mask.shown(seen) for seen in result.before[-BEFORE:]),
    )


def _sections(lines: Iterable[Line]) -> Iterable[Section]:
    by_family: dict[str, list[Line]] = {family: [] for family in FAMILIES}
    for line in lines:
        by_family[line.check.family].append(line)
    for family, found in by_family.items():
        if found:
            yield Section(family, FAMILIES[family], tuple(found))


def _standings(judged: Iterable[Judged]) -> Iterable[Standing]:
    known = {each.id for check in all_checks() for each in check.requirements}
    for each in judged:
        checks = tuple((one.check.name, one.outcome) for one in each.results)
        why = "" if checks else _why(each.requirement, known)
        yield Standing(each.requirement, each.outcome, why, checks)


def _why(requirement: Requirement, known: set[str]) -> str:
    if requirement.id in known:
        return "not chosen for this run"
    if requirement.unseen:
        return "cannot be seen from outside"
    return "no check of the kit is about it"


def _counts(lines: Iterable[Line]) -> Counts:
    found = dict.fromkeys(Outcome, 0)
    for line in lines:
        found[line.outcome] += 1
    return found


def _kit() -> str:
    try:
        return version("osbkit")
    except PackageNotFoundError:
        return ""


def printable(text: str) -> str:
    """The text without control characters; line feeds and tabs stay.

    What a broker sent may hold the control characters of a terminal, or signs that
    turn the direction of writing.
    """
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for sign in text
    )
