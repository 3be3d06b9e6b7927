"""Polls of instances. Spec: "Polling Last Operation for Service Instances".

What polls of bindings have in common with them lives here, too; and the span in which
operations end: "Polling Interval and Duration".

Units: seconds.
"""

import re
import uuid
from email.utils import parsedate_to_datetime

from osbkit.conformance import wants
from osbkit.conformance.catalog import Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect, expect_none, expect_status, skip
from osbkit.conformance.facts import at_once
from osbkit.conformance.judging import began, operation_of
from osbkit.conformance.polling import ENDS, Ended, until_ended
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.resources import Binding, Instance
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

STATES = ENDS | {"in progress"}
AGAIN = 4  # polls after the end
HINTS = "service_id and plan_id are hints: a poll must work with both, one or none."
KEEP = "Keep the end of an operation for some days, and tell it whenever asked."
STATE = "Tell `state` as in progress (with a blank), succeeded or failed."
SECONDS = "Give Retry-After as a whole number of seconds."

provision_begins = Want(
    "that answers provisioning with 202", lambda plan: plan.facts.provision.begins
)
update_begins = Want(
    "that answers an update with 202",
    lambda plan: plan.facts.update.begins and plan.facts.provision.succeeded,
)
deprovision_begins = Want(
    "that answers deprovisioning with 202",
    lambda plan: plan.facts.deprovision.begins and plan.facts.provision.succeeded,
)
made_at_once = Want(
    "that provisions within the request",
    lambda plan: at_once(plan.facts.provision.without_flag),
)


def is_poll(seen: Exchange) -> bool:
    """A poll of an instance that was answered 200."""
    return seen.verb == "poll instance" and seen.status == 200


# --- what a poll tells ---------------------------------------------------------------


@check("LOP-01", advice="Answer 200 to every poll of an instance that is known.")
async def poll_is_200(target: Target) -> None:
    """A poll of what is in progress is answered 200, whichever verb began it."""
    for instance, answer in await _begun(target):
        poll = await instance.poll(operation_of(answer), **hints(instance.plan))
        if answer.verb == "deprovision" and poll.status == 410:
            continue
        expect_status(poll, 200, said=f"the poll after {answer.verb}")


@every_answer("LOP-02", when=is_poll, advice=STATE)
def state_is_one_of_three(seen: Exchange) -> None:
    """A poll of an instance tells in progress, succeeded or failed."""
    expect_state(seen)


@every_answer(
    "LOP-03",
    when=lambda seen: is_poll(seen) and "description" in seen.object,
    advice="Leave `description` out when there is nothing to say.",
)
def description_of_a_poll_says_something(seen: Exchange) -> None:
    """The description of an instance's poll is a string that is not empty."""
    words = seen.get("description")
    expect(isinstance(words, str), "`description` is not a string", seen)
    expect(words != "", "`description` is empty", seen)


@every_answer(
    "LOP-04",
    when=is_poll,
    advice="Leave instance_usable out but where an update or deprovision has failed.",
)
def instance_usable_tells_of_a_failure(seen: Exchange) -> None:
    """instance_usable is a boolean, for a failed update or deprovision only."""
    expect_told_of_failures(seen, "instance_usable", "update", "deprovision")


@every_answer(
    "LOP-05",
    when=is_poll,
    advice="Leave update_repeatable out but where an update has failed.",
)
def update_repeatable_tells_of_a_failure(seen: Exchange) -> None:
    """update_repeatable is a boolean, for a failed update only."""
    expect_told_of_failures(seen, "update_repeatable", "update")


@every_answer(
    "LOP-11",
    when=lambda seen: is_poll(seen) and "retry-after" in seen.headers,
    advice=SECONDS,
)
def retry_after_is_a_span_or_date(seen: Exchange) -> None:
    """Retry-After of an instance's poll is a number of seconds or a date."""
    value = seen.headers["retry-after"]
    expect(is_span(value) or _is_date(value), f"Retry-After is {value!r}", seen)


@every_answer(
    "LOP-12",
    when=lambda seen: is_poll(seen) and "retry-after" in seen.headers,
    advice=SECONDS,
)
def retry_after_is_a_span(seen: Exchange) -> None:
    """Retry-After of an instance's poll is a whole number of seconds."""
    value = seen.headers["retry-after"]
    expect(is_span(value), f"Retry-After is {value!r}", seen)


# --- what is asked -------------------------------------------------------------------


@check("LOP-06", advice="Nothing in the query of a poll is mandatory.")
async def poll_needs_no_query(target: Target) -> None:
    """A poll without any query is not refused."""
    instance = target.instance(target.plan(provision_begins))
    began(await instance.provision())
    poll = await instance.poll()
    expect(poll.good, f"a poll without a query is answered {poll.status}", poll)


@check("LOP-14", advice=HINTS)
async def poll_takes_hints(target: Target) -> None:
    """A poll works with service_id and plan_id, with one of them, and without."""
    instance = target.instance(target.plan(provision_begins))
    answer = began(await instance.provision())
    await expect_hints_change_nothing(instance, operation_of(answer))


@check("LOP-15", advice="Decode the query, once, before the operation is compared.")
async def operation_comes_back_encoded(target: Target) -> None:
    """An operation is recognised in its query, percent-encoded in whole or not."""
    instance = target.instance(target.plan(provision_begins))
    answer = began(await instance.provision())
    await expect_encoded_is_recognised(instance, answer)


@check("LOP-15", advice="Look the operation up that the poll names.")
async def operation_is_the_one_that_is_told(target: Target) -> None:
    """A poll that names the latest operation tells of that one, not of an earlier."""
    plan = target.plan(wants.gives_202, wants.deprovision_202)
    instance = await target.provisioned(plan)
    operation = operation_of(began(await instance.delete()))
    if operation is None:
        skip("The broker names no operations.")
    poll = await instance.poll(operation)
    repeat = await instance.delete()
    expect(
        not (poll.state == "succeeded" and repeat.running),
        "a poll said that the deprovision had succeeded, and it was still going on",
        poll,
        repeat,
    )


@check("LOP-16", advice="Never refuse a poll for the plan that it names.")
async def polls_name_the_plan_before(target: Target) -> None:
    """While the plan is changed, polls that name the plan before are not refused."""
    for plan in target.plans(wants.usable, wants.updateable, wants.update_202):
        for other in target.plans(wants.usable):
            if other.offering.id != plan.offering.id or other.id == plan.id:
                continue
            instance = await target.provisioned(plan)
            answer = await instance.update(plan_id=other.id)
            if not answer.running:
                continue
            await _polled_as_before(instance, answer)
            return
    skip("The catalog has no plan that is changed for another with 202.")


@check("LOP-07", advice="Ignore wrong hints, or answer 400.")
async def wrong_hints_do_no_harm(target: Target) -> None:
    """A poll with a wrong hint or operation is answered 200, 400 or 404."""
    instance = target.instance(target.plan(wants.usable))
    await instance.made_ready()
    for query in wrong_hints():
        answer = await instance.poll(**query)
        expect_status(answer, 200, 400, 404, said=f"an unknown {next(iter(query))}")


# --- what is not there ---------------------------------------------------------------


@check("LOP-08", advice="Answer 404 to a poll of an instance that never was.")
async def poll_of_unknown_instance_is_404(target: Target) -> None:
    """A poll of an instance that does not exist is answered 404."""
    instance = target.instance(target.plan(wants.usable))
    expect_status(await instance.poll(), 404)
    expect_status(await instance.poll(**hints(instance.plan)), 404, said="with hints")


@check("LOP-09", advice="Answer 410 only when an instance was deleted.")
async def poll_of_an_instance_is_not_410(target: Target) -> None:
    """A poll of an instance that is being made, is there or changed is not 410."""
    for plan in _at_once_and_later(target):
        instance = target.instance(plan)
        answer = await instance.provision()
        await expect_never_gone(instance, answer)
        if plan.facts.update.succeeded:
            update = await instance.update(**plan.facts.update_change)
            await expect_never_gone(instance, update)


@check("LOP-18", advice="Answer 200 with the state succeeded.")
async def poll_without_operation_does_no_harm(target: Target) -> None:
    """A poll of an instance that never had an operation causes no 5xx."""
    plan = target.plan(made_at_once)
    instance = target.instance(plan)
    if (await instance.provision(flag=None)).running:
        skip("The instance was not made within the request this time.")
    answer = await instance.poll(**hints(plan))
    expect(answer.status == 200 or answer.rejected, f"got {answer.status}", answer)


# --- the end -------------------------------------------------------------------------


@check("LOP-10", advice="Tell 200 succeeded or failed, or 410, with and without hints.")
async def end_of_deprovision_is_told(target: Target) -> None:
    """The end of a deprovision is told: succeeded, failed, or 410."""
    plan = target.plan(deprovision_begins)
    for query in ({}, hints(plan)):
        instance = await target.provisioned(plan)
        await expect_end(instance, began(await instance.delete()), query)


@check("LOP-17", advice="End every operation, and never go back from an end.")
async def operations_end_for_good(target: Target) -> None:
    """An operation ends as succeeded or failed, and is not in progress again."""
    for instance, answer in await _begun(target):
        ended = await instance.ended(answer)
        if answer.verb == "deprovision" and ended.how == "gone":
            continue
        expect(ended.how in ENDS, f"{answer.verb} ended as {ended.how}", ended.last)
        await expect_end_stays(instance, answer, ended)


@check("LOP-13", advice=KEEP)
async def end_is_not_forgotten(target: Target) -> None:
    """Asked again after the end was told, a poll tells the same."""
    for instance, answer in await _begun(target):
        ended = await instance.ended(answer)
        await expect_told_again(instance, answer, ended)


@check("LOP-19", advice="Answer 200 with the state failed, and say why.")
async def failed_provision_is_told(target: Target) -> None:
    """A provision that fails after 202 is told by the state failed."""
    plan = target.plan(wants.provision_fails)
    instance = target.instance(plan)
    ended = await instance.ended(began(await instance.provision()))
    if ended.succeeded:
        skip("The provisioning that failed before has succeeded this time.")
    expect(ended.how == "failed", f"it ended as {ended.how}", ended.last)


@check("POLL-01", advice="Raise maximum_polling_duration, or end operations sooner.")
async def operations_end_in_time(target: Target) -> None:
    """Operations end within the plan's maximum_polling_duration."""
    promised = [
        (plan, plan.maximum_polling_duration)
        for plan in target.plans(wants.usable)
        if plan.maximum_polling_duration is not None
    ]
    if not promised:
        skip("No plan states its maximum_polling_duration.")
    expect_none(
        f"{verb} of {plan.label} took {seconds:.1f} s, more than {longest} s"
        for plan, longest in promised
        for verb, seconds in _seconds(plan).items()
        if seconds > longest
    )


# --- for bindings, too ---------------------------------------------------------------


def hints(plan: Plan) -> dict[str, str]:
    """Offering and plan, as a platform names them in a poll."""
    return {"service_id": plan.offering.id, "plan_id": plan.id}


def wrong_hints() -> list[dict[str, str]]:
    """Queries that name what is not there."""
    unknown = str(uuid.uuid4())
    return [{"service_id": unknown}, {"plan_id": unknown}, {"operation": unknown}]


def expect_state(seen: Exchange) -> None:
    """One of the three."""
    expect("state" in seen.object, "there is no `state`", seen)
    known = isinstance(seen.state, str) and seen.state in STATES
    expect(known, f"`state` is {seen.state!r}", seen)


def expect_told_of_failures(seen: Exchange, name: str, *verbs: str) -> None:
    """A field is a boolean, if it is there, and there only where a verb failed."""
    if name not in seen.object:
        return
    expect(isinstance(seen.get(name), bool), f"`{name}` is not a boolean", seen)
    expect(seen.state == "failed", f"`{name}` comes with the state {seen.state}", seen)
    mine = seen.concerns is None or seen.concerns in verbs
    expect(mine, f"`{name}` comes with a failed {seen.concerns}", seen)


def is_span(value: str) -> bool:
    """A whole number of seconds."""
    return re.fullmatch("[0-9]+", value.strip()) is not None


def _is_date(value: str) -> bool:
    try:
        parsedate_to_datetime(value)
    except ValueError:
        return False
    return True


async def expect_hints_change_nothing(
    one: Instance | Binding, operation: str | None
) -> None:
    """No refusal, whichever hints are there, with the operation and without."""
    both = hints(one.plan)
    names = [operation, None] if operation is not None else [None]
    queries = [{}, *({key: each} for key, each in both.items()), both]
    for name in names:
        for query in queries:
            answer = await one.poll(name, **query)
            if answer.good:
                continue
            usual = await one.poll(operation, **both)
            words = " and ".join([*query, *(["operation"] if name else [])])
            expect(
                not usual.good,
                f"a poll with {words or 'no query'} is answered {answer.status}",
                answer,
                usual,
            )
            return  # it has ended, and is forgotten


async def expect_encoded_is_recognised(
    one: Instance | Binding, answer: Exchange
) -> None:
    """Each byte of the operation percent-encoded makes no difference."""
    operation = operation_of(answer)
    if not operation:
        skip("The broker names no operations.")
    encoded = "".join(f"%{each:02X}" for each in operation.encode())
    strange = await one.target.get(one.poll_path, query=f"operation={encoded}")
    usual = await one.poll(operation)
    expect(
        strange.good or not usual.good,
        f"the operation, wholly percent-encoded, is answered {strange.status}",
        strange,
        usual,
    )


async def expect_never_gone(one: Instance | Binding, answer: Exchange) -> None:
    """No poll is answered 410, until its operation has ended and after it."""
    operation = operation_of(answer)
    polls: list[Exchange] = []
    if answer.running:
        ended = await one.ended(answer)
        polls += ended.polls
    polls += [await one.poll(operation), await one.poll(**hints(one.plan))]
    for poll in polls:
        expect(poll.status != 410, f"a poll after {answer.verb} is 410", answer, poll)


async def expect_end(
    one: Instance | Binding, answer: Exchange, query: dict[str, str]
) -> None:
    """What removes is told to have ended, to who polls with this query."""
    operation = operation_of(answer)
    ended = await until_ended(lambda: one.poll(operation, **query), one.target.tempo)
    said = "with hints" if query else "without hints"
    expect(
        ended.how != "lost",
        f"to a poll {said} no end was told, but {ended.last.status}",
        answer,
        ended.last,
    )


async def expect_end_stays(
    one: Instance | Binding, answer: Exchange, ended: Ended
) -> None:
    """Later polls may know nothing more; they tell of no other state."""
    for _ in range(AGAIN):
        poll = await one.poll(operation_of(answer))
        expect(
            poll.status != 200 or poll.state == ended.last.state,
            f"{answer.verb} had {ended.how}, and is {poll.state!r} again",
            ended.last,
            poll,
        )


async def expect_told_again(
    one: Instance | Binding, answer: Exchange, ended: Ended
) -> None:
    """The first poll after the end tells the same; 410 does for a removal."""
    if ended.how == "lost":
        return
    again = await one.poll(operation_of(answer), **hints(one.plan))
    removed = answer.verb in {"deprovision", "unbind"} and ended.succeeded
    if again.status == 410 and removed:
        return
    expect_status(again, 200, said=f"asked again after {answer.verb} {ended.how}")
    expect(
        again.state == ended.last.state or (removed and ended.how == "gone"),
        f"{answer.verb} had {ended.how}, and is now {again.state!r}",
        ended.last,
        again,
    )


# --- in common -----------------------------------------------------------------------


async def _begun(target: Target) -> list[tuple[Instance, Exchange]]:
    """An instance for each verb that a plan answers with 202, and that answer.

    Raises:
        Skip: no plan answers 202 to anything.
    """
    found: list[tuple[Instance, Exchange]] = []
    for plan in target.plans(provision_begins)[:1]:
        instance = target.instance(plan)
        found.append((instance, await instance.provision()))
    for plan in target.plans(update_begins)[:1]:
        instance = await target.provisioned(plan)
        found.append((instance, await instance.update(**plan.facts.update_change)))
    for plan in target.plans(deprovision_begins)[:1]:
        instance = await target.provisioned(plan)
        found.append((instance, await instance.delete()))
    found = [each for each in found if each[1].running]
    if not found:
        skip("The catalog has no plan that answers 202 to anything.")
    return found


async def _polled_as_before(instance: Instance, answer: Exchange) -> None:
    """Polls name the plan before the update: once alone, then until it has ended."""
    alone = await instance.poll(**hints(instance.plan))
    ended = await instance.ended(answer)
    for poll in (alone, *ended.polls):
        expect(
            poll.good,
            f"a poll that names the plan before is answered {poll.status}",
            answer,
            poll,
        )


def _at_once_and_later(target: Target) -> list[Plan]:
    found = [*target.plans(made_at_once)[:1], *target.plans(provision_begins)[:1]]
    return list(dict.fromkeys(found)) or [target.plan(wants.usable)]


def _seconds(plan: Plan) -> dict[str, float]:
    facts = plan.facts
    return {
        "provision": facts.provision.seconds,
        "update": facts.update.seconds,
        "deprovision": facts.deprovision.seconds,
        "bind": facts.bind.seconds,
        "unbind": facts.unbind.seconds,
    }
