"""Provisioning. Spec: "Provisioning".

What maintenance versions have to do with it stands in `maintenance.py`. Each check
makes its own instances; where attributes of an id in use are changed, the new ones are
such that a new id would be provisioned with them, so that nothing but the conflict can
be the reason of a refusal.
"""

import json
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    Skip,
    expect,
    expect_error,
    expect_no_fault,
    expect_none,
    expect_rejected,
    expect_status,
    skip,
)
from osbkit.conformance.fields import OMIT
from osbkit.conformance.judging import (
    expect_no_more_to_come,
    expect_nothing_made,
    expect_same_operation,
    expect_short_operation,
    expect_text,
    last_conflict,
    likely_to_go_on,
    names_operation,
    operation_of,
    repeated,
    same_space,
    within_the_request,
)
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.removal import can_be_fetched
from osbkit.conformance.resources import Instance
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

LONG_ID = 255  # characters
TRIED = 8  # invalid parameters that are sent at most
PLANS = 3  # that are tried at most

CONFLICT = (
    "Keep service_id, plan_id, parameters, organization and space of the first PUT, and"
    " answer 409 when a later one with the same id differs in any of them."
)
MANDATORY = "Look for the mandatory fields before anything is made, and answer 400."


# --- what the checks share -----------------------------------------------------------


def beside_another(target: Target) -> Want:
    """The plan's offering has a second plan."""
    counted = Counter(plan.offering.id for plan in target.catalog.plans)
    return Want(
        "beside another plan of its offering",
        lambda plan: counted[plan.offering.id] > 1,
    )


def beside_a_stranger(target: Target) -> Want:
    """The catalog has a second offering with plans."""
    offerings = {plan.offering.id for plan in target.catalog.plans}
    return Want("beside another offering", lambda plan: len(offerings) > 1)


def with_choice(target: Target, action: str = "create") -> Want:
    """More than one set of parameters is known to be allowed."""
    return Want(
        f"for which two different parameters of {action} are known",
        lambda plan: _has_choice(target, plan, action),
    )


def _has_choice(target: Target, plan: Plan, action: str) -> bool:
    samples = target.samples(plan, "service_instance", action)
    return bool(samples.others(samples.smallest))


def as_plan(target: Target, other: Plan, parameters: Json | None) -> Json:
    """The fields of a PUT that ask for another plan instead.

    Args:
        parameters: of the first PUT; kept where the other plan allows them.
    """
    samples = target.samples(other)
    kept = parameters if samples.allows(parameters or {}) else samples.smallest
    return {
        "service_id": other.offering.id,
        "plan_id": other.id,
        "parameters": OMIT if kept is None else kept,
    }


@dataclass(frozen=True)
class Unknown:
    """Ids that are not in the catalog, or not together.

    Attributes:
        why: what is wrong, for people.
        fields: of the body.
    """

    why: str
    fields: Json


def unknown_ids(target: Target, plan: Plan) -> list[Unknown]:
    """Offerings and plans that no request can name beside the rest of a plan's."""
    found = [
        Unknown("an unknown service_id", {"service_id": str(uuid.uuid4())}),
        Unknown("an unknown plan_id", {"plan_id": str(uuid.uuid4())}),
    ]
    strangers = [
        each for each in target.catalog.plans if each.offering.id != plan.offering.id
    ]
    if strangers:
        found.append(
            Unknown("a plan of another offering", {"plan_id": strangers[0].id})
        )
    return found


async def repeated_while_running(target: Target) -> tuple[Exchange, Exchange]:
    """The answers to a PUT and to its repeat, both from before it ended."""
    instance = target.instance(target.plan(wants.gives_202))
    return await repeated(instance, instance.provision)


# --- the first answer ----------------------------------------------------------------


@check("PROV-01", advice="Make a resource of its own for every instance id.")
async def every_instance_is_a_resource(target: Target) -> None:
    """Two instances of a plan, made side by side for the same space, are two
    resources: each keeps the parameters that it was made with."""
    choice = with_choice(target)
    choices = [choice] if target.plans(wants.usable, choice) else []
    plan = target.plan(wants.usable, *choices)
    one = await target.provisioned(plan)
    before = await one.provision()
    changes = same_space(one)
    value = target.samples(plan).other_than(one.sent.get("parameters"))
    if value is not None:
        changes["parameters"] = value
    other = await target.provisioned(plan, **changes)

    after = await one.provision()
    expect(
        after.good or not before.good,
        f"with a second one there, the repeat of the first PUT is {after.status}",
        before,
        after,
    )
    await _keeps_its_own(one, other)
    await _keeps_its_own(other, one)


async def _keeps_its_own(one: Instance, other: Instance) -> None:
    """A fetch, if there is one, does not tell the other's parameters."""
    if not can_be_fetched(one):
        return
    seen = await one.fetch()
    told = seen.get("parameters")
    theirs = other.sent.get("parameters")
    expect(
        not told or told != theirs or theirs == one.sent.get("parameters"),
        "a fetch tells the parameters of another instance",
        seen,
    )


@check(
    "PROV-02", "ASYNC-04", advice="Answer 201 to the request that made the instance."
)
async def made_by_the_request_is_201(target: Target) -> None:
    """The first PUT of an id is answered 201 when the instance is ready with it."""
    instance = target.instance(target.plan(wants.sync))
    expect_status(await within_the_request(instance.provision), 201, 202)


@check(
    "PROV-03",
    "PROV-08",
    "ASYNC-08",
    advice="Answer 202 as long as it goes on; 200 and 201 say that it is over.",
)
async def what_has_begun_is_202(target: Target) -> None:
    """A first PUT that is answered 200 or 201 has made the instance: no poll says
    that it is in progress."""
    plans = target.plans(wants.usable) or [target.plan(wants.usable)]
    for plan in likely_to_go_on(plans, lambda plan: plan.facts.provision)[:PLANS]:
        instance = target.instance(plan)
        await expect_no_more_to_come(instance, await instance.provision())


@check(
    "PROV-25",
    "ASYNC-06",
    "ERR-08",
    advice='Answer 422 with {"error": "AsyncRequired"} before anything is begun.',
)
async def provisioning_needs_the_flag(target: Target) -> None:
    """A plan that is provisioned asynchronously only is refused with 422
    AsyncRequired when `accepts_incomplete` is not there."""
    instance = target.instance(target.plan(wants.async_only))
    answer = await instance.provision(flag=None)
    expect_error(answer, 422, "AsyncRequired")


# --- repeats -------------------------------------------------------------------------


@check("PROV-04", advice="Answer 202 to the same PUT until the operation has ended.")
async def repeat_while_provisioning_is_202(target: Target) -> None:
    """A PUT that is repeated while its provisioning runs is answered 202."""
    _, again = await repeated_while_running(target)
    expect_status(again, 202)


@check("PROV-05", advice="Give the operation of the running provisioning again.")
async def repeat_while_provisioning_names_its_operation(target: Target) -> None:
    """A PUT that is repeated while its provisioning runs names the same operation."""
    expect_same_operation(*await repeated_while_running(target))


@check("PROV-06", advice="Answer 200 and what the first answer told.")
async def repeat_of_what_is_done_is_200(target: Target) -> None:
    """A PUT that is repeated when the instance is ready is answered 200."""
    instance = await target.provisioned(target.plan(wants.sync))
    expect_status(await instance.provision(flag=None), 200)


@check("PROV-07", advice="Look the id up before anything is made.")
async def repeat_makes_nothing(target: Target) -> None:
    """A repeated PUT is not answered 201, and what is there is gone with one DELETE."""
    instance = await target.provisioned(target.plan(wants.sync))
    again = await instance.provision()
    expect(again.status != 201, "the repeat was answered 201", again)

    await instance.removed()
    if can_be_fetched(instance):
        seen = await instance.fetch()
        expect(not seen.good, "after its DELETE it can be fetched", again, seen)
    never = await target.instance(instance.plan).delete()
    seen = await instance.delete()
    expect(
        never.good or not seen.good,
        f"after its DELETE, one more is answered {seen.status}",
        again,
        seen,
    )


@check("PROV-38", advice="Keep what the first answer told, and tell it again.")
async def repeat_tells_the_same(target: Target) -> None:
    """The answer to a repeated PUT tells the dashboard and metadata of the first."""
    instance = await target.provisioned(target.plan(wants.sync))
    again = await instance.provision()
    if not again.done or instance.first is None:
        skip("The repeat was not answered 200.")
    first = instance.first
    expect_none(
        (
            f"{name} differs from the first answer's"
            for name in ("dashboard_url", "metadata")
            if first.get(name) != again.get(name)
        ),
        first,
        again,
    )


@check("PROV-39", advice="Compare what was parsed, not the text; leave the query out.")
async def repeats_are_compared_as_values(target: Target) -> None:
    """A repeated PUT is taken for the same with its fields in another order, with
    blanks, and without `accepts_incomplete`."""
    plan = target.plan(wants.sync)
    known = target.samples(plan).valid
    parameters = max(known, key=len, default={})
    changes: Json = {"parameters": parameters} if parameters else {}
    instance = await target.provisioned(plan, **changes)

    text = json.dumps(_turned(instance.sent), indent=3, ensure_ascii=False)
    for flag in (True, None):
        again = await instance.provision(flag=flag, content=text.encode())
        expect(again.good, f"the repeat is answered {again.status}", again)


def _turned(value: Any) -> Any:
    """The same JSON value, the fields of its objects in the opposite order."""
    if isinstance(value, dict):
        return {key: _turned(each) for key, each in reversed(value.items())}
    return [_turned(each) for each in value] if isinstance(value, list) else value


# --- an id in use --------------------------------------------------------------------


@check("PROV-09", advice=CONFLICT)
async def other_plan_conflicts(target: Target) -> None:
    """A PUT of an id in use that names another plan is answered 409."""
    plan = target.plan(wants.usable, beside_another(target))
    instance = await target.provisioned(plan)
    other = target.sibling(plan)
    changes = as_plan(target, other, instance.sent.get("parameters"))
    expect_status(await instance.provision(**changes), 409)


@check("PROV-10", advice=CONFLICT)
async def other_offering_conflicts(target: Target) -> None:
    """A PUT of an id in use that names another offering is answered 409."""
    plan = target.plan(wants.usable, beside_a_stranger(target))
    instance = await target.provisioned(plan)
    other = target.stranger(plan)
    changes = as_plan(target, other, instance.sent.get("parameters"))
    expect_status(await instance.provision(**changes), 409)


@check("PROV-11", advice=CONFLICT)
async def other_parameters_conflict(target: Target) -> None:
    """A PUT of an id in use is answered 409 when a parameter has another value, when
    one was added, and when one is missing."""
    plan = target.plan(wants.usable, with_choice(target))
    samples = target.samples(plan)
    used = max(samples.valid, key=lambda one: len(differing(samples.others(one), one)))
    instance = await target.provisioned(plan, parameters=used)

    for why, value in differing(samples.others(used), used).items():
        answer = await instance.provision(parameters=value or OMIT)
        expect_status(answer, 409, said=why)


def differing(others: list[Json], used: Json) -> dict[str, Json]:
    """Of some parameters, one set for each way in which they can differ from these."""
    found: dict[str, Json] = {}
    for each in others:
        if each.items() >= used.items():
            found.setdefault("a parameter was added", each)
        elif each.items() <= used.items():
            found.setdefault("a parameter is missing", each)
        elif each.keys() == used.keys():
            found.setdefault("a parameter has another value", each)
    if others and not found:
        found["the parameters differ"] = others[0]
    return found


@check("PROV-12", advice=CONFLICT)
async def other_space_conflicts(target: Target) -> None:
    """A PUT of an id in use is answered 409 when its organization or its space is
    another one."""
    instance = await target.provisioned(target.plan(wants.usable))
    for name in ("organization_guid", "space_guid"):
        changes: Json = {name: str(uuid.uuid4())}
        if isinstance(context := instance.sent.get("context"), dict):
            changes["context"] = {**context, **changes}
        expect_status(await instance.provision(**changes), 409, said=f"another {name}")


@check("PROV-13", since="2.12", advice="Take it for the same, or answer 409.")
async def other_context_is_taken_or_conflicts(target: Target) -> None:
    """A PUT of an id in use, with another instance name in its context, is answered
    like the same one or 409."""
    instance = await target.provisioned(target.plan(wants.usable))
    context = {**instance.sent["context"], "instance_name": "renamed"}
    answer = await instance.provision(context=context)
    expect(
        answer.good or answer.status == 409,
        f"expected 2xx or 409, got {answer.status}",
        answer,
    )


@check("PROV-14", advice=CONFLICT)
async def what_differs_while_provisioning_conflicts(target: Target) -> None:
    """A PUT of an id that is being provisioned is answered 409 when it names another
    plan or other parameters."""
    beside = beside_another(target)
    plans = target.plans(wants.gives_202, beside)
    plan = target.plan(wants.gives_202, *([beside] if plans else []))
    instance = target.instance(plan)
    first = await instance.provision()
    answers = []
    parameters = instance.sent.get("parameters")
    if plans:
        other = as_plan(target, target.sibling(plan), parameters)
        answers.append(("another plan", await instance.provision(**other)))
    value = target.samples(plan).other_than(parameters)
    if value is not None:
        again = await instance.provision(parameters=value)
        answers.append(("other parameters", again))
    if not answers:
        skip(f"For {plan.label} there is no other plan, and no other parameters.")
    await instance.still_running(operation_of(first))
    for why, answer in answers:
        expect_status(answer, 409, said=why)


@check("PROV-15", advice="Compare before anything is written.")
async def conflict_changes_nothing(target: Target) -> None:
    """After a PUT that was answered 409 the instance is as it was: the first PUT is
    still the same request, and a fetch tells the first plan."""
    choice = with_choice(target)
    choices = [choice] if target.plans(wants.usable, choice) else []
    plan = target.plan(wants.usable, *choices)
    instance = await target.provisioned(plan)
    refused = await _in_conflict(target, instance)

    again = await instance.provision()
    expect(again.good, f"the first PUT is now answered {again.status}", refused, again)
    if can_be_fetched(instance):
        seen = await instance.fetch()
        told = seen.get("plan_id")
        expect(told in {None, plan.id}, "a fetch tells another plan", refused, seen)


async def _in_conflict(target: Target, instance: Instance) -> Exchange:
    """The answer 409 to the last of the PUTs that ask for something else."""
    plan, first = instance.plan, instance.sent.get("parameters")
    changes: list[Json] = []
    if (value := target.samples(plan).other_than(first)) is not None:
        changes.append({"parameters": value})
    with suppress(Skip):
        changes.append(as_plan(target, target.sibling(plan), first))
    return last_conflict([await instance.provision(**each) for each in changes])


# --- what cannot be asked for --------------------------------------------------------


async def _without(target: Target, *names: str) -> None:
    """A PUT that lacks these fields is answered 400."""
    instance = target.instance()
    answer = await instance.provision(**dict.fromkeys(names, OMIT))
    expect_status(answer, 400)


@check("PROV-16", advice=MANDATORY)
async def provisioning_needs_service_id(target: Target) -> None:
    """A PUT without service_id is answered 400."""
    await _without(target, "service_id")


@check("PROV-17", advice=MANDATORY)
async def provisioning_needs_plan_id(target: Target) -> None:
    """A PUT without plan_id is answered 400."""
    await _without(target, "plan_id")


@check("PROV-18", advice=f"{MANDATORY} It is deprecated, yet mandatory.")
async def provisioning_needs_organization_guid(target: Target) -> None:
    """A PUT without organization_guid, and without a context, is answered 400."""
    await _without(target, "organization_guid", "context")


@check("PROV-19", advice=f"{MANDATORY} It is deprecated, yet mandatory.")
async def provisioning_needs_space_guid(target: Target) -> None:
    """A PUT without space_guid, and without a context, is answered 400."""
    await _without(target, "space_guid", "context")


@check(
    "PROV-20",
    "SCHEMA-09",
    advice="Hold the parameters against the schema, and answer 400.",
)
async def invalid_parameters_are_not_provisioned(target: Target) -> None:
    """A PUT with parameters that the plan's schema does not allow is refused."""
    plan = target.plan(
        wants.usable,
        Want(
            "with a schema that allows not everything",
            lambda plan: bool(target.samples(plan).invalid),
        ),
    )
    for each in target.samples(plan).invalid[:TRIED]:
        answer = await target.instance(plan).provision(parameters=each.value)
        expect_rejected(answer, said=each.why)


@check("PROV-21", advice="Look for the pair of offering and plan in the catalog.")
async def unknown_plans_are_not_provisioned(target: Target) -> None:
    """A PUT that names an unknown offering, an unknown plan, or a plan of another
    offering is refused."""
    plan = target.plan(wants.usable)
    for each in unknown_ids(target, plan):
        answer = await target.instance(plan).provision(**each.fields)
        expect_rejected(answer, said=each.why)


@check("PROV-22", advice="Answer 400: no other status is named for such a request.")
async def unknown_plans_are_400(target: Target) -> None:
    """A refused PUT that names an unknown offering, an unknown plan, or a plan of
    another offering is answered 400."""
    plan = target.plan(wants.usable)
    for each in unknown_ids(target, plan):
        answer = await target.instance(plan).provision(**each.fields)
        expect(
            answer.status == 400 or answer.good,
            f"{each.why}: expected 400, got {answer.status}",
            answer,
        )


@check("PROV-23", advice="Treat an empty string as a missing field.")
async def empty_ids_are_400(target: Target) -> None:
    """A PUT in which service_id, plan_id, organization_guid or space_guid is an empty
    string is answered 400."""
    plan = target.plan(wants.usable)
    for name in ("service_id", "plan_id", "organization_guid", "space_guid"):
        answer = await target.instance(plan).provision(**{name: ""})
        expect_status(answer, 400, said=f"an empty {name}")


@check("PROV-24", "CT-05", advice="Look at the JSON type of every field that is read.")
async def wrong_types_are_400(target: Target) -> None:
    """A PUT with a field of another JSON type than specified is answered 400."""
    plan = target.plan(wants.usable)
    wrong: list[tuple[str, Any]] = [
        ("service_id", 1),
        ("service_id", [plan.offering.id]),
        ("plan_id", 1),
        ("plan_id", {"id": plan.id}),
        ("organization_guid", 1),
        ("space_guid", ["space"]),
        ("parameters", "text"),
        ("parameters", [1]),
    ]
    if target.knows("2.12"):
        wrong += [("context", [1]), ("context", "text")]
    for name, value in wrong:
        answer = await target.instance(plan).provision(**{name: value})
        expect_status(answer, 400, said=f"{name} as {_kind(value)}")


def _kind(value: Any) -> str:
    return {int: "a number", str: "a string", list: "an array"}.get(
        type(value), "an object"
    )


@check("PROV-35", advice="Judge the request before anything is made or written.")
async def refused_provisioning_leaves_nothing(target: Target) -> None:
    """After a PUT that was answered 4xx its id is as unknown as one never used."""
    plan = target.plan(wants.usable)
    wrong: list[Json] = [{"plan_id": OMIT}, {"plan_id": str(uuid.uuid4())}]
    wrong += [{"parameters": e.value} for e in target.samples(plan).invalid[:1]]
    await expect_nothing_made(lambda: target.instance(plan), wrong)


# --- what must be taken --------------------------------------------------------------


@check("PROV-33", advice="Read of a context only what is needed, and only if there.")
async def any_context_is_provisioned(target: Target) -> None:
    """An instance is provisioned without a context, and with those of Kubernetes and
    of a platform that the broker does not know."""
    plan = target.plan(wants.usable)
    contexts: list[Any] = [OMIT]
    if target.knows("2.12"):
        contexts += [
            {
                "platform": "kubernetes",
                "namespace": "checks",
                "clusterid": str(uuid.uuid4()),
                "instance_name": "checked",
            },
            {"platform": "osb-conformance", "place": {"rooms": [1, 2]}},
        ]
    for context in contexts:
        answer = await target.instance(plan).provision(context=context)
        kind = "none" if context is OMIT else context["platform"]
        expect(answer.good, f"context: {kind}: answered {answer.status}", answer)


@check("PROV-34", advice="Take absent and empty parameters for none.")
async def no_parameters_are_provisioned(target: Target) -> None:
    """Where no parameter is required, an instance is provisioned without
    `parameters`, and with an empty object."""
    plan = target.plan(
        wants.usable,
        Want(
            "that requires no parameters",
            lambda plan: target.samples(plan).smallest is None,
        ),
    )
    choices: tuple[Any, ...] = (OMIT, {})
    for parameters in choices:
        answer = await target.instance(plan).provision(parameters=parameters)
        how = "without" if parameters is OMIT else "with empty"
        expect(answer.good, f"{how} parameters: answered {answer.status}", answer)


@check("PROV-36", advice="Answer 2xx to a new PUT of the id, or refuse it with a 4xx.")
async def id_of_a_deleted_instance_does_no_harm(target: Target) -> None:
    """A PUT of the id of a deleted instance is answered 2xx or 4xx."""
    instance = await target.provisioned(target.plan(wants.usable))
    await instance.removed()
    answer = await instance.provision()
    expect_no_fault(answer)


@check("PROV-37", advice="Take ids for texts, with room for 255 characters at least.")
async def any_text_is_an_instance_id(target: Target) -> None:
    """Ids that are no UUIDs, and one of 255 characters, can be provisioned, polled
    and deleted."""
    plan = target.plan(wants.usable)
    for name in (f"kit-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex.ljust(LONG_ID, "x")):
        instance = target.instance(plan, name)
        answer = await instance.provision()
        said = f"an id of {len(name)} characters"
        expect(answer.good, f"{said}: PUT is answered {answer.status}", answer)
        await instance.ended(answer)
        gone = await instance.delete()
        expect(gone.good, f"{said}: DELETE is answered {gone.status}", answer, gone)


# --- what the answers tell -----------------------------------------------------------


@every_answer(
    "PROV-27",
    when=lambda seen: (
        seen.verb == "provision" and seen.good and "dashboard_url" in seen.object
    ),
    advice="Give the URL as a string, or leave the field out.",
)
def dashboard_of_provisioning_is_text(seen: Exchange) -> None:
    """dashboard_url in the answer to a provisioning is a string or null."""
    expect_text(seen, "dashboard_url", null=True)


@check(
    "PROV-28",
    since="2.14",
    advice="Tell dashboard_url with the first answer, also when it is 202.",
)
async def dashboard_is_told_at_once(target: Target) -> None:
    """What has a dashboard when it is fetched was given its URL in the first answer."""
    plans = [
        each[0]
        for each in (
            target.plans(wants.retrievable, wants.gives_202),
            target.plans(wants.retrievable, wants.sync),
        )
        if each
    ]
    if not plans:
        target.plan(wants.usable, wants.retrievable)
    told = 0
    for plan in dict.fromkeys(plans):
        instance = await target.provisioned(plan)
        seen = await instance.fetch()
        if instance.first is None or not isinstance(seen.get("dashboard_url"), str):
            continue
        told += 1
        expect(
            isinstance(instance.first.get("dashboard_url"), str),
            f"it is fetched, and was not told with the {instance.first.status}",
            instance.first,
            seen,
        )
    if not told:
        skip("No instance that can be fetched has a dashboard.")


@check("PROV-29", advice="Put the id of the instance, or a name of it, into the URL.")
async def dashboard_tells_its_instance(target: Target) -> None:
    """Two instances of a plan have different dashboard URLs."""
    plan = target.plan(wants.usable)
    answers = [
        instance.first
        for instance in (await target.provisioned(plan), await target.provisioned(plan))
        if instance.first is not None
    ]
    urls = [answer.get("dashboard_url") for answer in answers]
    if not all(isinstance(url, str) for url in urls):
        skip(f"Instances of {plan.label} have no dashboard.")
    expect(urls[0] != urls[1], "both have the same dashboard_url", *answers)


@every_answer(
    "PROV-30",
    when=names_operation("provision"),
    advice="Give it as a string, or leave it out.",
)
def operation_of_provisioning_is_text(seen: Exchange) -> None:
    """operation in a 202 to a provisioning is a string or null."""
    expect_text(seen, "operation", null=True)


@every_answer(
    "PROV-31", when=names_operation("provision"), advice="Name it with a short id."
)
def operation_of_provisioning_is_short(seen: Exchange) -> None:
    """operation in a 202 to a provisioning has at most 10,000 characters."""
    expect_short_operation(seen)
