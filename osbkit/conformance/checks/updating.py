"""Updating, and the metadata of instances.

Spec: "Updating a Service Instance", "Service Instance Metadata".

What maintenance versions have to do with it stands in `maintenance.py`, parameters
that a schema refuses in `schemas.py`, plans that cannot be left and updates of the
context in `catalog.py`, bodies that are no objects in `errors.py`. Wherever an update
must be refused it would be accepted but for one thing, so that nothing else can be the
reason.
"""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    Skip,
    expect,
    expect_error,
    expect_none,
    expect_object,
    expect_rejected,
    expect_status,
    skip,
)
from osbkit.conformance.fields import OMIT
from osbkit.conformance.judging import (
    expect_no_more_to_come,
    expect_same_operation,
    expect_text,
    likely_to_go_on,
    names_operation,
    operation_of,
    repeated,
    within_the_request,
)
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.removal import can_be_fetched
from osbkit.conformance.resources import Instance
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

TRIED = 3  # plans at most
PARTS = ("labels", "attributes")  # of metadata
TELLING = frozenset({"provision", "update", "fetch instance"})
NO_ENDPOINT = frozenset({404, 405, 501})
STRANGER = "osb-conformance-unknown"

SAME = "Answer the same PATCH with 202 and its operation until the update has ended."
ABSENT = "Change what the request names; what is absent from it stays as it is."
MANDATORY = "Only service_id is mandatory in an update."
SHAPE = "Give `metadata` as an object with the objects `labels` and `attributes`."

new_parameters = Want(
    "whose parameters can be updated",
    lambda plan: (
        plan.facts.update.succeeded and "parameters" in plan.facts.update_change
    ),
    verb="update",
)
refuses_updates = Want(
    "that refuses every update",
    lambda plan: (
        bool(plan.facts.update_change)
        and not plan.facts.update.succeeded
        and not plan.facts.update.begins
    ),
)


# --- what the checks share -----------------------------------------------------------


async def to_be_updated(target: Target) -> Instance:
    """An instance of a plan whose instances can be updated, if there is one.

    Raises:
        Skip: the broker has no updates, and does not say that it has.
    """
    want = wants.updates if target.plans(wants.updates) else wants.usable
    instance = await target.provisioned(target.plan(want))
    await expect_endpoint(instance)
    return instance


async def expect_endpoint(instance: Instance) -> None:
    """Updates need not be offered; whatever the catalog announces must be there.

    Raises:
        Skip: there is no such endpoint, and nothing announces one.
    """
    if any(map(announces_updates, instance.target.catalog.plans)):
        return
    answer = await instance.update()
    await instance.ended(answer)
    if answer.status in NO_ENDPOINT:
        skip(f"Instances cannot be updated: PATCH is answered {answer.status}.")


def announces_updates(plan: Plan) -> bool:
    """Whether the catalog, or an update that succeeded, says that there are some."""
    schema = plan.schema("service_instance", "update") is not None
    told = plan.updateable or plan.offering.context_updates or schema
    return told or plan.facts.update.succeeded


def siblings(target: Target, plan: Plan) -> list[Plan]:
    """Plans for which it might be left, those first whose instances can be bound."""
    found = [
        each
        for each in target.plans(wants.usable)
        if each.offering.id == plan.offering.id and each.id != plan.id
    ]
    return sorted(found, key=lambda each: not each.facts.bind.succeeded)


async def left_its_plan(instance: Instance) -> bool:
    """Change its plan, if that can be done; `instance.plan` is the new one then."""
    for other in siblings(instance.target, instance.plan)[:TRIED]:
        answer = await instance.update(plan_id=other.id)
        if (await instance.ended(answer)).succeeded:
            instance.plan = other
            return True
    return False


async def with_another_plan(target: Target) -> Instance:
    """An instance whose plan has been changed.

    Raises:
        Skip: no plan could be left for another.
    """
    plans = target.plans(wants.usable, wants.updateable)
    for plan in [each for each in plans if siblings(target, each)][:TRIED]:
        instance = await target.provisioned(plan)
        if await left_its_plan(instance):
            return instance
    raise Skip("The catalog has no plan that can be left for another.")


async def updated_twice(target: Target) -> tuple[Exchange, Exchange]:
    """The answers to a PATCH and to its repeat, both from before it ended."""
    plan = target.plan(wants.update_202)
    instance = await target.provisioned(plan)
    change = plan.facts.update_change
    return await repeated(instance, lambda: instance.update(**change))


async def look(instance: Instance, name: str) -> Exchange:
    """A fetch that tells this field; else the first PUT once more.

    As long as nothing has changed, that PUT is the same request.
    """
    if can_be_fetched(instance):
        seen = await instance.fetch()
        if seen.status == 200 and name in seen.object:
            return seen
    return await instance.provision()


def differs(before: Exchange, after: Exchange, name: str) -> bool:
    """Whether the field has changed between two looks of one kind."""
    if before.verb != after.verb:
        return False
    if before.verb == "provision":
        return before.good and not after.good
    return bool(before.get(name) != after.get(name))


# --- the first answer ----------------------------------------------------------------


@check("UPD-01", "ASYNC-04", advice="Answer 200 when the changes have been applied.")
async def update_within_the_request_is_200(target: Target) -> None:
    """An update that was applied when it is answered is answered 200."""
    plan = target.plan(wants.update_sync)
    instance = await target.provisioned(plan)
    asked = partial(instance.update, **plan.facts.update_change)
    expect_status(await within_the_request(asked), 200, 202)


@check(
    "UPD-03",
    "ASYNC-08",
    advice="Answer 202 as long as it goes on; 200 says that it is over.",
)
async def update_that_has_begun_is_202(target: Target) -> None:
    """An update that is answered 200 has been applied: no poll says that it is in
    progress."""
    plans = target.plans(wants.updates) or [target.plan(wants.updates)]
    for plan in likely_to_go_on(plans, lambda plan: plan.facts.update)[:TRIED]:
        instance = await target.provisioned(plan)
        answer = await instance.update(**plan.facts.update_change)
        await expect_no_more_to_come(instance, answer)


@check(
    "UPD-13",
    "ASYNC-06",
    "ERR-08",
    advice='Answer 422 with {"error": "AsyncRequired"} before anything is changed.',
)
async def update_needs_the_flag(target: Target) -> None:
    """An update that is asynchronous only is refused with 422 AsyncRequired when
    `accepts_incomplete` is not there."""
    plan = target.plan(wants.update_async_only)
    instance = await target.provisioned(plan)
    answer = await instance.update(flag=None, **plan.facts.update_change)
    expect_error(answer, 422, "AsyncRequired")


@check("UPD-04", advice=SAME)
async def repeat_while_updating_is_202(target: Target) -> None:
    """A PATCH that is repeated while its update runs is answered 202."""
    _, again = await updated_twice(target)
    expect_status(again, 202)


@check("UPD-05", advice=SAME)
async def repeat_while_updating_names_its_operation(target: Target) -> None:
    """A PATCH that is repeated while its update runs names the same operation."""
    expect_same_operation(*await updated_twice(target))


# --- what the answers tell -----------------------------------------------------------


@every_answer(
    "UPD-02",
    "UPD-22",
    when=lambda seen: seen.verb == "update" and seen.good,
    advice="Answer {}, and with it dashboard_url as a string when it has changed.",
)
def answer_to_an_update_is_well_formed(seen: Exchange) -> None:
    """The answer to an update is an object; its dashboard_url is a string or null."""
    expect_object(seen)
    expect_text(seen, "dashboard_url", null=True)


@every_answer(
    "UPD-23",
    when=names_operation("update"),
    advice="Leave `operation` out, or give a string that is not empty; no null.",
)
def operation_of_an_update_is_text(seen: Exchange) -> None:
    """operation in a 202 to an update is a string that is not empty."""
    expect_text(seen, "operation")
    expect(operation_of(seen) != "", "`operation` is empty", seen)


@check(
    "UPD-22",
    since="2.14",
    advice="Tell the new dashboard_url with the first answer, also when it is 202.",
)
async def changed_dashboard_is_told_at_once(target: Target) -> None:
    """A dashboard_url that an update has changed is in its first answer; if there is
    none, the URL from before is fetched."""
    found = [
        target.plan(way, wants.retrievable)
        for way in (wants.update_sync, wants.update_202)
        if target.plans(way, wants.retrievable)
    ]
    plans = [*dict.fromkeys(found)] or [target.plan(wants.updates, wants.retrievable)]
    seen = [await _dashboard_is_told(target, plan) for plan in plans]
    if not any(seen):
        skip("No instance that can be fetched and updated has a dashboard.")


async def _dashboard_is_told(target: Target, plan: Plan) -> bool:
    """Judge one plan; whether there was a dashboard after the update."""
    instance = await target.provisioned(plan)
    before = await instance.fetch()
    answer = await instance.update(**plan.facts.update_change)
    ended = await instance.ended(answer)
    after = await instance.fetch()
    url = after.get("dashboard_url")
    if not ended.succeeded or before.status != 200 or not isinstance(url, str):
        return False
    told = answer.get("dashboard_url")
    known = told if isinstance(told, str) else before.get("dashboard_url")
    words = "another than the answer told" if isinstance(told, str) else "a new one"
    expect(url == known, f"the dashboard_url that is fetched is {words}", answer, after)
    return True


@every_answer(
    "UPD-25",
    when=lambda seen: (
        bool({"instance_usable", "update_repeatable"} & seen.object.keys())
        and (
            (seen.verb == "update" and seen.status >= 400)
            or (seen.concerns == "update" and seen.state == "failed")
        )
    ),
    advice="Tell each of the two as true or false, or leave it out.",
)
def failed_update_tells_what_can_be_done(seen: Exchange) -> None:
    """What a failed update tells of instance_usable and update_repeatable are
    booleans."""
    expect_none(
        (
            f"`{name}` is not a boolean"
            for name in ("instance_usable", "update_repeatable")
            if name in seen.object and not isinstance(seen.get(name), bool)
        ),
        seen,
    )


# --- what is absent, stays -----------------------------------------------------------


@check("UPD-08", advice=ABSENT)
async def plan_stays_without_plan_id(target: Target) -> None:
    """An update without plan_id leaves the instance on its plan, also on the one to
    which it was changed before."""
    instance = await to_be_updated(target)
    plan = instance.plan
    changes: list[Json] = [{}]
    if can_be_fetched(instance) and new_parameters.holds(plan):
        changes.append(plan.facts.update_change)
    await _keeps(instance, "plan_id", *changes)
    with suppress(Skip):
        moved = await with_another_plan(target)
        if can_be_fetched(moved):
            await _keeps(moved, "plan_id", {})


@check("UPD-09", advice=ABSENT)
async def parameters_stay_without_parameters(target: Target) -> None:
    """An update without parameters leaves those of the instance, also when it changes
    the plan and when they were updated before."""
    instance = await _with_parameters(target)
    await _keeps(instance, "parameters", {})
    if not can_be_fetched(instance):
        return
    before = await instance.fetch()
    told = before.get("parameters")
    if await left_its_plan(instance) and target.samples(instance.plan).allows(told):
        after = await instance.fetch()
        expect(
            after.get("parameters") in (told, None),
            "a change of plan has changed the parameters, too",
            before,
            after,
        )


async def _keeps(instance: Instance, name: str, *changes: Json) -> None:
    """Updates that do not name a field do not change it.

    Raises:
        Broken: one does.
    """
    before = await look(instance, name)
    for change in changes:
        answer = await instance.update(**change)
        await instance.ended(answer)
        after = await look(instance, name)
        expect(
            not differs(before, after, name),
            f"an update without {name} has changed it",
            before,
            answer,
            after,
        )


async def _with_parameters(target: Target) -> Instance:
    """An instance with parameters of its own; updated ones, if that can be seen."""
    chosen = Want(
        "for which parameters are known",
        lambda plan: any(target.samples(plan).valid) or new_parameters.holds(plan),
    )
    best = [chosen, wants.retrievable]
    plan = target.plan(wants.usable, *(best if target.plans(*best) else [chosen]))
    parameters = max(target.samples(plan).valid, key=len, default={})
    changes: Json = {"parameters": parameters} if parameters else {}
    instance = await target.provisioned(plan, **changes)
    if can_be_fetched(instance) and new_parameters.holds(plan):
        samples = target.samples(plan, "service_instance", "update")
        value = samples.other_than(parameters)
        if value is not None:
            await instance.ended(await instance.update(parameters=value))
    return instance


# --- what cannot be asked for --------------------------------------------------------


@check("UPD-06", advice="Look for service_id before anything is changed: 400.")
async def update_needs_service_id(target: Target) -> None:
    """An update without service_id is answered 400."""
    instance = await to_be_updated(target)
    change = instance.plan.facts.update_change
    answer = await instance.update(service_id=OMIT, **change)
    expect_status(answer, 400)


@check("UPD-07", advice="Look for the pair of offering and plan in the catalog.")
async def update_to_unknown_plans_is_refused(target: Target) -> None:
    """An update that names an unknown offering, an unknown plan, or a plan of another
    offering is refused."""
    instance = await to_be_updated(target)
    plan = instance.plan
    wrong = {
        "an unknown service_id": {"service_id": str(uuid.uuid4())},
        "an empty service_id": {"service_id": ""},
        "an unknown plan_id": {"plan_id": str(uuid.uuid4())},
    }
    with suppress(Skip):
        wrong["a plan of another offering"] = {"plan_id": target.stranger(plan).id}
    for why, fields in wrong.items():
        change = {**plan.facts.update_change, **fields}
        expect_rejected(await instance.update(**change), said=why)


@check("UPD-27", advice="Compare service_id with the one of the instance.")
async def instance_keeps_its_offering(target: Target) -> None:
    """An update that names another offering than the instance's is refused, with a
    plan of that offering and without one."""
    instance = await to_be_updated(target)
    other = target.stranger(instance.plan)
    offering = {"service_id": other.offering.id}
    alone = await instance.update(**offering)
    expect_rejected(alone, said="another offering")
    both = await instance.update(**offering, plan_id=other.id)
    expect_rejected(both, said="another offering and its plan")


@check("UPD-21", "CT-05", advice="Look at the JSON type of every field that is read.")
async def wrong_types_are_not_updated_to(target: Target) -> None:
    """An update with a field of another JSON type than specified is answered 400."""
    instance = await to_be_updated(target)
    plan = instance.plan
    wrong: list[tuple[str, str, Any]] = [
        ("service_id", "a number", 1),
        ("service_id", "an array", [plan.offering.id]),
        ("plan_id", "a number", 1),
        ("plan_id", "an object", {"id": plan.id}),
        ("parameters", "a string", "text"),
        ("parameters", "an array", [1]),
    ]
    if target.knows("2.12"):
        wrong += [("context", "a string", "text"), ("context", "an array", [1])]
    for name, kind, value in wrong:
        answer = await instance.update(**{name: value})
        expect_status(answer, 400, said=f"{name} as {kind}")


@check("UPD-19", advice="Answer 404 to the PATCH of what does not exist.")
async def unknown_instance_is_not_updated(target: Target) -> None:
    """An update of an instance that never was is refused, and makes none."""
    plan = (await to_be_updated(target)).plan
    instance = target.instance(plan)
    answer = await instance.update(**plan.facts.update_change)
    never, left = await target.instance(plan).delete(), await instance.delete()
    expect_rejected(answer)
    expect(
        never.good or not left.good,
        f"after it there is something to delete ({left.status})",
        answer,
        left,
    )


@check("UPD-10", advice="Judge the whole update before any of it is carried out.")
async def refused_update_changes_nothing(target: Target) -> None:
    """After an update that was answered 4xx or 5xx the instance has the plan and the
    parameters from before."""
    plan = target.plan(wants.updates)
    refused = 0
    for why, fields in _impossible(target, plan):
        instance = await target.provisioned(plan)
        names = ("plan_id", "parameters")
        before = {name: await look(instance, name) for name in names}
        answer = await instance.update(**fields)
        if answer.status < 400:
            continue
        refused += 1
        after = {name: await look(instance, name) for name in names}
        expect_none(
            (
                f"{why}: the update is refused, and {name} has changed"
                for name in names
                if differs(before[name], after[name], name)
            ),
            answer,
            *after.values(),
        )
    if not refused:
        skip("No update was refused.")


def _impossible(target: Target, plan: Plan) -> Iterator[tuple[str, Json]]:
    """Updates that could be carried out in part: why not as a whole, and fields."""
    change = plan.facts.update_change
    yield "an unknown service_id", {**change, "service_id": str(uuid.uuid4())}
    yield "no service_id", {**change, "service_id": OMIT}
    if "parameters" in change:
        yield "an unknown plan_id", {**change, "plan_id": str(uuid.uuid4())}
    invalid = target.samples(plan, "service_instance", "update").invalid
    others = siblings(target, plan) if plan.updateable else []
    if others and invalid:
        both = {"plan_id": others[0].id, "parameters": invalid[0].value}
        yield "a plan, and parameters that are not valid", both


# --- plans that cannot be had --------------------------------------------------------


@check("UPD-11", advice="Answer 422 to a change that is well formed, yet unsupported.")
async def refused_change_of_plan_is_422(target: Target) -> None:
    """A change of plan that is not supported is answered 422.

    400 is taken where the catalog says that it must not be asked for, and where the
    new plan may need parameters of which nothing is known.
    """
    for plan, other, answer in await _refused_changes(target):
        known = target.samples(other, "service_instance", "update").known
        vague = not plan.updateable or not known
        said = f"from {plan.label} to {other.label}"
        expect_status(answer, 422, *([400] if vague else []), said=said)


@check("UPD-12", advice="Say in `description` why the plan cannot be changed.")
async def refused_change_of_plan_is_explained(target: Target) -> None:
    """A change of plan that is not supported is refused with words for the user."""
    for plan, other, answer in await _refused_changes(target):
        words = answer.get("description")
        expect(
            isinstance(words, str) and any(map(str.isalpha, words)),
            f"from {plan.label} to {other.label}: it is not said why",
            answer,
        )


async def _refused_changes(target: Target) -> list[tuple[Plan, Plan, Exchange]]:
    """Changes of plan that are answered 4xx: the old plan, the new one, the answer.

    Raises:
        Skip: there are none among some that were tried.
    """
    found = []
    for want in (wants.updateable, wants.not_updateable):
        plans = target.plans(wants.usable, want)
        plans = [each for each in plans if siblings(target, each)]
        if plans:
            instance = await target.provisioned(plans[0])
            await expect_endpoint(instance)
            found += await _refused_from(instance)
    if not found:
        skip("Every change of plan that was tried was accepted.")
    return found


async def _refused_from(instance: Instance) -> list[tuple[Plan, Plan, Exchange]]:
    target, start = instance.target, instance.plan
    found = []
    for other in siblings(target, start)[:TRIED]:
        change: Json = {"plan_id": other.id}
        samples = target.samples(other, "service_instance", "update")
        if samples.smallest is not None:
            change["parameters"] = samples.smallest
        answer = await instance.update(**change)
        if answer.rejected:
            found.append((instance.plan, other, answer))
        elif (await instance.ended(answer)).succeeded:
            instance.plan = other
    return found


# --- what must be taken --------------------------------------------------------------


@check("UPD-17", advice="Ignore previous_values, or those fields that are not needed.")
async def previous_values_are_taken(target: Target) -> None:
    """An update that is accepted without previous_values is accepted with them:
    empty, with some of their fields, with all, and with an unknown one."""
    plan = target.plan(wants.updates)
    for why in ("empty", "the plan", "all fields", "an unknown field"):
        instance = await target.provisioned(plan)
        change = {**plan.facts.update_change, "previous_values": _past(instance, why)}
        answer = await instance.update(**change)
        expect(answer.good, f"{why}: expected a 2xx, got {answer.status}", answer)


def _past(instance: Instance, what: str) -> Json:
    """previous_values of an instance that has not been changed yet."""
    plan = instance.plan
    if what == "empty":
        return {}
    past: Json = {"plan_id": plan.id}
    if what == "an unknown field":
        past[STRANGER] = {"deep": [1]}
    if what == "all fields":
        past |= {
            "service_id": plan.offering.id,
            "organization_id": instance.sent["organization_guid"],
            "space_id": instance.sent["space_guid"],
        }
        if plan.maintenance_version and instance.target.knows("2.15"):
            past["maintenance_info"] = {"version": plan.maintenance_version}
    return past


@check("UPD-17", advice=MANDATORY)
async def previous_values_can_be_left_out(target: Target) -> None:
    """An update that is refused without previous_values is refused with them, too."""
    if not [plan for plan in target.plans(wants.usable) if plan.facts.update_change]:
        skip("The catalog has no plan of which an update is known.")
    for plan in target.plans(wants.usable, refuses_updates)[:TRIED]:
        instance = await target.provisioned(plan)
        change = plan.facts.update_change
        without = await instance.update(**change)
        past = _past(instance, "all fields")
        named = await instance.update(**change, previous_values=past)
        expect(
            not (without.rejected and named.good),
            f"{plan.label} is updated only by requests with previous_values",
            without,
            named,
        )


@check("UPD-18", advice=MANDATORY)
async def one_change_is_enough(target: Target) -> None:
    """Parameters can be updated without naming the plan if they can be with it, and
    the plan without parameters if it can be with some that are optional."""
    found = [*_parameters_alone(target), *_plan_alone(target)]
    if not found:
        skip("The catalog has no plan of which parameters of an update are known.")
    for plan, change, more in found:
        instance = await target.provisioned(plan)
        alone = await instance.update(**change)
        if not alone.rejected:
            continue
        both = await instance.update(**change, **more)
        words = " and ".join(change)
        expect(
            not both.good,
            f"{words} can be updated only with {' and '.join(more)}",
            alone,
            both,
        )


Part = tuple[Plan, Json, Json]


def _parameters_alone(target: Target) -> list[Part]:
    """Updates of parameters, and what else they might wrongly need."""
    plans = target.plans(wants.usable, wants.update_schema)
    plans.sort(key=lambda plan: not refuses_updates.holds(plan))
    found: list[Part] = []
    for plan in plans[:TRIED]:
        used = target.samples(plan).smallest
        value = target.samples(plan, "service_instance", "update").other_than(used)
        if value:
            found.append((plan, {"parameters": value}, {"plan_id": plan.id}))
    return found


def _plan_alone(target: Target) -> list[Part]:
    """Changes of plan, and what else they might wrongly need."""
    for plan in target.plans(wants.usable, wants.updateable):
        for other in siblings(target, plan):
            samples = target.samples(other, "service_instance", "update")
            if samples.known and samples.allows({}):
                more = {"parameters": samples.valid[-1]}
                return [(plan, {"plan_id": other.id}, more)]
    return []


@check("UPD-18", advice=f"{MANDATORY} Answer 200 when there is nothing to do.")
async def update_of_nothing_is_no_mistake(target: Target) -> None:
    """An update that changes nothing is answered 2xx or 422: the service_id alone, and
    with the plan that the instance has."""
    instance = await to_be_updated(target)
    for why, fields in {
        "the service_id alone": {},
        "the plan from before": {"plan_id": instance.plan.id},
    }.items():
        answer = await instance.update(**fields)
        await instance.ended(answer)
        expect(
            answer.good or answer.status == 422,
            f"{why}: expected 2xx or 422, got {answer.status or answer.trouble}",
            answer,
        )


@check(
    "UPD-26", advice="Compare later requests with the plan that an instance has now."
)
async def new_plan_is_fetched(target: Target) -> None:
    """After a change of plan a fetch tells the new one."""
    instance = await with_another_plan(target)
    if not can_be_fetched(instance):
        skip("Instances whose plan can be changed cannot be fetched.")
    seen = await instance.fetch()
    expect(
        seen.status != 200 or seen.get("plan_id") == instance.plan.id,
        "the plan was changed, and another one is fetched",
        seen,
    )


@check(
    "UPD-26", advice="Compare later requests with the plan that an instance has now."
)
async def new_plan_is_taken(target: Target) -> None:
    """After a change of plan a binding and the deprovision are taken that name the new
    one."""
    instance = await with_another_plan(target)
    if instance.plan.facts.bind.succeeded:
        binding = instance.binding()
        bound = await binding.bind()
        expect(bound.good, f"a binding to the new plan: {bound.status}", bound)
        await binding.ended(bound)
        await binding.removed()
    gone = await instance.delete()
    expect(gone.good, f"the deprovision with the new plan: {gone.status}", gone)


# --- metadata ------------------------------------------------------------------------


def _tells_metadata(seen: Exchange) -> bool:
    return seen.verb in TELLING and seen.good and seen.get("metadata") is not None


@every_answer("META-01", since="2.16", when=_tells_metadata, advice=SHAPE)
def metadata_is_made_of_objects(seen: Exchange) -> None:
    """metadata of an instance is an object, and so are its labels and attributes."""
    metadata = seen.get("metadata")
    expect(isinstance(metadata, dict), "metadata is no object", seen)
    expect_none(
        (
            f"metadata.{part} is no object"
            for part in PARTS
            if not isinstance(metadata.get(part), dict | None)
        ),
        seen,
    )


@every_answer(
    "META-02",
    since="2.16",
    when=lambda seen: any(_told(seen, part) for part in PARTS),
    advice="Write values of labels and attributes as strings.",
)
def values_of_metadata_are_texts(seen: Exchange) -> None:
    """The values of an instance's labels and attributes are strings."""
    expect_none(
        (
            f"metadata.{part}.{name} is no string"
            for part in PARTS
            for name, value in _told(seen, part).items()
            if not isinstance(value, str)
        ),
        seen,
    )


def _told(seen: Exchange, part: str) -> Json:
    """Labels or attributes that an answer tells of an instance."""
    metadata = seen.get("metadata") if seen.verb in TELLING and seen.good else None
    found = metadata.get(part) if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


@check("META-03", since="2.17", advice="Keep the metadata that was told, and fetch it.")
async def metadata_is_fetched_as_it_was_told(target: Target) -> None:
    """Labels and attributes that were told by a provisioning or an update are told by
    a fetch."""
    found = [
        target.plan(way, wants.retrievable)
        for way in (wants.sync, wants.gives_202)
        if target.plans(way, wants.retrievable)
    ]
    plans = [*dict.fromkeys(found)] or [target.plan(wants.usable, wants.retrievable)]
    told = False
    for plan in plans:
        instance = await target.provisioned(plan)
        assert instance.first is not None
        told |= await _is_fetched(instance, instance.first)
        if plan.facts.update.succeeded:
            answer = await instance.update(**plan.facts.update_change)
            if (await instance.ended(answer)).succeeded:
                told |= await _is_fetched(instance, answer)
    if not told:
        skip("No answer tells any metadata of an instance that can be fetched.")


async def _is_fetched(instance: Instance, answer: Exchange) -> bool:
    """Judge what one answer told; whether it told anything."""
    if not any(_told(answer, part) for part in PARTS):
        return False
    seen = await instance.fetch()
    if seen.status != 200:
        return False
    expect_none(
        (
            f"metadata.{part}.{name} was told, and is fetched otherwise or not at all"
            for part in PARTS
            for name, value in _told(answer, part).items()
            if name not in _told(seen, part) or _told(seen, part)[name] != value
        ),
        answer,
        seen,
    )
    return True
