"""Runs checks against a broker: side by side, tidily, in an order that does not vary.

    report = await run(session, checks, Plan…)

Learning comes first, then the checks that disturb nobody, then those that want to be
alone, then the observers look at everything that was sent and answered. Whatever a
check made is removed when it ends; also when it failed, and when the run is stopped.

Units: seconds.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from osbkit.conformance.catalog import Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import Blocked, Broken, Skip
from osbkit.conformance.learning import learn
from osbkit.conformance.registry import Check, version_of
from osbkit.conformance.requirements import Level
from osbkit.conformance.results import Outcome, Report, Result
from osbkit.conformance.session import Session
from osbkit.conformance.target import Target

SHOWN = 3  # exchanges that an observer's failure shows at most


@dataclass(frozen=True)
class Progress:
    """Told while a run goes on.

    Attributes:
        phase: learning, checking, or done.
        done, all: checks.
        latest: the result that came last; None before the first.
    """

    phase: str
    done: int = 0
    all: int = 0
    latest: Result | None = None


def chosen(
    checks: Iterable[Check],
    *,
    families: frozenset[str] | None = None,
    level: Level = Level.MAY,
) -> list[Check]:
    """The checks of some families, down to a level; all without."""
    return [
        each
        for each in checks
        if each.level.weight <= level.weight
        and (
            families is None or any(one.family in families for one in each.requirements)
        )
    ]


async def run(
    session: Session,
    checks: Sequence[Check],
    *,
    at_once: int = 8,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Report:
    """Run checks and report.

    Args:
        at_once: checks side by side.
        tell: called as the run goes on.
    """
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    began = perf_counter()
    running = _Running(session, checks, at_once, tell)
    try:
        await running.all()
    except asyncio.CancelledError:
        running.stopped = True
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    return Report(
        url=session.mask.text(str(session.connection.url)),
        version=session.connection.version,
        began=moment,
        seconds=perf_counter() - began,
        results=tuple(sorted(running.results, key=lambda each: each.check.place)),
        exchanges=len(session.seen),
        plans=tuple((each.label, in_words(each)) for each in session.catalog.plans),
        left=tuple(session.left),
        unread=_unread(session),
        stopped=running.stopped,
    )


class _Running:
    def __init__(
        self,
        session: Session,
        checks: Sequence[Check],
        at_once: int,
        tell: Callable[[Progress], None],
    ) -> None:
        self._session = session
        self._checks = checks
        self._turn = asyncio.Semaphore(at_once)
        self._at_once = at_once
        self._tell = tell
        self.results: list[Result] = []
        self.stopped = False

    async def all(self) -> None:
        self._tell(Progress("learning", 0, len(self._checks)))
        await learn(self._session, at_once=self._at_once)
        trying = [each for each in self._checks if each.trying is not None]
        together = [each for each in trying if not each.alone]
        async with asyncio.TaskGroup() as side_by_side:  # a stop waits for all of it
            for each in together:
                side_by_side.create_task(self._one(each))
        for each in trying:
            if each.alone:
                await self._one(each)
        for each in self._checks:
            if each.judging is not None:
                self._note(_observed(each, self._session))
        self._tell(Progress("done", len(self.results), len(self._checks)))

    async def _one(self, check: Check) -> None:
        async with self._turn:
            target = Target(self._session)
            began = perf_counter()
            try:
                result = await _tried(check, target)
            finally:
                await target.clean_up()
            self._note(_timed(result, target, perf_counter() - began))

    def _note(self, result: Result) -> None:
        self.results.append(result)
        self._tell(
            Progress("checking", len(self.results), len(self._checks), latest=result)
        )


async def _tried(check: Check, target: Target) -> Result:
    assert check.trying is not None
    if too_old(check, target.version):
        return Result(check=check, outcome=Outcome.SKIPPED, said=_too_old(check))
    try:
        await check.trying(target)
    except Skip as reason:
        return Result(check=check, outcome=Outcome.SKIPPED, said=str(reason))
    except Blocked as trouble:
        return Result(
            check=check, outcome=Outcome.BLOCKED, said=trouble.said, seen=trouble.seen
        )
    except Broken as broken:
        return Result(
            check=check,
            outcome=Outcome.FAILED,
            said=broken.said,
            seen=broken.seen or tuple(target.seen[-1:]),
            advice=broken.advice or check.advice,
        )
    except Exception as error:  # noqa: BLE001 - a fault of the kit must not end a run
        return Result(
            check=check,
            outcome=Outcome.ERROR,
            said=f"The check itself failed: {type(error).__name__}: {error}",
            seen=tuple(target.seen[-1:]),
        )
    return Result(check=check, outcome=Outcome.PASSED)


def too_old(check: Check, version: str) -> bool:
    """Whether the API version that is sent does not know what a check is about."""
    return version_of(version) < check.since


def _too_old(check: Check) -> str:
    return f"It is about API version {check.since[0]}.{check.since[1]} and later."


def _timed(result: Result, target: Target, seconds: float) -> Result:
    return Result(
        check=result.check,
        outcome=result.outcome,
        said=result.said,
        seen=result.seen,
        before=tuple(target.seen) if result.outcome.bad else (),
        advice=result.advice,
        seconds=seconds,
        count=result.count,
    )


def _observed(check: Check, session: Session) -> Result:
    """Let an observer judge every exchange that it is for."""
    assert check.judging is not None
    if too_old(check, session.connection.version):
        return Result(check=check, outcome=Outcome.SKIPPED, said=_too_old(check))
    broken: list[tuple[Broken, Exchange]] = []
    count = 0
    for seen in session.seen:
        if not seen.status or not check.when(seen):
            continue
        count += 1
        try:
            check.judging(seen)
        except Broken as fault:
            broken.append((fault, seen))
    if not count:
        return Result(
            check=check, outcome=Outcome.SKIPPED, said="No answer of the kind was seen."
        )
    if not broken:
        return Result(check=check, outcome=Outcome.PASSED, count=count)
    first = broken[0][0]
    return Result(
        check=check,
        outcome=Outcome.FAILED,
        said=f"{first.said} ({len(broken)} of {count} answers)",
        seen=tuple(seen for _, seen in broken[:SHOWN]),
        advice=first.advice or check.advice,
        count=count,
    )


def in_words(plan: Plan) -> str:
    """What was learned of a plan, for people."""
    facts = plan.facts
    if not facts.tried:
        return "not tried"
    if not facts.provision.succeeded and not facts.provision.begins:
        return f"cannot be provisioned: {facts.trouble}"
    words = []
    for name in ("provision", "update", "bind", "unbind", "deprovision"):
        way = getattr(facts, name)
        if way.fails:
            words.append(f"{name} fails")
        elif way.async_only:
            words.append(f"{name} async only")
        elif way.gives_202:
            words.append(f"{name} both ways")
        elif way.sync:
            words.append(f"{name} sync")
        elif way.trouble:
            words.append(f"{name} in vain: {way.trouble}")
    if facts.parameters_trouble and facts.update.succeeded:
        words.append(f"update of parameters in vain: {facts.parameters_trouble}")
    if facts.needs_app:
        words.append("needs an app")
    return ", ".join(words)


def _unread(session: Session) -> str:
    answer = session.catalog_answer
    if session.catalog.plans:
        return ""
    if answer is None or not answer.status:
        return f"no answer: {answer.trouble if answer else 'it was not asked for'}"
    if answer.status != 200:
        return f"the catalog was answered {answer.status}"
    if session.catalog.offerings:
        return "no plan of the catalog was chosen"
    return "the catalog holds no offering that can be read"
