"""From models to draft-04: the schema takes what the model takes.

The values are JSON texts: made near to what a model takes, then bent.
"""

import enum
import json
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    WithJsonSchema,
)

from osbkit.catalog import (
    ModelRules,
    ModelUnfit,
    SchemaRules,
    Unfit,
    bind_schema,
    create_schema,
    update_schema,
)
from osbkit.catalog.positions import walk

DRAFT_04 = "http://json-schema.org/draft-04/schema#"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class DeadLetter(BaseModel, extra="forbid"):
    after: int = Field(gt=0, lt=10)
    to: Annotated[str, Field(pattern="^[a-z]+$", max_length=5)] | None = None


class Bounds(BaseModel, extra="forbid"):
    """Numbers with every kind of bound."""

    whole: int = Field(ge=-2, le=5, multiple_of=2)
    open: float = Field(gt=0, lt=1.5)
    both: Annotated[int, Field(gt=1), Field(ge=0)] = 2
    flag: bool = False


class Lists(BaseModel):
    """Lists, sets, tuples; unknown fields are passed over."""

    names: list[Annotated[str, Field(min_length=1, max_length=3)]] = Field(
        default=["a"], min_length=1, max_length=3
    )
    pair: tuple[int, str] = (1, "a")
    many: tuple[bool, ...] = ()
    kinds: set[Literal["a", "b"]] = set()
    anything: list[Any] = []


class Words(BaseModel, extra="forbid"):
    """Enums, literals and unions."""

    colour: Colour = Colour.RED
    fixed: Literal["x"] = "x"
    mixed: Literal["a", 1, None, True] = "a"
    level: Level = Level.LOW
    size: int | Literal["all"] = "all"
    either: DeadLetter | list[DeadLetter] | None = None


class Maps(BaseModel, extra="forbid"):
    """Dicts with every kind of key that draft-04 has a word for."""

    plain: dict[str, int] = {}
    patterned: dict[Annotated[str, Field(pattern="^x[a-z]$")], bool] = {}
    short: dict[Annotated[str, Field(min_length=1, max_length=2)], int] = {}
    listed: dict[Literal["a", "b"], str] = {}
    coloured: dict[Colour, Any] = {}
    limited: dict[str, dict[str, None]] = Field(default={}, max_length=2)


class Circle(BaseModel, extra="forbid"):
    kind: Literal["circle"] = "circle"
    radius: float = Field(ge=0)


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: int


class Shapes(BaseModel, extra="forbid"):
    """A union with a tag, also inside a list; a model that holds itself."""

    shape: Annotated[Circle | Square, Field(discriminator="kind")]
    others: list[Annotated[Circle | Square, Field(discriminator="kind")]] = []
    inner: "Shapes | None" = None


class Renamed(BaseModel):
    """Names on the wire that are no names in Python."""

    model_config = ConfigDict(title="Names of its own", extra="forbid")

    max_size: int = Field(alias="max-size", ge=0, description="In bytes.")
    ref: str = Field("a", alias="$ref")
    default: str = Field("b", title="The default")


FITTING: dict[type[BaseModel], dict[str, Any]] = {
    Bounds: {"whole": 4, "open": 0.25, "flag": True},
    Lists: {"names": ["a", "abc"], "pair": [1, ""], "kinds": ["a", "a"], "x": 1},
    Words: {"colour": "blue", "mixed": None, "size": 3, "either": [{"after": 1}]},
    Maps: {"patterned": {"xy": True}, "short": {"ab": 1}, "coloured": {"red": []}},
    Shapes: {"shape": {"kind": "square", "side": 1}, "inner": None},
    Renamed: {"max-size": 0, "$ref": "x"},
}
MODELS = list(FITTING)

SCALARS = st.sampled_from(
    [
        *(None, True, False, 0, 1, 2, 3, -2, 1.0, 0.5, 1.5, 10, 2**70),
        *("", "a", "x", "xa", "red", "circle", "square", "all", "abcdef", "a\n", "5"),
    ]
)


TEXTS = st.sampled_from(["a", "xyz", "abcd", "b", "", "abcdef", "Ä"])
KEYS = st.sampled_from(["a", "b", "xa", "xy", "abc", "red", "", "kind", "a\n"])
ODDS = st.integers(0, 15)

Draw = Callable[[st.SearchStrategy[Any]], Any]


@st.composite
def near(draw: Draw, root: dict[str, Any]) -> Any:
    """A value that is near to what a schema describes, right or wrong."""
    return drawn(draw, root, root)


def drawn(draw: Draw, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    if draw(ODDS) == 13:
        return draw(SCALARS)
    if reference := schema.get("$ref"):
        return drawn(draw, root["definitions"][reference.rpartition("/")[2]], root)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return drawn(draw, draw(st.sampled_from(schema[keyword])), root)
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    match schema.get("type"):
        case "integer":
            value = draw(within(schema))
            return value - value % schema.get("multipleOf", 1)
        case "number":
            return draw(within(schema)) / draw(st.sampled_from([4, 1]))
        case "boolean":
            return draw(st.booleans())
        case "string":
            return draw(TEXTS)
        case "null":
            return None
        case "array":
            return an_array(draw, schema, root)
        case "object":
            return an_object(draw, schema, root)
    return draw(SCALARS)


def within(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    """Whole numbers in the bounds and just outside."""
    lowest, highest = schema.get("minimum", 0), schema.get("maximum", 8)
    return st.integers(int(lowest) - 1, int(highest) + 1)


def an_object(draw: Draw, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    value = {}
    required = schema.get("required", [])
    for name, part in schema.get("properties", {}).items():
        if draw(ODDS) != 13 if name in required else draw(ODDS) > 8:
            value[name] = drawn(draw, part, root)
    values = [*schema.get("patternProperties", {}).values()]
    values += [schema.get("additionalProperties")]
    for _ in range(max(0, draw(ODDS) - 12)):
        part = values[0] if isinstance(values[0], dict) else {}
        value[draw(KEYS)] = drawn(draw, part, root)
    return value


def an_array(draw: Draw, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    items = schema.get("items", {})
    if isinstance(items, list):
        more = [draw(SCALARS)] if draw(ODDS) == 13 else []
        return [drawn(draw, item, root) for item in items] + more
    return [drawn(draw, items, root) for _ in range(draw(st.integers(0, 4)))]


def takes(model: type[BaseModel], text: str) -> bool:
    try:
        model.model_validate_json(text, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("model", MODELS)
def test_the_schema_takes_what_the_model_takes_and_nothing_else(
    model: type[BaseModel],
) -> None:
    """SCHEMA-09: platforms and broker judge by the same words."""
    schema = create_schema(model)
    by_schema, by_rules = SchemaRules(schema), ModelRules(model)

    @settings(max_examples=300, deadline=None)
    @given(near(schema))
    @example(FITTING[model])
    @example({})
    @example([])
    def judge(value: Any) -> None:
        text = json.dumps(value)
        accepted = not isinstance(by_schema.parse(text.encode()), Unfit)
        assert accepted or text != json.dumps(FITTING[model])
        assert accepted == (not isinstance(by_rules.parse(text.encode()), Unfit)), text
        assert takes(model, text) or not accepted, text
        if model is not Words:  # which lists numbers: pydantic takes true for 1
            assert accepted == takes(model, text), text

    judge()


@pytest.mark.parametrize("model", MODELS)
def test_a_change_that_ends_well_is_never_refused_by_the_update_schema(
    model: type[BaseModel],
) -> None:
    schema = create_schema(model)
    sent = near(schema).filter(lambda value: isinstance(value, dict))
    stored = sent.filter(lambda value: takes(model, json.dumps(value)))
    sent_rules = SchemaRules(update_schema(model), nulls_remove=True)
    rules = ModelRules(model)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(stored, sent)
    def change(before: dict[str, Any], sent: dict[str, Any]) -> None:
        merged = {**before, **sent}
        kept = {name: value for name, value in merged.items() if value is not None}
        if not isinstance(rules.judge(kept), Unfit):
            assert not isinstance(sent_rules.judge(sent), Unfit), (before, sent)

    change()


@pytest.mark.parametrize("model", [*MODELS, DeadLetter])
@pytest.mark.parametrize("make", [create_schema, update_schema, bind_schema])
def test_every_platform_can_read_the_schema(
    make: Callable[[type[BaseModel]], dict[str, Any]], model: type[BaseModel]
) -> None:
    """SCHEMA-01 to SCHEMA-07; Cloud Foundry's rules on top."""
    schema = make(model)

    assert schema["$schema"] == DRAFT_04
    assert schema["type"] == "object"
    Draft4Validator.check_schema(schema)
    assert "$defs" not in schema
    later = {"const", "prefixItems", "propertyNames", "discriminator", "$defs"}
    for _, part in walk(schema):
        assert not later & set(part)
        assert part.get("required", ["some"])
        assert part.get("default", "some") is not None
        for bound in ("exclusiveMinimum", "exclusiveMaximum"):
            assert part.get(bound, True) is True
        if "$ref" in part:
            assert set(part) == {"$ref"}
            assert part["$ref"].startswith("#/definitions/")


def test_bounds_are_written_as_draft_04_has_them() -> None:
    parts = create_schema(Bounds)["properties"]

    assert parts["whole"] == {
        "type": "integer",
        "minimum": -2,
        "maximum": 5,
        "multipleOf": 2,
    }
    assert parts["open"] == {
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 1.5,
        "exclusiveMaximum": True,
    }


def test_of_two_lower_bounds_the_stricter_one_is_written() -> None:
    class Twice(BaseModel):
        inner: Annotated[int, WithJsonSchema({"minimum": 7, "exclusiveMinimum": 5})]
        outer: Annotated[int, WithJsonSchema({"minimum": 5, "exclusiveMinimum": 7})]

    parts = create_schema(Twice)["properties"]

    assert parts["inner"] == {"minimum": 7}
    assert parts["outer"] == {"minimum": 7, "exclusiveMinimum": True}


def test_an_update_requires_nothing_and_promises_no_default() -> None:
    class Queue(BaseModel, extra="forbid"):
        name: str
        size: int = Field(5, ge=1)
        dead_letter: DeadLetter | None = None

    created, updated = create_schema(Queue), update_schema(Queue)

    assert created["required"] == ["name"]
    assert created["properties"]["size"]["default"] == 5
    assert "required" not in updated
    assert updated["properties"]["size"] == {"type": "integer", "minimum": 1}
    assert updated["additionalProperties"] is False
    assert updated["definitions"]["DeadLetter"]["required"] == ["after"]


def test_titles_are_those_of_the_author_only() -> None:
    schema = create_schema(Renamed)

    assert schema["title"] == "Names of its own"
    assert schema["properties"]["max-size"] == {
        "type": "integer",
        "minimum": 0,
        "description": "In bytes.",
    }
    assert schema["properties"]["default"]["title"] == "The default"
    assert "title" not in create_schema(Words)["definitions"]["Colour"]


def test_a_model_that_holds_itself_is_an_object_at_the_top() -> None:
    schema = create_schema(Shapes)

    assert schema["type"] == "object"
    assert "$ref" not in schema
    assert "Shapes" in schema["definitions"]


def test_true_and_whole_floats_are_no_members_of_an_enum_of_integers() -> None:
    rules = ModelRules(Words)

    assert not isinstance(rules.parse(b'{"level": 1}'), Unfit)
    assert isinstance(rules.parse(b'{"level": true}'), Unfit)
    assert isinstance(rules.parse(b'{"level": 1.0}'), Unfit)


class _Handmade:
    """No pydantic type, and no JSON."""


class Foreign(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: _Handmade


class ForeignChoice(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: _Handmade | int


class Conditional(BaseModel):
    model_config = ConfigDict(json_schema_extra={"if": {"required": ["a"]}})
    a: int


class External(BaseModel):
    a: Annotated[int, WithJsonSchema({"$ref": "https://example.com/int.json"})]


class BadPattern(BaseModel):
    a: Annotated[str, WithJsonSchema({"type": "string", "pattern": "[a"})]


class NoObject(RootModel[list[int]]):
    pass


class Huge(BaseModel):
    a: Literal["x"] = Field("x", description="y" * 65_536)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        pytest.param(Foreign, "cannot be written as JSON Schema", id="foreign type"),
        pytest.param(ForeignChoice, "cannot be written", id="foreign type in a union"),
        pytest.param(Conditional, "uses if, which draft-04", id="later keyword"),
        pytest.param(External, "leads out of the schema", id="external reference"),
        pytest.param(BadPattern, "regular expression", id="pattern nobody can read"),
        pytest.param(NoObject, "is not object", id="a list"),
        pytest.param(Huge, "more than the 65536 allowed", id="more than 64 KiB"),
    ],
)
def test_a_model_without_a_common_schema_is_refused_with_the_reason(
    model: type[BaseModel], problem: str
) -> None:
    with pytest.raises(ModelUnfit, match=model.__name__) as refused:
        create_schema(model)

    assert problem in str(refused.value)
    assert all(remark.fix for remark in refused.value.remarks)


def test_later_keywords_with_a_counterpart_are_translated() -> None:
    class Extra(BaseModel):
        model_config = ConfigDict(
            json_schema_extra={
                "dependentRequired": {"a": ["b"]},
                "dependentSchemas": {"b": {"minProperties": 2}},
                "properties": {"a": True, "b": False, "c": {"const": None}},
            }
        )
        Settings: ClassVar[int] = 1

    schema = create_schema(Extra)

    assert schema["dependencies"] == {"a": ["b"], "b": {"minProperties": 2}}
    assert schema["properties"] == {"a": {}, "b": {"not": {}}, "c": {"enum": [None]}}


def test_what_has_no_schema_of_its_own_is_still_judged_by_its_model() -> None:
    rules = ModelRules(ForeignChoice)

    assert rules.parse(b'{"thing": 1}') == ForeignChoice(thing=1)
    assert isinstance(rules.parse(b'{"thing": "1"}'), Unfit)


def test_what_cannot_be_written_of_a_default_or_a_key_is_left_out() -> None:
    class Loose(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        when: int = Field(default_factory=lambda: 1)
        odd: Annotated[_Handmade, WithJsonSchema({"type": "string"})] = _Handmade()
        both: dict[Annotated[str, Field(pattern="^a", max_length=2)], int] = {}
        long: dict[Annotated[str, Field(min_length=2)], int] = {}
        frozen: frozenset[int] = frozenset()

    parts = create_schema(Loose)["properties"]

    assert parts["when"] == {"type": "integer"}
    assert parts["odd"] == {"type": "string"}
    assert parts["both"]["patternProperties"] == {"^a": {"type": "integer"}}
    assert parts["long"]["patternProperties"] == {"^[\\s\\S]{2,}$": {"type": "integer"}}
    assert "uniqueItems" not in parts["frozen"]


def test_a_schema_belongs_to_whoever_asked_for_it() -> None:
    create_schema(Bounds)["properties"].clear()

    assert create_schema(Bounds)["properties"]
