"""Wrong in maintenance versions."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.kit.matrix import Mutant, answers, fields, offers
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal

Change = Callable[[ReferenceBroker], None]
Judge = Callable[[Json, Json], None]
CONFLICT = "MaintenanceInfoConflict"


def _conflict(code: str = CONFLICT) -> Refusal:
    return Refusal(422, "The plan's maintenance has changed.", code)


def _put(broker: ReferenceBroker, **methods: Callable[..., Any]) -> None:
    """Methods of this one broker are replaced."""
    vars(broker).update(methods)


def _judges(verb: str, judge: Callable[..., None]) -> Change:
    """One verb judges maintenance in its own way: of body, plan, the right judge."""

    def change(broker: ReferenceBroker) -> None:
        right: Judge = broker.check_maintenance
        acts: Callable[[Asked], Answer] = getattr(broker, verb)

        def act(asked: Asked) -> Answer:
            _put(broker, check_maintenance=partial(judge, right=right))
            try:
                return acts(asked)
            finally:
                _put(broker, check_maintenance=right)

        setattr(broker, verb, act)

    return change


def _never(body: Json, plan: Json, right: Judge) -> None:
    """Every version is taken."""


def _other_word(body: Json, plan: Json, right: Judge) -> None:
    try:
        right(body, plan)
    except Refusal:
        raise _conflict("MaintenanceConflict") from None


def _plan_named(body: Json, plan: Json, right: Judge) -> None:
    if "plan_id" in body:
        right(body, plan)


def _plan_not_named(body: Json, plan: Json, right: Judge) -> None:
    if "plan_id" not in body:
        right(body, plan)


def _every_field(body: Json, plan: Json, right: Judge) -> None:
    right(body, plan)
    asked = body.get("maintenance_info") or {}
    if {*asked} - {"version"}:
        raise _conflict()


def _no_build(body: Json, plan: Json, right: Judge) -> None:
    asked = (body.get("maintenance_info") or {}).get("version")
    offered = plan.get("maintenance_info", {}).get("version", "").partition("+")[0]
    if asked is not None and asked != offered:
        raise _conflict()


def _required(body: Json, plan: Json, right: Judge) -> None:
    if plan["name"] == "auto" and "maintenance_info" not in body:
        raise _conflict()
    right(body, plan)


def _plans_with_one(body: Json, plan: Json, right: Judge) -> None:
    if "maintenance_info" in plan:
        right(body, plan)


def _of_the_present_plan(broker: ReferenceBroker) -> None:
    """An update compares with the plan that is left."""
    right, update = broker.check_maintenance, broker.update

    def act(asked: Asked) -> Answer:
        instance = broker.instances.get(asked.instance_id)
        held = instance.attributes if instance else {}

        def judge(body: Json, plan: Json) -> None:
            right(body, broker.plan_of(held["service_id"], held["plan_id"])[1])

        _put(broker, check_maintenance=judge)
        try:
            return update(asked)
        finally:
            _put(broker, check_maintenance=right)

    _put(broker, update=act)


def _acts_all_the_same(verb: str) -> Change:
    """The conflict is told, and the request carried out."""

    def change(broker: ReferenceBroker) -> None:
        acts: Callable[[Asked], Answer] = getattr(broker, verb)

        def act(asked: Asked) -> Answer:
            try:
                return acts(asked)
            except Refusal as refusal:
                if refusal.answer.body.get("error") == CONFLICT:
                    acts(_without_maintenance(asked))
                raise

        setattr(broker, verb, act)

    return change


def _without_maintenance(asked: Asked) -> Asked:
    body = {key: each for key, each in asked.body.items() if key != "maintenance_info"}
    return replace(asked, content=json.dumps(body).encode())


def _info(plan: str, **changes: Any) -> Change:
    """One plan's maintenance_info with other fields."""

    def edit(catalog: Json) -> None:
        for each in catalog["services"][0]["plans"]:
            if each["name"] == plan:
                each["maintenance_info"] = {**each["maintenance_info"], **changes}

    return offers(edit)


MUTANTS = [
    Mutant(
        "maintenance_version_short",
        "A maintenance version has two numbers.",
        fails=("maintenance_versions_are_semantic",),
        change=_info("needs-app", version="2.1"),
    ),
    Mutant(
        "maintenance_version_padded",
        "A maintenance version has a leading zero.",
        fails=("maintenance_versions_are_semantic",),
        change=_info("needs-app", version="2.01.0"),
    ),
    Mutant(
        "maintenance_description_empty",
        "A maintenance description is empty.",
        fails=("maintenance_descriptions_are_words",),
        change=_info("needs-app", description=""),
    ),
    Mutant(
        "maintenance_ignored_by_provision",
        "Provisioning takes every maintenance version of a plan that has one.",
        fails=("other_version_is_not_provisioned",),
        change=_judges(
            "provision",
            lambda body, plan, right: (
                None if "maintenance_info" in plan else right(body, plan)
            ),
        ),
    ),
    Mutant(
        "maintenance_other_word_of_provision",
        "Provisioning refuses another maintenance version with another code.",
        fails=(
            "other_version_is_not_provisioned",
            "version_of_a_plan_without_is_not_provisioned",
        ),
        change=_judges("provision", _other_word),
    ),
    Mutant(
        "maintenance_ignored_by_update",
        "An update takes every maintenance version.",
        fails=(
            "other_version_is_not_updated_to",
            "other_version_of_a_named_plan_is_not_updated_to",
            "old_version_does_not_go_with_the_new_plan",
            "version_of_a_plan_without_is_not_updated_to",
        ),
        change=_judges("update", _never),
    ),
    Mutant(
        "maintenance_judged_with_a_plan_only",
        "An update that names no plan takes every maintenance version.",
        fails=(
            "other_version_is_not_updated_to",
            "version_of_a_plan_without_is_not_updated_to",
        ),
        change=_judges("update", _plan_named),
    ),
    Mutant(
        "maintenance_judged_without_a_plan_only",
        "An update that names a plan takes every maintenance version.",
        fails=(
            "other_version_of_a_named_plan_is_not_updated_to",
            "old_version_does_not_go_with_the_new_plan",
        ),
        change=_judges("update", _plan_not_named),
    ),
    Mutant(
        "maintenance_of_the_present_plan",
        "A change of plan is compared with the version of the plan that is left.",
        fails=(
            "old_version_does_not_go_with_the_new_plan",
            "version_of_the_new_plan_goes_with_it",
        ),
        change=_of_the_present_plan,
    ),
    Mutant(
        "maintenance_fields_refused_by_provision",
        "Provisioning refuses what stands beside the maintenance version.",
        fails=("only_the_version_counts_when_provisioning",),
        change=_judges("provision", _every_field),
    ),
    Mutant(
        "maintenance_fields_refused_by_update",
        "An update refuses what stands beside the maintenance version.",
        fails=("only_the_version_counts_when_updating",),
        change=_judges("update", _every_field),
    ),
    Mutant(
        "maintenance_build_cut_off_by_provision",
        "Provisioning compares with the catalog's version without its build part.",
        fails=(
            "same_version_is_provisioned",
            "only_the_version_counts_when_provisioning",
        ),
        change=_judges("provision", _no_build),
    ),
    Mutant(
        "maintenance_build_cut_off_by_update",
        "An update compares with the catalog's version without its build part.",
        fails=("same_version_is_updated_to", "only_the_version_counts_when_updating"),
        change=_judges("update", _no_build),
    ),
    Mutant(
        "maintenance_required",
        "A plan is provisioned only by requests that name its maintenance version.",
        fails=("no_version_is_provisioned", "codes_mean_what_they_say"),
        change=_judges("provision", _required),
    ),
    Mutant(
        "maintenance_of_a_plan_without_provisioned",
        "Provisioning takes any version for a plan without maintenance_info.",
        fails=("version_of_a_plan_without_is_not_provisioned",),
        change=_judges("provision", _plans_with_one),
    ),
    Mutant(
        "maintenance_of_a_plan_without_updated",
        "An update takes any version for a plan without maintenance_info.",
        fails=("version_of_a_plan_without_is_not_updated_to",),
        change=_judges("update", _plans_with_one),
    ),
    Mutant(
        "maintenance_conflict_provisions",
        "A PUT that is refused for its maintenance version makes the instance.",
        fails=("refused_version_makes_nothing",),
        change=_acts_all_the_same("provision"),
    ),
    Mutant(
        "maintenance_conflict_updates",
        "A PATCH that is refused for its maintenance version is carried out.",
        fails=("refused_version_changes_nothing",),
        change=_acts_all_the_same("update"),
    ),
    Mutant(
        "maintenance_fetched_as_a_word",
        "A fetched instance tells its maintenance version as text, not as an object.",
        fails=("fetched_maintenance_is_well_formed",),
        change=answers("GET instance", 200, fields(maintenance_info="2.1.1")),
    ),
]
