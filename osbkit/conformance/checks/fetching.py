"""Fetching instances. Spec: "Fetching a Service Instance".

Every field of a fetch is optional, so a check judges a field that is there, and is
skipped where a broker tells none. The maintenance version that a fetch tells is judged
in `maintenance.py`, the shape of metadata in `updating.py`.
"""

import uuid
from collections.abc import Iterable
from typing import Any

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.checks.provisioning import with_choice
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    Blocked,
    expect,
    expect_error,
    expect_none,
    expect_object,
    expect_status,
    skip,
)
from osbkit.conformance.judging import operation_of
from osbkit.conformance.registry import check
from osbkit.conformance.resources import Instance
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

SINCE = "2.14"  # the first version that can fetch
ATTRIBUTES = ("service_id", "plan_id", "parameters", "dashboard_url")
TRIES = 3

not_retrievable = Want(
    "of an offering without instances_retrievable",
    lambda plan: not plan.offering.instances_retrievable,
)


async def fetched(instance: Instance) -> Exchange:
    """What a fetch tells of a ready instance, soon if not at once.

    Raises:
        Blocked: it cannot be fetched.
    """
    for _ in range(TRIES):
        answer = await instance.fetch()
        if answer.status == 200:
            return answer
    raise Blocked(f"A fetch was answered {answer.status}.", answer)


async def changed(instance: Instance) -> Exchange:
    """Make the update that is known to work, and wait for its end.

    Raises:
        Blocked: it did not work.
    """
    change = instance.plan.facts.update_change
    answer = await instance.update(**change)
    ended = await instance.ended(answer)
    if not ended.succeeded:
        raise Blocked(f"The update did not succeed: {ended.how}.", answer, ended.last)
    return answer


# --- when it can be fetched ----------------------------------------------------------


@check("FETCH-01", since=SINCE, advice="Serve GET for every plan of the offering.")
async def every_plan_can_be_fetched(target: Target) -> None:
    """An instance of each plan of an offering with instances_retrievable is answered
    200 to a fetch, with an object."""
    target.plan(wants.usable, wants.retrievable)
    for plan in target.plans(wants.usable, wants.retrievable):
        instance = await target.provisioned(plan)
        answer = await instance.fetch()
        for _ in range(TRIES - 1):  # whether it is there at once, FETCH-02 asks
            answer = answer if answer.good else await instance.fetch()
        expect_status(answer, 200, said=plan.label)
        expect_object(answer)
        await instance.ended(await instance.delete())


@check("FETCH-02", since=SINCE, advice="Tell success only when GET works.")
async def fetched_as_soon_as_it_is_ready(target: Target) -> None:
    """The first fetch after a poll said "succeeded", or after 201, is answered 200."""
    for plan in _of_either_kind(target):
        instance = await target.provisioned(plan)
        answer = await instance.fetch()
        expect_status(answer, 200, said=plan.label)


def _of_either_kind(target: Target) -> Iterable[Plan]:
    """A plan that is provisioned asynchronously and one that is not, if there are."""
    target.plan(wants.usable, wants.retrievable)
    kinds = (wants.sync, wants.gives_202)
    found = [target.plans(wants.retrievable, kind)[:1] for kind in kinds]
    return dict.fromkeys(plan for plans in found for plan in plans)


@check("FETCH-03", since=SINCE, advice="Answer 404: 410 is for DELETE.")
async def unknown_instances_are_404(target: Target) -> None:
    """A fetch of an id that was never used, or is deleted, is answered 404."""
    plan = target.plan(wants.usable, wants.retrievable)
    expect_status(await target.instance(plan).fetch(), 404, said="never used")
    instance = await target.provisioned(plan)
    await instance.removed()
    expect_status(await instance.fetch(), 404, said="deleted")


@check("FETCH-04", since=SINCE, advice="Answer 404 until the provisioning succeeded.")
async def what_is_provisioned_is_404(target: Target) -> None:
    """A fetch of an instance that is being provisioned is answered 404."""
    instance = target.instance(target.plan(wants.gives_202, wants.retrievable))
    first = await instance.provision()
    answer = await instance.fetch()
    await instance.still_running(operation_of(first))
    expect_status(answer, 404)


@check(
    "FETCH-05",
    since=SINCE,
    advice='Answer 422 with {"error": "ConcurrencyError"}, or tell the instance.',
)
async def what_is_updated_is_told_or_busy(target: Target) -> None:
    """A fetch of an instance that is being updated is answered 200, or 422
    ConcurrencyError."""
    plan = target.plan(wants.update_202, wants.retrievable)
    instance = await target.provisioned(plan)
    await fetched(instance)
    first = await instance.update(**plan.facts.update_change)
    answer = await instance.fetch()
    await instance.still_running(operation_of(first))
    if answer.status != 200:
        expect_error(answer, 422, "ConcurrencyError")


@check("FETCH-13", since=SINCE, advice="Answer 404, or tell the instance.")
async def what_is_not_retrievable_does_no_harm(target: Target) -> None:
    """A fetch where instances_retrievable is not declared is answered 200, 4xx, or
    501."""
    instance = await target.provisioned(target.plan(wants.usable, not_retrievable))
    answer = await instance.fetch()
    expect(
        answer.rejected or answer.status in {200, 501},
        f"expected 200, 4xx or 501, got {answer.status or answer.trouble}",
        answer,
    )


# --- what it tells -------------------------------------------------------------------


@check("FETCH-06", since=SINCE, advice="Tell the ids by which it was made or updated.")
async def fetch_tells_offering_and_plan(target: Target) -> None:
    """service_id and plan_id of a fetch are those of the provisioning."""
    instance = await target.provisioned(target.plan(wants.usable, wants.retrievable))
    seen = await fetched(instance)
    ids = {"service_id": instance.plan.offering.id, "plan_id": instance.plan.id}
    if not ids.keys() & seen.object.keys():
        skip("A fetch tells neither service_id nor plan_id.")
    expect_none(
        (
            f"{name} is {seen.get(name)!r}"
            for name, value in ids.items()
            if seen.object.get(name, value) != value
        ),
        seen,
    )


@check("FETCH-07", since=SINCE, advice="Tell the URL that the platform was given last.")
async def fetch_tells_the_newest_dashboard(target: Target) -> None:
    """dashboard_url of a fetch is the one that was told last, by the provisioning or
    by an update."""
    plan = _updating_if_any(target)
    instance = await target.provisioned(plan)
    assert instance.first is not None
    told, seen = instance.first, await fetched(instance)
    if not {told.get("dashboard_url"), seen.get("dashboard_url")} - {None}:
        skip(f"Instances of {plan.label} have no dashboard.")
    _same_dashboard(told, seen)
    if plan.facts.update.succeeded:
        answer = await changed(instance)
        told = told if answer.get("dashboard_url") is None else answer
        _same_dashboard(told, await fetched(instance))


def _updating_if_any(target: Target, *more: Want) -> Plan:
    """A plan whose instances can be fetched, and updated if there is one."""
    plans = target.plans(wants.retrievable, wants.usable, wants.updates, *more)
    return target.plan(
        wants.usable, wants.retrievable, *more, *([wants.updates] if plans else [])
    )


def _same_dashboard(told: Exchange, seen: Exchange) -> None:
    """What a fetch tells, if it tells one, was told."""
    url = seen.get("dashboard_url")
    if url is None:
        return
    expect(isinstance(url, str), "dashboard_url is no string", seen)
    before = told.get("dashboard_url")
    expect(
        before is None or before == url,
        "dashboard_url is not the one that was told last",
        told,
        seen,
    )


@check(
    "FETCH-08", since=SINCE, advice="Tell parameters as they were sent, or leave out."
)
async def fetch_tells_parameters_as_sent(target: Target) -> None:
    """parameters of a fetch are an object; a value in it is the one that was sent."""
    choice = with_choice(target)
    told = target.plans(wants.usable, wants.retrievable, choice)
    plan = target.plan(wants.usable, wants.retrievable, *([choice] if told else []))
    sent: Json = max(target.samples(plan).valid, key=len, default={})
    more: dict[str, Any] = {"parameters": sent} if sent else {}
    seen = await fetched(await target.provisioned(plan, **more))
    if "parameters" not in seen.object:
        skip("A fetch tells no parameters.")
    parameters = seen.get("parameters")
    expect(isinstance(parameters, dict), "parameters are no object", seen)
    expect_none(
        (
            f"the value of {name} is not the one that was sent"
            for name, value in sent.items()
            if name in parameters and parameters[name] != value
        ),
        seen,
    )


# --- how it is asked for -------------------------------------------------------------


@check("FETCH-10", since="2.16", advice="Take service_id and plan_id for hints.")
async def hints_of_a_fetch_are_not_needed(target: Target) -> None:
    """A fetch is answered 200 with service_id and plan_id, with one of them, and
    without."""
    plan = target.plan(wants.usable, wants.retrievable)
    instance = await target.provisioned(plan)
    ids = {"service_id": plan.offering.id, "plan_id": plan.id}
    await fetched(instance)
    for names in ((), ("service_id",), ("plan_id",), ("service_id", "plan_id")):
        answer = await instance.fetch(**{name: ids[name] for name in names})
        expect_status(answer, 200, said=f"with {' and '.join(names) or 'neither'}")


@check(
    "FETCH-11", since="2.16", advice="Leave wrong hints aside, or answer 400 or 404."
)
async def wrong_hints_of_a_fetch_do_no_harm(target: Target) -> None:
    """A fetch with the ids of another offering and plan is answered 200, 400 or
    404."""
    instance = await target.provisioned(target.plan(wants.usable, wants.retrievable))
    for name in ("service_id", "plan_id"):
        answer = await instance.fetch(**{name: str(uuid.uuid4())})
        expect_status(answer, 200, 400, 404, said=f"another {name}")


# --- what it does --------------------------------------------------------------------


@check("FETCH-12", since=SINCE, advice="Let GET read and write nothing.")
async def fetching_changes_nothing(target: Target) -> None:
    """Two fetches tell the same, and a PUT that is repeated after them is the same
    request as before."""
    instance = await target.provisioned(target.plan(wants.usable, wants.retrievable))
    first, second = await fetched(instance), await fetched(instance)
    expect_none(
        (
            f"{name} differs from fetch to fetch"
            for name in ATTRIBUTES
            if first.get(name) != second.get(name)
        ),
        first,
        second,
    )
    again = await instance.provision()
    expect(again.good, f"the PUT is now answered {again.status}", second, again)


@check("FETCH-12", since=SINCE, advice="Let GET read what the update has written.")
async def fetch_shows_the_update(target: Target) -> None:
    """A fetch after an update tells the new plan or the new parameters."""
    plan = target.plan(wants.retrievable, wants.updates)
    change = plan.facts.update_change
    wanted = {**change, **(change.get("parameters") or {})}
    wanted.pop("parameters", None)
    instance = await target.provisioned(plan, **_other_values(target, plan, wanted))
    before = await fetched(instance)
    answer = await changed(instance)
    after = await fetched(instance)
    old, new = _attributes(before), _attributes(after)
    told = [name for name in wanted if name in new]
    if not told:
        skip("A fetch tells nothing of what the update changed.")
    expect_none(
        (
            f"{name} is told as before the update"
            for name in told
            if new[name] == old.get(name) != wanted[name]
        ),
        before,
        answer,
        after,
    )


def _other_values(target: Target, plan: Plan, wanted: Json) -> dict[str, Any]:
    """Parameters to begin with, of the same names as those that an update changes."""
    for value in target.samples(plan).valid:
        same = wanted.keys() & value.keys()
        if same and all(value[name] != wanted[name] for name in same):
            return {"parameters": value}
    return {}


def _attributes(seen: Exchange) -> Json:
    """The plan and each of the parameters that a fetch tells."""
    parameters = seen.get("parameters")
    plan = {"plan_id": seen.get("plan_id")} if "plan_id" in seen.object else {}
    return {**(parameters if isinstance(parameters, dict) else {}), **plan}
