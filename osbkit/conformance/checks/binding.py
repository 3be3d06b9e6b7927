"""Binding. Spec: "Binding", "Credentials", "Binding Metadata Object".

Drains, routes, volumes and endpoints stand in `binding_kinds.py`, successors in
`rotation.py`. Invalid parameters are sent by `schemas.py`, bindings of what is not
bindable by `catalog.py`. Where something of an id in use is changed, a new id would be
bound with it, so that nothing but the conflict can be the reason of a refusal.
"""

import re
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.checks.binding_kinds import (
    INFORMATION,
    binding_tells,
    tells_binding,
)
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
    within_the_request,
)
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.removal import can_be_fetched
from osbkit.conformance.resources import Binding
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", re.ASCII)
URL = re.compile(r"[a-z][a-z0-9+.:-]*://[^/]", re.IGNORECASE)
HOSTS = frozenset({"host", "hostname", "hosts", "uri", "url", "port", "ports"})
TRIED = 3  # plans or parameters at most

CONFLICT = (
    "Keep the parameters and the app of the first PUT, and answer 409 when a later one"
    " with the same id differs in any of them."
)
MANDATORY = "Look for the mandatory fields before anything is made, and answer 400."
NEEDS_APP = 'Answer 422 with {"error": "RequiresApp"} when the app is missing.'

no_route = Want(
    "of an offering that does not require route_forwarding",
    lambda plan: "route_forwarding" not in plan.offering.requires,
)
no_permission = Want(
    "of an offering that requires nothing", lambda plan: not plan.offering.requires
)
expiring = Want(
    "whose bindings tell when they expire",
    lambda plan: any(
        "expires_at" in _metadata(each)
        for each in (plan.facts.bind.without_flag, plan.facts.bind.with_flag)
        if each is not None
    ),
)


# --- what the checks share -----------------------------------------------------------


def with_choice(target: Target) -> Want:
    """More than one set of parameters of a binding is known to be allowed."""

    def holds(plan: Plan) -> bool:
        samples = target.samples(plan, "service_binding", "create")
        return bool(samples.others(samples.smallest))

    return Want("for which two different parameters of a binding are known", holds)


def both_ways(target: Target, *more: Want) -> list[Plan]:
    """A plan that binds within the request and one that answers 202, if there are.

    Raises:
        Skip: there is neither.
    """
    found = [
        target.plan(way, *more)
        for way in (wants.bind_sync, wants.bind_202)
        if target.plans(way, *more)
    ]
    return [*dict.fromkeys(found)] or [target.plan(wants.binds, *more)]


async def repeated_while_binding(target: Target) -> tuple[Exchange, Exchange]:
    """The answers to a PUT and to its repeat, both from before it ended."""
    binding = (await target.provisioned(target.plan(wants.bind_202))).binding()
    return await repeated(binding, binding.bind)


def differing(one: Exchange, other: Exchange) -> list[str]:
    """Fields of a binding's information that both tell, and tell otherwise.

    What only one of them tells is no difference: a broker may tell it once.
    """
    return [
        name
        for name in (*INFORMATION, "parameters")
        if name in one.object
        and name in other.object
        and one.get(name) != other.get(name)
    ]


def without_app(target: Target, plan: Plan) -> Json:
    """Changes of a PUT's body by which it names no app."""
    resource = target.bind_body(plan).get("bind_resource", {})
    rest = {key: each for key, each in resource.items() if key != "app_guid"}
    return {"app_guid": OMIT, "bind_resource": rest or OMIT}


async def credentials_of(binding: Binding) -> Any:
    """What was told of it as its credentials; None if nothing was."""
    with suppress(Skip):
        return (await binding.told()).get("credentials")
    return None


# --- the first answer ----------------------------------------------------------------


@check("BIND-01", "ASYNC-04", advice="Answer 201 to the request that made the binding.")
async def bound_by_the_request_is_201(target: Target) -> None:
    """The first PUT of a binding is answered 201 when it is ready with the answer."""
    plan = target.plan(wants.bind_sync)
    binding = (await target.provisioned(plan)).binding()
    expect_status(await within_the_request(binding.bind), 201, 202)


@check(
    "BIND-02",
    "ASYNC-08",
    advice="Answer 202 as long as it goes on; 200 and 201 say that it is over.",
)
async def binding_that_has_begun_is_202(target: Target) -> None:
    """A first PUT that is answered 200 or 201 has made the binding: no poll says that
    it is in progress."""
    plans = target.plans(wants.binds) or [target.plan(wants.binds)]
    for plan in likely_to_go_on(plans, lambda plan: plan.facts.bind)[:TRIED]:
        binding = (await target.provisioned(plan)).binding()
        await expect_no_more_to_come(binding, await binding.bind())


@every_answer(
    "BIND-03",
    when=lambda seen: seen.verb == "bind" and seen.running,
    advice="Tell the operation alone; what the binding is, is fetched when it is made.",
)
def running_binding_tells_nothing(seen: Exchange) -> None:
    """A 202 holds no credentials, and nothing else of the binding."""
    expect_none((f"the 202 holds {name}" for name in _information(seen)), seen)


def _information(seen: Exchange) -> list[str]:
    return [name for name in INFORMATION if seen.get(name)]


@check(
    "BIND-19",
    "ERR-08",
    "ASYNC-06",
    advice='Answer 422 with {"error": "AsyncRequired"} before anything is begun.',
)
async def binding_needs_the_flag(target: Target) -> None:
    """A binding that is made asynchronously only is refused with 422 AsyncRequired
    when `accepts_incomplete` is not there."""
    instance = await target.provisioned(target.plan(wants.bind_async_only))
    answer = await instance.binding().bind(flag=None)
    expect_error(answer, 422, "AsyncRequired")


@every_answer(
    "BIND-22",
    when=names_operation("bind"),
    advice="Leave `operation` out, or give a string of at most 10,000 characters.",
)
def operation_of_binding_is_short_text(seen: Exchange) -> None:
    """operation in a 202 to a binding is a string of at most 10,000 characters."""
    expect_text(seen, "operation")
    expect_short_operation(seen)


# --- repeats -------------------------------------------------------------------------


@check("BIND-04", advice="Answer 202 to the same PUT until the operation has ended.")
async def repeat_while_binding_is_202(target: Target) -> None:
    """A PUT that is repeated while its binding is made is answered 202."""
    _, again = await repeated_while_binding(target)
    expect_status(again, 202)


@check("BIND-05", advice="Give the operation of the running binding again.")
async def repeat_while_binding_names_its_operation(target: Target) -> None:
    """A PUT that is repeated while its binding is made names the same operation."""
    expect_same_operation(*await repeated_while_binding(target))


@check("BIND-06", advice="Answer 200 and what the first answer told.")
async def repeat_of_a_binding_is_200(target: Target) -> None:
    """A PUT that is repeated when the binding is ready is answered 200, and tells
    nothing else than the first answer."""
    instance = await target.provisioned(target.plan(wants.bind_sync))
    binding = await instance.bound()
    again = await binding.bind()
    expect_status(again, 200)
    first = binding.first
    if first is None or not first.done:
        return
    expect_none(
        (f"{name} differs from the first answer's" for name in differing(first, again)),
        first,
        again,
    )


@check("BIND-07", advice="Look the id up before anything is made.")
async def repeat_of_a_binding_is_not_201(target: Target) -> None:
    """A PUT that is repeated when the binding is ready is not answered 201, however
    the binding was made."""
    for plan in both_ways(target):
        binding = await (await target.provisioned(plan)).bound()
        again = await binding.bind()
        expect(again.status != 201, f"{plan.label}: the repeat is answered 201", again)


# --- an id in use --------------------------------------------------------------------


@check("BIND-08", advice=CONFLICT)
async def other_parameters_of_a_binding_conflict(target: Target) -> None:
    """A PUT of a binding's id in use with other parameters is answered 409."""
    plan = target.plan(wants.binds, with_choice(target))
    samples = target.samples(plan, "service_binding", "create")
    used = max(samples.valid, key=len)
    binding = await (await target.provisioned(plan)).bound(parameters=used)
    for other in samples.others(used)[:TRIED]:
        expect_status(await binding.bind(parameters=other), 409)


@check("BIND-09", advice=CONFLICT)
async def other_app_of_a_binding_conflicts(target: Target) -> None:
    """A PUT of a binding's id in use with another app is refused."""
    instance = await target.provisioned(target.plan(wants.binds, no_route))
    binding = await instance.bound(**_for_app(str(uuid.uuid4())))
    answer = await binding.bind(**_for_app(str(uuid.uuid4())))
    expect_rejected(answer)


@check("BIND-09", advice=CONFLICT)
async def other_plan_of_a_binding_conflicts(target: Target) -> None:
    """A PUT of a binding's id in use that names another plan is refused."""
    plan = target.plan(wants.binds)
    binding = await (await target.provisioned(plan)).bound()
    for why, fields in _other_plans(target, plan):
        expect_rejected(await binding.bind(**fields), said=why)


def _for_app(guid: str) -> Json:
    return {"bind_resource": {"app_guid": guid}, "app_guid": guid}


def _other_plans(target: Target, plan: Plan) -> Iterator[tuple[str, Json]]:
    """Offerings and plans that are not those of an instance of this plan."""
    yield "an unknown service_id", {"service_id": str(uuid.uuid4())}
    yield "an unknown plan_id", {"plan_id": str(uuid.uuid4())}
    with suppress(Skip):
        yield "another plan", {"plan_id": target.sibling(plan).id}
    with suppress(Skip):
        other = target.stranger(plan)
        ids = {"service_id": other.offering.id, "plan_id": other.id}
        yield "a plan of another offering", ids


@check("BIND-10", advice=CONFLICT)
async def what_differs_while_binding_conflicts(target: Target) -> None:
    """A PUT of a binding that is being made is answered 409 when its parameters are
    others."""
    plan = target.plan(wants.bind_202, with_choice(target))
    binding = (await target.provisioned(plan)).binding()
    first = await binding.bind()
    samples = target.samples(plan, "service_binding", "create")
    other = samples.other_than(binding.sent.get("parameters"))
    answer = await binding.bind(parameters=other)
    await binding.still_running(operation_of(first))
    expect_status(answer, 409)


@check("BIND-11", advice="Compare before anything is written.")
async def conflict_leaves_the_binding(target: Target) -> None:
    """After a PUT that was answered 409 the binding is as it was: the first PUT is
    still the same request, and a fetch tells what it told before."""
    choice = with_choice(target)
    choices = [choice] if target.plans(wants.binds, choice) else []
    binding = await (
        await target.provisioned(target.plan(wants.binds, *choices))
    ).bound()
    before = await _twice_fetched(binding)
    refused = await _in_conflict(target, binding)

    again = await binding.bind()
    expect(again.good, f"the first PUT is now answered {again.status}", refused, again)
    if before is None:
        return
    after = await binding.fetch()
    expect_none(
        (f"{name} is told otherwise" for name in differing(before, after)),
        refused,
        after,
    )


async def _twice_fetched(binding: Binding) -> Exchange | None:
    """A fetch of a binding that tells the same each time; None where none does."""
    if not can_be_fetched(binding):
        return None
    one, other = await binding.fetch(), await binding.fetch()
    return other if other.good and not differing(one, other) else None


async def _in_conflict(target: Target, binding: Binding) -> Exchange:
    """The last 409 to PUTs of the id that ask for something else."""
    samples = target.samples(binding.plan, "service_binding", "create")
    changes: list[Json] = [
        {"parameters": each}
        for each in samples.others(binding.sent.get("parameters"))[:1]
    ]
    if no_route.holds(binding.plan):
        changes.append(_for_app(str(uuid.uuid4())))
    return last_conflict([await binding.bind(**each) for each in changes])


@check("BIND-12", advice="Look bindings up below their instance, not by id alone.")
async def bindings_belong_to_their_instance(target: Target) -> None:
    """The id of a binding, bound to another instance as well, is refused, or makes a
    binding with credentials of its own."""
    plan = target.plan(wants.binds)
    one, other = await target.provisioned(plan), await target.provisioned(plan)
    binding = await one.bound()
    same = other.binding(binding.id)
    answer = await same.bind()
    expect_no_fault(answer)
    if not (await same.ended(answer)).succeeded:
        return
    usual = await credentials_of(await other.bound())
    first, second = await credentials_of(binding), await credentials_of(same)
    expect(
        first is None or first == usual or first != second,
        "it has the credentials of the other instance's binding",
        answer,
    )


# --- what cannot be asked for --------------------------------------------------------


async def _without(target: Target, name: str) -> None:
    """A PUT that lacks this field is answered 400."""
    instance = await target.provisioned(target.plan(wants.binds))
    answer = await instance.binding().bind(**{name: OMIT})
    expect_status(answer, 400)


@check("BIND-13", advice=MANDATORY)
async def binding_needs_service_id(target: Target) -> None:
    """A PUT of a binding without service_id is answered 400."""
    await _without(target, "service_id")


@check("BIND-14", advice=MANDATORY)
async def binding_needs_plan_id(target: Target) -> None:
    """A PUT of a binding without plan_id is answered 400."""
    await _without(target, "plan_id")


@check("BIND-15", advice="Compare both ids with those of the instance; answer 400.")
async def other_plans_are_not_bound(target: Target) -> None:
    """A PUT of a binding that names an unknown offering or plan, or not those of the
    instance, is refused."""
    plan = target.plan(wants.binds)
    instance = await target.provisioned(plan)
    for why, fields in _other_plans(target, plan):
        expect_rejected(await instance.binding().bind(**fields), said=why)


@check("BIND-16", "ERR-10", advice=NEEDS_APP)
async def binding_without_its_app_requires_one(target: Target) -> None:
    """A binding without the app that it needs is refused with 422 RequiresApp."""
    plan = target.plan(wants.needs_app, wants.binds)
    instance = await target.provisioned(plan)
    answer = await instance.binding().bind(**without_app(target, plan))
    expect_error(answer, 422, "RequiresApp")


@check("BIND-21", "CT-05", advice="Look at the JSON type of every field that is read.")
async def wrong_types_are_not_bound(target: Target) -> None:
    """A PUT of a binding with a field of another JSON type than specified is answered
    400."""
    plan = target.plan(wants.binds)
    instance = await target.provisioned(plan)
    wrong: list[tuple[str, Any]] = [
        ("service_id", 1),
        ("service_id", [plan.offering.id]),
        ("plan_id", 1),
        ("plan_id", {"id": plan.id}),
        ("parameters", "text"),
        ("parameters", [1]),
        ("bind_resource", "text"),
        ("bind_resource", [1]),
    ]
    if target.knows("2.13"):
        wrong += [("context", "text"), ("context", [1])]
    kinds = {int: "a number", str: "a string", list: "an array", dict: "an object"}
    for name, value in wrong:
        answer = await instance.binding().bind(**{name: value})
        expect_status(answer, 400, said=f"{name} as {kinds[type(value)]}")


@check("BIND-27", advice="Look the instance up first, and answer 4xx.")
async def unknown_instances_are_not_bound(target: Target) -> None:
    """A PUT of a binding of an instance that never was is refused, and makes none."""
    binding = target.instance(target.plan(wants.binds)).binding()
    answer = await binding.bind()
    expect_rejected(answer)
    if can_be_fetched(binding):
        seen = await binding.fetch()
        expect(not seen.good, "refused, and it can be fetched", answer, seen)


@check("BIND-31", advice="Judge the request before anything is made or written.")
async def refused_binding_leaves_nothing(target: Target) -> None:
    """After a PUT that was answered 4xx its id is as unknown as one never used."""
    plan = target.plan(wants.binds)
    instance = await target.provisioned(plan)
    samples = target.samples(plan, "service_binding", "create")
    wrong: list[Json] = [{"plan_id": OMIT}, {"plan_id": str(uuid.uuid4())}]
    wrong += [{"parameters": each.value} for each in samples.invalid[:1]]
    await expect_nothing_made(instance.binding, wrong)
    for needing in target.plans(wants.needs_app, wants.binds)[:1]:
        bound = (await target.provisioned(needing)).binding
        with suppress(Skip):
            await expect_nothing_made(bound, [without_app(target, needing)])


# --- what must be taken --------------------------------------------------------------


@check("BIND-17", advice=f"Take a binding without bind_resource. {NEEDS_APP}")
async def bind_resource_is_optional(target: Target) -> None:
    """A binding without bind_resource, or with an empty one, is made, or refused with
    422 RequiresApp."""
    instance = await target.provisioned(target.plan(wants.binds, no_route))
    choices: tuple[Any, ...] = (OMIT, {})
    for resource in choices:
        answer = await instance.binding().bind(app_guid=OMIT, bind_resource=resource)
        how = "without" if resource is OMIT else "with an empty"
        if not answer.good:
            expect_status(answer, 422, said=f"{how} bind_resource")
            expect_error(answer, 422, "RequiresApp")


@check("BIND-30", advice="Read the app of bind_resource, or else the one beside it.")
async def app_may_stand_in_both_places(target: Target) -> None:
    """A binding is made when its app is named in bind_resource, at the top, or both."""
    needing = target.plans(wants.needs_app, wants.binds, no_route)
    plan = needing[0] if needing else target.plan(wants.binds, no_route)
    instance = await target.provisioned(plan)
    guid = str(uuid.uuid4())
    nested: Json = {"bind_resource": {"app_guid": guid}, "app_guid": OMIT}
    top: Json = {"bind_resource": OMIT, "app_guid": guid}
    both: Json = {"bind_resource": {"app_guid": guid}, "app_guid": guid}
    for where, fields in (("nested", nested), ("at the top", top), ("both", both)):
        answer = await instance.binding().bind(**fields)
        expect(answer.good, f"app_guid {where}: answered {answer.status}", answer)


# --- beside other operations ---------------------------------------------------------


@check(
    "BIND-18",
    advice='Make both, or answer 422 with {"error": "ConcurrencyError", …}.',
)
async def binding_beside_a_binding_is_made_or_waits(target: Target) -> None:
    """A binding that is refused while another one is made is refused with 422
    ConcurrencyError."""
    instance = await target.provisioned(target.plan(wants.bind_202))
    one = instance.binding()
    first = await one.bind()
    second = await instance.binding().bind()
    if second.good:
        return
    await one.still_running(operation_of(first))
    expect_error(second, 422, "ConcurrencyError")


@check(
    "BIND-38",
    advice='Answer 422 with {"error": "ConcurrencyError", …} until the instance is'
    " ready.",
)
async def binding_while_provisioning_is_no_fault(target: Target) -> None:
    """A binding while its instance is provisioned is answered 2xx or 4xx, with
    `accepts_incomplete` and without."""
    instance = target.instance(target.plan(wants.gives_202, wants.binds))
    first = await instance.provision()
    answers = [await instance.binding().bind(flag=flag) for flag in (True, None)]
    await instance.still_running(operation_of(first))
    for answer in answers:
        expect_no_fault(answer)


# --- credentials ---------------------------------------------------------------------


@every_answer(
    "BIND-23",
    when=binding_tells("credentials"),
    advice="Give a JSON object, or leave the field out.",
)
def credentials_are_an_object(seen: Exchange) -> None:
    """The credentials of a binding are a JSON object."""
    expect(isinstance(seen.get("credentials"), dict), "they are no object", seen)


@check(
    "BIND-23",
    since="2.14",
    advice="Answer a binding that is ready with all that it is, credentials too.",
)
async def credentials_come_with_the_binding(target: Target) -> None:
    """A binding that has credentials when it is fetched was answered with them."""
    plan = target.plan(wants.bind_sync, wants.bindings_retrievable)
    binding = (await target.provisioned(plan)).binding()
    answer = await binding.bind(flag=None)
    if not answer.done:
        skip(f"{plan.label} is bound without `accepts_incomplete` no more.")
    seen = await binding.fetch()
    if seen.get("credentials"):
        expect("credentials" in answer.object, "they are only fetched", answer, seen)


@check(
    "BIND-24",
    advice="Tell the binding in the answer that made it, or when it is first fetched.",
)
async def information_is_told(target: Target) -> None:
    """What an application needs of a binding is told by the answer that made it, or
    by a fetch."""
    for plan in both_ways(target, no_permission):
        binding = await (await target.provisioned(plan)).bound()
        looked = [binding.first] if binding.first and binding.first.done else []
        if can_be_fetched(binding):
            looked += [await binding.fetch(), await binding.fetch()]
        told = {name for seen in looked if seen.good for name in seen.object}
        expect(
            not looked or bool(told & {*INFORMATION} - {"metadata"}),
            f"nothing was told of a binding of {plan.label}",
            *looked,
        )


@check("BIND-25", advice="Make credentials for each binding, so each can be revoked.")
async def credentials_are_unique(target: Target) -> None:
    """Two bindings of an instance have different credentials."""
    instance = await target.provisioned(target.plan(wants.binds))
    both = [await instance.bound(), await instance.bound()]
    one, other = [await credentials_of(each) for each in both]
    if not one or not other:
        skip("The bindings have no credentials.")
    expect(
        one != other,
        "both have the same credentials",
        *(each.first for each in both if each.first),
    )


@check(
    "BIND-26",
    since="2.15",
    advice="Tell hosts and ports as `endpoints`, so that a platform can open its"
    " network to them.",
)
async def endpoints_are_told(target: Target) -> None:
    """A binding whose credentials name a host tells its endpoints."""
    instance = await target.provisioned(target.plan(wants.binds))
    told = await (await instance.bound()).told()
    credentials = told.get("credentials")
    if not isinstance(credentials, dict) or not _names_a_host(credentials):
        skip("The credentials name no host.")
    expect(bool(told.get("endpoints")), "there are no endpoints", told)


def _names_a_host(credentials: Json) -> bool:
    return any(
        name.lower() in HOSTS or (isinstance(value, str) and URL.match(value))
        for name, value in credentials.items()
    )


# --- metadata ------------------------------------------------------------------------


def _metadata(seen: Exchange) -> Json:
    told = seen.get("metadata") if tells_binding(seen) else None
    return told if isinstance(told, dict) else {}


def _moment(value: Any) -> datetime | None:
    """A time as the specification writes it; None for anything else."""
    if not isinstance(value, str) or not MOMENT.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _is_moment(seen: Exchange, name: str) -> None:
    value = _metadata(seen)[name]
    expect(
        _moment(value) is not None,
        f"{name} is {value!r}, expected a time like 2030-01-31T12:00:00.0Z",
        seen,
    )


def _both_moments(seen: Exchange) -> bool:
    told = _metadata(seen)
    return bool(_moment(told.get("renew_before")) and _moment(told.get("expires_at")))


def _left_to_renew(seen: Exchange) -> float:
    """Seconds between renew_before and expires_at."""
    told = _metadata(seen)
    first, last = _moment(told.get("renew_before")), _moment(told.get("expires_at"))
    return (last - first).total_seconds() if first and last else 0.0


@every_answer(
    "BIND-33",
    when=lambda seen: "expires_at" in _metadata(seen),
    since="2.16",
    advice="Write it in UTC as yyyy-mm-ddThh:mm:ss.sZ, with a fraction and a Z.",
)
def expires_at_is_a_moment(seen: Exchange) -> None:
    """expires_at is a UTC time with a fraction and a Z."""
    _is_moment(seen, "expires_at")


@every_answer(
    "BIND-34",
    when=lambda seen: "renew_before" in _metadata(seen),
    since="2.17",
    advice="Write it in UTC as yyyy-mm-ddThh:mm:ss.sZ, with a fraction and a Z.",
)
def renew_before_is_a_moment(seen: Exchange) -> None:
    """renew_before is a UTC time with a fraction and a Z."""
    _is_moment(seen, "renew_before")


@every_answer(
    "BIND-35",
    when=_both_moments,
    since="2.17",
    advice="Let renew_before be earlier than expires_at.",
)
def renewal_is_before_the_end(seen: Exchange) -> None:
    """renew_before is not after expires_at."""
    expect(_left_to_renew(seen) >= 0, "renew_before is after expires_at", seen)


@every_answer(
    "BIND-36",
    when=_both_moments,
    since="2.17",
    advice="Leave time between both to make and deliver a new binding.",
)
def renewal_has_its_time(seen: Exchange) -> None:
    """There is time between renew_before and expires_at."""
    expect(_left_to_renew(seen) != 0, "both are the same moment", seen)


@check("BIND-37", since="2.16", advice="Count the life of a binding from its making.")
async def new_binding_has_not_expired(target: Target) -> None:
    """The expires_at of a new binding is in the future."""
    known = target.plans(wants.binds, expiring)
    plan = known[0] if known else target.plan(wants.binds)
    told = await (await (await target.provisioned(plan)).bound()).told()
    end = _moment(_metadata(told).get("expires_at"))
    if end is None:
        skip("The binding does not tell when it expires.")
    expect(end > datetime.now(UTC), "expires_at has passed", told)
