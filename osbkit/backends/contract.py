"""What the author of a service writes, and what they are given.

`ServiceBackend[P, B]`: P is the pydantic model of an instance's parameters, B
that of a binding's. Every method may run twice, after a crash or a lost answer,
and must end in the same state; `deprovision` and `unbind` succeed when nothing
is there and work from the name alone.

What a method raises:

    Refused("sentence")       the caller can mend it; nothing is left behind
    Failed("sentence")        ours, and final; what was begun is rolled back
    UpdateFailed("…", usable=…, repeatable=…)   an update or a deprovision
    anything else             passing trouble: tried again with backoff

Units: spans are seconds, moments are aware UTC datetimes.
"""

import abc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal

from pydantic import BaseModel
from typing_extensions import TypeVar

from osbkit.domain import Identity, Json

Facts = Json
"""A JSON object that a backend keeps: sealed at rest, handed to every later call."""


class AnyParameters(BaseModel, extra="allow"):
    """Parameters without a model: whatever JSON object came, as attributes."""


class NoParameters(BaseModel, extra="forbid"):
    """No parameters at all; any key is refused."""


P = TypeVar("P", bound=BaseModel, default=AnyParameters)
B = TypeVar("B", bound=BaseModel, default=AnyParameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerInfo:
    """What a backend may know of the broker it runs in.

    Attributes:
        id: random, made with the database; mark what you make with it.
        public_url: how others reach the broker, without a trailing slash.
    """

    id: str
    public_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceView(Generic[P]):
    """A service instance as its backend sees it.

    Attributes:
        name: what everything on the service is named after: `osb-` and 20
            base32 characters, the same for every call of this instance and never
            used again. Never build names from raw ids.
        offering, plan: names from the catalog.
        platform: whose instance it is (the credential's platform).
        context: the platform's `context` as it came, or None.
        facts: what provision or update returned last; None before, and perhaps
            for ever if the creation never ended.
        usable: False after a failed update that said so.
    """

    name: str
    instance_id: str
    offering: str
    plan: str
    platform: str
    parameters: P = field(repr=False)
    context: Json | None = field(default=None, repr=False)
    facts: Facts | None = field(default=None, repr=False)
    organization_guid: str = ""
    space_guid: str = ""
    maintenance_version: str | None = None
    usable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What every request to a backend has.

    Attributes:
        name: names what this request is about on the service (InstanceView.name;
            of a binding its own).
        identity: whom the platform says it acts for, or None. Never proof.
        facts: what the instance's provision or update returned last.
    """

    name: str
    instance_id: str
    offering: str
    plan: str
    platform: str
    context: Json | None = field(default=None, repr=False)
    identity: Identity | None = field(default=None, repr=False)
    facts: Facts | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionRequest(Request, Generic[P]):
    """Make an instance. Spec: "Provisioning"."""

    parameters: P = field(repr=False)
    organization_guid: str
    space_guid: str
    maintenance_version: str | None = None


Changed = Literal["plan", "parameters", "context", "maintenance_info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest(Request, Generic[P]):
    """Bring an instance to new values. Spec: "Updating a Service Instance".

    Attributes:
        plan, parameters: the values to reach (parameters already merged).
        changed: which of them differ from what is stored.
        previous: the instance as it stands.
    """

    parameters: P = field(repr=False)
    changed: frozenset[Changed]
    previous: InstanceView[P]
    maintenance_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predecessor:
    """The binding that a rotation succeeds. Spec: "Binding Rotation"."""

    binding_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BindRequest(Request, Generic[P, B]):
    """Make a binding. Spec: "Binding".

    Attributes:
        name: the binding's own name on the service.
        app_guid: the application, or None (a service key).
        bind_resource: as it came, or None.
        predecessor: set when this is a rotation; both stay valid.
    """

    binding_id: str
    parameters: B = field(repr=False)
    instance: InstanceView[P]
    app_guid: str | None = None
    bind_resource: Json | None = field(default=None, repr=False)
    predecessor: Predecessor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbindRequest(Request):
    """Remove a binding. Spec: "Unbinding".

    Attributes:
        name, instance_name: enough to do the work.
        binding_facts: what `Bound.facts` said; None if bind never ended.
    """

    binding_id: str
    instance_name: str
    binding_facts: Facts | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeprovisionRequest(Request):
    """Remove an instance, whole or half made. Spec: "Deprovisioning"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an application connects. Spec: "Endpoint Object".

    Attributes:
        host: a name or one IP address.
        ports: numbers or ranges ("9000-9010"), at least one.
    """

    host: str
    ports: Sequence[int | str]
    protocol: Literal["tcp", "udp", "all"] = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeMount:
    """A volume for the application's container. Spec: "Volume Mounts Object"."""

    driver: str
    container_dir: str
    mode: Literal["r", "rw"]
    volume_id: str
    mount_config: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a binding gives the application. Spec: "Binding", Body.

    Attributes:
        credentials: a JSON object; keys of `[-._a-zA-Z0-9]+` reach every
            platform. Integers above 2^53 are sent as strings.
        endpoints: every host and port the application uses.
        volume_mounts, syslog_drain_url, route_service_url: only where the
            offering `requires` them.
        expires_at, renew_before: aware datetimes; renew_before ≤ expires_at.
        facts: a JSON object kept for unbind, never shown to the platform.
    """

    credentials: Mapping[str, Any] = field(default_factory=dict, repr=False)
    endpoints: Sequence[Endpoint] = ()
    volume_mounts: Sequence[VolumeMount] = ()
    syslog_drain_url: str | None = field(default=None, repr=False)
    route_service_url: str | None = None
    expires_at: datetime | None = None
    renew_before: datetime | None = None
    facts: Facts | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a platform shows of an instance. Spec: "Service Instance Metadata".

    Attributes:
        dashboard_url: must identify the instance; told in the first answer, so
            it must not depend on facts.
    """

    dashboard_url: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


Kind = Literal["instance", "binding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Something that exists on the service under this broker's mark.

    Attributes:
        name: what `Request.name` was when it was made.
        kind: what it is; where a row of the broker has the name, the row counts.
        instance_name: of a binding, what its instance is named; without it a
            binding that no row knows cannot be removed.
        instance_id, binding_id: the ids, where the mark holds them. They are
            believed only if the name follows from them.
        created_at: when it was made, an aware moment; None if that is not known.
        note: a few words for the operator: its size, who uses it. No secrets.
    """

    name: str
    kind: Kind = "instance"
    instance_name: str | None = None
    instance_id: str | None = None
    binding_id: str | None = None
    created_at: datetime | None = None
    note: str = ""


class Run(abc.ABC):
    """One attempt at an operation, as its backend sees it.

    Attributes:
        id: the operation's id, the same for every attempt.
        attempt: 1 for the first call, one more for each further.
        deadline: when the broker gives the call up.
        log: a structlog logger that already carries the operation's id.
    """

    id: str
    attempt: int
    deadline: datetime
    log: Any

    @abc.abstractmethod
    async def progress(
        self,
        text: str,
        *,
        percent: int | None = None,
        poll_after: int | None = None,
    ) -> None:
        """Tell the user how far it is; shown by last_operation.

        Args:
            text: a sentence for the user, without secrets.
            percent: 0 to 100.
            poll_after: seconds, sent as Retry-After.
        """

    @abc.abstractmethod
    async def step(
        self, name: str, call: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        """Do something once per operation, not once per attempt.

        The JSON result is stored sealed; after a crash it is returned without
        calling again. A crash between the call and the store calls it twice.

        Args:
            name: unique within the operation, stable between versions.
            call: awaited as `call(*args)`; its result must be JSON.
        """

    @abc.abstractmethod
    def secret(self, name: str, *, length: int = 32) -> str:
        """A random string of `[A-Za-z0-9]`, the same on every attempt.

        Derived from a random seed that was sealed before the first side effect.

        Args:
            name: tells several secrets of one operation apart.
            length: characters, 16 to 128.
        """


class ServiceBackend(abc.ABC, Generic[P, B]):
    """One kind of service, made and removed on request. Subclass this.

    Only `provision` and `deprovision` must be written; `bind` and `unbind` where
    a plan is bindable, `update` where one is updateable.

    Attributes:
        plan_parameters: plan name → a model narrower than P.
        parallel_binds: False lets bindings of one instance be made and removed
            one after the other only.
        requires_app: True answers 422 RequiresApp to a bind without an app.
        lists_bindings: `inventory()` lists bindings as well; only then can one be
            missed there.
        steps_version: which steps (`Run.step`) the backend knows; change it when
            they change. "" lets any change of its file count.
        broker: set before `open()`.
    """

    plan_parameters: ClassVar[Mapping[str, type[BaseModel]]] = {}
    parallel_binds: bool = True
    requires_app: bool = False
    lists_bindings: bool = False
    steps_version: str = ""
    broker: BrokerInfo

    async def open(self) -> None:
        """Open clients and pools; once per process, in its event loop."""

    async def close(self) -> None:
        """Undo `open()`."""

    async def check(
        self,
        request: ProvisionRequest[P] | UpdateRequest[P] | BindRequest[P, B],
    ) -> None:
        """Raise Refused for what cannot be, before anything is recorded.

        No side effects, and quick: the platform waits. A refusal of a request that
        repeats one already taken counts for nothing.
        """

    def describe(self, instance: InstanceView[P]) -> Description:
        """Say what a platform shows of an instance. Pure and quick: no I/O."""
        return Description()

    @abc.abstractmethod
    async def provision(self, request: ProvisionRequest[P], run: Run) -> Facts | None:
        """Make the instance; returns what later calls should know of it."""

    async def update(self, request: UpdateRequest[P], run: Run) -> Facts | None:
        """Bring the instance to the new values; None keeps the facts."""
        raise NotImplementedError

    async def bind(self, request: BindRequest[P, B], run: Run) -> Bound:
        """Make a principal of its own for this binding and say how to connect."""
        raise NotImplementedError

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """Remove the binding's principal and cut its connections."""
        raise NotImplementedError

    @abc.abstractmethod
    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """Remove everything of the instance, however far it got."""

    async def inventory(self) -> AsyncIterator[Found]:
        """List what exists on the service under this broker's mark.

        Optional; `osbkit reconcile` compares it with the broker's rows. Write it as
        `async def` with `yield`, and raise if it cannot be listed whole: what is
        left out counts as lost. What carries another broker's mark, or none, is not
        listed: what is listed can be removed.
        """
        raise NotImplementedError
        yield

    async def ping(self) -> None:
        """Raise if the service cannot be reached with the broker's own account."""
