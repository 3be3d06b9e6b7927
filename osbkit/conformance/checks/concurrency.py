"""What happens at the same moment, or while something is in progress.

Spec: "Blocking Operations". A DELETE that meets a creation or an update is looked at in
the sections of deprovisioning and unbinding; here are the other encounters.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    Skip,
    expect,
    expect_error,
    expect_none,
    expect_status,
    skip,
)
from osbkit.conformance.judging import (
    BUSY,
    began,
    expect_accepted_or_busy,
    is_busy,
    operation_of,
    quick_and_slow,
    same_space,
)
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.removal import can_be_fetched, expect_gone, expect_there
from osbkit.conformance.resources import Binding, Instance
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

TIMES = 4  # the same request at the same moment
WAIT = 'Answer 422 with {"error": "ConcurrencyError", …}.'
LOOK_UP = "Let the database decide: one insert wins, the others find what it made."


# --- while something is in progress --------------------------------------------------


@check("CONC-02", "ERR-09", advice=WAIT)
async def update_waits_for_an_update(target: Target) -> None:
    """An update during another one is accepted, or refused with ConcurrencyError."""
    instance, running = await _being_updated(target)
    answer = await instance.update(**_other_update(target, instance.plan))
    await expect_accepted_or_busy(instance, running, answer)


@check("CONC-02", "ERR-09", advice=WAIT)
async def bind_waits_for_an_update(target: Target) -> None:
    """A binding during an update is accepted, or refused with ConcurrencyError."""
    instance, running = await _being_updated(target, wants.binds)
    answer = await instance.binding().bind()
    await expect_accepted_or_busy(instance, running, answer)


@check("CONC-02", "ERR-09", advice=WAIT)
async def changes_wait_for_the_provision(target: Target) -> None:
    """An update or binding during the provision is refused with ConcurrencyError.

    It may be accepted, too, and 404 may say that there is no such instance yet.
    """
    instance, running = await _being_provisioned(target)
    for answer in await _changes(instance):
        if answer.status != 404:
            await expect_accepted_or_busy(instance, running, answer)


@check("CONC-02", "ERR-09", advice=WAIT)
async def changes_wait_for_the_deprovision(target: Target) -> None:
    """An update or binding during the deprovision is refused with ConcurrencyError.

    It may be accepted, too, and 404 or 410 may say that the instance is gone already.
    """
    plan = _versatile(target, wants.deprovision_202)
    instance = await target.provisioned(plan)
    running = began(await instance.delete())
    for answer in await _changes(instance):
        if answer.status not in {404, 410}:
            await expect_accepted_or_busy(instance, running, answer)


@check("CONC-08", advice="Refuse before anything is touched that belongs to another.")
async def refused_update_disturbs_no_provision(target: Target) -> None:
    """After ConcurrencyError the provision that was running goes on and succeeds."""
    instance, running = await _being_provisioned(target)
    refused = await _changes(instance)
    if not any(map(is_busy, refused)):
        skip("The broker refused nothing during a provision.")
    await _expect_success(instance, running, *refused)


@check("CONC-08", advice="Refuse before anything is touched that belongs to another.")
async def refused_update_disturbs_no_update(target: Target) -> None:
    """After ConcurrencyError the update that was running goes on and succeeds."""
    instance, running = await _being_updated(target)
    refused = [await instance.update(**_other_update(target, instance.plan))]
    if instance.plan.facts.bind.succeeded:
        refused.append(await instance.binding().bind())
    if not any(map(is_busy, refused)):
        skip("The broker refused nothing during an update.")
    await _expect_success(instance, running, *refused)


@check("ERR-12", advice="Refuse for good: keep nothing that was refused for later.")
async def what_was_refused_meanwhile_is_not_done_later(target: Target) -> None:
    """What was refused with ConcurrencyError during an update is not done, neither at
    once nor when the update has ended."""
    instance, running, before = await _seen_and_updated(target)
    refused: list[Exchange] = []
    other: Json = {}
    with suppress(Skip):
        other = _other_update(target, instance.plan)
        refused.append(await instance.update(**other))
    binding = instance.binding()
    if instance.plan.facts.bind.succeeded:
        refused.append(await binding.bind())
    await instance.ended(running)
    for answer in filter(is_busy, refused):
        if answer.verb == "bind":
            await expect_gone(binding)
        else:
            await _expect_not_done(instance, before, other, answer)
    instance, running, _ = await _seen_and_updated(target)
    removal = await instance.delete()
    await instance.ended(running)
    if is_busy(removal):
        await _expect_idle(instance, removal)
        await expect_there(instance, "deprovision was refused, and yet done later")
    elif not any(map(is_busy, refused)):
        skip("The broker refused nothing during an update.")


@check("UPD-03", advice=f"Do what was answered 202. {WAIT}")
async def update_that_is_taken_meanwhile_is_done(target: Target) -> None:
    """An update during another one is refused, or done when both have ended."""
    instance, running, before = await _seen_and_updated(target)
    other = _other_update(target, instance.plan)
    answer = await instance.update(**other)
    if not answer.good:
        return
    first, second = await instance.ended(running), await instance.ended(answer)
    if not (first.succeeded and second.succeeded) or before is None:
        return
    seen = await instance.fetch()
    told = _told(seen)
    expect_none(
        (
            f"{name} is not what the second update said"
            for name, value in _differences(instance, before, other).items()
            if name in told and told[name] != value
        ),
        running,
        answer,
        seen,
    )


@check("CONC-09", advice="Lock one instance or binding, not more.")
async def other_instances_need_not_wait(target: Target) -> None:
    """What runs on one instance is no reason to refuse a request for another."""
    plan = _versatile(target, wants.gives_202)
    ready = await target.provisioned(plan)
    space = same_space(ready)
    changed, removed = [await target.provisioned(plan, **space) for _ in range(2)]
    instance = target.instance(plan)
    running = began(await instance.provision(**space))
    answers = [await removed.delete()]
    if plan.facts.update.succeeded:
        answers.append(await changed.update(**plan.facts.update_change))
    if plan.facts.bind.succeeded:
        answers.append(await ready.binding().bind())
    await instance.still_running(operation_of(running))
    for answer in answers:
        expect(
            not is_busy(answer),
            f"{answer.verb} is refused because another instance is being made",
            running,
            answer,
        )


@check("CONC-11", advice=WAIT)
async def provision_waits_for_the_deprovision(target: Target) -> None:
    """A PUT during the deprovision is refused: 409, or ConcurrencyError."""
    plan = target.plan(wants.deprovision_202)
    instance = await target.provisioned(plan)
    begun = began(await instance.delete())
    answer = await instance.provision()
    await instance.still_running(operation_of(begun))
    expect_status(answer, 409, 422)
    if answer.status == 422:
        expect_error(answer, 422, BUSY)


@every_answer(
    "CONC-03",
    when=lambda seen: seen.error == BUSY and "description" in seen.object,
    advice="Say that another operation is in progress.",
)
def concurrency_error_is_described(seen: Exchange) -> None:
    """The description of ConcurrencyError says something."""
    words = seen.get("description")
    expect(isinstance(words, str) and words.strip() != "", "it says nothing", seen)


# --- at the same moment --------------------------------------------------------------


@check("CONC-05", advice=LOOK_UP)
async def equal_provisions_make_one_instance(target: Target) -> None:
    """Equal PUTs of a new instance at the same moment: 201 at most once, no 5xx."""
    for plan in quick_and_slow(target, (wants.usable,), (wants.gives_202,)):
        instance = target.instance(plan)
        sent = target.provision_body(plan)
        answers = await asyncio.gather(
            *(instance.provision(body=sent) for _ in range(TIMES))
        )
        await _expect_one_made(answers, partial(instance.provision, body=sent))


@check("CONC-06", advice=LOOK_UP)
async def one_of_two_provisions_wins(target: Target) -> None:
    """Different PUTs of a new instance at the same moment: only one is accepted."""
    plan = target.plan(wants.usable)
    ours, theirs = _two_wishes(target, plan)
    instance = target.instance(plan)
    answers = await asyncio.gather(
        *(instance.provision(body=body) for body in [ours, theirs] * (TIMES // 2))
    )
    accepted = [[each for each in answers[turn::2] if each.good] for turn in (0, 1)]
    expect(
        not (accepted[0] and accepted[1]),
        "two requests with different attributes were both accepted",
        *(each for some in accepted for each in some[:1]),
    )
    _expect_well(answers, {200, 201, 202, 409})
    expect(any(accepted), "none of the requests was accepted", *answers)


@check("CONC-07", advice=LOOK_UP)
async def equal_binds_make_one_binding(target: Target) -> None:
    """Equal PUTs of a new binding at the same moment: 201 at most once, no 5xx."""
    for plan in quick_and_slow(target, (wants.binds,), (wants.bind_202,)):
        instance = await target.provisioned(plan)
        binding = instance.binding()
        sent = target.bind_body(plan)
        answers = await asyncio.gather(*(binding.bind(body=sent) for _ in range(TIMES)))
        await _expect_one_made(answers, partial(binding.bind, body=sent))


@check("CONC-04", advice="Make every binding that was accepted, or refuse it.")
async def accepted_bindings_are_made(target: Target) -> None:
    """Of bindings asked for at the same moment, those that are accepted are made."""
    plan = target.plan(wants.binds)
    instance = await target.provisioned(plan)
    bindings = [instance.binding() for _ in range(TIMES)]
    answers = await asyncio.gather(*(each.bind() for each in bindings))
    accepted = [each for each in bindings if each.first and each.first.good]
    expect(bool(accepted), "none of the bindings was accepted", *answers)
    for binding in accepted:
        assert binding.first is not None
        ended = await binding.ended(binding.first)
        expect(ended.succeeded, f"a binding ended as {ended.how}", ended.last)
        if can_be_fetched(binding):
            seen = await binding.fetch()
            expect_status(seen, 200, said="a fetch of an accepted binding")


@check("CONC-10", advice="Let one DELETE win; answer the others 202, 410 or 422.")
async def equal_deletes_are_answered_well(target: Target) -> None:
    """DELETEs at the same moment are answered 200, 202, 410 or ConcurrencyError."""
    for plan in quick_and_slow(target, (wants.usable,), (wants.deprovision_202,)):
        instance = await target.provisioned(plan)
        if plan.facts.unbind.succeeded:
            await _deleted_at_once(await instance.bound())
        await _deleted_at_once(instance)


# --- in common -----------------------------------------------------------------------


async def _deleted_at_once(one: Instance | Binding) -> None:
    answers = await asyncio.gather(*(one.delete() for _ in range(TIMES)))
    _expect_well(answers, {200, 202, 410})
    done = [each for each in answers if each.good]
    expect(bool(done), "none of the requests was accepted", *answers)
    for each in done:
        await one.ended(each)


def _expect_well(answers: list[Exchange], allowed: set[int]) -> None:
    """Each has one of these statuses, or is ConcurrencyError."""
    bad = [each for each in answers if each.status not in allowed and not is_busy(each)]
    wanted = ", ".join(map(str, sorted(allowed)))
    expect_none(
        (f"expected {wanted} or 422 {BUSY}, got {_said(each)}" for each in bad), *bad
    )


async def _expect_one_made(
    answers: list[Exchange], repeat: Callable[[], Awaitable[Exchange]]
) -> None:
    """Equal PUTs: one makes it, the others find it.

    Several 201 are a sign of several makers. They are none with a broker that answers
    201 to a later repeat, too: that is the fault of its repeats (PROV-07, BIND-07).
    """
    _expect_well(answers, {200, 201, 202, 409})
    made = [each for each in answers if each.status == 201]
    if len(made) > 1 and (await repeat()).status == 201:
        skip("Each repeat is answered 201: no answer tells how many were made.")
    expect(len(made) <= 1, f"{len(made)} of {TIMES} are answered 201", *made)
    expect(
        any(each.good for each in answers),
        "none of the requests was accepted",
        *answers,
    )


async def _seen_and_updated(
    target: Target,
) -> tuple[Instance, Exchange, Exchange | None]:
    """An instance, the 202 of its update, and what was fetched before it."""
    plans = [
        more
        for more in ((wants.retrievable, wants.binds), (wants.retrievable,))
        if target.plans(wants.update_202, *more)
    ]
    plan = target.plan(wants.update_202, *(plans[0] if plans else ()))
    instance = await target.provisioned(plan)
    before = await instance.fetch() if can_be_fetched(instance) else None
    running = began(await instance.update(**plan.facts.update_change))
    return instance, running, before


def _told(fetched: Exchange) -> Json:
    """The plan and each parameter of a fetched instance, as far as they are told."""
    parameters = fetched.get("parameters")
    found = {
        f"the parameter {name}": value
        for name, value in (parameters.items() if isinstance(parameters, dict) else ())
    }
    return found | ({"the plan": plan} if (plan := fetched.get("plan_id")) else {})


def _differences(instance: Instance, before: Exchange, other: Json) -> Json:
    """What another update would change after the one of the facts, by name."""
    change = instance.plan.facts.update_change
    usual = {
        **(instance.sent.get("parameters") or {}),
        **change.get("parameters", {}),
    }
    expected = _told(before)
    expected |= {f"the parameter {name}": value for name, value in usual.items()}
    expected["the plan"] = change.get("plan_id", instance.plan.id)
    wanted = {
        f"the parameter {name}": value
        for name, value in other.get("parameters", {}).items()
    }
    wanted |= {"the plan": other["plan_id"]} if "plan_id" in other else {}
    return {
        name: value
        for name, value in wanted.items()
        if name not in expected or expected[name] != value
    }


async def _expect_not_done(
    instance: Instance, before: Exchange | None, other: Json, refused: Exchange
) -> None:
    await _expect_idle(instance, refused)
    if before is None:
        return
    seen = await instance.fetch()
    told = _told(seen)
    expect_none(
        (
            f"{name} is changed, though that was refused"
            for name, value in _differences(instance, before, other).items()
            if name in told and told[name] == value
        ),
        refused,
        seen,
    )


async def _expect_idle(instance: Instance, refused: Exchange) -> None:
    poll = await instance.poll()
    expect(
        poll.state != "in progress",
        f"{refused.verb} was refused, and yet something goes on after the update",
        refused,
        poll,
    )


async def _expect_success(
    instance: Instance, running: Exchange, *refused: Exchange
) -> None:
    ended = await instance.ended(running)
    expect(
        ended.how == "succeeded",
        f"what was running ended as {ended.how}",
        *refused,
        ended.last,
    )


async def _being_provisioned(target: Target) -> tuple[Instance, Exchange]:
    """An instance, and the 202 of its provision."""
    instance = target.instance(_versatile(target, wants.gives_202))
    return instance, began(await instance.provision())


async def _being_updated(target: Target, *more: Want) -> tuple[Instance, Exchange]:
    """An instance, and the 202 of its update."""
    plan = target.plan(wants.update_202, *more)
    instance = await target.provisioned(plan)
    return instance, began(await instance.update(**plan.facts.update_change))


def _versatile(target: Target, want: Want) -> Plan:
    """A plan whose instances can be updated and bound, too, if there is one."""
    for more in ((wants.updates, wants.binds), (wants.updates,), (wants.binds,)):
        if target.plans(want, *more):
            return target.plan(want, *more)
    return target.plan(want)


async def _changes(instance: Instance) -> list[Exchange]:
    """The answers to an update and a binding, as far as the plan can."""
    found: list[Exchange] = []
    facts = instance.plan.facts
    if facts.update.succeeded:
        found.append(await instance.update(**facts.update_change))
    if facts.bind.succeeded:
        found.append(await instance.binding().bind())
    if not found:
        skip(f"Instances of {instance.plan.label} can be neither changed nor bound.")
    return found


def _other_update(target: Target, plan: Plan) -> Json:
    """An update that is not the one of the facts."""
    used = plan.facts.update_change.get("parameters")
    samples = target.samples(plan, "service_instance", "update")
    if used is not None and (others := samples.others(used)):
        return {"parameters": others[-1]}
    if not plan.updateable:
        raise Skip(f"Of {plan.label} only one update is known.")
    taken = plan.facts.update_change.get("plan_id")
    for each in target.plans(wants.usable):
        if each.offering.id == plan.offering.id and each.id not in {plan.id, taken}:
            return {"plan_id": each.id}
    raise Skip(f"Of {plan.label} only one update is known.")


def _two_wishes(target: Target, plan: Plan) -> tuple[Json, Json]:
    """Two bodies for one id that differ in plan, or in parameters."""
    body = target.provision_body(plan)
    used = body.get("parameters")
    if (other := target.samples(plan).other_than(used)) is not None:
        return body, {**body, "parameters": other}
    sibling = target.sibling(plan, wants.usable)
    return body, {**body, "plan_id": sibling.id}


def _said(answer: Exchange) -> str:
    code = f" {answer.error}" if isinstance(answer.error, str) else ""
    return f"{answer.status or answer.trouble}{code}"
