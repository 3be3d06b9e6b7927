"""What the catalog promises, and trying it came to no good end.

A check that finds no plan for its wants is skipped if nobody promised one. A plan that
says `bindable: true` and whose bindings are refused is another matter:

    no plan of the catalog could do it          Blocked: what it builds upon is broken
    another plan could, or updates are refused  Skip, and the broker is named as cause

Updates may be refused: no schema promises that each change is possible.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from osbkit.conformance.catalog import Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import Blocked, Skip
from osbkit.conformance.facts import Way
from osbkit.conformance.wants import Want, bindable, binds, usable


@dataclass(frozen=True)
class Promise:
    """A verb that should work.

    Attributes:
        by: the plans that promise it.
        broken: that none keeps it, for people.
        builds_on: the verbs that come before it.
    """

    by: Want
    broken: str
    builds_on: tuple[str, ...] = ()


PROMISES = {
    "update": Promise(
        Want("that can be changed", lambda plan: bool(plan.facts.update_change)),
        "No instance of any plan could be updated.",
    ),
    "bind": Promise(bindable, "No binding of any plan could be made."),
    "unbind": Promise(binds, "No binding of any plan could be removed.", ("bind",)),
    "deprovision": Promise(usable, "No instance of any plan could be deprovisioned."),
}


def unkept(plans: Sequence[Plan], wants: Sequence[Want]) -> Blocked | Skip | None:
    """Why no plan meets these wants, if some plan promises to.

    Args:
        plans: of the catalog.
        wants: that no plan meets.
    """
    ready = [plan for plan in plans if usable.holds(plan)]
    others = [want for want in wants if not want.verb]
    for verb in _verbs(wants):
        promise = PROMISES[verb]
        promised = [
            plan
            for plan in ready
            if promise.by.holds(plan) and all(want.holds(plan) for want in others)
        ]
        if not promised or any(_way(plan, verb).succeeded for plan in promised):
            continue
        told = "; ".join(
            f"{plan.label}: {_way(plan, verb).trouble}" for plan in promised
        )
        ways = [_way(plan, verb) for plan in ready]
        if any(way.succeeded for way in ways) or (
            verb == "update" and all(_way(plan, verb).refused for plan in promised)
        ):
            words = " and ".join(want.words for want in wants)
            return Skip(f"No plan was found {words}. To {verb} was tried: {told}.")
        return Blocked(f"{promise.broken} {told}.", *_shown(ways))
    return None


def _verbs(wants: Iterable[Want]) -> list[str]:
    """Those of the wants, each after what it builds upon, once."""
    return list(
        dict.fromkeys(
            verb
            for want in wants
            if want.verb
            for verb in (*PROMISES[want.verb].builds_on, want.verb)
        )
    )


def _way(plan: Plan, verb: str) -> Way:
    way: Way = getattr(plan.facts, verb)
    return way


def _shown(ways: Iterable[Way]) -> tuple[Exchange, ...]:
    """One answer that shows it."""
    answers = [each for way in ways for each in (way.with_flag, way.without_flag)]
    return tuple(each for each in answers if each is not None)[:1]
