"""Wrong in schemas of parameters; and right in unusual ways, which fails nothing."""

from collections.abc import Callable
from typing import Any

from tests.kit.matrix import Mutant, offers, tells
from tests.kit.reference import Json, ReferenceBroker

Change = Callable[[ReferenceBroker], None]
PLAN = "needs-app"


def _plan(catalog: Json, name: str) -> Json:
    plans: list[Json] = catalog["services"][0]["plans"]
    return next(each for each in plans if each["name"] == name)


def _schemas(edit: Callable[[Json], None], plan: str = PLAN) -> Change:
    """The `schemas` of one plan are edited in place."""
    return tells(lambda catalog: edit(_plan(catalog, plan)["schemas"]))


def _update(edit: Callable[[Json], None]) -> Change:
    """One schema for updates is edited in place."""
    return _schemas(lambda all: edit(all["service_instance"]["update"]["parameters"]))


def _words(**words: Any) -> Change:
    """One schema for updates has other words; `_` stands for `$`."""
    named = {key.replace("_", "$"): each for key, each in words.items()}
    return _update(lambda schema: schema.update(named))


def _only_its_draft(schema: Json) -> None:
    for word in {*schema} - {"$schema"}:
        del schema[word]


def _any_label(catalog: Json) -> None:
    actions = _plan(catalog, "sync")["schemas"]["service_instance"]
    schema = actions["update"]["parameters"]
    label = {"type": "string", "maxLength": 2**31 - 1}
    properties = {**schema["properties"], "label": label}
    actions["update"] = {"parameters": {**schema, "properties": properties}}


def _takes_all(resource: str, action: str) -> Change:
    """No parameters are refused there."""

    def change(broker: ReferenceBroker) -> None:
        right = broker.check_parameters

        def check(body: Json, plan: Json, *place: str) -> None:
            if place != (resource, action):
                right(body, plan, *place)

        vars(broker)["check_parameters"] = check

    return change


MUTANTS = [
    Mutant(
        "schema_of_instances_in_a_list",
        "schemas.service_instance is an array.",
        fails=("schemas_are_nested_as_specified",),
        change=_schemas(lambda all: all.update(service_instance=[])),
    ),
    Mutant(
        "schema_of_an_action_as_text",
        "schemas.service_binding.create is a text.",
        fails=("schemas_are_nested_as_specified",),
        change=_schemas(lambda all: all.update(service_binding={"create": "{}"})),
    ),
    Mutant(
        "schema_as_text",
        "A schema of parameters is JSON in a text.",
        fails=("schemas_are_nested_as_specified",),
        change=_schemas(
            lambda all: all["service_instance"].update(update={"parameters": "{}"})
        ),
    ),
    Mutant(
        "schema_of_no_draft",
        "A schema does not name its draft.",
        fails=("schemas_name_their_draft",),
        change=_update(lambda schema: schema.pop("$schema")),
    ),
    Mutant(
        "schema_elsewhere",
        "A schema refers to another document.",
        fails=("schemas_stand_alone",),
        change=_words(properties={"size": {"$ref": "https://example.com/size.json"}}),
    ),
    Mutant(
        "schema_in_a_file",
        "A schema deep inside refers to a file beside it.",
        fails=("schemas_stand_alone",),
        change=_words(
            properties={"sizes": {"type": "array", "items": {"$ref": "size.json#/a"}}}
        ),
    ),
    Mutant(
        "schema_nowhere",
        "A schema refers to what is no URI.",
        fails=("schemas_stand_alone",),
        change=_words(properties={"size": {"$ref": "http://[size"}}),
    ),
    Mutant(
        "schema_with_names_of_its_own",
        "Nothing is wrong: references go to places and names in the schema itself, and"
        " what looks like one is a property, or a value.",
        fails=(),
        change=_words(
            id="https://example.com/update.json",
            definitions={"size": {"id": "size.json", "type": "integer"}},
            properties={
                "size": {"$ref": "size.json"},
                "large": {"$ref": "#/definitions/size"},
                "$ref": {"enum": [{"$ref": "https://example.com/other.json"}]},
            },
        ),
    ),
    Mutant(
        "schema_too_large",
        "A schema has more than 64 kB.",
        fails=("schemas_are_small",),
        change=_words(description="a" * 64 * 1024),
    ),
    Mutant(
        "schema_just_small_enough",
        "Nothing is wrong: a schema has nearly 64 kB, of characters that JSON may"
        " write longer.",
        fails=(),
        change=_words(description="ä" * 32_000),
    ),
    Mutant(
        "schema_with_a_vast_bound",
        "Nothing is wrong: a text may have as many characters as a signed integer"
        " can count.",
        fails=(),
        change=offers(_any_label),
    ),
    Mutant(
        "schema_invalid",
        "A schema has a text as its least number.",
        fails=("schemas_are_valid",),
        change=_words(properties={"size": {"type": "integer", "minimum": "1"}}),
    ),
    Mutant(
        "schema_of_a_later_draft",
        "A schema in the words of draft-06 says that it is of draft-04.",
        fails=("schemas_are_valid",),
        change=_words(properties={"size": {"type": "integer", "exclusiveMinimum": 0}}),
    ),
    Mutant(
        "schema_of_an_array",
        "A schema describes an array.",
        fails=("parameters_are_properties",),
        change=_words(type="array", properties={}),
    ),
    Mutant(
        "schema_of_nothing",
        "A schema says nothing but its draft.",
        fails=("parameters_are_properties",),
        change=_update(_only_its_draft),
    ),
    Mutant(
        "schema_of_draft_07",
        "A schema is of draft-07.",
        fails=("schemas_are_of_draft_04",),
        change=_words(_schema="http://json-schema.org/draft-07/schema#"),
    ),
    Mutant(
        "schema_for_bindings_that_cannot_be",
        "A plan that cannot be bound has a schema for bindings.",
        fails=("only_bindable_plans_have_schemas_of_bindings",),
        change=tells(
            lambda catalog: _plan(catalog, "unbound")["schemas"].update(
                _plan(catalog, "sync")["schemas"]
            )
        ),
    ),
    Mutant(
        "schema_not_held_when_updating",
        "An update takes parameters that the schema refuses.",
        fails=("invalid_parameters_are_not_updated_to",),
        change=_takes_all("service_instance", "update"),
    ),
    Mutant(
        "schema_not_held_when_binding",
        "A binding takes parameters that the schema refuses.",
        fails=("invalid_parameters_are_not_bound",),
        change=_takes_all("service_binding", "create"),
    ),
]
