"""Deprovisioning. Spec: "Deprovisioning".

What unbinding has in common with it stands in `osbkit.conformance.removal`.
"""

import uuid

from osbkit.conformance import wants
from osbkit.conformance.catalog import Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    expect,
    expect_error,
    expect_no_fault,
    expect_object,
    expect_status,
)
from osbkit.conformance.facts import at_once
from osbkit.conformance.judging import (
    began,
    expect_accepted_or_busy,
    expect_no_more_to_come,
    expect_same_operation,
    expect_short_operation,
    expect_text,
    names_operation,
    quick_and_slow,
    repeated,
    same_space,
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
from osbkit.conformance.resources import Instance
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

removable_at_once = Want(
    "that deprovisions within the request",
    lambda p: (
        p.facts.deprovision.succeeded and at_once(p.facts.deprovision.without_flag)
    ),
    verb="deprovision",
)
asynchronous = Want(
    "that works asynchronously",
    lambda plan: (
        plan.facts.deprovision.succeeded
        and (plan.facts.deprovision.begins or plan.facts.provision.begins)
    ),
    slow=True,
    verb="deprovision",
)


# --- what is deleted -----------------------------------------------------------------


@check(
    "DEPROV-01",
    advice="Delete what belongs to the instance before it is told that it is gone.",
)
async def deprovisioned_is_gone(target: Target) -> None:
    """An instance that was deprovisioned is not there any more."""
    for plan in _plans(target):
        instance = await target.provisioned(plan)
        await instance.removed()
        await expect_gone(instance)


@check("DEPROV-18", advice="Delete what belongs to this one instance alone.")
async def deprovision_leaves_other_instances(target: Target) -> None:
    """Deprovisioning one instance leaves others of the same plan and space alone."""
    for plan in _plans(target):
        kept = await target.provisioned(plan)
        removed = await target.provisioned(plan, **same_space(kept))
        await removed.removed()
        await expect_there(kept, "another instance is gone, too")


@check(
    "DEPROV-16",
    advice="Answer 400 to ids that are not those of the instance, or ignore them.",
)
async def deprovision_with_wrong_ids_does_no_harm(target: Target) -> None:
    """Wrong ids in a deprovision are refused or ignored: no 5xx."""
    plan = target.plan(wants.usable, wants.removable)
    for name in ("service_id", "plan_id"):
        wrong = await target.provisioned(plan)
        answer = await wrong.delete(**{name: str(uuid.uuid4())})
        expect_no_fault(answer, said=f"an unknown {name}")


@check(
    "DEPROV-15",
    advice="Refuse to delete an instance with bindings, or delete them with it.",
)
async def deprovision_with_bindings_left(target: Target) -> None:
    """A deprovision with bindings left is refused, or removes them; it is no 5xx."""
    plan = target.plan(wants.binds, wants.removable)
    instance = await target.provisioned(plan)
    bindings = [await instance.bound(), await instance.bound()]
    answer = await instance.delete()
    expect_no_fault(answer)
    if answer.good and (await instance.ended(answer)).succeeded:
        for each in bindings:
            await expect_gone(each)


# --- the answer ----------------------------------------------------------------------


@check(
    "DEPROV-02",
    "ASYNC-04",
    advice="Answer 200 with {} when the instance has been deleted.",
)
async def deprovision_is_200(target: Target) -> None:
    """A deprovision within the request is answered 200 with a JSON object."""
    plan = target.plan(wants.usable, removable_at_once)
    instance = await target.provisioned(plan)
    answer = await instance.delete(flag=None)
    expect_status(answer, 200)
    expect_object(answer)


@check("DEPROV-03", "ASYNC-08", advice="Answer 202 until the instance is gone.")
async def running_deprovision_is_202(target: Target) -> None:
    """A deprovision that goes on after its answer is answered 202."""
    plan = target.plan(wants.usable, asynchronous)
    instance = await target.provisioned(plan)
    await expect_no_more_to_come(instance, await instance.delete())


@check("DEPROV-04", advice="Answer the repeat as the first: 202, the same operation.")
async def repeated_deprovision_is_202(target: Target) -> None:
    """The repeat of a deprovision that is still running is answered 202."""
    _, again = await _twice(target)
    expect_status(again, 202, said="the repeat")


@check("DEPROV-05", advice="Answer the repeat as the first: 202, the same operation.")
async def repeated_deprovision_names_its_operation(target: Target) -> None:
    """The repeat of a deprovision that is still running names the same operation."""
    expect_same_operation(*await _twice(target))


@every_answer(
    "DEPROV-14",
    when=names_operation("deprovision"),
    advice="Leave `operation` out, or give a string of at most 10,000 characters.",
)
def deprovision_operation_is_a_short_text(seen: Exchange) -> None:
    """The operation of a deprovision is a string of at most 10,000 characters."""
    expect_text(seen, "operation", null=True)
    expect_short_operation(seen)


@every_answer(
    "DEPROV-17",
    when=lambda seen: (
        "instance_usable" in seen.object
        and (
            (seen.verb == "deprovision" and seen.status >= 400)
            or (seen.concerns == "deprovision" and seen.state == "failed")
        )
    ),
    advice="Tell `instance_usable` as true or false, or leave it out.",
)
def failed_deprovision_tells_whether_usable(seen: Exchange) -> None:
    """What a failed deprovision tells of instance_usable is a boolean."""
    expect(
        isinstance(seen.get("instance_usable"), bool),
        "`instance_usable` is not a boolean",
        seen,
    )


# --- what is refused -----------------------------------------------------------------


@check("DEPROV-06", advice="Answer 400 when the query has no service_id.")
async def deprovision_without_service_id_is_400(target: Target) -> None:
    """A deprovision without service_id is answered 400, and the instance stays."""
    await _without(target, "service_id")


@check("DEPROV-07", advice="Answer 400 when the query has no plan_id.")
async def deprovision_without_plan_id_is_400(target: Target) -> None:
    """A deprovision without plan_id is answered 400, and the instance stays."""
    await _without(target, "plan_id")


@check("DEPROV-08", advice="Answer 410 to the DELETE of what does not exist, not 404.")
async def deprovision_of_unknown_instance_is_410(target: Target) -> None:
    """A deprovision of an instance that never was is answered 410."""
    answer = await target.instance(target.plan(wants.usable)).delete()
    expect_status(answer, 410)


@check("DEPROV-08", advice="Answer 410 to the DELETE of what does not exist any more.")
async def second_deprovision_is_410(target: Target) -> None:
    """A deprovision of an instance that has been deprovisioned is answered 410."""
    for plan in _plans(target):
        instance = await target.provisioned(plan)
        await instance.removed()
        expect_status(await instance.delete(), 410)


@check(
    "DEPROV-09",
    "ERR-08",
    "ASYNC-06",
    advice='Answer 422 with {"error": "AsyncRequired", …} before anything is deleted.',
)
async def deprovision_needs_the_flag(target: Target) -> None:
    """A deprovision that is asynchronous only needs accepts_incomplete."""
    plan = target.plan(wants.usable, wants.deprovision_async_only, wants.removable)
    instance = await target.provisioned(plan)
    answer = await instance.delete(flag=None)
    expect_error(answer, 422, "AsyncRequired")
    await expect_there(instance, "refused, and yet gone")


# --- while the instance is made or changed -------------------------------------------


@check(
    "DEPROV-10",
    advice='Halt the creation, or answer 422 with {"error": "ConcurrencyError", …}.',
)
async def deprovision_during_provision_waits(target: Target) -> None:
    """A deprovision during the provisioning is accepted, or a ConcurrencyError."""
    instance = await _being_made(target, wants.usable)
    assert instance.first is not None
    await expect_accepted_or_busy(instance, instance.first, await instance.delete())


@check(
    "DEPROV-10",
    advice='Halt the update, or answer 422 with {"error": "ConcurrencyError", …}.',
)
async def deprovision_during_update_waits(target: Target) -> None:
    """A deprovision during an update is accepted, or refused as ConcurrencyError."""
    plan = target.plan(wants.update_202)
    instance = await target.provisioned(plan)
    update = began(await instance.update(**plan.facts.update_change))
    await expect_accepted_or_busy(instance, update, await instance.delete())


@check("DEPROV-11", advice="Halt the creation for good before the deletion begins.")
async def deprovision_halts_the_provision(target: Target) -> None:
    """A deprovision that is accepted during provisioning leaves nothing, for good."""
    instance = await _being_made(target, wants.removable)
    await expect_halted_for_good(instance, instance.plan.facts.provision.seconds)


@check("DEPROV-12", advice="Let polls tell of the deprovision once it is accepted.")
async def polls_tell_of_the_halting_deprovision(target: Target) -> None:
    """After an asynchronous deprovision during provisioning, polls tell of it."""
    await expect_polls_of_removal(await _being_made(target, wants.removable))


@check("DEPROV-13", advice="Let polls of the halted creation tell that it has failed.")
async def polls_tell_that_the_provision_failed(target: Target) -> None:
    """After an immediate deprovision during provisioning, polls tell that it failed."""
    await expect_polls_of_failure(await _being_made(target, removable_at_once))


# --- in common -----------------------------------------------------------------------


def _plans(target: Target) -> list[Plan]:
    """One that deprovisions as its first, and one that answers 202."""
    return quick_and_slow(
        target,
        (wants.usable, wants.removable),
        (wants.usable, wants.deprovision_202),
    )


async def _twice(target: Target) -> tuple[Exchange, Exchange]:
    """A deprovision and its repeat, while it runs."""
    instance = await target.provisioned(
        target.plan(wants.usable, wants.deprovision_202)
    )
    return await repeated(instance, instance.delete)


async def _without(target: Target, name: str) -> None:
    plan = target.plan(wants.usable, wants.removable)
    await expect_needed(await target.provisioned(plan), name)


async def _being_made(target: Target, want: Want) -> Instance:
    """An instance whose creation is in progress."""
    return await being_made(target.instance(target.plan(wants.gives_202, want)))
