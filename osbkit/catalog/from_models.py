"""Schemas and rules of a plan, from a backend's models and from the catalog."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from osbkit.catalog.findings import Finding, Remark, told
from osbkit.catalog.model import (
    Catalog,
    Plan,
    Schemas,
)
from osbkit.catalog.parameters import AnyObject, ModelRules, ParameterRules, SchemaRules
from osbkit.catalog.places import Place
from osbkit.catalog.positions import Schema
from osbkit.catalog.schemas import (
    ModelUnfit,
    bind_schema,
    create_schema,
    update_schema,
)

_PLACES = (
    ("create", "service_instance", "create", create_schema),
    ("create", "service_instance", "update", update_schema),
    ("bind", "service_binding", "create", bind_schema),
)
"""Which model gives the schema of which place in a plan, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanModels:
    """The models of a plan's parameters; None where its backend has none.

    Attributes:
        create: of an instance; the schema of an update follows from it.
        bind: of a binding.
    """

    create: type[BaseModel] | None = None
    bind: type[BaseModel] | None = None


NO_MODELS = PlanModels()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRules:
    """How the parameters of a plan are judged.

    Attributes:
        create: what a PUT of an instance brings.
        update: what a PATCH brings; a null takes a parameter away.
        merged: what an instance has after a PATCH. With a model, the model; with
            raw schemas, the one of `create`, unless there is one of `update`,
            whose parameters may be others than those of `create`.
        bind: what a PUT of a binding brings.
    """

    create: ParameterRules[Any]
    update: ParameterRules[Any]
    merged: ParameterRules[Any]
    bind: ParameterRules[Any]


def rules_of(plan: Plan, models: PlanModels = NO_MODELS) -> PlanRules:
    """The rules of a plan: its models first, else its schemas, else any object.

    Call it once per plan, after `validate`: it compiles.
    """
    create = _rules(models.create, schema_at(plan, "service_instance", "create"))
    bind = _rules(models.bind, schema_at(plan, "service_binding", "create"))
    update: ParameterRules[Any] = AnyObject()
    merged = create
    if models.create is not None:
        update = SchemaRules(update_schema(models.create), nulls_remove=True)
    elif (written := schema_at(plan, "service_instance", "update")) is not None:
        update = SchemaRules(written, nulls_remove=True)
        merged = AnyObject()
    return PlanRules(create=create, update=update, merged=merged, bind=bind)


def _rules(model: type[BaseModel] | None, schema: Schema | None) -> ParameterRules[Any]:
    if model is not None:
        return ModelRules(model)
    return AnyObject() if schema is None else SchemaRules(schema)


def schema_at(plan: Plan, whose: str, verb: str) -> Schema | None:
    """The `parameters` schema of a plan at one of the three places, if any."""
    here: Any = plan.schemas
    for name in (whose, verb, "parameters"):
        here = getattr(here, name, None)
    return None if here is None else dict(here)


def put_schemas(
    catalog: Catalog, models: Mapping[tuple[str, str], PlanModels]
) -> tuple[Catalog, list[Finding]]:
    """Write the schemas of models into a copy of the catalog.

    Args:
        models: by (service_id, plan_id); a plan that is not named stays as it is.

    Returns:
        The copy, and as findings: a schema that is written in the catalog though
        it follows from a model, a model that has no draft-04 schema. Hand them to
        `validate` with the copy.
    """
    found: list[Remark] = []
    services = []
    for index, offering in enumerate(catalog.services):
        plans = []
        for number, plan in enumerate(offering.plans):
            given = models.get((offering.id, plan.id), NO_MODELS)
            if not catalog.bindable(offering, plan):
                given = PlanModels(create=given.create)
            place = ("services", index, "plans", number, "schemas")
            written, remarks = _written(plan, given, place)
            plans.append(plan.model_copy(update={"schemas": written}))
            found += remarks
        services.append(offering.model_copy(update={"plans": tuple(plans)}))
    copy = catalog.model_copy(update={"services": tuple(services)})
    return copy, told(catalog.document(), found)


def _written(
    plan: Plan, models: PlanModels, place: Place
) -> tuple[Schemas | None, list[Remark]]:
    """The schemas of one plan, those of its models included."""
    schemas = plan.schemas.model_dump(exclude_unset=True) if plan.schemas else {}
    found: list[Remark] = []
    refused: set[type[BaseModel]] = set()
    for given, whose, verb, make in _PLACES:
        model: type[BaseModel] | None = getattr(models, given)
        if model is None or model in refused:
            continue
        at = (*place, whose, verb, "parameters")
        if schema_at(plan, whose, verb) is not None:
            problem = f"is written here and follows from {model.__name__} as well"
            fix = "Leave it out here, or take the model from the backend."
            found.append(Remark(at, problem, fix))
            continue
        try:
            schema = make(model)
        except ModelUnfit as unfit:
            found += _of_model(unfit, model, at)
            refused.add(model)
            continue
        schemas.setdefault(whose, {}).setdefault(verb, {})["parameters"] = schema
    return (Schemas.model_validate(schemas) if schemas else None), found


def _of_model(
    unfit: ModelUnfit, model: type[BaseModel], place: Place
) -> Iterator[Remark]:
    for remark in unfit.remarks:
        problem = f"comes from {model.__name__} and {remark.problem}"
        yield Remark((*place, *remark.place), problem, remark.fix)
