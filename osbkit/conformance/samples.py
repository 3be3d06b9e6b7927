"""Parameters made from a plan's schema: some that it allows, some that it does not.

Every value is judged by the schema itself before it is used, so a schema that this
module does not understand gives fewer samples, never wrong ones. Schemas of draft-04
and later; those that refer to other documents are not used: nothing is fetched.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jsonschema.validators import Draft4Validator, validator_for

from osbkit.conformance import patterns

Json = dict[str, Any]
DEEPEST = 6
MOST_CHARACTERS = 100_000  # of a text that is made up
MOST_PARTS = 1_000  # of an array or object
WRONG: Mapping[str, tuple[Any, ...]] = {
    "object": ("text", 7, []),
    "array": ({}, "text"),
    "string": (7, True, {}),
    "integer": ("text", 1.5, {}),
    "number": ("text", True, {}),
    "boolean": ("text", 7),
    "null": ("text",),
}
FORMATS: Mapping[str, str] = {
    "date-time": "2030-01-02T03:04:05Z",
    "date": "2030-01-02",
    "time": "03:04:05Z",
    "email": "someone@example.com",
    "hostname": "host.example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/a",
    "uri-reference": "/a",
    "uuid": "3f2b1c4d-0000-4000-8000-000000000001",
    "regex": "a+",
    "json-pointer": "/a",
}


@dataclass(frozen=True)
class Invalid:
    """Parameters that a schema does not allow.

    Attributes:
        why: what is wrong with them, for people.
        value: the parameters.
    """

    why: str
    value: Json


class Samples:
    """Parameters for one place of a plan.

    Args:
        schema: of the place; None when the plan has none there.
        given: parameters that a person gave for it; they are used before any other.
    """

    def __init__(self, schema: Json | None, given: Json | None = None) -> None:
        self.schema = schema
        self._given = given
        self._judge = _judge(schema)

    @property
    def known(self) -> bool:
        """Whether there is a schema that can be used."""
        return self._judge is not None

    def allows(self, value: Any) -> bool:
        """Whether the schema allows a value; without one, objects are allowed."""
        if self._judge is None:
            return isinstance(value, dict)
        try:
            return bool(self._judge.is_valid(value))
        except Exception:  # noqa: BLE001 - a schema that cannot be used judges nothing
            return False

    @cached_property
    def valid(self) -> list[Json]:
        """Parameters that are allowed, all different; the smallest first."""
        found: list[Json] = []
        for value in self._candidates():
            if isinstance(value, dict) and self.allows(value) and value not in found:
                found.append(value)
            if len(found) == 12:
                break
        return found

    @cached_property
    def invalid(self) -> list[Invalid]:
        """Parameters that are not allowed; none when there is no schema."""
        if self._judge is None or not self.valid:
            return []
        return [
            each
            for each in _spoiled(self.schema or {}, self.valid)
            if not self.allows(each.value)
        ]

    @property
    def smallest(self) -> Json | None:
        """Parameters for a request that needs some; None when it needs none.

        An empty object counts as none.
        """
        return (self.valid[0] if self.valid else None) or None

    def other_than(self, value: Json | None) -> Json | None:
        """Allowed parameters that differ from these; None when none are known."""
        return next(iter(self.others(value)), None)

    def others(self, value: Json | None) -> list[Json]:
        """All allowed parameters that differ from these, the smallest first.

        They differ also when what is left out is taken as its default.
        """
        told = self._with_defaults(value or {})
        return [each for each in self.valid if self._with_defaults(each) != told]

    def _with_defaults(self, value: Json) -> Json:
        if not self.known:
            return value
        properties = _Maker(self.schema or {}).merged(self.schema).get("properties")
        defaults = {
            name: each["default"]
            for name, each in _dict(properties).items()
            if isinstance(each, dict) and "default" in each
        }
        return {**defaults, **value}

    def _candidates(self) -> Iterator[Any]:
        if self._given is not None:
            yield copy.deepcopy(self._given)
        if self._judge is None or self.schema is None:
            yield {}
            return
        yield {}
        for choice in range(4):
            for full in (False, True):
                maker = _Maker(self.schema, choice)
                value = maker.value(self.schema, full=full)
                yield value
                if isinstance(value, dict):
                    yield from _varied(maker, self.schema, value)


def _judge(schema: Json | None) -> Any:
    if schema is None or not _local(schema):
        return None
    try:
        validator = validator_for(schema, default=Draft4Validator)
        validator.check_schema(schema)
        judge = validator(schema)
        list(judge.iter_errors({}))
    except Exception:  # noqa: BLE001 - any fault of a foreign schema
        return None
    return judge


def _local(schema: Any) -> bool:
    """Whether every `$ref` points into the schema itself."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            return False
        return all(_local(each) for each in schema.values())
    return not isinstance(schema, list) or all(_local(each) for each in schema)


class _Maker:
    """Makes one value after another from a schema.

    Args:
        choice: which of several alternatives is taken.
    """

    def __init__(self, root: Json, choice: int = 0) -> None:
        self._root = root
        self._choice = choice

    def value(self, schema: Any, *, full: bool = False, depth: int = 0) -> Any:
        schema = self.merged(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(options := schema.get("enum"), list) and options:
            return options[self._choice % len(options)]
        for ready in ("default", "example"):
            if ready in schema and not self._choice:
                return schema[ready]
        if isinstance(ready_made := schema.get("examples"), list) and ready_made:
            return ready_made[self._choice % len(ready_made)]
        match kind_of(schema):
            case "object":
                return self._object(schema, full, depth)
            case "array":
                return self._array(schema, full, depth)
            case "string":
                return self.text(schema)
            case "integer" | "number" as kind:
                return self.number(schema, kind)
            case "boolean":
                return bool(self._choice % 2)
        return None

    def merged(self, schema: Any) -> Json:
        """A schema with its references, allOf and one alternative drawn into it."""
        if not isinstance(schema, dict):
            return {}
        for _ in range(DEEPEST):
            if not isinstance(reference := schema.get("$ref"), str):
                break
            rest = {key: each for key, each in schema.items() if key != "$ref"}
            schema = {**self._found(reference), **rest}
        merged = {key: each for key, each in schema.items() if key not in _JOINED}
        for each in schema.get("allOf") or []:
            merged = _joined(merged, self.merged(each))
        for word in ("oneOf", "anyOf"):
            if options := schema.get(word):
                chosen = options[self._choice % len(options)]
                merged = _joined(merged, self.merged(chosen))
        return merged

    def _found(self, reference: str) -> Json:
        place: Any = self._root
        for part in reference.removeprefix("#").strip("/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if part:
                place = place.get(name) if isinstance(place, dict) else None
        return place if isinstance(place, dict) else {}

    def _object(self, schema: Json, full: bool, depth: int) -> Json:
        properties = _dict(schema.get("properties"))
        required = [each for each in schema.get("required") or [] if each != ""]
        wanted = [*properties] if full and depth < DEEPEST else []
        names = dict.fromkeys([*required, *wanted])
        made = {
            name: self.value(properties.get(name, {}), full=full, depth=depth + 1)
            for name in names
            if depth < DEEPEST
        }
        more = schema.get("additionalProperties")
        fewest = min(int(schema.get("minProperties") or 0), MOST_PARTS)
        for number in range(fewest - len(made)):
            made[f"extra{number}"] = self.value(more, depth=depth + 1)
        return made

    def _array(self, schema: Json, full: bool, depth: int) -> list[Any]:
        items = schema.get("items", {})
        wanted = min(max(int(schema.get("minItems") or 0), int(full)), MOST_PARTS)
        made = []
        for number in range(wanted):
            each = items[number % len(items)] if isinstance(items, list) else items
            made.append(
                _Maker(self._root, self._choice + number).value(each, depth=depth + 1)
                if depth < DEEPEST
                else None
            )
        return made

    def text(self, schema: Json, other: int = 0) -> str:
        """A text; `other` asks for different ones."""
        turn = self._choice + other
        least = min(int(schema.get("minLength") or 0), MOST_CHARACTERS)
        most = schema.get("maxLength")
        if isinstance(pattern := schema.get("pattern"), str):
            return patterns.matching(pattern, least, turn)
        if form := FORMATS.get(str(schema.get("format"))):
            return form
        text = ("osb", "conformance", "check", "other")[turn % 4]
        text = (text * (least // len(text) + 1)) if least > len(text) else text
        return text[: most if isinstance(most, int) else None]

    def number(self, schema: Json, kind: str) -> int | float:
        """A number within its bounds."""
        low, high = bounds(schema)
        step = schema.get("multipleOf") or (1 if kind == "integer" else None)
        if low is not None:
            value: float = low + self._choice
        elif high is not None:
            value = high - self._choice
        else:
            value = 1 + self._choice
        if step:
            value = -(-value // step) * step
            if high is not None and value > high:
                value = high // step * step
        return int(value) if kind == "integer" or float(value).is_integer() else value


_JOINED = {"allOf", "anyOf", "oneOf"}


def _joined(one: Json, other: Json) -> Json:
    both = {**one, **other}
    for name in ("properties",):
        if name in one and name in other:
            both[name] = {**_dict(one[name]), **_dict(other[name])}
    if "required" in one and "required" in other:
        both["required"] = [*dict.fromkeys([*one["required"], *other["required"]])]
    return both


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def kind_of(schema: Json) -> str:
    """The JSON type that a schema asks for; the first that is not null."""
    named = schema.get("type")
    if isinstance(named, list):
        return next((each for each in named if each != "null"), "null")
    if isinstance(named, str):
        return named
    if {"properties", "required", "additionalProperties"} & schema.keys():
        return "object"
    if {"items", "minItems"} & schema.keys():
        return "array"
    if {"minimum", "maximum", "multipleOf"} & schema.keys():
        return "number"
    return "string"


def bounds(schema: Json) -> tuple[float | None, float | None]:
    """The least and the greatest number allowed; draft-04 and later."""
    low, high = schema.get("minimum"), schema.get("maximum")
    under, over = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if under is True and low is not None:
        low += 1
    elif isinstance(under, int | float) and not isinstance(under, bool):
        low = max(under + 1, under + 1 if low is None else low)
    if over is True and high is not None:
        high -= 1
    elif isinstance(over, int | float) and not isinstance(over, bool):
        high = min(over - 1, over - 1 if high is None else high)
    return low, high


def _varied(maker: _Maker, schema: Json, value: Json) -> Iterator[Json]:
    """The same parameters with one of them changed."""
    for name, each in _dict(maker.merged(schema).get("properties")).items():
        for other in _others(maker, maker.merged(each), value.get(name)):
            yield {**value, name: other}


def _others(maker: _Maker, schema: Json, value: Any) -> Iterator[Any]:
    if isinstance(options := schema.get("enum"), list):
        yield from options[:4]
        return
    match kind_of(schema):
        case "integer" | "number":
            low, high = bounds(schema)
            start = value if isinstance(value, int | float) else low or 1
            step = schema.get("multipleOf") or 1
            yield from (start + step, start - step)
            yield from (each for each in (low, high) if each is not None)
        case "boolean":
            yield from (True, False)
        case "string":
            yield from (maker.text(schema, turn) for turn in range(1, 4))
            yield "changed by the conformance kit"
        case "array" | "object":
            yield maker.value(schema, full=True)


def _spoiled(schema: Json, valid: list[Json]) -> Iterator[Invalid]:
    """Parameters with one fault each; whether they are invalid is not yet judged."""
    maker = _Maker(schema)
    merged = maker.merged(schema)
    full = max(valid, key=len)
    for name, raw in _dict(merged.get("properties")).items():
        each = maker.merged(raw)
        kind = kind_of(each)
        for wrong in WRONG.get(kind, ()):
            yield Invalid(f"{name} is no {kind}", {**full, name: wrong})
        low, high = bounds(each)
        if kind in {"integer", "number"} and high is not None:
            yield Invalid(f"{name} is too great", {**full, name: high + 1})
        if kind in {"integer", "number"} and low is not None:
            yield Invalid(f"{name} is too small", {**full, name: low - 1})
        most = each.get("maxLength")
        if kind == "string" and isinstance(most, int) and most < MOST_CHARACTERS:
            yield Invalid(f"{name} is too long", {**full, name: "a" * (most + 1)})
        if "enum" in each:
            yield Invalid(f"{name} is no member", {**full, name: "not a member"})
        if "pattern" in each:
            yield Invalid(f"{name} does not match", {**full, name: "\u2603 no match"})
    for name in merged.get("required") or []:
        without = {key: each for key, each in full.items() if key != name}
        yield Invalid(f"{name} is missing", without)
    if merged.get("additionalProperties") is False:
        yield Invalid("an unknown parameter", {**full, "osb_conformance_unknown": 1})
