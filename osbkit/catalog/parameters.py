"""Judging the parameters of a request, against a model or a raw schema.

    ModelRules(P)         bytes ─► P       strict: "5" and true are no integers
    SchemaRules(schema)   bytes ─► dict    draft-04 and later
    AnyObject()           bytes ─► dict    no schema: any JSON object
                              └──► Unfit   the fields, and what is wrong with them

Nothing is raised: the caller decides what an `Unfit` becomes. NaN, infinities,
numbers beyond a double, and NUL characters are refused by all three.
Whether 1.0 is an integer is for the schema's draft to say: not to draft-04 (and
so not to a model), but from draft-06 on.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar

from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError as SchemaError
from jsonschema.validators import extend
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from referencing import Registry

from osbkit.catalog import model_problems, schema_problems
from osbkit.catalog.json_text import flaws
from osbkit.catalog.patterns import for_python, searcher
from osbkit.catalog.positions import Schema, rebuilt, walk
from osbkit.catalog.problems import MOST_PROBLEMS, Unfit, unfit
from osbkit.catalog.schema_rules import draft_of
from osbkit.catalog.schemas import ModelUnfit, create_schema

Json = dict[str, Any]
M = TypeVar("M", bound=BaseModel)
T_co = TypeVar("T_co", covariant=True)

_NO_OBJECT: Final = unfit([((), "must be an object")])
_NO_JSON: Final = unfit([((), "must be valid JSON")])
_TOO_DEEP: Final = unfit([((), "must not be nested so deeply")])


class ParameterRules(Protocol[T_co]):
    """What parameters of one kind must be: the three classes of this module."""

    def parse(self, raw: bytes) -> T_co | Unfit:
        """Judge the JSON text of the parameters."""
        ...

    def judge(self, value: Json) -> T_co | Unfit:
        """Judge parameters that are parsed already, or merged."""
        ...


class ModelRules(Generic[M]):
    """Parameters as a model has them: strict, as JSON."""

    def __init__(self, model: type[M]) -> None:
        self.model = model
        self._validate = model.__pydantic_validator__.validate_json
        self._numbers = _listed_numbers(model)

    def parse(self, raw: bytes) -> M | Unfit:
        """Judge the JSON text of the parameters."""
        if found := flaws(raw):
            return unfit(found)
        try:
            made: M = self._validate(raw, strict=True)
        except ValidationError as wrong:
            return unfit(model_problems.problems(wrong, raw))
        if self._numbers is not None and isinstance(
            refused := self._numbers.parse(raw), Unfit
        ):
            return refused
        return made

    def judge(self, value: Json) -> M | Unfit:
        """Judge parameters that are parsed already, or merged."""
        return self.parse(to_json(value))


def _listed_numbers(model: type[BaseModel]) -> "SchemaRules | None":
    """The schema, where a model lists numbers.

    To pydantic `true` and `1.0` are the 1 of an IntEnum or a Literal, however
    strict it is; the schema knows better.
    """
    try:
        schema = create_schema(model)
    except ModelUnfit:  # told when the catalog is put together
        return None
    for _, part in walk(schema):
        if any(isinstance(value, bool | int | float) for value in part.get("enum", ())):
            return SchemaRules(schema)
    return None


class SchemaRules:
    """Parameters as a raw JSON Schema has them; `default` and `format` say nothing.

    Args:
        schema: one that `osbkit.catalog.validate` has passed.
        nulls_remove: a null on the first level takes a parameter away, whatever
            the schema says of its type. So it is in an update.
    """

    def __init__(self, schema: Schema, *, nulls_remove: bool = False) -> None:
        self._nulls_remove = nulls_remove
        self._patterns: dict[str, str] = {}
        checker = _checker(draft_of(schema) or Draft4Validator)
        registry: Registry[Any] = Registry()  # retrieves nothing
        self._checker = checker(rebuilt(schema, self._for_python), registry=registry)

    def parse(self, raw: bytes) -> Json | Unfit:
        """Judge the JSON text of the parameters."""
        value = AnyObject().parse(raw)
        return value if isinstance(value, Unfit) else self._judged(value)

    def judge(self, value: Json) -> Json | Unfit:
        """Judge parameters that are parsed already, or merged."""
        return self.parse(to_json(value))

    def _judged(self, value: Json) -> Json | Unfit:
        judged = value
        if self._nulls_remove:
            judged = {name: part for name, part in value.items() if part is not None}
        try:
            errors = list(islice(self._checker.iter_errors(judged), MOST_PROBLEMS))
            if errors:
                return unfit(schema_problems.problems(errors, self._patterns))
        except RecursionError:
            return _TOO_DEEP
        return value

    def _for_python(self, schema: Schema) -> Schema:
        if isinstance(pattern := schema.get("pattern"), str):
            schema["pattern"] = self._translated(pattern)
        if isinstance(named := schema.get("patternProperties"), dict):
            schema["patternProperties"] = {
                self._translated(name): part for name, part in named.items()
            }
        return schema

    def _translated(self, pattern: str) -> str:
        translated = for_python(pattern)
        self._patterns[translated] = pattern
        return translated


class AnyObject:
    """Parameters of which nothing is known but that they are a JSON object."""

    def parse(self, raw: bytes) -> Json | Unfit:
        """Judge the JSON text of the parameters."""
        if found := flaws(raw):
            return unfit(found)
        try:
            value = from_json(raw)
        except ValueError:
            return _NO_JSON
        return value if isinstance(value, dict) else _NO_OBJECT

    def judge(self, value: Json) -> Json | Unfit:
        """Judge parameters that are parsed already, or merged."""
        return self.parse(to_json(value))


@cache
def _checker(draft: Any) -> Any:
    """The validator class of a draft, with what is ours."""
    ours = {"uniqueItems": _unique, "pattern": _pattern}
    return extend(draft, ours)  # type: ignore[no-untyped-call]


def _pattern(
    checker: Any, wanted: str, sent: Any, schema: Mapping[str, Any]
) -> Iterator[SchemaError]:
    """`pattern` in time that grows with the text and not with its powers."""
    if checker.is_type(sent, "string") and not searcher(wanted)(sent):
        yield SchemaError("does not match")


def _unique(
    checker: Any, wanted: Any, sent: Any, schema: Mapping[str, Any]
) -> Iterator[SchemaError]:
    """`uniqueItems` in one pass; jsonschema's own compares each with each."""
    if wanted and checker.is_type(sent, "array"):
        seen: set[tuple[bool, str]] = set()
        for entry in sent:
            is_text = isinstance(entry, str)
            text = entry if is_text else json.dumps(_comparable(entry), sort_keys=True)
            if (is_text, text) in seen:
                yield SchemaError("stands twice")
                return
            seen.add((is_text, text))


def _comparable(value: Any) -> Any:
    """To JSON Schema 1.0 and 1 are the same value, but 1 and true are not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_comparable(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _comparable(entry) for name, entry in value.items()}
    return value
