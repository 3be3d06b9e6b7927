"""Wrong in the catalog: in what it says, or in what it promises and does not keep.

What is spoilt is what other checks build upon least: the last offering, and a plan
that only one of them needs.
"""

from collections.abc import Callable
from itertools import count
from typing import Any
from uuid import uuid4

from tests.kit.matrix import Mutant, Rewrite, answers, offers, refuses, tells
from tests.kit.narrow import instance_of, plan_id
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker

Change = Callable[[ReferenceBroker], None]


def _offering(catalog: Json, name: str = "overrides") -> Json:
    services: list[Json] = catalog["services"]
    return next(each for each in services if each["name"] == name)


def _plan(catalog: Json) -> Json:
    plan: Json = _offering(catalog)["plans"][1]
    return plan


def _offering_says(**said: Any) -> Change:
    """Fields of the last offering are told otherwise."""
    return tells(lambda catalog: _offering(catalog).update(said))


def _plan_says(**said: Any) -> Change:
    """Fields of its last plan are told otherwise."""
    return tells(lambda catalog: _plan(catalog).update(said))


def _later(becomes: Rewrite) -> Change:
    """The catalog is right when it is read first, and changed from then on."""

    def change(broker: ReferenceBroker) -> None:
        reads = count()

        def rewrite(asked: Asked, told: Answer) -> Answer | None:
            return becomes(asked, told) if next(reads) else None

        answers("GET catalog", 200, rewrite)(broker)

    return change


def _new_plan_id(asked: Asked, told: Answer) -> Answer:
    _plan(told.body)["id"] = str(uuid4())
    return told


def _new_offering_id(asked: Asked, told: Answer) -> Answer:
    _offering(told.body)["id"] = str(uuid4())
    return told


def _services_alone(asked: Asked, told: Answer) -> Answer:
    told.body = told.body["services"]
    return told


def _not_acceptable(asked: Asked, told: Answer) -> Answer:
    if asked.headers.get("accept") == "*/*":
        told.status, told.body = 406, {"description": "There is JSON only."}
    return told


def _grown(asked: Asked, told: Answer) -> Answer:
    plans = _offering(told.body)["plans"]
    plans[:] = [plans[0], {**plans[1], "id": str(uuid4()), "name": str(uuid4())}]
    return told


def _unchanged_for(header: str) -> Change:
    """304 to whoever has a copy, whichever it is."""

    def becomes(asked: Asked, told: Answer) -> Answer:
        if header in asked.headers:
            told.status, told.raw = 304, b""
        return told

    return answers("GET catalog", 200, becomes)


def _misspelt(thing: Json) -> None:
    thing["plan_updatable"] = thing.pop("plan_updateable", False)


def _same(name: str, of: Callable[[Json], Json], to: Callable[[Json], Json]) -> Change:
    """One thing of the catalog gets a field of another, and keeps to it."""
    return offers(lambda catalog: to(catalog).update({name: of(catalog)[name]}))


def _by_the_offering(name: str) -> Change:
    """What a plan says of itself counts for nothing."""

    def change(broker: ReferenceBroker) -> None:
        plan_of = broker.plan_of

        def found(service_id: Any, plan_id: Any) -> tuple[Json, Json]:
            offering, plan = plan_of(service_id, plan_id)
            if offering["name"] == "overrides":
                plan = {key: each for key, each in plan.items() if key != name}
            return offering, plan

        vars(broker)["plan_of"] = found

    return change


def _always(name: str) -> Change:
    """Whatever the catalog says, all plans can be bound, or left."""

    def change(broker: ReferenceBroker) -> None:
        plan_of = broker.plan_of

        def found(service_id: Any, plan_id: Any) -> tuple[Json, Json]:
            offering, plan = plan_of(service_id, plan_id)
            return offering, {**plan, name: True}

        vars(broker)["plan_of"] = found

    return change


def _no_context_alone(broker: ReferenceBroker) -> None:
    """An update must change something that the broker knows."""
    update = broker.update

    def act(asked: Asked) -> Answer:
        if {*asked.body} == {"service_id", "context"}:
            return Answer(400, {"description": "There is nothing to update."})
        return update(asked)

    vars(broker)["update"] = act


OF_OFFERINGS: list[tuple[str, Any, str]] = [
    ("tags", "a", "tags_are_texts"),
    ("tags", ["a", 1], "tags_are_texts"),
    ("requires", ["all"], "permissions_are_known"),
    ("bindable", "no", "offerings_say_whether_they_are_bindable"),
    ("instances_retrievable", "yes", "instances_retrievable_is_a_boolean"),
    ("bindings_retrievable", 1, "bindings_retrievable_is_a_boolean"),
    ("allow_context_updates", "false", "allow_context_updates_is_a_boolean"),
    ("metadata", [], "metadata_of_offerings_is_an_object"),
    ("dashboard_client", "me", "dashboard_client_is_an_object"),
    ("plan_updateable", "no", "plan_updateable_of_offerings_is_a_boolean"),
    ("binding_rotatable", True, "binding_rotatable_is_a_boolean_of_plans"),
    ("plans", [], "offerings_have_plans"),
    ("plans", {}, "offerings_have_plans"),
]
OF_PLANS: list[tuple[str, Any, str]] = [
    ("metadata", "{}", "metadata_of_plans_is_an_object"),
    ("free", "true", "free_is_a_boolean"),
    ("bindable", "no", "bindable_of_plans_is_a_boolean"),
    ("binding_rotatable", "no", "binding_rotatable_is_a_boolean_of_plans"),
    ("plan_updateable", "no", "plan_updateable_of_plans_is_a_boolean"),
    ("schemas", "{}", "schemas_are_an_object"),
    ("maximum_polling_duration", "600", "maximum_polling_duration_is_in_seconds"),
    ("maximum_polling_duration", 0.5, "maximum_polling_duration_is_in_seconds"),
    ("maximum_polling_duration", True, "maximum_polling_duration_is_in_seconds"),
    ("maintenance_info", "1.0.0", "maintenance_info_has_a_version"),
    ("maintenance_info", {"description": "New."}, "maintenance_info_has_a_version"),
]


def _wrong_types(
    of: str, says: Callable[..., Change], table: list[tuple[str, Any, str]]
) -> list[Mutant]:
    """A mutant for each row: a field, a value that it cannot have, who says so."""
    return [
        Mutant(
            f"catalog_{of}_with_{field}_{number}",
            f"{field} of the {of} is {value!r}.",
            fails=(fails,),
            change=says(**{field: value}),
        )
        for number, (field, value, fails) in enumerate(table)
    ]


def _of_plain(broker: ReferenceBroker, asked: Asked) -> bool:
    """Whether the instance, which is there, is of an offering that others replace."""
    instance = instance_of(broker, asked)
    return instance is not None and instance.attributes["plan_id"] in PLAIN


PLAIN = {plan_id(name, "plain") for name in ("only", "more")}

MUTANTS = [
    *_wrong_types("offering", _offering_says, OF_OFFERINGS),
    *_wrong_types("plan", _plan_says, OF_PLANS),
    Mutant(
        "catalog_is_406",
        "The catalog is refused to a client that takes any type.",
        fails=("catalog_is_200",),
        change=answers("GET catalog", 200, _not_acceptable),
    ),
    Mutant(
        "catalog_is_an_array",
        "The catalog is answered as an array from the second time on.",
        fails=("catalog_is_a_list_of_offerings", "successes_are_objects"),
        change=_later(_services_alone),
    ),
    Mutant(
        "catalog_holds_a_word",
        "Something in `services` is no object.",
        fails=("catalog_is_a_list_of_offerings",),
        change=tells(lambda catalog: catalog["services"].append("overrides")),
    ),
    Mutant(
        "catalog_makes_plan_ids",
        "A plan has a new id each time.",
        fails=("ids_stay",),
        change=_later(_new_plan_id),
    ),
    Mutant(
        "catalog_makes_offering_ids",
        "An offering has a new id each time.",
        fails=("ids_stay",),
        change=_later(_new_offering_id),
    ),
    Mutant(
        "catalog_grows",
        "Nothing is wrong: a plan goes and another comes.",
        fails=(),
        change=_later(_grown),
    ),
    Mutant(
        "catalog_is_304_to_all_etags",
        "The catalog is answered 304 to any ETag.",
        fails=("catalog_by_its_etag",),
        change=_unchanged_for("if-none-match"),
    ),
    Mutant(
        "catalog_is_304_to_all_dates",
        "The catalog is answered 304 to any date.",
        fails=("catalog_after_an_old_copy",),
        change=_unchanged_for("if-modified-since"),
    ),
    Mutant(
        "catalog_offering_without_name",
        "An offering has an empty name.",
        fails=("offerings_have_names",),
        change=_offering_says(name=""),
    ),
    Mutant(
        "catalog_offering_named_twice",
        "Two offerings have the same name.",
        fails=("names_of_offerings_are_unique",),
        change=_offering_says(name="plain"),
    ),
    Mutant(
        "catalog_offerings_differ_in_case",
        "Nothing is wrong: names that differ in case are two names.",
        fails=(),
        change=_offering_says(name="PLAIN"),
    ),
    Mutant(
        "catalog_offering_name_with_blanks",
        "The name of an offering has a blank.",
        fails=("names_of_offerings_are_friendly",),
        change=_offering_says(name="my service"),
    ),
    Mutant(
        "catalog_offering_without_id",
        "An offering has no id.",
        fails=("offerings_have_ids_of_their_own",),
        change=tells(lambda catalog: _offering(catalog).pop("id")),
    ),
    Mutant(
        "catalog_offering_id_twice",
        "Two offerings have the same id.",
        fails=("offerings_have_ids_of_their_own",),
        change=_same("id", lambda all: _offering(all, "plain"), _offering),
    ),
    Mutant(
        "catalog_plan_id_of_its_offering",
        "A plan has the id of its offering.",
        fails=("offerings_have_ids_of_their_own", "plans_have_ids_of_their_own"),
        change=_same("id", _offering, _plan),
    ),
    Mutant(
        "catalog_offering_id_is_a_word",
        "The id of an offering is no GUID.",
        fails=("ids_of_offerings_are_guids",),
        change=offers(lambda catalog: _offering(catalog).update(id="overrides")),
    ),
    Mutant(
        "catalog_offering_without_description",
        "An offering has an empty description.",
        fails=("offerings_have_descriptions",),
        change=_offering_says(description=""),
    ),
    Mutant(
        "catalog_offering_misspelt",
        "An offering says plan_updatable.",
        fails=("plan_updateable_of_offerings_is_a_boolean",),
        change=tells(lambda catalog: _misspelt(_offering(catalog))),
    ),
    Mutant(
        "catalog_offering_spelt_both_ways",
        "Nothing is wrong: an offering says plan_updatable, too.",
        fails=(),
        change=_offering_says(plan_updatable=False),
    ),
    Mutant(
        "catalog_plan_without_id",
        "A plan has no id.",
        fails=("plans_have_ids_of_their_own",),
        change=tells(lambda catalog: _plan(catalog).pop("id")),
    ),
    Mutant(
        "catalog_plan_id_twice",
        "Plans of two offerings have the same id.",
        fails=("plans_have_ids_of_their_own",),
        change=_same("id", lambda all: _offering(all, "volume")["plans"][0], _plan),
    ),
    Mutant(
        "catalog_plan_id_is_a_word",
        "The id of a plan is no GUID.",
        fails=("ids_of_plans_are_guids",),
        change=offers(lambda catalog: _plan(catalog).update(id="none")),
    ),
    Mutant(
        "catalog_plan_without_name",
        "A plan has no name.",
        fails=("plans_have_names",),
        change=tells(lambda catalog: _plan(catalog).pop("name")),
    ),
    Mutant(
        "catalog_plan_named_twice",
        "Two plans of an offering have the same name.",
        fails=("names_of_plans_are_unique",),
        change=_plan_says(name="own"),
    ),
    Mutant(
        "catalog_plan_name_says_nothing",
        "The name of a plan is a hyphen.",
        fails=("names_of_plans_are_friendly",),
        change=_plan_says(name="-"),
    ),
    Mutant(
        "catalog_plan_without_description",
        "A plan has no description.",
        fails=("plans_have_descriptions",),
        change=tells(lambda catalog: _plan(catalog).pop("description")),
    ),
    Mutant(
        "catalog_plan_misspelt",
        "A plan says plan_updatable.",
        fails=("plan_updateable_of_plans_is_a_boolean",),
        change=tells(lambda catalog: _misspelt(_plan(catalog))),
    ),
    Mutant(
        "catalog_plan_described_at_length",
        "The description of a plan has 256 characters.",
        fails=("texts_are_short",),
        change=_plan_says(description="ä" * 256),
    ),
    Mutant(
        "catalog_plan_described_just_shortly",
        "Nothing is wrong: the description of a plan has 255 characters.",
        fails=(),
        change=_plan_says(description="ä" * 255),
    ),
    Mutant(
        "catalog_with_nulls",
        "What a plan does not say is null.",
        fails=("catalog_has_no_nulls",),
        change=_plan_says(schemas=None, bindable=None, maintenance_info=None),
    ),
    Mutant(
        "catalog_plan_id_with_a_slash",
        "The id of a plan has a slash in it.",
        fails=(
            "ids_are_unreserved",
            "ids_of_plans_are_guids",
            "brokers_ids_are_unreserved",
        ),
        change=offers(lambda catalog: _plan(catalog).update(id="overrides/none")),
    ),
    Mutant(
        "catalog_plan_bindable_ignored",
        "The bindable of a plan counts for nothing beside its offering's.",
        fails=("bindable_of_a_plan_overrides",),
        change=_by_the_offering("bindable"),
    ),
    *(
        Mutant(
            f"catalog_bindable_is_{code}",
            f"Bindings of an offering that says bindable: true are answered {code}.",
            fails=("what_is_bindable_can_be_bound",),
            change=refuses("bind", code, _of_plain),
        )
        for code in (404, 405, 500)
    ),
    Mutant(
        "catalog_plan_updateable_ignored",
        "The plan_updateable of a plan counts for nothing beside its offering's.",
        fails=("plan_updateable_of_a_plan_overrides",),
        change=_by_the_offering("plan_updateable"),
    ),
    Mutant(
        "catalog_unbindable_is_bound",
        "What is not bindable can be bound.",
        fails=("what_is_not_bindable_is_not_bound",),
        change=_always("bindable"),
    ),
    Mutant(
        "catalog_fixed_plan_is_left",
        "What is not plan_updateable can be left for another plan.",
        fails=("what_is_not_updateable_keeps_its_plan",),
        change=_always("plan_updateable"),
    ),
    Mutant(
        "catalog_context_alone_refused",
        "An update of nothing but the context is refused.",
        fails=("context_alone_can_be_updated",),
        change=_no_context_alone,
    ),
]
