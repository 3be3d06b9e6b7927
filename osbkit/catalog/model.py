"""The catalog as frozen records; their shape and their names are the wire's.

Here are the fields, their types and the lookups. What else a catalog must obey
stands in `osbkit.catalog.rules`; how it goes out, in `osbkit.catalog.wire`.
A null is the same as a field left out. Fields that the specification does not
know are kept and served ("Vendor Extension Fields"). osbkit's own settings of a
plan stand under `x-osbkit` and never reach the wire.

Units: spans are in seconds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from osbkit.catalog import rules
from osbkit.catalog.fields import SETTINGS_KEY
from osbkit.catalog.findings import Finding, Remark, told
from osbkit.catalog.reading import read_yaml
from osbkit.catalog.typing_errors import type_remarks
from osbkit.errors import CatalogInvalid

Mode = Literal["sync", "async", "auto"]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Texts = Annotated[Sequence[StrictStr], AfterValidator(tuple)]
JsonObject = dict[str, Any]


class _Record(BaseModel):
    """A frozen object of the catalog, vendor fields and all."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,  # a dashboard's secret stays out of the text
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if value is not None}


class PlanSettings(_Record):
    """How osbkit runs a plan: `x-osbkit` in YAML; platforms never see it.

    Attributes:
        mode: of provision, update and deprovision. `sync` answers when the work
            is done, `async` at once with 202, `auto` waits up to the sync budget.
        bind_mode: the same of bind and unbind. `async` needs
            `bindings_retrievable`, and shuts out platforms that bind without
            `accepts_incomplete`.
        deadline: seconds until an operation is given up; None follows from
            `maximum_polling_duration`, or the broker's setting.
        sync_budget: seconds a request waits; None takes the broker's setting.
    """

    model_config = ConfigDict(extra="forbid")

    mode: Mode = "auto"
    bind_mode: Mode = "auto"
    deadline: Seconds | None = None
    sync_budget: Seconds | None = None


class MaintenanceInfo(_Record):
    """Spec: "Maintenance Info Object".

    Attributes:
        version: a semantic version 2.0; platforms compare it to the letter.
        description: what an upgrade to it means for the user.
    """

    version: StrictStr
    description: StrictStr | None = None


class DashboardClient(_Record):
    """Spec (profile): "Dashboard Client Object"; for Cloud Foundry's dashboard SSO.

    Attributes:
        id: of the OAuth client; unique over the offerings.
        secret: of the OAuth client. Every platform that reads the catalog sees
            it; it is left out of `repr`.
        redirect_uri: of the dashboard. The specification leaves it open, Cloud
            Foundry refuses the catalog without it.
    """

    id: StrictStr
    secret: StrictStr = Field(repr=False)
    redirect_uri: StrictStr


class InputParametersSchema(_Record):
    """Spec: "Input Parameters Schema Object".

    Attributes:
        parameters: a JSON Schema of type object with its `$schema`; at most
            64 KiB as compact JSON, no references out of itself.
    """

    parameters: JsonObject | None = None


class ServiceInstanceSchema(_Record):
    """Spec: "Service Instance Schema Object"."""

    create: InputParametersSchema | None = None
    update: InputParametersSchema | None = None


class ServiceBindingSchema(_Record):
    """Spec: "Service Binding Schema Object"."""

    create: InputParametersSchema | None = None


class Schemas(_Record):
    """Spec: "Schemas Object". Made from a backend's models, or written in YAML."""

    service_instance: ServiceInstanceSchema | None = None
    service_binding: ServiceBindingSchema | None = None


class Plan(_Record):
    """Spec: "Service Plan Object".

    Attributes:
        id: globally unique, at most 63 characters, for ever the same; a GUID.
        name: unique within the offering, at most 63 characters.
        free: False when instances cost something.
        bindable, plan_updateable: None takes the offering's; ask the catalog for
            the value that counts (`Catalog.bindable`).
        binding_rotatable: bindings may be succeeded by new ones.
        maximum_polling_duration: seconds a platform polls an operation; above 0.
        osbkit: written `x-osbkit` in YAML.
    """

    id: StrictStr
    name: StrictStr
    description: StrictStr
    metadata: JsonObject | None = None
    free: StrictBool = True
    bindable: StrictBool | None = None
    binding_rotatable: StrictBool = False
    plan_updateable: StrictBool | None = None
    schemas: Schemas | None = None
    maximum_polling_duration: StrictInt | None = None
    maintenance_info: MaintenanceInfo | None = None
    osbkit: PlanSettings = Field(
        default_factory=PlanSettings,
        validation_alias=SETTINGS_KEY,
        serialization_alias=SETTINGS_KEY,
    )


class ServiceOffering(_Record):
    """Spec: "Service Offering Object".

    Attributes:
        id: globally unique, at most 63 characters, for ever the same; a GUID.
        name: unique in the catalog, at most 63 characters.
        requires: out of `syslog_drain`, `route_forwarding`, `volume_mount`.
        bindable, plan_updateable: what plans that say nothing inherit.
        instances_retrievable, bindings_retrievable: whether GET answers for them.
        allow_context_updates: whether platforms tell of a rename.
        plans: at least one.
    """

    id: StrictStr
    name: StrictStr
    description: StrictStr
    tags: Texts = ()
    requires: Texts = ()
    bindable: StrictBool
    instances_retrievable: StrictBool = False
    bindings_retrievable: StrictBool = False
    allow_context_updates: StrictBool = False
    metadata: JsonObject | None = None
    dashboard_client: DashboardClient | None = None
    plan_updateable: StrictBool = False
    plans: Annotated[Sequence[Plan], AfterValidator(tuple)]

    def visible_to(self, offerings: frozenset[str] | None) -> bool:
        """Whether a caller may see it.

        Args:
            offerings: ids or names of what the caller may see; None for all.
        """
        return offerings is None or self.id in offerings or self.name in offerings


class Catalog(_Record):
    """Everything a broker offers. Spec: "Catalog Management".

    Make it with `from_yaml`, `from_dict`, or `Catalog(services=[...])`. Types are
    judged then, everything else by `osbkit.catalog.validate` at the start.

    Attributes:
        services: the offerings; may be empty.
    """

    services: Annotated[Sequence[ServiceOffering], AfterValidator(tuple)]

    _offerings: dict[str, ServiceOffering] = PrivateAttr(default_factory=dict)
    _plans: dict[tuple[str, str], Plan] = PrivateAttr(default_factory=dict)
    _names: dict[tuple[str, str], tuple[ServiceOffering, Plan]] = PrivateAttr(
        default_factory=dict
    )

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read a catalog from a YAML or JSON file.

        Raises:
            CatalogInvalid: the file cannot be read or is no YAML, or values have
                the wrong type; then it holds what breaks the other rules, too.
        """
        data, doubts = read_yaml(path)
        return cls._made(data, doubts)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a catalog from plain data in the shape of the wire.

        Raises:
            CatalogInvalid: values have the wrong type; holds every finding.
        """
        if not isinstance(data, Mapping):
            finding = Finding("catalog", "is not an object", "Begin it with services.")
            raise CatalogInvalid([finding])
        return cls._made(data, [])

    @classmethod
    def _made(cls, data: Mapping[str, Any], doubts: list[Finding]) -> Self:
        wrong_types: list[Remark] = []
        try:
            made = cls.model_validate(data)
        except ValidationError as wrong:
            wrong_types = list(type_remarks(wrong))
        if not doubts and not wrong_types:
            return made
        broken = [found for found in rules.remarks(data) if found.level == "error"]
        raise CatalogInvalid([*doubts, *told(data, [*wrong_types, *broken])])

    def model_post_init(self, context: Any, /) -> None:
        """Build the lookups. Of what stands twice the first counts."""
        for offering in reversed(self.services):
            self._offerings[offering.id] = offering
            for plan in reversed(offering.plans):
                self._plans[offering.id, plan.id] = plan
                self._names[offering.name, plan.name] = (offering, plan)

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> Self:
        """Copy, and build the lookups of the copy anew."""
        copied = super().model_copy(update=update, deep=deep)
        copied._offerings, copied._plans, copied._names = {}, {}, {}
        copied.model_post_init(None)
        return copied

    def offering(self, service_id: str) -> ServiceOffering | None:
        """The offering with that id, or None."""
        found: ServiceOffering | None = self._looked_up("_offerings").get(service_id)
        return found

    def plan(self, service_id: str, plan_id: str) -> Plan | None:
        """The plan with that id if it belongs to that offering, else None."""
        found: Plan | None = self._looked_up("_plans").get((service_id, plan_id))
        return found

    def _looked_up(self, name: str) -> dict[Any, Any]:
        """A private attribute, without pydantic's `__getattr__`: several of these
        are asked for in every request, and each costs a microsecond there."""
        private: dict[str, Any] = self.__pydantic_private__ or {}
        return cast("dict[Any, Any]", private[name])

    def by_names(
        self, offering_name: str, plan_name: str
    ) -> tuple[ServiceOffering, Plan] | None:
        """An offering and its plan by their names, or None."""
        return self._names.get((offering_name, plan_name))

    def bindable(self, offering: ServiceOffering, plan: Plan) -> bool:
        """Whether instances of the plan can be bound: the plan's word first."""
        return offering.bindable if plan.bindable is None else plan.bindable

    def plan_updateable(self, offering: ServiceOffering, plan: Plan) -> bool:
        """Whether instances may leave the plan: the plan's word first."""
        if plan.plan_updateable is None:
            return offering.plan_updateable
        return plan.plan_updateable

    def document(self) -> dict[str, Any]:
        """The catalog as it was written: plain data, `x-osbkit` included."""
        return self.model_dump(by_alias=True, exclude_unset=True)
