"""Successors of bindings. Spec: "Binding Rotation", "Rotating a Service Binding".

That `binding_rotatable` is a boolean of plans stands in `catalog.py`.
"""

import uuid
from collections.abc import Callable
from functools import partial

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json
from osbkit.conformance.checks.binding import both_ways, with_choice
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    Blocked,
    expect,
    expect_error,
    expect_no_fault,
    expect_rejected,
    expect_status,
    skip,
)
from osbkit.conformance.registry import check
from osbkit.conformance.removal import can_be_fetched, expect_there
from osbkit.conformance.resources import Binding, Instance
from osbkit.conformance.target import Target


def alone(predecessor_id: str) -> Json:
    """The body of a PUT that makes a successor, with nothing more than it must have."""
    return {"predecessor_binding_id": predecessor_id}


def beside_ids(instance: Instance, predecessor_id: str) -> Json:
    """The same beside the ids that every other binding has."""
    plan = instance.plan
    ids: Json = {"service_id": plan.offering.id, "plan_id": plan.id}
    return ids | alone(predecessor_id)


async def asked_to_rotate(old: Binding, new: Binding) -> Exchange:
    """The answer to a PUT that makes `new` the successor of `old`.

    Which of both bodies a broker takes is for one check; the others send either.

    Raises:
        Blocked: none was taken.
    """
    answer = await new.bind(body=beside_ids(old.instance, old.id))
    if answer.rejected:
        answer = await new.bind(body=alone(old.id))
    if not answer.good:
        raise Blocked(f"Rotation was answered {answer.status}.", answer)
    return answer


async def rotated(old: Binding) -> Binding:
    """A successor that is ready.

    Raises:
        Blocked: it could not be made.
    """
    new = old.instance.binding()
    answer = await asked_to_rotate(old, new)
    ended = await new.ended(answer)
    if not ended.succeeded:
        raise Blocked(f"Rotation ended as {ended.how}.", answer, ended.last)
    return new


@check(
    "ROT-02",
    since="2.17",
    advice="Take a body that holds predecessor_binding_id alone: offering and plan are"
    " those of the instance.",
)
async def binding_is_rotated(target: Target) -> None:
    """A successor is made of the predecessor's id alone, and of it beside the usual
    fields."""
    for plan in both_ways(target, wants.rotatable):
        instance = await target.provisioned(plan)
        bodies: dict[str, Callable[[str], Json]] = {
            "alone": alone,
            "beside offering and plan": partial(beside_ids, instance),
        }
        for how, body in bodies.items():
            old, new = await instance.bound(), instance.binding()
            answer = await new.bind(body=body(old.id))
            said = f"{plan.label}, predecessor_binding_id {how}"
            expect(answer.good, f"{said}: answered {answer.status}", answer)
            ended = await new.ended(answer)
            expect(
                ended.succeeded, f"{said}: it ended as {ended.how}", answer, ended.last
            )


@check(
    "ROT-03",
    since="2.17",
    advice="Leave the predecessor as it is until it expires or is deleted.",
)
async def both_bindings_are_valid(target: Target) -> None:
    """Predecessor and successor are there side by side, and the successor is there
    when the predecessor is gone."""
    for plan in both_ways(target, wants.rotatable, wants.unbinds):
        old = await (await target.provisioned(plan)).bound()
        new = await rotated(old)
        if can_be_fetched(old):
            for which, one in (("predecessor", old), ("successor", new)):
                expect_status(await one.fetch(), 200, said=f"fetch of the {which}")
        answer = await old.delete()
        expect(answer.good, f"unbinding the old is answered {answer.status}", answer)
        await old.ended(answer)
        await expect_there(new, "the successor is gone with its predecessor")


@check(
    "ROT-04",
    since="2.17",
    advice="Look the predecessor up among the instance's bindings, and answer 4xx.",
)
async def unknown_predecessor_is_refused(target: Target) -> None:
    """A predecessor that never was, or that was removed, is refused."""
    plan = target.plan(wants.binds, wants.rotatable, wants.unbinds)
    instance = await target.provisioned(plan)
    old = await instance.bound()
    await old.removed()
    for why, name in (("it never was", str(uuid.uuid4())), ("it was removed", old.id)):
        answer = await instance.binding().bind(body=beside_ids(instance, name))
        expect_rejected(answer, said=why)


@check(
    "ROT-04",
    since="2.17",
    advice="Look the predecessor up among the instance's bindings, not by id alone.",
)
async def foreign_predecessor_is_refused(target: Target) -> None:
    """A predecessor that belongs to another instance is refused."""
    plan = target.plan(wants.binds, wants.rotatable)
    instance, other = await target.provisioned(plan), await target.provisioned(plan)
    foreign = await other.bound()
    answer = await instance.binding().bind(body=beside_ids(instance, foreign.id))
    expect_rejected(answer)


@check(
    "ROT-05",
    since="2.17",
    advice="Answer as to any binding: 201 or 202 first, 200 or 202 to the same again.",
)
async def repeated_rotation_is_the_same(target: Target) -> None:
    """A rotation is answered 201 or 202, its repeat 200 or 202."""
    for plan in both_ways(target, wants.rotatable):
        instance = await target.provisioned(plan)
        old, new = await instance.bound(), instance.binding()
        first = await asked_to_rotate(old, new)
        expect_status(first, 201, 202, said=f"{plan.label}, first")
        await new.ended(first)
        again = await new.bind(body=first.sent_json)
        expect_status(again, 200, 202, said=f"{plan.label}, repeated")


@check(
    "ROT-05",
    since="2.17",
    advice="Keep the predecessor's id with the successor; answer 409 to another one.",
)
async def other_predecessor_conflicts(target: Target) -> None:
    """A rotation to an id that is in use, of another predecessor, is answered 409."""
    plan = target.plan(wants.binds, wants.rotatable)
    instance = await target.provisioned(plan)
    old, older = await instance.bound(), await instance.bound()
    new = await rotated(old)
    expect_status(await new.bind(body=beside_ids(instance, older.id)), 409)


@check(
    "ROT-05",
    since="2.17",
    advice='Answer 422 with {"error": "AsyncRequired"} before anything is begun.',
)
async def rotation_needs_the_flag(target: Target) -> None:
    """A rotation that is asynchronous only is refused with 422 AsyncRequired when
    `accepts_incomplete` is not there."""
    plan = target.plan(wants.bind_async_only, wants.rotatable)
    instance = await target.provisioned(plan)
    old = await instance.bound()
    body = beside_ids(instance, old.id)
    answer = await instance.binding().bind(flag=None, body=body)
    expect_error(answer, 422, "AsyncRequired")


@check("ROT-06", since="2.17", advice="Make the successor with the same parameters.")
async def successor_has_the_parameters(target: Target) -> None:
    """A successor is fetched with the parameters of its predecessor."""
    choice = with_choice(target)
    plan = target.plan(wants.binds, wants.rotatable, wants.bindings_retrievable, choice)
    samples = target.samples(plan, "service_binding", "create")
    fullest = max(samples.valid, key=len)
    old = await (await target.provisioned(plan)).bound(parameters=fullest)
    new = await rotated(old)
    one, other = await old.fetch(), await new.fetch()
    if not one.get("parameters"):
        skip("A fetch does not tell the parameters of a binding.")
    expect(
        one.get("parameters") == other.get("parameters"),
        "the successor's parameters are others",
        one,
        other,
    )


@check("ROT-07", since="2.17", advice="Ignore predecessor_binding_id, or answer 400.")
async def what_cannot_be_rotated_stays(target: Target) -> None:
    """Without binding_rotatable a predecessor is ignored or refused, and stays."""
    plan = target.plan(wants.binds, wants.not_rotatable, wants.unbinds)
    instance = await target.provisioned(plan)
    old = await instance.bound()
    answer = await instance.binding().bind(**alone(old.id))
    expect_no_fault(answer)
    await expect_there(old, "the predecessor is gone")
