"""Wrong in maintenance versions."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.kit.matrix import Mutant, answers, fields, offers
from tests.kit.narrow import Change, thing_of
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal

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


def _required_as_a_field(body: Json, plan: Json, right: Judge) -> None:
    if plan["name"] == "auto" and "maintenance_info" not in body:
        raise Refusal(400, "The field maintenance_info is missing.")
    right(body, plan)


def _described(body: Json, plan: Json, right: Judge) -> None:
    right(body, plan)
    moves = "plan_id" in body and "organization_guid" not in body
    info = body.get("maintenance_info")
    if info and "description" not in info and not moves:
        raise Refusal(400, "The description of the maintenance is missing.")


def _plan_named_or_without(body: Json, plan: Json, right: Judge) -> None:
    if "plan_id" in body or "maintenance_info" not in plan:
        right(body, plan)


def _plans_with_one(body: Json, plan: Json, right: Judge) -> None:
    if "maintenance_info" in plan:
        right(body, plan)


def _beside_the_present(judge: Callable[[Json, Json, Json, Judge], None]) -> Change:
    """Updates are judged in another way.

    Args:
        judge: of the body, the present plan, the plan asked for, the right judge.
    """

    def change(broker: ReferenceBroker) -> None:
        right, update = broker.check_maintenance, broker.update

        def act(asked: Asked) -> Answer:
            instance = thing_of(broker, asked)
            held = instance.attributes if instance else {}

            def judged(body: Json, plan: Json) -> None:
                _, present = broker.plan_of(held["service_id"], held["plan_id"])
                judge(body, present, plan, right)

            _put(broker, check_maintenance=judged)
            try:
                return update(asked)
            finally:
                _put(broker, check_maintenance=right)

        _put(broker, update=act)

    return change


def _the_present(body: Json, present: Json, plan: Json, right: Judge) -> None:
    right(body, present)


def _either(body: Json, present: Json, plan: Json, right: Judge) -> None:
    try:
        right(body, plan)
    except Refusal:
        right(body, present)


def _unless_it_stays(body: Json, present: Json, plan: Json, right: Judge) -> None:
    if body.get("plan_id") != present["id"]:
        right(body, plan)


def _none_for_a_change(body: Json, present: Json, plan: Json, right: Judge) -> None:
    if plan is not present and "maintenance_info" in body:
        raise _conflict()
    right(body, plan)


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
        "maintenance_not_judged_where_there_is_one",
        "An update that names no plan takes every version if the plan has one.",
        fails=("other_version_is_not_updated_to",),
        change=_judges("update", _plan_named_or_without),
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
        change=_beside_the_present(_the_present),
    ),
    Mutant(
        "maintenance_of_either_plan",
        "A change of plan takes the version of the plan that is left as well.",
        fails=("old_version_does_not_go_with_the_new_plan",),
        change=_beside_the_present(_either),
    ),
    Mutant(
        "maintenance_of_no_new_plan",
        "A change of plan that names any version is refused.",
        fails=("version_of_the_new_plan_goes_with_it",),
        change=_beside_the_present(_none_for_a_change),
    ),
    Mutant(
        "maintenance_judged_unless_the_plan_stays",
        "An update that names the present plan takes every maintenance version.",
        fails=("other_version_of_a_named_plan_is_not_updated_to",),
        change=_beside_the_present(_unless_it_stays),
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
    *(
        Mutant(
            f"maintenance_described_to_{verb}",
            f"A {verb} with a version needs the description of the maintenance, too.",
            fails=(fails,),
            change=_judges(verb, _described),
        )
        for verb, fails in {
            "provision": "same_version_is_provisioned",
            "update": "same_version_is_updated_to",
        }.items()
    ),
    Mutant(
        "maintenance_required_as_a_field",
        "A plan is provisioned only with maintenance_info, else it is a malformed PUT.",
        fails=("no_version_is_provisioned",),
        change=_judges("provision", _required_as_a_field),
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
