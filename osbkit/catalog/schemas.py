"""From a pydantic model to the JSON Schema that platforms read: draft-04.

What the schema promises: whatever the model takes (strict, as JSON), the schema
takes; and what the schema refuses, the model refuses. The other way round it
holds but for what draft-04 has no word for: formats (dates, UUIDs, URLs), keys of
a dict that are no text, validators written by hand.

`1.0` is no integer: draft-04 says so, and so does pydantic when it is strict.
"""

from copy import deepcopy
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from osbkit.catalog.findings import Remark
from osbkit.catalog.places import spell
from osbkit.catalog.positions import (
    LISTED,
    NAMED,
    SINGLE,
    Schema,
    rebuilt,
    resolve,
    walk,
)
from osbkit.catalog.schema_rules import DRAFT_04, remarks

_NO_WORD: Final = (
    *("if", "then", "else", "contains", "minContains", "maxContains"),
    *("unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
)
"""Keywords of later drafts that draft-04 cannot say."""


class ModelUnfit(ValueError):
    """A model has no schema that every platform reads.

    Attributes:
        remarks: what is wrong, each at its place in the schema.
    """

    def __init__(self, model: type[BaseModel], found: list[Remark]) -> None:
        self.remarks = found
        told = "; ".join(
            f"{spell(remark.place) or 'it'} {remark.problem}" for remark in found
        )
        super().__init__(f"{model.__name__} has no draft-04 schema: {told}")


def create_schema(model: type[BaseModel]) -> Schema:
    """The schema of a model whose values come with PUT of an instance.

    Returns:
        A draft-04 schema of type object, at most 64 KiB, with `$schema`, and with
        its own references below `definitions`.

    Raises:
        ModelUnfit: the model says what draft-04 cannot, is no object, or is too
            large.
    """
    return deepcopy(_made(model))


@lru_cache(maxsize=256)  # plans share models, and a model has up to three schemas
def _made(model: type[BaseModel]) -> Schema:
    try:
        generated = model.model_json_schema(
            ref_template="#/definitions/{model}", schema_generator=_Generator
        )
        schema = _as_draft_04(generated, model)
    except (PydanticInvalidForJsonSchema, PydanticUserError) as wrong:
        problem = f"cannot be written as JSON Schema ({wrong.message.splitlines()[0]})"
        fix = "Use types that JSON has, or give the field a json_schema_extra."
        raise ModelUnfit(model, [Remark((), problem, fix)]) from wrong
    if found := [remark for remark in remarks(schema, ()) if remark.level == "error"]:
        raise ModelUnfit(model, found)
    return schema


def update_schema(model: type[BaseModel]) -> Schema:
    """The schema of what comes with PATCH: any of the parameters, none required.

    Only the first level is loosened: a parameter that is sent is sent whole. Its
    defaults go, too, because one that is not sent keeps the value it has.

    Raises:
        ModelUnfit: as `create_schema`.
    """
    schema = create_schema(model)
    schema.pop("required", None)
    if "properties" in schema:
        schema["properties"] = {
            name: {key: value for key, value in part.items() if key != "default"}
            for name, part in schema["properties"].items()
        }
    return schema


def bind_schema(model: type[BaseModel]) -> Schema:
    """The schema of a model whose values come with PUT of a binding.

    Raises:
        ModelUnfit: as `create_schema`.
    """
    return create_schema(model)


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, where what it writes and what it takes differ."""

    ignored_warning_kinds = {  # noqa: RUF012  pydantic's own shape
        "non-serializable-default",
        "skipped-discriminator",
    }

    def emit_warning(self, kind: Any, detail: str) -> None:
        """A choice left out would make the schema narrower than the model."""
        if kind == "skipped-choice":
            raise PydanticInvalidForJsonSchema(detail)
        super().emit_warning(kind, detail)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Titles made of names say nothing that the name does not."""
        return False

    def set_schema(self, schema: core_schema.SetSchema) -> JsonSchemaValue:
        """A set takes an entry twice and keeps it once."""
        return _without(super().set_schema(schema), "uniqueItems")

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> JsonSchemaValue:
        """A set takes an entry twice and keeps it once."""
        return _without(super().frozenset_schema(schema), "uniqueItems")

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A key outside the pattern is refused."""
        written = super().dict_schema(schema)
        if "patternProperties" in written:
            written.setdefault("additionalProperties", False)
        return written

    def tagged_union_schema(
        self, schema: core_schema.TaggedUnionSchema
    ) -> JsonSchemaValue:
        """The tag must be there, even where the field has a default."""
        written = super().tagged_union_schema(schema)
        discriminator = written.pop("discriminator", None)
        if discriminator is not None:
            written["required"] = [discriminator["propertyName"]]
        return written


def _without(schema: JsonSchemaValue, keyword: str) -> JsonSchemaValue:
    schema.pop(keyword, None)
    return schema


# --- from the newest draft to draft-04 --------------------------------------------


def _as_draft_04(generated: Schema, model: type[BaseModel]) -> Schema:
    root = dict(generated)
    if "$defs" in root:
        root["definitions"] = {
            name: _plain_title(part, name) for name, part in root.pop("$defs").items()
        }
    if target := resolve(root, root.get("$ref", "")):  # a model that holds itself
        del root["$ref"]
        root = {**target, **root}
    if model.model_config.get("title") is None:
        root = _plain_title(root, model.__name__)

    def change(schema: Schema) -> Schema:
        if unsaid := [keyword for keyword in _NO_WORD if keyword in schema]:
            problem = f"uses {unsaid[0]}, which draft-04 does not have"
            fix = "Say it with the keywords of draft-04, or check it by hand."
            raise ModelUnfit(model, [Remark((), problem, fix)])
        return _changed(schema, root)

    return {"$schema": DRAFT_04, **_reachable(rebuilt(root, change))}


def _plain_title(schema: Schema, name: str) -> Schema:
    if schema.get("title") == name:
        return {key: value for key, value in schema.items() if key != "title"}
    return schema


def _changed(schema: Schema, root: Schema) -> Schema:
    """One schema, whose inner schemas are draft-04 already, in draft-04."""
    _names_of_properties(schema, root)
    _booleans(schema)
    _bound(schema, "exclusiveMinimum", "minimum", max)
    _bound(schema, "exclusiveMaximum", "maximum", min)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if "prefixItems" in schema:
        if "items" in schema:
            schema["additionalItems"] = schema.pop("items")
        schema["items"] = schema.pop("prefixItems")
    for later in ("dependentRequired", "dependentSchemas"):
        if later in schema:
            schema.setdefault("dependencies", {}).update(schema.pop(later))
    if not schema.get("required", True):
        del schema["required"]
    if schema.get("default", ...) is None:
        del schema["default"]
    if "$ref" in schema and len(schema) > 1:  # draft-04 passes over what stands beside
        schema = {"allOf": [{"$ref": schema.pop("$ref")}], **schema}
    return schema


def _bound(schema: Schema, exclusive: str, inclusive: str, stricter: Any) -> None:
    """`exclusiveMinimum: 5` becomes `minimum: 5, exclusiveMinimum: true`."""
    limit = schema.get(exclusive)
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return
    other = schema.get(inclusive)
    if other is not None and other != limit and stricter(other, limit) == other:
        del schema[exclusive]
    else:
        schema[inclusive], schema[exclusive] = limit, True


def _booleans(schema: Schema) -> None:
    """`true` and `false` are no schemas yet, but for what is additional."""
    for keyword, value in schema.items():
        if keyword in NAMED and isinstance(value, dict):
            schema[keyword] = {name: _schema(part) for name, part in value.items()}
        elif keyword in LISTED and isinstance(value, list):
            schema[keyword] = [_schema(part) for part in value]
        elif keyword in SINGLE and not keyword.startswith("additional"):
            schema[keyword] = _schema(value)


def _schema(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else {"not": {}}
    return value


def _names_of_properties(schema: Schema, root: Schema) -> None:
    """`propertyNames` in other words, as far as there are any."""
    names = schema.pop("propertyNames", None)
    if not isinstance(names, dict):
        return
    names = resolve(root, names.get("$ref", "")) or names
    values = schema.get("additionalProperties", True)
    values = {} if values is True else values
    if "enum" in names or "const" in names:
        allowed = names.get("enum", [names.get("const")])
        schema["properties"] = {str(name): values for name in allowed}
        schema["additionalProperties"] = False
    elif "patternProperties" not in schema and {"minLength", "maxLength"} & set(names):
        shortest, longest = names.get("minLength", 0), names.get("maxLength", "")
        schema["patternProperties"] = {f"^[\\s\\S]{{{shortest},{longest}}}$": values}
        schema["additionalProperties"] = False


def _reachable(root: Schema) -> Schema:
    """Without the definitions that nothing refers to."""
    kept: set[str] = set()
    waiting = [_without(dict(root), "definitions")]
    while waiting:
        for _, part in walk(waiting.pop()):
            reference = str(part.get("$ref", ""))
            if reference not in kept and (target := resolve(root, reference)):
                kept.add(reference)
                waiting.append(target)
    definitions = {
        name: part
        for name, part in root.get("definitions", {}).items()
        if f"#/definitions/{name}" in kept
    }
    bare = _without(dict(root), "definitions")
    return {**bare, "definitions": definitions} if definitions else bare
