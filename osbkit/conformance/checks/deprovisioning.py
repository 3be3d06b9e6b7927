"""Deprovisioning. Spec: "Deprovisioning".

Whether something is gone, and how a platform deletes what it is not sure of, is seen as
in `orphans.py`.
"""

import uuid

from osbkit.conformance import wants
from osbkit.conformance.catalog import Plan
from osbkit.conformance.checks.orphans import (
    expect_gone,
    expect_gone_for_good,
    expect_there,
    operation_of,
    removable,
)
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    expect,
    expect_error,
    expect_object,
    expect_status,
    skip,
)
from osbkit.conformance.facts import at_once
from osbkit.conformance.fields import OMIT
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.resources import Instance
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

LONGEST = 10_000  # characters of an operation
WHOSE = frozenset({"organization_guid", "space_guid", "context"})

removable_at_once = Want(
    "that deprovisions within the request",
    lambda p: (
        p.facts.deprovision.succeeded and at_once(p.facts.deprovision.without_flag)
    ),
)
asynchronous = Want(
    "that works asynchronously",
    lambda plan: (
        plan.facts.deprovision.succeeded
        and (plan.facts.deprovision.begins or plan.facts.provision.begins)
    ),
    slow=True,
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
        same = {name: each for name, each in kept.sent.items() if name in WHOSE}
        removed = await target.provisioned(plan, **same)
        await removed.removed()
        await expect_there(kept, "another instance is gone, too")


@check(
    "DEPROV-16",
    advice="Answer 400 to ids that are not those of the instance, or ignore them.",
)
async def deprovision_with_wrong_ids_does_no_harm(target: Target) -> None:
    """Wrong ids in a deprovision are refused or ignored: no 5xx."""
    plan = target.plan(wants.usable, removable)
    for name in ("service_id", "plan_id"):
        wrong = await target.provisioned(plan)
        answer = await wrong.delete(**{name: str(uuid.uuid4())})
        expect(
            answer.good or answer.rejected,
            f"an unknown {name}: expected a 2xx or a 4xx, got {answer.status}",
            answer,
        )


@check(
    "DEPROV-15",
    advice="Refuse to delete an instance with bindings, or delete them with it.",
)
async def deprovision_with_bindings_left(target: Target) -> None:
    """A deprovision with bindings left is refused, or removes them; it is no 5xx."""
    plan = target.plan(wants.binds, removable)
    instance = await target.provisioned(plan)
    bindings = [await instance.bound(), await instance.bound()]
    answer = await instance.delete()
    expect(
        answer.good or answer.rejected,
        f"expected a 2xx or a 4xx, got {answer.status}",
        answer,
    )
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
    answer = await instance.delete()
    if answer.running:
        return
    poll = await instance.poll(operation_of(answer))
    expect(
        not (answer.good and poll.state == "in progress"),
        f"answered {answer.status}, and a poll says that it is in progress",
        answer,
        poll,
    )


@check("DEPROV-04", advice="Answer the repeat as the first: 202, the same operation.")
async def repeated_deprovision_is_202(target: Target) -> None:
    """The repeat of a deprovision that is still running is answered 202."""
    _, again = await _twice(target)
    expect_status(again, 202, said="the repeat")


@check("DEPROV-05", advice="Answer the repeat as the first: 202, the same operation.")
async def repeated_deprovision_names_its_operation(target: Target) -> None:
    """The repeat of a deprovision that is still running names the same operation."""
    first, again = await _twice(target)
    if not again.running:
        skip("The repeat was not answered 202.")
    expect(
        first.get("operation") == again.get("operation"),
        "the repeat names another operation",
        first,
        again,
    )


@every_answer(
    "DEPROV-14",
    when=lambda seen: (
        seen.verb == "deprovision" and seen.running and "operation" in seen.object
    ),
    advice="Leave `operation` out, or give a string of at most 10,000 characters.",
)
def deprovision_operation_is_a_short_text(seen: Exchange) -> None:
    """The operation of a deprovision is a string of at most 10,000 characters."""
    operation = seen.get("operation")
    if operation is None:
        return
    expect(isinstance(operation, str), "`operation` is not a string", seen)
    expect(
        len(operation) <= LONGEST, f"`operation` has {len(operation)} characters", seen
    )


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
    plan = target.plan(wants.usable, wants.deprovision_async_only, removable)
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
    answer = await instance.delete()
    if answer.good:
        return
    await instance.still_running(_operation_of_creation(instance))
    expect_error(answer, 422, "ConcurrencyError")


@check(
    "DEPROV-10",
    advice='Halt the update, or answer 422 with {"error": "ConcurrencyError", …}.',
)
async def deprovision_during_update_waits(target: Target) -> None:
    """A deprovision during an update is accepted, or refused as ConcurrencyError."""
    plan = target.plan(wants.update_202)
    instance = await target.provisioned(plan)
    update = await instance.update(**plan.facts.update_change)
    if not update.running:
        skip("The update was not answered 202 this time.")
    answer = await instance.delete()
    if answer.good:
        return
    await instance.still_running(operation_of(update))
    expect_error(answer, 422, "ConcurrencyError")


@check("DEPROV-11", advice="Halt the creation for good before the deletion begins.")
async def deprovision_halts_the_provision(target: Target) -> None:
    """A deprovision that is accepted during provisioning leaves nothing, for good."""
    instance = await _being_made(target, removable)
    answer = await _halted(instance, flag=True)
    if not (await instance.ended(answer)).succeeded:
        await instance.removed()
    assert instance.first is not None
    usual = instance.plan.facts.provision.seconds
    await expect_gone_for_good(instance, instance.first, usual)


@check("DEPROV-12", advice="Let polls tell of the deprovision once it is accepted.")
async def polls_tell_of_the_halting_deprovision(target: Target) -> None:
    """After an asynchronous deprovision during provisioning, polls tell of it."""
    instance = await _being_made(target, removable)
    answer = await _halted(instance, flag=True)
    if not answer.running:
        skip("The deprovision was done within its request.")
    ended = await instance.ended(answer)
    expect(ended.succeeded, f"polls ended as {ended.how}", answer, ended.last)


@check("DEPROV-13", advice="Let polls of the halted creation tell that it has failed.")
async def polls_tell_that_the_provision_failed(target: Target) -> None:
    """After an immediate deprovision during provisioning, polls tell that it failed."""
    instance = await _being_made(target, removable_at_once)
    answer = await _halted(instance, flag=None)
    if answer.running:
        skip("The deprovision was not done within its request.")
    poll = await instance.poll(_operation_of_creation(instance))
    expect_status(poll, 200, said="the poll")
    expect(poll.state == "failed", f"the state is {poll.state!r}", answer, poll)


# --- in common -----------------------------------------------------------------------


def _plans(target: Target) -> list[Plan]:
    """One that deprovisions as its first, and one that answers 202."""
    found = [target.plan(wants.usable, removable)]
    found += target.plans(wants.usable, wants.deprovision_202)[:1]
    return list(dict.fromkeys(found))


async def _twice(target: Target) -> tuple[Exchange, Exchange]:
    """A deprovision and its repeat, while it runs."""
    plan = target.plan(wants.usable, wants.deprovision_202)
    instance = await target.provisioned(plan)
    first = await instance.delete()
    if not first.running:
        skip("The deprovision was not answered 202 this time.")
    again = await instance.delete()
    await instance.still_running(operation_of(first))
    return first, again


async def _without(target: Target, name: str) -> None:
    instance = await target.provisioned(target.plan(wants.usable, removable))
    answer = await instance.delete(**{name: OMIT})
    expect_status(answer, 400)
    await expect_there(instance, "refused, and yet gone")


async def _being_made(target: Target, want: Want) -> Instance:
    """An instance whose creation is in progress."""
    instance = target.instance(target.plan(wants.gives_202, want))
    if not (await instance.provision()).running:
        skip("The provisioning was not answered 202 this time.")
    return instance


async def _halted(instance: Instance, flag: bool | None) -> Exchange:
    """The answer of a deprovision that was accepted during the provisioning."""
    await instance.still_running(_operation_of_creation(instance))
    answer = await instance.delete(flag=flag)
    if not answer.good:
        skip("The broker does not delete instances that are being made.")
    return answer


def _operation_of_creation(instance: Instance) -> str | None:
    return None if instance.first is None else operation_of(instance.first)
