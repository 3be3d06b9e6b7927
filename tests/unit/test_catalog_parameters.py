"""Judging the parameters of a request, and what is said of those refused."""

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AnyUrl,
    BaseModel,
    Field,
    HttpUrl,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from osbkit.catalog import (
    AnyObject,
    ModelRules,
    ParameterRules,
    Plan,
    PlanModels,
    SchemaRules,
    Unfit,
    create_schema,
    rules_of,
)
from osbkit.catalog.patterns import for_python

SECRET = "hunter2-and-more"
DRAFT_04 = "http://json-schema.org/draft-04/schema#"


class Inner(BaseModel, extra="forbid"):
    name: str = Field(min_length=2, max_length=4, pattern="^[a-z]+$")
    kind: Literal["a", "b"] = "a"


class Ball(BaseModel):
    shape: Literal["ball"]
    size: int


class Box(BaseModel):
    shape: Literal["box"]
    sides: list[int] = Field(min_length=1, max_length=3)


class Queue(BaseModel, extra="forbid"):
    size: int = Field(10, ge=1, le=100)
    ratio: float = Field(0.5, gt=0, lt=1)
    flag: bool = False
    inner: Inner | None = None
    items: list[Inner] = []
    either: int | str = 1
    labels: dict[Annotated[str, Field(pattern="^x")], int] = {}
    form: Annotated[Ball | Box, Field(discriminator="shape")] | None = None
    id: UUID | None = None
    url: AnyUrl | None = None
    day: date | None = None
    moment: datetime | None = None
    hour: time | None = None
    span: timedelta | None = None
    price: Decimal = Field(Decimal(1), max_digits=4, decimal_places=2)
    secret: SecretStr | None = None
    address: IPv4Address | None = None


def problems_of(rules: ParameterRules[Any], text: str | bytes) -> dict[str, str]:
    judged = rules.parse(text if isinstance(text, bytes) else text.encode())
    assert isinstance(judged, Unfit), judged
    return {problem.path: problem.message for problem in judged.problems}


def test_parameters_become_the_model() -> None:
    made = ModelRules(Queue).parse(b'{"size": 5, "inner": {"name": "ab"}}')

    assert made == Queue(size=5, inner=Inner(name="ab"))


def test_dates_and_enums_are_read_from_json_strictly() -> None:
    """Strict judging of Python objects would refuse both."""
    made = ModelRules(Queue).judge(
        {"day": "2024-01-31", "id": "6a5b1d3e-0000-4000-8000-000000000001"}
    )

    assert isinstance(made, Queue)
    assert made.day == date(2024, 1, 31)


@pytest.mark.parametrize(
    ("sent", "path", "message"),
    [
        ({"size": "5"}, "size", "must be an integer"),
        ({"size": True}, "size", "must be an integer"),
        ({"size": 1.0}, "size", "must be an integer"),
        ({"size": 0}, "size", "must be at least 1"),
        ({"size": 101}, "size", "must be at most 100"),
        ({"ratio": 0}, "ratio", "must be greater than 0.0"),
        ({"ratio": 1}, "ratio", "must be less than 1.0"),
        ({"ratio": "0.5"}, "ratio", "must be a number"),
        ({"flag": 1}, "flag", "must be true or false"),
        ({"sise": 1}, "sise", "is not a known parameter"),
        ({"inner": []}, "inner", "must be an object"),
        ({"inner": {}}, "inner.name", "is required"),
        ({"inner": {"name": 1}}, "inner.name", "must be a string"),
        ({"inner": {"name": "a"}}, "inner.name", "must have at least 2 characters"),
        ({"inner": {"name": "abcde"}}, "inner.name", "must have at most 4 characters"),
        ({"inner": {"name": "AB"}}, "inner.name", "must match the pattern ^[a-z]+$"),
        ({"inner": {"name": "ab", "kind": "c"}}, "inner.kind", "must be 'a' or 'b'"),
        ({"items": {}}, "items", "must be a list"),
        ({"items": [{"name": "ab"}, {}]}, "items[1].name", "is required"),
        ({"either": []}, "either", "must be an integer or a string"),
        (
            {"labels": {"y": 1}},
            "labels.y",
            "has a name that must match the pattern ^x",
        ),
        ({"labels": {"x y": "1"}}, 'labels["x y"]', "must be an integer"),
        ({"form": {}}, "form", "must name its kind in 'shape'"),
        (
            {"form": {"shape": SECRET}},
            "form",
            "must have one of 'ball', 'box' in 'shape'",
        ),
        ({"form": {"shape": "ball", "size": "1"}}, "form.size", "must be an integer"),
        (
            {"form": {"shape": "box", "sides": []}},
            "form.sides",
            "must have at least 1 entry",
        ),
        (
            {"form": {"shape": "box", "sides": [1, 2, 3, 4]}},
            "form.sides",
            "must have at most 3 entries",
        ),
        ({"id": SECRET}, "id", "must be a UUID"),
        ({"url": SECRET}, "url", "must be a URL"),
        ({"day": SECRET}, "day", "must be a date as YYYY-MM-DD"),
        ({"moment": SECRET}, "moment", "must be a date and time as in RFC 3339"),
        ({"hour": SECRET}, "hour", "must be a time as HH:MM:SS"),
        ({"span": SECRET}, "span", "must be a duration as in ISO 8601"),
        ({"price": SECRET}, "price", "must be a decimal number"),
        ({"price": "12345"}, "price", "must have at most 4 digits"),
        ({"price": "1.234"}, "price", "must have at most 2 decimal places"),
        ({"address": SECRET}, "address", "is not valid"),
    ],
)
def test_a_refused_field_is_named_with_what_it_must_be(
    sent: dict[str, Any], path: str, message: str
) -> None:
    """PROV-20, UPD-20, BIND-20."""
    assert problems_of(ModelRules(Queue), json.dumps(sent)) == {path: message}


@pytest.mark.parametrize("rules", [ModelRules(Queue), AnyObject(), SchemaRules({})])
@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "", "must be valid JSON"),
        ("{", "", "must be valid JSON"),
        ("[" * 100_000, "", "must be valid JSON"),
        (b'{"a": "\xff"}', "", "must be valid JSON"),
        ('{"a": "\\ud800"}', "", "must be valid JSON"),
        ("[]", "", "must be an object"),
        ("null", "", "must be an object"),
        ('"text"', "", "must be an object"),
        ('{"ratio": NaN}', "ratio", "must be a finite number"),
        ('{"ratio": -Infinity}', "ratio", "must be a finite number"),
        ('{"ratio": 1e400}', "ratio", "must be a finite number"),
        ('{"ratio": -1.5E+999}', "ratio", "must be a finite number"),
        ('{"a": [{"b": 1e400}]}', "a[0].b", "must be a finite number"),
        ('{"ratio": %s.0}' % ("9" * 400), "ratio", "must be a finite number"),
        ('{"ratio": %s}' % ("9" * 400), "ratio", "must be a smaller number"),
        ('{"ratio": %s}' % ("9" * 5000), "", "must be valid JSON"),
        ('{"a": "x\\u0000y"}', "a", "must not hold a NUL character"),
        ('{"\\u0000": 1}', "", "must not hold a name with a NUL character"),
    ],
)
def test_what_no_json_should_hold_is_refused_by_all(
    rules: ParameterRules[Any], text: str | bytes, path: str, message: str
) -> None:
    assert problems_of(rules, text) == {path: message}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "NaN, Infinity and 1e400"}',
        '{"a": "\\\\u0000"}',
        '{"a": 1e99, "b": %s}' % ("9" * 300),
        '{"a": 1e-400}',
    ],
)
def test_what_only_looks_like_it_is_let_through(text: str) -> None:
    assert AnyObject().parse(text.encode()) == json.loads(text)


class Told(BaseModel):
    """Errors in an author's own words."""

    even: int = 0
    name: str = ""
    short: str = ""
    custom: str = ""
    silent: int = 0
    clumsy: str = "1"

    @field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("an odd number\nof queues cannot be mirrored")
        return value

    @field_validator("name", "short")
    @classmethod
    def _name(cls, value: str) -> str:
        raise ValueError(f"the name {value!r} is taken")

    @field_validator("custom")
    @classmethod
    def _custom(cls, value: str) -> str:
        if value == "own":
            raise PydanticCustomError("own", "{value} is ours", {"value": "that"})
        raise PydanticCustomError("own", "{value} is ours", {"value": value})

    @field_validator("silent")
    @classmethod
    def _silent(cls, value: int) -> int:
        assert value == 0
        return value

    @field_validator("clumsy")
    @classmethod
    def _clumsy(cls, value: str) -> str:
        return str(int(value))

    @model_validator(mode="after")
    def _together(self) -> "Told":
        if self.even == 100:
            raise ValueError("a hundred queues need a larger plan")
        if self.even > 100:
            raise ValueError(f"{self.even} queues need a larger plan")
        return self


@pytest.mark.parametrize(
    ("sent", "path", "message"),
    [
        (
            {"even": 1},
            "even",
            "is not valid: an odd number of queues cannot be mirrored",
        ),
        ({"name": SECRET}, "name", "is not valid"),
        ({"short": "x"}, "short", "is not valid"),
        ({"custom": "own"}, "custom", "is not valid: that is ours"),
        ({"custom": SECRET}, "custom", "is not valid"),
        ({"silent": 7}, "silent", "is not valid"),
        ({"clumsy": SECRET}, "clumsy", "is not valid"),
        ({"even": 100}, "", "is not valid: a hundred queues need a larger plan"),
        ({"even": 123456}, "", "is not valid"),
    ],
)
def test_an_author_is_quoted_unless_the_value_is_in_the_words(
    sent: dict[str, Any], path: str, message: str
) -> None:
    told = problems_of(ModelRules(Told), json.dumps(sent))[path]

    # An assertion without words gets some from pytest, none of them the value.
    assert told == message or "silent" in sent


def test_long_words_of_an_author_are_cut() -> None:
    class Chatty(BaseModel):
        a: int

        @field_validator("a")
        @classmethod
        def _never(cls, value: int) -> int:
            raise ValueError("no " * 1000)

    told = problems_of(ModelRules(Chatty), '{"a": 1}')["a"]

    assert len(told) < 250
    assert told.endswith("…")


NESTED_SECRETS: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([SECRET, 987654321, 98765.4321, f"{SECRET} x", [SECRET]]),
    lambda children: (
        st.lists(children, max_size=2)
        | st.dictionaries(
            st.sampled_from(["size", "name", "shape", "kind", "sides"]),
            children,
            max_size=3,
        )
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("model", [Queue, Told])
def test_no_value_of_a_request_is_ever_repeated(model: type[BaseModel]) -> None:
    rules: list[ParameterRules[Any]] = [
        ModelRules(model),
        SchemaRules(create_schema(model)),
    ]

    @settings(deadline=None)
    @given(st.dictionaries(st.sampled_from([*model.model_fields]), NESTED_SECRETS))
    def judge(sent: dict[str, Any]) -> None:
        for one in rules:
            judged = one.judge(sent)
            text = judged.sentence if isinstance(judged, Unfit) else ""
            assert SECRET not in text
            assert "98765" not in text

    judge()


def test_names_of_unknown_fields_are_cut_and_made_harmless() -> None:
    sent = {"a" * 1000: 1, "line\nbreak": 2, "<b>": 3}

    told = problems_of(ModelRules(Queue), json.dumps(sent))

    assert max(map(len, told)) < 80
    assert '["line\\nbreak"]' in told
    assert all(path.isprintable() for path in told)


def test_only_so_many_problems_are_told() -> None:
    sent = {"items": [1] * 1000}

    for rules in (ModelRules(Queue), SchemaRules(create_schema(Queue))):
        judged = rules.judge(sent)
        assert isinstance(judged, Unfit)
        assert len(judged.problems) == 20


def test_all_problems_make_one_sentence() -> None:
    judged = ModelRules(Queue).judge({"size": 0, "inner": {}})

    assert isinstance(judged, Unfit)
    assert judged.sentence == (
        "The parameters do not fit: size must be at least 1; inner.name is required."
    )


# --- raw schemas ------------------------------------------------------------------


def a_schema(**properties: Any) -> dict[str, Any]:
    return {"$schema": DRAFT_04, "type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ({"type": "integer"}, "5", "must be an integer"),
        ({"type": "integer"}, True, "must be an integer"),
        ({"type": "integer"}, 1.0, "must be an integer"),
        ({"type": ["integer", "null"]}, "5", "must be an integer or null"),
        ({"enum": ["a", 1, None]}, "b", 'must be one of "a", 1, null'),
        ({"enum": [SECRET]}, "b", f'must be "{SECRET}"'),
        (
            {"enum": [f"word {n}" for n in range(100)]},
            "b",
            "must be one of the 100 values that the schema lists",
        ),
        ({"minimum": 3}, 2, "must be at least 3"),
        ({"minimum": 3, "exclusiveMinimum": True}, 3, "must be greater than 3"),
        ({"maximum": 3}, 4, "must be at most 3"),
        ({"maximum": 3, "exclusiveMaximum": True}, 3, "must be less than 3"),
        ({"multipleOf": 0.5}, 0.75, "must be a multiple of 0.5"),
        ({"minLength": 1}, "", "must have at least 1 character"),
        ({"maxLength": 2}, "abc", "must have at most 2 characters"),
        ({"pattern": "^[a-z]$"}, "ab", "must match the pattern ^[a-z]$"),
        ({"minItems": 2}, [1], "must have at least 2 entries"),
        ({"maxItems": 1}, [1, 2], "must have at most 1 entry"),
        ({"uniqueItems": True}, ["a", "b", "a"], "must not have an entry twice"),
        (
            {"items": [{}], "additionalItems": False},
            [1, 2],
            "must not have further entries",
        ),
        ({"minProperties": 1}, {}, "must have at least 1 field"),
        ({"maxProperties": 1}, {"a": 1, "b": 2}, "must have at most 1 field"),
        ({"not": {"type": "string"}}, "a", "is not allowed"),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "a",
            "must be an integer or null",
        ),
        (
            {"anyOf": [{"minimum": 5, "type": "integer"}, {"type": "null"}]},
            1,
            "must be at least 5",
        ),
        (
            {"anyOf": [{"minimum": 5}, {"enum": [3]}]},
            1,
            "has none of the allowed forms",
        ),
        ({"oneOf": [{}, {}]}, 1, "has more than one of the allowed forms"),
        ({"type": "string", "enum": ["a"]}, 1, "must be a string"),
    ],
)
def test_a_raw_schema_says_what_a_field_must_be(
    part: dict[str, Any], value: Any, message: str
) -> None:
    rules = SchemaRules(a_schema(a=part))

    assert problems_of(rules, json.dumps({"a": value})) == {"a": message}


@pytest.mark.parametrize(
    ("more", "sent", "path", "message"),
    [
        ({"required": ["a", "b"]}, {"a": 1}, "b", "is required"),
        (
            {"additionalProperties": False, "patternProperties": {"^x": {}}},
            {"y": 1, "xa": 1},
            "y",
            "is not a known parameter",
        ),
        ({"dependencies": {"a": ["b"]}}, {"a": 1}, "b", "is required here"),
        ({"dependencies": {"a": {"required": ["c"]}}}, {"a": 1}, "c", "is required"),
    ],
)
def test_what_concerns_a_field_is_told_of_the_field(
    more: dict[str, Any], sent: dict[str, Any], path: str, message: str
) -> None:
    assert problems_of(SchemaRules({**a_schema(), **more}), json.dumps(sent)) == {
        path: message
    }


@pytest.mark.parametrize(
    ("draft", "taken"),
    [
        ("http://json-schema.org/draft-04/schema#", False),
        ("http://json-schema.org/draft-06/schema#", True),
        ("http://json-schema.org/draft-07/schema", True),
        ("https://json-schema.org/draft/2020-12/schema", True),
    ],
)
def test_whether_one_point_zero_is_an_integer_is_for_the_draft(
    draft: str, taken: bool
) -> None:
    rules = SchemaRules({**a_schema(a={"type": "integer"}), "$schema": draft})

    assert isinstance(rules.parse(b'{"a": 1.0}'), dict) is taken
    assert isinstance(rules.parse(b'{"a": true}'), Unfit)


def test_a_later_draft_is_judged_by_its_own_words() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "a": {"exclusiveMinimum": 3},
            "b": {"const": 1},
            "c": {"prefixItems": [{"type": "string"}], "items": False},
            "d": {"contains": {"type": "string"}},
        },
        "dependentRequired": {"a": ["b"]},
    }

    sent = '{"a": 3, "c": [1, 2], "d": [1]}'

    told = problems_of(SchemaRules(schema), sent)
    assert told["a"] == "must be greater than 3"
    assert told["b"] == "is required here"
    assert told["c[0]"] == "must be a string"
    assert told["d"] == "must hold an entry that it lacks"
    assert problems_of(SchemaRules(schema), '{"b": 2}') == {"b": "must be 1"}


@pytest.mark.parametrize(
    ("entries", "unique"),
    [
        ([1, True, "1", 1.5], True),
        ([0, False, None, "", [], {}], True),
        ([1, 1.0], False),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1.0}], False),
        ([[1, [True]], [1, [1]]], True),
        (["a", '"a"'], True),
        (["a", "a"], False),
    ],
)
def test_entries_are_compared_by_their_json_value(
    entries: list[Any], unique: bool
) -> None:
    rules = SchemaRules(a_schema(a={"type": "array", "uniqueItems": True}))

    assert isinstance(rules.judge({"a": entries}), dict) is unique


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("^[a-z]+$", "abc", True),
        ("^[a-z]+$", "abc\n", False),
        (r"^\d+$", "12", True),
        (r"^\d+$", "\u0661\u0662", False),
        (r"^\w$", "ä", False),
        (r"^[$]\$$", "$$", True),
        (r"^[^\]$]$", "a", True),
        ("^[[]$", "[", True),
        ("b", "abc", True),
    ],
)
def test_patterns_mean_what_they_mean_in_ecmascript(
    pattern: str, text: str, fits: bool
) -> None:
    by_value = SchemaRules(a_schema(a={"pattern": pattern}))
    by_name = SchemaRules(
        {
            "$schema": DRAFT_04,
            "patternProperties": {pattern: {}},
            "additionalProperties": False,
        }
    )

    assert isinstance(by_value.judge({"a": text}), dict) is fits
    assert isinstance(by_name.judge({text: 1}), dict) is fits
    assert for_python(pattern).startswith("(?a)")


def test_a_value_too_deep_for_its_schema_is_refused() -> None:
    forms = [{"anyOf": [{"properties": {"in": {"$ref": "#"}}}]}]
    rules = SchemaRules({"$schema": DRAFT_04, "type": "object", "allOf": forms})

    def nested(depth: int) -> str:
        return '{"in":' * depth + "{}" + "}" * depth

    assert isinstance(rules.parse(nested(20).encode()), dict)
    assert problems_of(rules, nested(190)) == {"": "must not be nested so deeply"}


def test_references_are_followed_in_the_schema_and_nowhere_else() -> None:
    schema = {
        **a_schema(a={"$ref": "#/definitions/small~1name"}),
        "definitions": {"small/name": {"maxLength": 2}},
    }

    assert problems_of(SchemaRules(schema), '{"a": "abc"}') == {
        "a": "must have at most 2 characters"
    }


# --- the rules of a plan -------------------------------------------------------------


class Small(BaseModel, extra="forbid"):
    name: str
    size: int = Field(1, ge=1)


class Bind(BaseModel, extra="forbid"):
    role: Literal["read", "write"] = "read"


def a_plan(**schemas: Any) -> Plan:
    return Plan.model_validate(
        {"id": "p", "name": "p", "description": "d", "schemas": schemas}
    )


def test_the_rules_of_a_plan_follow_from_its_models() -> None:
    rules = rules_of(a_plan(), PlanModels(create=Small, bind=Bind))

    assert rules.create.parse(b'{"name": "a"}') == Small(name="a")
    assert rules.merged.judge({"name": "a", "size": 2}) == Small(name="a", size=2)
    assert rules.bind.parse(b'{"role": "write"}') == Bind(role="write")
    assert isinstance(rules.create.parse(b"{}"), Unfit)


def test_an_update_may_leave_out_and_take_away_but_not_break_a_type() -> None:
    rules = rules_of(a_plan(), PlanModels(create=Small))

    assert rules.update.parse(b"{}") == {}
    assert rules.update.parse(b'{"size": null}') == {"size": None}
    assert problems_of(rules.update, '{"size": "2"}') == {"size": "must be an integer"}
    assert problems_of(rules.update, '{"sise": 2}') == {
        "sise": "is not a known parameter"
    }


def test_without_models_the_schemas_of_the_catalog_judge() -> None:
    create = a_schema(a={"type": "integer"})
    update = a_schema(b={"type": "integer"})
    only_create = rules_of(a_plan(service_instance={"create": {"parameters": create}}))
    both = rules_of(
        a_plan(
            service_instance={
                "create": {"parameters": create},
                "update": {"parameters": update},
            },
            service_binding={"create": {"parameters": a_schema(c={"enum": [1]})}},
        )
    )

    assert only_create.create.parse(b'{"a": 1}') == {"a": 1}
    assert isinstance(only_create.merged.parse(b'{"a": "1"}'), Unfit)
    assert only_create.update.parse(b'{"a": "1"}') == {"a": "1"}
    assert isinstance(both.update.parse(b'{"b": "1"}'), Unfit)
    assert both.merged.parse(b'{"a": "1", "b": 1}') == {"a": "1", "b": 1}
    assert isinstance(both.bind.parse(b'{"c": 2}'), Unfit)


def test_without_models_and_schemas_any_object_will_do() -> None:
    rules = rules_of(a_plan())

    for one in (rules.create, rules.update, rules.merged, rules.bind):
        assert one.parse(b'{"a": [1]}') == {"a": [1]}
        assert isinstance(one.parse(b"[]"), Unfit)


def test_listed_numbers_are_told_in_the_words_of_the_schema() -> None:
    class Level(IntEnum):
        LOW = 1
        HIGH = 2

    class Levels(BaseModel):
        level: Level
        url: HttpUrl | None = None

    rules = ModelRules(Levels)

    assert rules.parse(b'{"level": 2}') == Levels(level=Level.HIGH)
    assert problems_of(rules, '{"level": true}') == {"level": "must be one of 1, 2"}
    assert problems_of(rules, '{"level": 3}') == {"level": "must be 1 or 2"}
    assert problems_of(rules, '{"level": 1, "url": "ftp://a"}') == {
        "url": "must be a URL with the scheme 'http' or 'https'"
    }
