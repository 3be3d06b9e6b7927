"""Polls of bindings. Spec: "Polling Last Operation for Service Bindings".

They are judged as polls of instances are; see `polling.py`.
"""

from osbkit.conformance import wants
from osbkit.conformance.checks.polling import (
    HINTS,
    KEEP,
    SECONDS,
    STATE,
    expect_encoded_is_recognised,
    expect_end,
    expect_end_stays,
    expect_hints_change_nothing,
    expect_never_gone,
    expect_state,
    expect_told_again,
    hints,
    is_span,
    wrong_hints,
)
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect, expect_status, skip
from osbkit.conformance.judging import began, operation_of
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.resources import Binding
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

SINCE = "2.14"  # earlier versions bind within the request only

bind_begins = Want(
    "that answers binding with 202",
    lambda plan: plan.facts.bind.begins and plan.facts.provision.succeeded,
)
unbind_begins = Want(
    "that answers unbinding with 202",
    lambda plan: plan.facts.unbind.begins and plan.facts.bind.succeeded,
)


def is_poll(seen: Exchange) -> bool:
    """A poll of a binding that was answered 200."""
    return seen.verb == "poll binding" and seen.status == 200


# --- what a poll tells ---------------------------------------------------------------


@check(
    "BLOP-01",
    since=SINCE,
    advice="Answer 200 to every poll of a binding that is known.",
)
async def poll_of_a_binding_is_200(target: Target) -> None:
    """A poll of a binding that is being made or removed is answered 200."""
    for binding, answer in await _begun(target):
        poll = await binding.poll(operation_of(answer), **hints(binding.plan))
        if answer.verb == "unbind" and poll.status == 410:
            continue
        expect_status(poll, 200, said=f"the poll after {answer.verb}")


@every_answer("BLOP-02", since=SINCE, when=is_poll, advice=STATE)
def state_of_a_binding_is_one_of_three(seen: Exchange) -> None:
    """A poll of a binding tells in progress, succeeded or failed."""
    expect_state(seen)


@every_answer(
    "BLOP-03",
    since=SINCE,
    when=lambda seen: is_poll(seen) and "description" in seen.object,
    advice="Leave `description` out when there is nothing to say.",
)
def description_of_a_bindings_poll_is_text(seen: Exchange) -> None:
    """The description of a binding's poll is a string."""
    expect(
        isinstance(seen.get("description"), str), "`description` is not a string", seen
    )


@every_answer(
    "BLOP-12",
    since=SINCE,
    when=is_poll,
    advice="Tell instance_usable and update_repeatable of instances only.",
)
def bindings_poll_tells_nothing_of_the_instance(seen: Exchange) -> None:
    """A binding's poll has neither instance_usable nor update_repeatable."""
    for name in ("instance_usable", "update_repeatable"):
        expect(name not in seen.object, f"there is `{name}`", seen)


@every_answer(
    "BLOP-08",
    since=SINCE,
    when=lambda seen: is_poll(seen) and "retry-after" in seen.headers,
    advice=SECONDS,
)
def retry_after_of_a_binding_is_a_span(seen: Exchange) -> None:
    """Retry-After of a binding's poll is a whole number of seconds."""
    value = seen.headers["retry-after"]
    expect(is_span(value), f"Retry-After is {value!r}", seen)


# --- what is asked -------------------------------------------------------------------


@check("BLOP-10", since=SINCE, advice=HINTS)
async def poll_of_a_binding_takes_hints(target: Target) -> None:
    """A binding's poll works with service_id and plan_id, with one, and without."""
    binding = await _being_made(target)
    assert binding.first is not None
    await expect_hints_change_nothing(binding, operation_of(binding.first))


@check(
    "BLOP-10",
    since=SINCE,
    advice="Decode the query, once, before the operation is compared.",
)
async def operation_of_a_binding_comes_back_encoded(target: Target) -> None:
    """A binding's operation is recognised, percent-encoded in whole or not."""
    binding = await _being_made(target)
    assert binding.first is not None
    await expect_encoded_is_recognised(binding, binding.first)


@check("BLOP-11", since=SINCE, advice="Ignore wrong hints, or answer 400.")
async def wrong_hints_of_a_binding_do_no_harm(target: Target) -> None:
    """A binding's poll with a wrong hint or operation is answered 200 or a 4xx."""
    instance = await target.provisioned(target.plan(wants.binds))
    binding = await instance.bound()
    for query in wrong_hints():
        answer = await binding.poll(**query)
        expect(
            answer.status == 200 or answer.rejected,
            f"an unknown {next(iter(query))} is answered {answer.status}",
            answer,
        )


# --- what is not there ---------------------------------------------------------------


@check(
    "BLOP-04", since=SINCE, advice="Answer 404 to a poll of a binding that never was."
)
async def poll_of_unknown_binding_is_404(target: Target) -> None:
    """A poll of a binding that does not exist is answered 404."""
    instance = await target.provisioned(target.plan(wants.binds))
    expect_status(await instance.binding().poll(), 404)
    nowhere = target.instance(instance.plan).binding()
    expect_status(await nowhere.poll(), 404, said="no such instance")


@check(
    "BLOP-04",
    since=SINCE,
    advice="Look bindings up below their instance, not by id alone.",
)
async def poll_below_another_instance_is_404(target: Target) -> None:
    """A poll below an instance that the binding is not of is answered 404."""
    plan = target.plan(wants.binds)
    instance, other = await target.provisioned(plan), await target.provisioned(plan)
    binding = await instance.bound()
    expect_status(await other.binding(binding.id).poll(), 404)


@check(
    "BLOP-05", since=SINCE, advice="Answer 410 only when a binding was being removed."
)
async def poll_of_a_binding_is_not_410(target: Target) -> None:
    """A poll of a binding that is being made or is there is not answered 410."""
    plans = [*target.plans(wants.bind_sync)[:1], *target.plans(bind_begins)[:1]]
    for plan in dict.fromkeys(plans or [target.plan(wants.binds)]):
        instance = await target.provisioned(plan)
        binding = instance.binding()
        await expect_never_gone(binding, await binding.bind())


# --- the end -------------------------------------------------------------------------


@check(
    "BLOP-06",
    since=SINCE,
    advice="Tell 200 succeeded or failed, or 410, with and without hints.",
)
async def end_of_unbind_is_told(target: Target) -> None:
    """The end of an unbind is told: succeeded, failed, or 410."""
    plan = target.plan(unbind_begins)
    instance = await target.provisioned(plan)
    for query in ({}, hints(plan)):
        binding = await instance.bound()
        await expect_end(binding, began(await binding.delete()), query)


@check("BLOP-09", since=SINCE, advice=KEEP)
async def end_of_a_binding_is_not_forgotten(target: Target) -> None:
    """Asked again after its end was told, a binding's poll tells the same."""
    for binding, answer in await _begun(target):
        ended = await binding.ended(answer)
        await expect_told_again(binding, answer, ended)
        await expect_end_stays(binding, answer, ended)


# --- in common -----------------------------------------------------------------------


async def _being_made(target: Target) -> Binding:
    """A binding whose creation was answered 202."""
    instance = await target.provisioned(target.plan(bind_begins))
    binding = instance.binding()
    began(await binding.bind())
    return binding


async def _begun(target: Target) -> list[tuple[Binding, Exchange]]:
    """A binding for each verb that a plan answers with 202, and that answer.

    Raises:
        Skip: no plan answers 202 to either.
    """
    found: list[tuple[Binding, Exchange]] = []
    for plan in target.plans(bind_begins)[:1]:
        instance = await target.provisioned(plan)
        binding = instance.binding()
        found.append((binding, await binding.bind()))
    for plan in target.plans(unbind_begins)[:1]:
        instance = await target.provisioned(plan)
        binding = await instance.bound()
        found.append((binding, await binding.delete()))
    found = [each for each in found if each[1].running]
    if not found:
        skip("The catalog has no plan that binds or unbinds with 202.")
    return found
