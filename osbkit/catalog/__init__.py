"""What a broker offers: the records, the rules they obey, and their bytes.

    model        Catalog, ServiceOffering, Plan …: the wire's shape, and lookups
    reading      YAML → plain data
    rules        everything that is wrong with a catalog, at once
    schemas      a pydantic model → draft-04
    from_models  a plan's models → its schemas and its rules
    parameters   the rules by which a request's parameters are judged
    wire         the catalog's bytes for each version and caller

Nothing here runs per request but lookups, `CatalogPages.page` and `parse`.
"""

from osbkit.catalog.findings import Finding
from osbkit.catalog.from_models import PlanModels, PlanRules, put_schemas, rules_of
from osbkit.catalog.model import (
    Catalog,
    DashboardClient,
    InputParametersSchema,
    MaintenanceInfo,
    Mode,
    Plan,
    PlanSettings,
    Schemas,
    ServiceBindingSchema,
    ServiceInstanceSchema,
    ServiceOffering,
)
from osbkit.catalog.parameters import AnyObject, ModelRules, ParameterRules, SchemaRules
from osbkit.catalog.problems import FieldProblem, Unfit
from osbkit.catalog.rules import findings, validate
from osbkit.catalog.schemas import (
    ModelUnfit,
    bind_schema,
    create_schema,
    update_schema,
)
from osbkit.catalog.wire import CatalogBytes, CatalogPages, render

__all__ = [
    "AnyObject",
    "Catalog",
    "CatalogBytes",
    "CatalogPages",
    "DashboardClient",
    "FieldProblem",
    "Finding",
    "InputParametersSchema",
    "MaintenanceInfo",
    "Mode",
    "ModelRules",
    "ModelUnfit",
    "ParameterRules",
    "Plan",
    "PlanModels",
    "PlanRules",
    "PlanSettings",
    "SchemaRules",
    "Schemas",
    "ServiceBindingSchema",
    "ServiceInstanceSchema",
    "ServiceOffering",
    "Unfit",
    "bind_schema",
    "create_schema",
    "findings",
    "put_schemas",
    "render",
    "rules_of",
    "update_schema",
    "validate",
]
