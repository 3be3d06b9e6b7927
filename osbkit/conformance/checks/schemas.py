"""Schemas of parameters. Spec: "Schemas Object", "Input Parameters Schema Object".

What stands in the catalog is judged as it came; whether requests are held against it
is tried with parameters that the schema itself refuses. Nothing is fetched: a schema
that refers to other documents is told of, not followed.

Units: bytes.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag, urljoin

from jsonschema import (
    Draft3Validator,
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)
from jsonschema.exceptions import SchemaError

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect_none, skip
from osbkit.conformance.registry import check
from osbkit.conformance.samples import Invalid, Samples
from osbkit.conformance.target import Target

LARGEST = 64 * 1024
TRIED = 6  # invalid parameters per check
PLACES: Mapping[str, tuple[str, ...]] = {
    "service_instance": ("create", "update"),
    "service_binding": ("create",),
}
DRAFTS: Mapping[str, Any] = {
    "draft-03": Draft3Validator,
    "draft-04": Draft4Validator,
    "draft-06": Draft6Validator,
    "draft-07": Draft7Validator,
    "draft/2019-09": Draft201909Validator,
    "draft/2020-12": Draft202012Validator,
}
NAMED = re.compile(r"https?://json-schema\.org/(draft[-/][0-9-]+)/schema#?")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
VALUES = frozenset({"enum", "const", "default", "example", "examples"})
NAMING = frozenset(
    {"properties", "patternProperties", "definitions", "$defs", "dependencies"}
)
OF_PROPERTIES = frozenset(
    {"properties", "patternProperties", "additionalProperties", "required"}
)
JOINED = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "not"})


@dataclass(frozen=True)
class Place:
    """A `parameters` of the catalog that is an object, and where it stands."""

    where: str
    schema: Json = field(repr=False)

    @property
    def draft(self) -> str | None:
        """The draft that `$schema` names; None when it is none that is known."""
        named = self.schema.get("$schema")
        found = NAMED.fullmatch(named) if isinstance(named, str) else None
        return found[1] if found and found[1] in DRAFTS else None


def _plans(target: Target) -> Iterator[tuple[str, Json, Json]]:
    """Label, offering and plan of every plan whose `schemas` is an object."""
    for offering, plan in target.catalog.raw_plans():
        if isinstance(plan.get("schemas"), dict):
            yield f"{offering.get('name')}/{plan.get('name')}", offering, plan


def _places(target: Target) -> list[Place]:
    """Every schema of parameters.

    Raises:
        Skip: there is none.
    """
    found = []
    for label, _, plan in _plans(target):
        for resource, actions in PLACES.items():
            for action in actions:
                here: Any = plan["schemas"]
                for name in (resource, action, "parameters"):
                    here = here.get(name) if isinstance(here, dict) else None
                if isinstance(here, dict):
                    found.append(Place(f"{label}, {action} of {resource}", here))
    if not found:
        skip("No plan of the catalog has a schema of parameters.")
    return found


# --- as they stand in the catalog -----------------------------------------------------


@check("SCHEMA-01", advice="Nest as schemas.service_instance.create.parameters.")
async def schemas_are_nested_as_specified(target: Target) -> None:
    """Schemas stand below service_instance (create, update) and service_binding
    (create), each under `parameters`, and all of them are objects."""
    plans = [(label, plan["schemas"]) for label, _, plan in _plans(target)]
    if not plans:
        skip("No plan of the catalog has schemas.")
    expect_none(
        f"{label}: {place} is no object"
        for label, schemas in plans
        for place in _no_objects(schemas)
    )


def _no_objects(schemas: Json) -> Iterator[str]:
    """The places that hold something, but no object; null counts as nothing."""
    for resource, actions in PLACES.items():
        actions_here = schemas.get(resource)
        if isinstance(actions_here, dict):
            for action in actions:
                here = actions_here.get(action)
                place = f"schemas.{resource}.{action}"
                if isinstance(here, dict):
                    if not isinstance(here.get("parameters"), dict | None):
                        yield f"{place}.parameters"
                elif here is not None:
                    yield place
        elif actions_here is not None:
            yield f"schemas.{resource}"


@check("SCHEMA-02", advice='Add "$schema": "http://json-schema.org/draft-04/schema#".')
async def schemas_name_their_draft(target: Target) -> None:
    """Each schema of parameters has a `$schema`."""
    expect_none(
        f"{place.where}: no $schema"
        for place in _places(target)
        if not isinstance(place.schema.get("$schema"), str)
        or not place.schema["$schema"]
    )


@check(
    "SCHEMA-03", advice="Copy what is referred to into `definitions`; refer to that."
)
async def schemas_stand_alone(target: Target) -> None:
    """No schema of parameters refers to another document."""
    expect_none(
        f"{place.where}: refers to {reference}"
        for place in _places(target)
        for reference in _foreign(place.schema)
    )


def _foreign(schema: Json) -> list[str]:
    """References to documents that are not this one."""
    parts = [*_parts(schema, "")]
    own = {"", *(base for base, _ in parts)}
    return [
        each[word]
        for base, each in parts
        for word in REFERENCES
        if isinstance(each.get(word), str)
        and not each[word].startswith("#")
        and _document(base, each[word]) not in own
    ]


def _document(base: str, reference: str) -> str:
    """The URI of the document that is referred to; no URI at all stays as it is."""
    try:
        return urldefrag(urljoin(base, reference)).url
    except ValueError:
        return reference


def _parts(
    schema: Any, base: str, *, by_name: bool = False
) -> Iterator[tuple[str, Json]]:
    """Every subschema with the URI that its references start from.

    Args:
        by_name: the keys are names, such as those of properties, not words.
    """
    if isinstance(schema, list):
        for each in schema:
            yield from _parts(each, base)
    elif isinstance(schema, dict) and by_name:
        for each in schema.values():
            yield from _parts(each, base)
    elif isinstance(schema, dict):
        for word in ("id", "$id"):
            if isinstance(schema.get(word), str):
                base = _document(base, schema[word])
        yield base, schema
        for word, each in schema.items():
            if word not in VALUES:
                yield from _parts(each, base, by_name=word in NAMING)


@check("SCHEMA-04", advice="Shorten it: platforms refuse larger ones.")
async def schemas_are_small(target: Target) -> None:
    """No schema of parameters has more than 64 kB."""
    expect_none(
        f"{place.where}: {size} bytes"
        for place in _places(target)
        if (size := _bytes(place.schema)) > LARGEST
    )


def _bytes(schema: Json) -> int:
    """The least that it can have on the wire: UTF-8, no blanks."""
    text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
    return len(text.encode("utf-8", "surrogatepass"))


@check("SCHEMA-05", advice="Mend it, or name the draft in which it is written.")
async def schemas_are_valid(target: Target) -> None:
    """Each schema of parameters is valid in the draft that it names."""
    known = [place for place in _places(target) if place.draft]
    if not known:
        skip("No schema of the catalog names a draft that the kit knows.")
    expect_none(fault for place in known for fault in _faults(place))


def _faults(place: Place) -> Iterator[str]:
    try:
        DRAFTS[place.draft or ""].check_schema(place.schema)
    except SchemaError as error:
        yield f"{place.where}: {error.json_path}: {error.message[:200]}"


@check("SCHEMA-06", advice='Say "type": "object" and name parameters in `properties`.')
async def parameters_are_properties(target: Target) -> None:
    """A schema of parameters describes an object and its properties."""
    expect_none(
        f"{place.where}: it does not describe the properties of an object"
        for place in _places(target)
        if not _of_object(place.schema)
    )


def _of_object(schema: Json) -> bool:
    kind = schema.get("type")
    if kind is None:
        return bool((OF_PROPERTIES | JOINED) & schema.keys())
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


@check("SCHEMA-07", advice="Write it in draft-04: no other is known to all platforms.")
async def schemas_are_of_draft_04(target: Target) -> None:
    """Each schema of parameters is of draft-04."""
    named = [place for place in _places(target) if place.schema.get("$schema")]
    if not named:
        skip("No schema of the catalog names its draft.")
    expect_none(
        f"{place.where}: it is of {place.draft or 'another draft'}"
        for place in named
        if place.draft != "draft-04"
    )


@check("SCHEMA-08", advice="Leave service_binding out where nothing can be bound.")
async def only_bindable_plans_have_schemas_of_bindings(target: Target) -> None:
    """A plan that cannot be bound has no schema for bindings."""
    plans = [
        (label, offering, plan)
        for label, offering, plan in _plans(target)
        if plan["schemas"].get("service_binding")
    ]
    if not plans:
        skip("No plan of the catalog has a schema for bindings.")
    expect_none(
        f"{label}: a schema for bindings, and not bindable"
        for label, offering, plan in plans
        if (
            offering.get("bindable")
            if plan.get("bindable") is None
            else plan.get("bindable")
        )
        is False
    )


# --- held against requests; provisioning.py does so for provisioning ------------------


@check(
    "SCHEMA-09", "UPD-20", advice="Validate `parameters` with the schema of updates."
)
async def invalid_parameters_are_not_updated_to(target: Target) -> None:
    """An update with parameters that the plan's schema refuses does not succeed."""
    plan = target.plan(wants.usable, wants.updates, wants.update_schema)
    instance = await target.provisioned(plan)

    async def ask(value: Json) -> tuple[Exchange, bool]:
        answer = await instance.update(parameters=value)
        return answer, (await instance.ended(answer)).succeeded

    await _none_succeeds(target.samples(plan, "service_instance", "update"), ask)


@check(
    "SCHEMA-09", "BIND-20", advice="Validate `parameters` with the schema of bindings."
)
async def invalid_parameters_are_not_bound(target: Target) -> None:
    """A binding with parameters that the plan's schema refuses does not succeed."""
    plan = target.plan(wants.usable, wants.binds, wants.bind_schema)
    instance = await target.provisioned(plan)

    async def ask(value: Json) -> tuple[Exchange, bool]:
        binding = instance.binding()
        answer = await binding.bind(parameters=value)
        return answer, (await binding.ended(answer)).succeeded

    await _none_succeeds(target.samples(plan, "service_binding", "create"), ask)


async def _none_succeeds(
    samples: Samples, ask: Callable[[Json], Awaitable[tuple[Exchange, bool]]]
) -> None:
    """Some invalid parameters, each with its own fault, are sent.

    Raises:
        Skip: the schema refuses nothing that could be made up.
        Broken: what it refuses was carried out.
    """
    faults = _spread(samples.invalid)
    if not faults:
        skip("The schema refuses nothing that the kit could make up.")
    taken, seen = [], []
    for fault in faults:
        answer, succeeded = await ask(fault.value)
        if succeeded:
            taken.append(f"parameters in which {fault.why} were accepted")
            seen.append(answer)
    expect_none(taken, *seen)


def _spread(faults: list[Invalid]) -> list[Invalid]:
    """One of each kind of fault, from all over the schema."""
    kinds: dict[str, Invalid] = {}
    for each in faults:
        kinds.setdefault(each.why, each)
    chosen = [*kinds.values()]
    return chosen[:: max(1, -(-len(chosen) // TRIED))]
