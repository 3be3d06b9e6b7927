"""Maintenance versions. Spec: "Maintenance Info Object", "Provisioning",
"Updating a Service Instance", "Service Broker Errors".

What the catalog says of them is judged here, and what the broker answers to requests
that name one. Whether a repeated request is recognised before its version is judged
(MAINT-10) cannot be seen without a catalog that changes.
"""

import re
from collections.abc import Iterator

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import (
    Skip,
    expect,
    expect_error,
    expect_none,
    skip,
)
from osbkit.conformance.registry import check
from osbkit.conformance.resources import Instance
from osbkit.conformance.target import Target

NUMBER = r"(?:0|[1-9]\d*)"
WORD = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
SEMANTIC = re.compile(
    rf"{NUMBER}\.{NUMBER}\.{NUMBER}"
    rf"(?:-{WORD}(?:\.{WORD})*)?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)
CONFLICT = "MaintenanceInfoConflict"
COMPARE = (
    "Compare maintenance_info.version with the catalog's version of the plan that the"
    ' request is about, and answer 422 with {"error": "MaintenanceInfoConflict"}.'
)


def semantic(version: object) -> bool:
    """Whether a value is a text that Semantic Versioning 2.0 allows."""
    return isinstance(version, str) and SEMANTIC.fullmatch(version) is not None


def unlike(plan: Plan) -> Json:
    """A maintenance_info with a version that the catalog does not give the plan."""
    usual = "999.0.0"
    return {"version": "999.0.1" if plan.maintenance_version == usual else usual}


def alike(plan: Plan) -> Json:
    """A maintenance_info with the catalog's version of the plan, and no more."""
    return {"version": plan.maintenance_version}


def adorned(plan: Plan) -> Json:
    """The catalog's version among fields that nobody has to know."""
    return {
        **alike(plan),
        "description": "Not the words of the catalog.",
        "x-osb-conformance": {"deep": [1, None]},
    }


# --- the catalog's word ---------------------------------------------------------------


def _given(target: Target) -> Iterator[tuple[str, Json]]:
    """Every maintenance_info that is an object, and whose it is."""
    for offering, plan in target.catalog.raw_plans():
        info = plan.get("maintenance_info")
        if isinstance(info, dict):
            yield f"{offering.get('name')}/{plan.get('name')}", info


@check("MAINT-01", advice="Write versions as major.minor.patch, such as 1.0.0.")
async def maintenance_versions_are_semantic(target: Target) -> None:
    """The version in a plan's maintenance_info is a semantic version (2.0)."""
    told = [(label, info) for label, info in _given(target) if "version" in info]
    if not told:
        skip("No plan of the catalog has a maintenance version.")
    expect_none(
        f"{label}: the maintenance version {info['version']!r} is not semantic"
        for label, info in told
        if not semantic(info["version"])
    )


@check("MAINT-02", advice="Say in `description` what the maintenance changes, or omit.")
async def maintenance_descriptions_are_words(target: Target) -> None:
    """The description in a plan's maintenance_info is a text with something in it."""
    told = [
        (label, info["description"])
        for label, info in _given(target)
        if info.get("description") is not None
    ]
    if not told:
        skip("No plan of the catalog describes its maintenance.")
    expect_none(
        f"{label}: maintenance_info.description says nothing"
        for label, words in told
        if not isinstance(words, str) or not words.strip()
    )


# --- provisioning ---------------------------------------------------------------------


@check("MAINT-04", "PROV-26", "ERR-11", since="2.15", advice=COMPARE)
async def other_version_is_not_provisioned(target: Target) -> None:
    """Provisioning with a maintenance version that is not the plan's is answered 422
    MaintenanceInfoConflict."""
    plan = target.plan(wants.usable, wants.maintained)
    answer = await target.instance(plan).provision(maintenance_info=unlike(plan))
    expect_error(answer, 422, CONFLICT)


@check("MAINT-06", since="2.15", advice="Compare versions as texts, build part too.")
async def same_version_is_provisioned(target: Target) -> None:
    """Provisioning with the catalog's maintenance version is accepted."""
    plan = target.plan(wants.usable, wants.maintained)
    answer = await target.instance(plan).provision(maintenance_info=alike(plan))
    _accepted(answer, "the catalog's own maintenance version")


@check("MAINT-06", since="2.15", advice="Judge maintenance_info only where it is sent.")
async def no_version_is_provisioned(target: Target) -> None:
    """A plan with maintenance_info is provisioned also without naming a version."""
    plans = target.plans(wants.maintained)
    if not plans:
        skip(f"The catalog has no plan {wants.maintained.words}.")
    for plan in plans:
        if wants.usable.holds(plan) or plan.facts.provision.begins:
            continue
        without = await target.instance(plan).provision()
        named = await target.instance(plan).provision(maintenance_info=alike(plan))
        expect(
            not (without.rejected and named.good),
            f"{plan.label} is provisioned only by requests that name the version",
            without,
            named,
        )


@check("MAINT-03", since="2.15", advice="Read maintenance_info.version, nothing else.")
async def only_the_version_counts_when_provisioning(target: Target) -> None:
    """Provisioning with the right version is accepted whatever else stands in
    maintenance_info."""
    plan = target.plan(wants.usable, wants.maintained)
    answer = await target.instance(plan).provision(maintenance_info=adorned(plan))
    _accepted(answer, "the right version among other fields")


@check("MAINT-07", since="2.15", advice=COMPARE)
async def version_of_a_plan_without_is_not_provisioned(target: Target) -> None:
    """Provisioning with a maintenance version is answered 422 MaintenanceInfoConflict
    where the plan has none."""
    plan = target.plan(wants.usable, wants.not_maintained)
    answer = await target.instance(plan).provision(maintenance_info=unlike(plan))
    expect_error(answer, 422, CONFLICT)


@check("MAINT-09", since="2.15", advice="Judge the version before anything is made.")
async def refused_version_makes_nothing(target: Target) -> None:
    """An id whose provisioning was refused for its maintenance version is as unknown
    as one that was never used."""
    plan = target.plan(wants.usable, wants.maintained)
    refused, unused = target.instance(plan), target.instance(plan)
    answer = await refused.provision(maintenance_info=unlike(plan))
    if not answer.rejected:
        skip("Another maintenance version is not refused.")
    for verb in ("poll", "fetch", "delete"):
        left = await getattr(refused, verb)()
        never = await getattr(unused, verb)()
        expect(
            never.good or not left.good,
            f"{verb} finds an instance whose provisioning was refused",
            answer,
            left,
        )


# --- updating -------------------------------------------------------------------------


async def _updatable(target: Target, *more: wants.Want) -> Instance:
    """A ready instance that takes an update naming nothing but its offering.

    Raises:
        Skip: it does not, so a refusal would prove nothing.
    """
    instance = await target.provisioned(target.plan(wants.usable, *more))
    alone = await instance.update()
    if not (await instance.ended(alone)).succeeded:
        raise Skip("Updates that change nothing are refused.")
    return instance


def _pair(target: Target) -> tuple[Plan, Plan]:
    """Two plans with different maintenance versions; the first can be left.

    Raises:
        Skip: there are none.
    """
    for plan in target.plans(wants.usable, wants.updateable, wants.maintained):
        for other in target.plans(wants.usable, wants.maintained):
            if (
                other.offering.id == plan.offering.id
                and other.maintenance_version != plan.maintenance_version
            ):
                return plan, other
    raise Skip("No two plans of one offering have different maintenance versions.")


@check("MAINT-05", "UPD-16", "ERR-11", since="2.15", advice=COMPARE)
async def other_version_is_not_updated_to(target: Target) -> None:
    """An update that names no plan, and a maintenance version that is not the
    present plan's, is answered 422 MaintenanceInfoConflict."""
    instance = await _updatable(target, wants.maintained)
    answer = await instance.update(maintenance_info=unlike(instance.plan))
    expect_error(answer, 422, CONFLICT)


@check("MAINT-05", "UPD-16", since="2.15", advice=COMPARE)
async def other_version_of_a_named_plan_is_not_updated_to(target: Target) -> None:
    """An update that names the plan, and a maintenance version that is not this
    plan's, is answered 422 MaintenanceInfoConflict."""
    instance = await _updatable(target, wants.maintained)
    plan = instance.plan
    answer = await instance.update(plan_id=plan.id, maintenance_info=unlike(plan))
    expect_error(answer, 422, CONFLICT)


@check("MAINT-05", "UPD-16", since="2.15", advice=COMPARE)
async def old_version_does_not_go_with_the_new_plan(target: Target) -> None:
    """A change of plan that names the maintenance version of the plan it leaves is
    answered 422 MaintenanceInfoConflict."""
    plan, other = _pair(target)
    instance = await target.provisioned(plan)
    answer = await instance.update(plan_id=other.id, maintenance_info=alike(plan))
    expect_error(answer, 422, CONFLICT)


@check("MAINT-06", since="2.15", advice="Compare versions as texts, build part too.")
async def same_version_is_updated_to(target: Target) -> None:
    """An update that names the catalog's maintenance version is accepted."""
    instance = await _updatable(target, wants.maintained)
    answer = await instance.update(maintenance_info=alike(instance.plan))
    _accepted(answer, "the catalog's own maintenance version")


@check("MAINT-06", since="2.15", advice="Take the version of the plan asked for.")
async def version_of_the_new_plan_goes_with_it(target: Target) -> None:
    """A change of plan that names the maintenance version of the plan it goes to is
    accepted."""
    plan, other = _pair(target)
    tried, instance = await target.provisioned(plan), await target.provisioned(plan)
    if not (await tried.update(plan_id=other.id)).good:
        skip(f"{plan.label} cannot be left for {other.label}.")
    answer = await instance.update(plan_id=other.id, maintenance_info=alike(other))
    _accepted(answer, "the maintenance version of the plan asked for")


@check("MAINT-03", since="2.15", advice="Read maintenance_info.version, nothing else.")
async def only_the_version_counts_when_updating(target: Target) -> None:
    """An update with the right version is accepted whatever else stands in
    maintenance_info."""
    instance = await _updatable(target, wants.maintained)
    answer = await instance.update(maintenance_info=adorned(instance.plan))
    _accepted(answer, "the right version among other fields")


@check("MAINT-07", since="2.15", advice=COMPARE)
async def version_of_a_plan_without_is_not_updated_to(target: Target) -> None:
    """An update with a maintenance version is answered 422 MaintenanceInfoConflict
    where the plan has none."""
    instance = await _updatable(target, wants.not_maintained)
    answer = await instance.update(maintenance_info=unlike(instance.plan))
    expect_error(answer, 422, CONFLICT)


@check("MAINT-09", since="2.15", advice="Judge the version before anything changes.")
async def refused_version_changes_nothing(target: Target) -> None:
    """An instance whose update was refused for its maintenance version is fetched
    as it was before."""
    plan = target.plan(wants.usable, wants.maintained, wants.retrievable, wants.updates)
    instance = await target.provisioned(plan)
    before = await instance.fetch()
    answer = await instance.update(
        maintenance_info=unlike(plan), **plan.facts.update_change
    )
    if not answer.rejected or before.status != 200:
        skip("Another maintenance version is not refused, or nothing can be fetched.")
    after = await instance.fetch()
    expect_none(
        [
            f"{name} changed though the update was refused"
            for name in ("plan_id", "parameters", "maintenance_info")
            if before.get(name) != after.get(name)
        ],
        answer,
        after,
    )


# --- fetching -------------------------------------------------------------------------


@check("MAINT-08", since="2.15", advice="Tell the version as the catalog writes it.")
async def fetched_maintenance_is_well_formed(target: Target) -> None:
    """A fetched instance that tells its maintenance_info tells a semantic version."""
    plan = target.plan(wants.usable, wants.retrievable, wants.maintained)
    instance = await target.provisioned(plan)
    answer = await instance.fetch()
    info = answer.get("maintenance_info")
    if info is None:
        skip("A fetched instance tells no maintenance_info.")
    expect(
        isinstance(info, dict) and semantic(info.get("version")),
        "maintenance_info of a fetched instance has no semantic version",
        answer,
    )


def _accepted(answer: Exchange, what: str) -> None:
    expect(answer.good, f"{what}: expected a 2xx, got {answer.status}", answer)
