"""A small broker on openbrokerapi 4.7.3, for `osbkit check` to try.

Written as the framework's documentation says, everything that it offers in use:
instances and bindings, synchronous and asynchronous, fetches, updates, polling. What
the author of a backend has to decide is decided as the specification asks; where the
framework lets no author answer that way, it answers as it does.

State is in memory: one process, many threads. An asynchronous operation takes `TAKES`
seconds. Nothing here is imported by a test; README.md says how to run it.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from flask import Flask  # type: ignore[import-not-found]
from openbrokerapi import api, errors  # type: ignore[import-not-found]
from openbrokerapi.catalog import Schemas, ServicePlan  # type: ignore[import-not-found]
from openbrokerapi.service_broker import (  # type: ignore[import-not-found]
    BindDetails,
    Binding,
    BindState,
    DeprovisionDetails,
    DeprovisionServiceSpec,
    GetBindingSpec,
    GetInstanceDetailsSpec,
    LastOperation,
    OperationState,
    ProvisionDetails,
    ProvisionedServiceSpec,
    ProvisionState,
    Service,
    ServiceBroker,
    UnbindDetails,
    UnbindSpec,
    UpdateDetails,
    UpdateServiceSpec,
)

USER, PASSWORD = "conformance", "a-password-for-loopback-only"
TAKES = 2.0
SIZE = {"type": "integer", "minimum": 1, "maximum": 100}
MODE = {"type": "string", "enum": ["reader", "writer"]}


def of(**properties: Any) -> dict[str, Any]:
    """A schema of optional fields, and no others."""
    return {
        "parameters": {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
    }


def plan(number: int, name: str, description: str) -> ServicePlan:
    """A plan that takes a size, and a mode for each binding."""
    return ServicePlan(
        id=f"7f5c1c9e-0d0e-4c55-9a0b-6a1d0f2e00{number:02}",
        name=name,
        description=description,
        free=True,
        bindable=True,
        schemas=Schemas(
            service_instance={"create": of(size=SIZE), "update": of(size=SIZE)},
            service_binding={"create": of(mode=MODE)},
        ),
    )


SLOW = plan(3, "slow", "Made in the background.")
CATALOG = [
    Service(
        id="7f5c1c9e-0d0e-4c55-9a0b-6a1d0f2e0010",
        name="shelf",
        description="A shelf to put things on.",
        bindable=True,
        plan_updateable=True,
        instances_retrievable=True,
        bindings_retrievable=True,
        plans=[
            plan(1, "small", "A small one."),
            plan(2, "large", "A large one."),
            SLOW,
        ],
    ),
    Service(
        id="7f5c1c9e-0d0e-4c55-9a0b-6a1d0f2e0020",
        name="drawer",
        description="A drawer, closed.",
        bindable=True,
        instances_retrievable=True,
        bindings_retrievable=True,
        plans=[plan(4, "only", "The only one.")],
    ),
]


@dataclass
class Thing:
    """An instance or a binding: what was asked for, and what is under way.

    Attributes:
        told: what it was made with; a repeat has to say the same.
        operation: the id of the last asynchronous one.
        doing: what that one does: create, update or delete.
        ends: when it ends, of the monotonic clock (s).
        update: what an update changes of `told` once it ends.
    """

    told: dict[str, Any]
    operation: str = ""
    doing: str = ""
    ends: float = 0.0
    update: dict[str, Any] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)
    bindings: dict[str, "Thing"] = field(default_factory=dict)

    def begin(self, doing: str) -> str:
        """Start an operation; its id."""
        self.doing, self.ends = doing, time.monotonic() + TAKES
        self.operation = uuid4().hex
        return self.operation

    @property
    def busy(self) -> bool:
        """Whether an operation has not ended."""
        return self.doing != "" and time.monotonic() < self.ends

    @property
    def gone(self) -> bool:
        """Whether it has been deleted."""
        return self.doing == "delete" and not self.busy

    def settle(self) -> None:
        """Take over what an ended update changed."""
        if self.doing == "update" and not self.busy:
            self.told |= self.update
            self.doing = ""


class Shelves(ServiceBroker):  # type: ignore[misc]
    """Both offerings, in memory."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.instances: dict[str, Thing] = {}
        self.unbound: set[tuple[str, str]] = set()

    # --- what is there ---

    def found(self, instance_id: str) -> Thing | None:
        """The instance, unless it is gone."""
        known = self.instances.get(instance_id)
        if known is None or known.gone:
            self.instances.pop(instance_id, None)
            return None
        known.settle()
        return known

    def bound(self, instance_id: str, binding_id: str) -> Thing | None:
        """The binding, unless it or its instance is gone."""
        instance = self.found(instance_id)
        known = instance.bindings.get(binding_id) if instance else None
        if instance is None or known is None or known.gone:
            if instance and instance.bindings.pop(binding_id, None):
                self.unbound.add((instance_id, binding_id))
            return None
        return known

    # --- instances ---

    def catalog(self) -> list[Service]:
        """Both offerings."""
        return CATALOG

    def provision(
        self,
        instance_id: str,
        details: ProvisionDetails,
        async_allowed: bool,
        **kwargs: Any,
    ) -> ProvisionedServiceSpec:
        """Make one, at once or in the background."""
        check_plan(details)
        check_object(details.context, "context")
        check_size(details.parameters)
        told = {
            "service_id": details.service_id,
            "plan_id": details.plan_id,
            "organization": details.organization_guid,
            "space": details.space_guid,
            "parameters": details.parameters or {},
        }
        with self.lock:
            if known := self.found(instance_id):
                if known.told != told or known.doing == "delete":
                    raise errors.ErrInstanceAlreadyExists
                if known.busy and known.doing == "create":
                    return ProvisionedServiceSpec(
                        ProvisionState.IS_ASYNC, operation=known.operation
                    )
                return ProvisionedServiceSpec(ProvisionState.IDENTICAL_ALREADY_EXISTS)
            slow = check_flag(details.plan_id, async_allowed)
            known = self.instances[instance_id] = Thing(told)
            if slow:
                return ProvisionedServiceSpec(
                    ProvisionState.IS_ASYNC, operation=known.begin("create")
                )
            return ProvisionedServiceSpec(ProvisionState.SUCCESSFUL_CREATED)

    def update(
        self,
        instance_id: str,
        details: UpdateDetails,
        async_allowed: bool,
        **kwargs: Any,
    ) -> UpdateServiceSpec:
        """Change the size, the plan, or both."""
        check_object(details.context, "context")
        with self.lock:
            known = self.found(instance_id)
            if known is None:
                raise errors.ErrBadRequest("There is no such instance.")
            if details.service_id != known.told["service_id"]:
                raise errors.ErrBadRequest("The instance is of another offering.")
            plan_id = details.plan_id or known.told["plan_id"]
            if plan_id != known.told["plan_id"]:
                check_plan(details)
                check_change(details.service_id)
            check_size(details.parameters)
            parameters = known.told["parameters"] | (details.parameters or {})
            slow = check_flag(plan_id, async_allowed)
            update = {"plan_id": plan_id, "parameters": parameters}
            if known.busy and known.doing == "update" and update == known.update:
                return UpdateServiceSpec(True, operation=known.operation)
            if known.busy:
                raise errors.ErrConcurrentInstanceAccess
            known.update = update
            if slow:
                return UpdateServiceSpec(True, operation=known.begin("update"))
            known.told |= known.update
            return UpdateServiceSpec(False)

    def deprovision(
        self,
        instance_id: str,
        details: DeprovisionDetails,
        async_allowed: bool,
        **kwargs: Any,
    ) -> DeprovisionServiceSpec:
        """Delete it, with its bindings. A creation under way is broken off."""
        check_plan(details)
        with self.lock:
            known = self.found(instance_id)
            if known is None:
                raise errors.ErrInstanceDoesNotExist
            check_same(known, details)
            slow = check_flag(details.plan_id, async_allowed)
            if known.busy and known.doing == "delete":
                return DeprovisionServiceSpec(True, operation=known.operation)
            if known.busy and known.doing == "update":
                raise errors.ErrConcurrentInstanceAccess
            if slow:
                return DeprovisionServiceSpec(True, operation=known.begin("delete"))
            del self.instances[instance_id]
            return DeprovisionServiceSpec(False)

    def get_instance(self, instance_id: str, **kwargs: Any) -> GetInstanceDetailsSpec:
        """What it was made with."""
        with self.lock:
            known = self.found(instance_id)
            if known is None or (known.busy and known.doing == "create"):
                raise errors.ErrInstanceDoesNotExist
            if known.busy and known.doing == "update":
                raise errors.ErrConcurrentInstanceAccess
            told = known.told
            return GetInstanceDetailsSpec(
                told["service_id"], told["plan_id"], parameters=told["parameters"]
            )

    def last_operation(
        self,
        instance_id: str,
        operation_data: str | None,
        service_id: str | None,
        plan_id: str | None,
        **kwargs: Any,
    ) -> LastOperation:
        """How far it is."""
        with self.lock:
            known = self.found(instance_id)
            if known is None:
                raise errors.ErrInstanceDoesNotExist
            return state_of(known, operation_data)

    # --- bindings ---

    def bind(
        self,
        instance_id: str,
        binding_id: str,
        details: BindDetails,
        async_allowed: bool,
        **kwargs: Any,
    ) -> Binding:
        """Make credentials, at once or in the background."""
        check_plan(details)
        check_object(details.context, "context")
        check_mode(details.parameters)
        told = {
            "service_id": details.service_id,
            "plan_id": details.plan_id,
            "parameters": details.parameters or {},
            "app": details.bind_resource.app_guid if details.bind_resource else None,
        }
        with self.lock:
            instance = self.found(instance_id)
            if instance is None:
                raise errors.ErrBadRequest("There is no such instance.")
            check_same(instance, details)
            if known := self.bound(instance_id, binding_id):
                if known.told != told or known.doing == "delete":
                    raise errors.ErrBindingAlreadyExists
                if known.busy:
                    return Binding(BindState.IS_ASYNC, operation=known.operation)
                return Binding(
                    BindState.IDENTICAL_ALREADY_EXISTS, credentials=known.credentials
                )
            if instance.busy:
                raise errors.ErrConcurrentInstanceAccess
            slow = check_flag(details.plan_id, async_allowed)
            known = instance.bindings[binding_id] = Thing(told)
            known.credentials = {"user": binding_id, "password": uuid4().hex}
            if slow:
                return Binding(BindState.IS_ASYNC, operation=known.begin("create"))
            return Binding(BindState.SUCCESSFUL_BOUND, credentials=known.credentials)

    def unbind(
        self,
        instance_id: str,
        binding_id: str,
        details: UnbindDetails,
        async_allowed: bool,
        **kwargs: Any,
    ) -> UnbindSpec:
        """Revoke the credentials. A creation under way is broken off."""
        check_plan(details)
        with self.lock:
            known = self.bound(instance_id, binding_id)
            if known is None:
                raise errors.ErrBindingDoesNotExist
            check_same(known, details)
            slow = check_flag(details.plan_id, async_allowed)
            if known.busy and known.doing == "delete":
                return UnbindSpec(True, operation=known.operation)
            if slow:
                return UnbindSpec(True, operation=known.begin("delete"))
            del self.instances[instance_id].bindings[binding_id]
            return UnbindSpec(False)

    def get_binding(
        self, instance_id: str, binding_id: str, **kwargs: Any
    ) -> GetBindingSpec:
        """Its credentials, and what it was made with."""
        with self.lock:
            known = self.bound(instance_id, binding_id)
            if known is None or (known.busy and known.doing == "create"):
                raise errors.ErrBindingDoesNotExist
            return GetBindingSpec(
                credentials=known.credentials, parameters=known.told["parameters"]
            )

    def last_binding_operation(
        self,
        instance_id: str,
        binding_id: str,
        operation_data: str | None,
        service_id: str | None,
        plan_id: str | None,
        **kwargs: Any,
    ) -> LastOperation:
        """How far it is. The framework has no way to answer 404, nor 410."""
        with self.lock:
            known = self.bound(instance_id, binding_id)
            if known is not None:
                return state_of(known, operation_data)
            if (instance_id, binding_id) in self.unbound:
                return LastOperation(OperationState.SUCCEEDED, "It is gone.")
            raise errors.ErrBadRequest("There is no such binding.")


def state_of(thing: Thing, operation: str | None) -> LastOperation:
    """How far the last operation of an instance or binding is."""
    if operation and operation != thing.operation:
        raise errors.ErrBadRequest("There is no such operation.")
    if thing.busy:
        return LastOperation(OperationState.IN_PROGRESS, "A moment.")
    return LastOperation(OperationState.SUCCEEDED, "Done.")


# --- what is refused ---


def check_plan(details: Any) -> None:
    """The plan has to be one of the offering: the framework looks at plans only."""
    offering = next((one for one in CATALOG if one.id == details.service_id), None)
    if offering is None:
        raise errors.ErrBadRequest("service_id is not in the catalog.")
    if details.plan_id not in {one.id for one in offering.plans}:
        raise errors.ErrBadRequest("plan_id is not a plan of the offering.")


def check_same(thing: Thing, details: Any) -> None:
    """The ids have to be those that it was made with."""
    told = (thing.told["service_id"], thing.told["plan_id"])
    if told != (details.service_id, details.plan_id):
        raise errors.ErrBadRequest("It is of another offering or plan.")


def check_change(service_id: str) -> None:
    """Plans of the offering have to be ones that can be changed."""
    (offering,) = [one for one in CATALOG if one.id == service_id]
    if not offering.plan_updateable:
        raise errors.ErrPlanChangeNotSupported


def check_flag(plan_id: str, async_allowed: bool) -> bool:
    """Whether it runs in the background, which the platform has to allow."""
    if plan_id != SLOW.id:
        return False
    if not async_allowed:
        raise errors.ErrAsyncRequired
    return True


def check_object(value: Any, name: str) -> None:
    """An optional field has to be an object."""
    if value is not None and not isinstance(value, dict):
        raise errors.ErrBadRequest(f"{name} is not an object.")


def check_size(parameters: Any) -> None:
    """Parameters have to fit the schema."""
    check_object(parameters, "parameters")
    size = (parameters or {}).get("size", 1)
    if set(parameters or {}) - {"size"} or type(size) is not int:
        raise errors.ErrInvalidParameters("parameters may hold a size, an integer.")
    if not 1 <= size <= 100:
        raise errors.ErrInvalidParameters("size is from 1 to 100.")


def check_mode(parameters: Any) -> None:
    """Parameters of a binding have to fit the schema.

    For a bind the framework answers `ErrInvalidParameters` with a 500.
    """
    check_object(parameters, "parameters")
    mode = (parameters or {}).get("mode", "reader")
    if set(parameters or {}) - {"mode"} or mode not in MODE["enum"]:
        raise errors.ErrBadRequest("parameters may hold a mode, reader or writer.")


app = Flask(__name__)
app.register_blueprint(
    api.get_blueprint(
        Shelves(),
        api.BrokerCredentials(USER, PASSWORD),
        logging.getLogger("openbrokerapi_broker"),
    )
)
