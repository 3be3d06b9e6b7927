"""Unbinding. Spec: "Unbinding".

What deprovisioning has in common with it stands in `osbkit.conformance.removal`.
"""

import uuid

from osbkit.conformance import wants
from osbkit.conformance.catalog import Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    expect_error,
    expect_no_fault,
    expect_object,
    expect_status,
)
from osbkit.conformance.facts import at_once
from osbkit.conformance.judging import (
    expect_accepted_or_busy,
    expect_no_more_to_come,
    expect_same_operation,
    expect_short_operation,
    expect_text,
    names_operation,
    quick_and_slow,
    repeated,
)
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.removal import (
    being_made,
    expect_gone,
    expect_halted_for_good,
    expect_needed,
    expect_polls_of_failure,
    expect_polls_of_removal,
    expect_there,
)
from osbkit.conformance.resources import Binding
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

unbinds_at_once = Want(
    "that unbinds within the request",
    lambda p: p.facts.unbind.succeeded and at_once(p.facts.unbind.without_flag),
    verb="unbind",
)
asynchronous = Want(
    "that works asynchronously",
    lambda plan: (
        plan.facts.unbind.succeeded
        and (plan.facts.unbind.begins or plan.facts.bind.begins)
    ),
    slow=True,
    verb="unbind",
)


# --- what is deleted -----------------------------------------------------------------


@check(
    "UNBIND-01",
    advice="Delete what belongs to the binding before it is told that it is gone.",
)
async def unbound_is_gone(target: Target) -> None:
    """A binding that was removed is not there any more."""
    for plan in _plans(target):
        instance = await target.provisioned(plan)
        binding = await instance.bound()
        await binding.removed()
        await expect_gone(binding)


@check("UNBIND-16", advice="Delete what belongs to this one binding alone.")
async def unbind_leaves_other_bindings(target: Target) -> None:
    """Removing one binding leaves the other bindings of the instance alone."""
    for plan in _plans(target):
        instance = await target.provisioned(plan)
        kept, removed = await instance.bound(), await instance.bound()
        await removed.removed()
        await expect_there(kept, "another binding of the instance is gone, too")


@check(
    "UNBIND-15",
    advice="Answer 400 to ids that are not those of the binding, or ignore them.",
)
async def unbind_with_wrong_ids_does_no_harm(target: Target) -> None:
    """Wrong ids in an unbind cause no 5xx, and nothing else is touched."""
    plan = target.plan(wants.binds, wants.unbinds)
    instance = await target.provisioned(plan)
    kept = await instance.bound()
    for name in ("service_id", "plan_id"):
        wrong = await instance.bound()
        answer = await wrong.delete(**{name: str(uuid.uuid4())})
        expect_no_fault(answer, said=f"an unknown {name}")
        await wrong.ended(answer)
    await expect_there(kept, "another binding of the instance is gone, too")


# --- the answer ----------------------------------------------------------------------


@check(
    "UNBIND-02",
    "ASYNC-04",
    advice="Answer 200 with {} when the binding has been deleted.",
)
async def unbind_is_200(target: Target) -> None:
    """An unbind within the request is answered 200 with a JSON object."""
    plan = target.plan(wants.binds, unbinds_at_once)
    instance = await target.provisioned(plan)
    binding = await instance.bound()
    answer = await binding.delete(flag=None)
    expect_status(answer, 200)
    expect_object(answer)


@check("UNBIND-03", "ASYNC-08", advice="Answer 202 until the binding is gone.")
async def running_unbind_is_202(target: Target) -> None:
    """An unbind that goes on after its answer is answered 202."""
    plan = target.plan(wants.binds, asynchronous)
    instance = await target.provisioned(plan)
    binding = await instance.bound()
    await expect_no_more_to_come(binding, await binding.delete())


@check("UNBIND-04", advice="Answer the repeat as the first: 202, the same operation.")
async def repeated_unbind_is_202(target: Target) -> None:
    """The repeat of an unbind that is still running is answered 202."""
    _, again = await _twice(target)
    expect_status(again, 202, said="the repeat")


@check("UNBIND-05", advice="Answer the repeat as the first: 202, the same operation.")
async def repeated_unbind_names_its_operation(target: Target) -> None:
    """The repeat of an unbind that is still running names the same operation."""
    expect_same_operation(*await _twice(target))


@every_answer(
    "UNBIND-14",
    when=names_operation("unbind"),
    advice="Leave `operation` out, or give a string of at most 10,000 characters.",
)
def unbind_operation_is_a_short_text(seen: Exchange) -> None:
    """The operation of an unbind is a string of at most 10,000 characters."""
    expect_text(seen, "operation")
    expect_short_operation(seen)


# --- what is refused -----------------------------------------------------------------


@check("UNBIND-06", advice="Answer 400 when the query has no service_id.")
async def unbind_without_service_id_is_400(target: Target) -> None:
    """An unbind without service_id is answered 400, and the binding stays."""
    await _without(target, "service_id")


@check("UNBIND-07", advice="Answer 400 when the query has no plan_id.")
async def unbind_without_plan_id_is_400(target: Target) -> None:
    """An unbind without plan_id is answered 400, and the binding stays."""
    await _without(target, "plan_id")


@check("UNBIND-08", advice="Answer 410 to the DELETE of what does not exist, not 404.")
async def unbind_of_unknown_binding_is_410(target: Target) -> None:
    """An unbind of a binding that never was is answered 410."""
    instance = await target.provisioned(target.plan(wants.binds, wants.unbinds))
    answer = await instance.binding().delete()
    expect_status(answer, 410, said="no such binding")
    answer = await target.instance(instance.plan).binding().delete()
    expect_status(answer, 410, said="no such instance")


@check("UNBIND-08", advice="Answer 410 to the DELETE of what does not exist any more.")
async def second_unbind_is_410(target: Target) -> None:
    """An unbind of a binding that has been removed is answered 410."""
    for plan in _plans(target):
        instance = await target.provisioned(plan)
        binding = await instance.bound()
        await binding.removed()
        expect_status(await binding.delete(), 410)


@check("UNBIND-08", advice="Look bindings up below their instance, not by id alone.")
async def unbind_below_another_instance_is_410(target: Target) -> None:
    """An unbind below an instance that the binding is not of is answered 410."""
    plan = target.plan(wants.binds, wants.unbinds)
    instance, other = await target.provisioned(plan), await target.provisioned(plan)
    binding = await instance.bound()
    answer = await other.binding(binding.id).delete()
    expect_status(answer, 410)
    await expect_there(binding, "the binding is gone from its own instance")


@check(
    "UNBIND-09",
    "ASYNC-06",
    advice='Answer 422 with {"error": "AsyncRequired", …} before anything is deleted.',
)
async def unbind_needs_the_flag(target: Target) -> None:
    """An unbind that is asynchronous only needs accepts_incomplete: AsyncRequired."""
    plan = target.plan(wants.binds, wants.unbind_async_only)
    instance = await target.provisioned(plan)
    binding = await instance.bound()
    answer = await binding.delete(flag=None)
    expect_error(answer, 422, "AsyncRequired")
    await expect_there(binding, "refused, and yet gone")


# --- while the binding is made -------------------------------------------------------


@check(
    "UNBIND-10",
    advice='Halt the creation, or answer 422 with {"error": "ConcurrencyError", …}.',
)
async def unbind_waits_with_concurrency_error(target: Target) -> None:
    """An unbind during the binding is accepted, or refused with ConcurrencyError."""
    binding = await _being_made(target, wants.binds)
    assert binding.first is not None
    await expect_accepted_or_busy(binding, binding.first, await binding.delete())


@check("UNBIND-11", advice="Halt the creation for good before the deletion begins.")
async def unbind_halts_the_binding(target: Target) -> None:
    """An unbind that is accepted during the binding leaves nothing, for good."""
    binding = await _being_made(target, wants.unbinds)
    await expect_halted_for_good(binding, binding.plan.facts.bind.seconds)


@check("UNBIND-12", advice="Let polls tell of the unbind once it has been accepted.")
async def polls_tell_of_the_halting_unbind(target: Target) -> None:
    """After an asynchronous unbind during the binding, polls tell of the unbind."""
    await expect_polls_of_removal(await _being_made(target, wants.unbinds))


@check("UNBIND-13", advice="Let polls of the halted binding tell that it has failed.")
async def polls_tell_that_the_binding_failed(target: Target) -> None:
    """After an unbind within the request during the binding, polls tell: failed."""
    await expect_polls_of_failure(await _being_made(target, unbinds_at_once))


# --- in common -----------------------------------------------------------------------


def _plans(target: Target) -> list[Plan]:
    """One that unbinds as its first, and one that answers 202."""
    return quick_and_slow(
        target, (wants.binds, wants.unbinds), (wants.binds, wants.unbind_202)
    )


async def _twice(target: Target) -> tuple[Exchange, Exchange]:
    """An unbind and its repeat, while it runs."""
    instance = await target.provisioned(target.plan(wants.binds, wants.unbind_202))
    binding = await instance.bound()
    return await repeated(binding, binding.delete)


async def _without(target: Target, name: str) -> None:
    instance = await target.provisioned(target.plan(wants.binds, wants.unbinds))
    await expect_needed(await instance.bound(), name)


async def _being_made(target: Target, want: Want) -> Binding:
    """A binding whose creation is in progress."""
    instance = await target.provisioned(target.plan(wants.bind_202, want))
    return await being_made(instance.binding())
