"""Learning by trying how each plan takes each verb; nothing is judged here.

For each plan one instance is made without `accepts_incomplete` if that works, one with
it, then bound, updated, unbound and deprovisioned. An answer that the specification
forbids is noted as it is: a plan counts as asynchronous because it behaves so, not
because its refusal carries the right code.

Units: seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.facts import Way
from osbkit.conformance.resources import Binding, Instance
from osbkit.conformance.session import Session
from osbkit.conformance.target import Target

R = TypeVar("R", Instance, Binding)


async def learn(session: Session, *, at_once: int = 4) -> None:
    """Read the catalog and fill the facts of its plans.

    Args:
        at_once: plans that are tried side by side.
    """
    await session.read_catalog()
    turn = asyncio.Semaphore(at_once)

    async def one(plan: Plan) -> None:
        async with turn:
            target = Target(session)
            try:
                await _learn_plan(target, plan)
            finally:
                await target.clean_up()

    async with asyncio.TaskGroup() as side_by_side:  # a stop waits for all of it
        for each in session.catalog.plans:
            side_by_side.create_task(one(each))


async def _learn_plan(target: Target, plan: Plan) -> None:
    facts = plan.facts
    facts.tried = True
    made = await _provisioned(target, plan, facts.provision)
    if made.first is None:
        facts.trouble = made.trouble
        return
    if plan.bindable:
        await _learn_bindings(plan, made.first)
    await _learn_update(target, plan, made)
    await _both_ways(
        facts.deprovision,
        made.first,
        made.second,
        lambda one, flag: one.delete(flag=flag),
        anew=False,
    )


async def _provisioned(target: Target, plan: Plan, way: Way) -> "_Made[Instance]":
    return await _both_ways(
        way,
        target.instance(plan),
        target.instance(plan),
        lambda one, flag: one.provision(flag=flag),
    )


async def _learn_bindings(plan: Plan, instance: Instance) -> None:
    for needs_app in (False, True):
        plan.facts.needs_app = needs_app
        plan.facts.bind = Way()
        made = await _both_ways(
            plan.facts.bind,
            instance.binding(),
            instance.binding(),
            lambda one, flag: one.bind(flag=flag),
        )
        if plan.facts.bind.succeeded or plan.facts.bind.begins:
            break
    else:
        plan.facts.needs_app = False
    if made.first is not None:
        await _both_ways(
            plan.facts.unbind,
            made.first,
            made.second,
            lambda one, flag: one.delete(flag=flag),
            anew=False,
        )


async def _learn_update(target: Target, plan: Plan, made: "_Made[Instance]") -> None:
    assert made.first is not None
    for change in _changes(target, plan, made.first):
        if "plan_id" in change:  # the others stay on their plan, to be deprovisioned
            made = await _provisioned(target, plan, Way())
        if made.first is None:
            return
        plan.facts.update = Way()
        plan.facts.update_change = change
        await _both_ways(
            plan.facts.update,
            made.first,
            made.second,
            lambda one, flag, change=change: one.update(flag=flag, **change),  # type: ignore[misc]
            anew=False,
        )
        if plan.facts.update.succeeded or plan.facts.update.begins:
            return
        if "parameters" in change:
            plan.facts.parameters_trouble = plan.facts.update.trouble


def _changes(target: Target, plan: Plan, instance: Instance) -> list[Json]:
    """Updates that could work, the likeliest first."""
    found: list[Json] = []
    samples = target.samples(plan, "service_instance", "update")
    if samples.known:
        value = samples.other_than(instance.sent.get("parameters"))
        if value:
            found.append({"parameters": value})
    if plan.updateable:
        siblings = [
            each
            for each in target.plans()
            if each.offering.id == plan.offering.id and each.id != plan.id
        ]
        found += [{"plan_id": each.id} for each in siblings[:2]]
    return found


# --- one verb ------------------------------------------------------------------------


@dataclass
class _Made(Generic[R]):
    """What trying a verb left ready, and why nothing is."""

    first: R | None = None
    second: R | None = None
    trouble: str = ""


async def _both_ways(
    way: Way,
    first: R,
    second: R | None,
    ask: Callable[[R, bool | None], Awaitable[Exchange]],
    *,
    anew: bool = True,
) -> _Made[R]:
    """Ask without the flag, then with it.

    Args:
        second: for the request with the flag when the one without it worked.
        anew: a refused request is made again with `second`, not with `first`.
    """
    way.without_flag = await ask(first, None)
    if way.without_flag.good:
        return await _worked(way, first, second, ask)
    again = second if anew and second is not None else first
    way.with_flag, way.trouble = await _timed(way, again, ask)
    trouble, way.succeeded = way.trouble, not way.trouble
    return _Made(again if not trouble else None, None, trouble)


async def _worked(
    way: Way,
    first: R,
    second: R | None,
    ask: Callable[[R, bool | None], Awaitable[Exchange]],
) -> _Made[R]:
    assert way.without_flag is not None
    ended = await first.ended(way.without_flag)
    way.succeeded = ended.succeeded
    made = _Made(first if ended.succeeded else None)
    if not ended.succeeded:
        made.trouble = way.trouble = f"the operation ended as {ended.how}"
    if second is not None:
        way.with_flag, trouble = await _timed(way, second, ask)
        if not trouble:
            made.second = second
        elif way.with_flag.running:
            way.succeeded, way.trouble = False, trouble
    return made


async def _timed(
    way: Way, one: R, ask: Callable[[R, bool | None], Awaitable[Exchange]]
) -> tuple[Exchange, str]:
    began = perf_counter()
    answer = await ask(one, True)
    if not answer.good:
        words = answer.get("description")
        return answer, f"answered {answer.status or answer.trouble}" + (
            f" ({words})" if isinstance(words, str) else ""
        )
    ended = await one.ended(answer)
    way.seconds = perf_counter() - began
    return answer, "" if ended.succeeded else f"the operation ended as {ended.how}"
