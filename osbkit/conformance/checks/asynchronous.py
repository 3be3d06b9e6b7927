"""Within the request, or after it: `accepts_incomplete` and its refusal.

Spec: "Synchronous Operations", "Asynchronous Operations". Which status a single verb
answers with is looked at in the sections of the verbs.
"""

from collections.abc import AsyncIterator
from functools import partial

from osbkit.conformance import wants
from osbkit.conformance.catalog import Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect, expect_none, skip
from osbkit.conformance.facts import Way, at_once
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.removal import (
    expect_gone,
    expect_unremoved,
    settled,
    unchanged,
)
from osbkit.conformance.resources import Flag
from osbkit.conformance.session import CHANGES
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

VERBS = ("provision", "update", "bind", "unbind", "deprovision")
TRUE_ONLY = "Take the text `true` alone for accepts_incomplete; all else is false."


def ways(plan: Plan) -> dict[str, Way]:
    """How the plan takes each verb."""
    return {verb: getattr(plan.facts, verb) for verb in VERBS}


begins = Want(
    "that does anything asynchronously",
    lambda plan: (
        plan.facts.provision.succeeded
        and any(each.begins for each in ways(plan).values())
    ),
)


# --- without the flag ----------------------------------------------------------------


@check("ASYNC-07", advice=TRUE_ONLY)
async def false_is_as_absent(target: Target) -> None:
    """accepts_incomplete=false is answered as a request without it."""
    for plan in _one_of_each_kind(target):
        async for verb, absent, false in _with_both(target, plan, None, False):
            expect(
                (absent.status, absent.error) == (false.status, false.error),
                f"{verb}: absent is answered {_said(absent)}, false {_said(false)}",
                absent,
                false,
            )


@check("ASYNC-13", advice=TRUE_ONLY)
async def other_text_is_not_true(target: Target) -> None:
    """Another text for accepts_incomplete is 400 or false, and never true."""
    for plan in _one_of_each_kind(target):
        async for verb, absent, other in _with_both(target, plan, None, "maybe"):
            expect(
                other.status == 400
                or (absent.status, absent.error) == (other.status, other.error),
                f"{verb}: accepts_incomplete=maybe is answered {_said(other)}",
                absent,
                other,
            )


@every_answer(
    "ASYNC-09",
    when=lambda seen: (
        seen.verb in CHANGES
        and seen.asked.get("accepts_incomplete", "false") == "false"
    ),
    advice="Answer 422 AsyncRequired, or wait for the end: the client will not poll.",
)
def no_202_without_the_flag(seen: Exchange) -> None:
    """Without accepts_incomplete=true nothing is answered 202."""
    expect(not seen.running, f"{seen.verb} is answered 202 without the flag", seen)


@check("ASYNC-11", advice="Judge the flag before anything is recorded or done.")
async def async_required_changes_nothing(target: Target) -> None:
    """After AsyncRequired an instance is not made, not changed and not removed."""
    for plan in _refusing(
        target, wants.async_only, "provision", "update", "deprovision"
    ):
        instance = target.instance(plan)
        if (await settled(instance, instance.provision(flag=None))).rejected:
            await expect_gone(instance)
        kept = await target.provisioned(plan)
        if change := plan.facts.update_change:
            await unchanged(kept, partial(kept.update, flag=None, **change))
        await expect_unremoved(kept, flag=None)


@check("ASYNC-11", advice="Judge the flag before anything is recorded or done.")
async def async_required_binds_nothing(target: Target) -> None:
    """After AsyncRequired a binding is not made and not removed."""
    for plan in _refusing(target, wants.bind_async_only, "bind", "unbind"):
        instance = await target.provisioned(plan)
        binding = instance.binding()
        if (await settled(binding, binding.bind(flag=None))).rejected:
            await expect_gone(binding)
        await expect_unremoved(await instance.bound(), flag=None)


@every_answer(
    "ASYNC-10",
    when=lambda seen: seen.error == "AsyncRequired" and "description" in seen.object,
    advice="Say that the client must support asynchronous operations.",
)
def async_required_is_described(seen: Exchange) -> None:
    """The description of AsyncRequired says something."""
    words = seen.get("description")
    expect(isinstance(words, str) and words.strip() != "", "it says nothing", seen)


# --- with the flag -------------------------------------------------------------------


@check("ASYNC-05", advice="Ignore accepts_incomplete=true where it is not needed.")
async def flag_hinders_nothing(target: Target) -> None:
    """What is done within the request without the flag is done with it, too."""
    both = [
        (plan, verb, way.with_flag)
        for plan in target.catalog.plans
        for verb, way in ways(plan).items()
        if at_once(way.without_flag) and way.with_flag is not None
    ]
    if not both:
        skip("The catalog has no plan that does anything within the request.")
    refused = [each for each in both if each[2].status in {400, 422}]
    expect_none(
        (f"{verb} of {plan.label}: {_said(answer)}" for plan, verb, answer in refused),
        *(answer for _, _, answer in refused[:1]),
    )


# --- in common -----------------------------------------------------------------------


def _one_of_each_kind(target: Target) -> list[Plan]:
    """A plan that is asynchronous only, and one that is so by choice."""
    found = [target.plan(begins)]
    for each in target.plans(begins):
        if each.facts.provision.async_only != found[0].facts.provision.async_only:
            return [*found, each]
    return found


async def _with_both(
    target: Target, plan: Plan, first: Flag, second: Flag
) -> AsyncIterator[tuple[str, Exchange, Exchange]]:
    """Each verb with both flags, on twins, so that neither disturbs the other."""
    facts = plan.facts
    one, other = target.instance(plan), target.instance(plan)
    yield (
        "provision",
        await one.provision(flag=first),
        await other.provision(flag=second),
    )
    one, other = await target.provisioned(plan), await target.provisioned(plan)
    if facts.bind.succeeded:
        yield (
            "bind",
            await one.binding().bind(flag=first),
            await other.binding().bind(flag=second),
        )
    if facts.bind.succeeded and facts.unbind.succeeded:
        left, right = await one.bound(), await other.bound()
        yield (
            "unbind",
            await left.delete(flag=first),
            await right.delete(flag=second),
        )
    if facts.update.succeeded:
        change = facts.update_change
        yield (
            "update",
            await one.update(flag=first, **change),
            await other.update(flag=second, **change),
        )
    if facts.deprovision.succeeded:
        yield (
            "deprovision",
            await one.delete(flag=first),
            await other.delete(flag=second),
        )


def _refusing(target: Target, otherwise: Want, *verbs: str) -> list[Plan]:
    """For each verb a plan on which it was refused without the flag.

    What came of the request with the flag does not count: it may have found done what
    was refused.

    Raises:
        Skip: there is none.
    """
    needed = [wants.usable, *([wants.binds] if "bind" in verbs else [])]
    found: list[Plan] = []
    for verb in verbs:
        refuses = Want(
            "that does anything asynchronously only",
            lambda plan, verb=verb: _refused(ways(plan)[verb]),  # type: ignore[misc]
        )
        found += target.plans(*needed, refuses)[:1]
    return [*dict.fromkeys(found)] or [target.plan(otherwise)]


def _refused(way: Way) -> bool:
    answer = way.without_flag
    said = answer is not None and answer.error == "AsyncRequired"
    return said or way.async_only


def _said(answer: Exchange) -> str:
    code = f" {answer.error}" if isinstance(answer.error, str) else ""
    return f"{answer.status or answer.trouble}{code}"
