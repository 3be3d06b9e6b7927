"""One operation with the rows it works on, and the requests made of them.

What a backend is called with is built here and nowhere else: the same from an
operation that was recorded a moment ago and from one found after a crash.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import sqlalchemy as sa
from pydantic import BaseModel

from osbkit.backends.contract import (
    BindRequest,
    Changed,
    DeprovisionRequest,
    InstanceView,
    Predecessor,
    ProvisionRequest,
    UnbindRequest,
    UpdateRequest,
)
from osbkit.backends.registry import Registry
from osbkit.domain import (
    Binding,
    Identity,
    Instance,
    Json,
    Operation,
    OperationKind,
    resource_name,
)
from osbkit.store import bindings, instances, operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An operation and the rows it is about.

    Attributes:
        binding: of a binding operation.
        bindings: of a deprovision, those to revoke first.
        waits: calls that were halted for it may still be running.
    """

    operation: Operation
    instance: Instance
    binding: Binding | None = None
    bindings: tuple[Binding, ...] = ()
    waits: bool = False


def load(db: sa.Connection, operation: Operation) -> Work | None:
    """The rows of an operation that was found open; None if they are forgotten."""
    instance = instances.find(db, operation.instance_id)
    if instance is None:
        return None
    update = operation.asked.get("of") == OperationKind.UPDATE  # waits for others
    waits = update or operations.halted(db, operation.instance_id)
    if operation.binding_id is not None:
        binding = bindings.find(db, operation.instance_id, operation.binding_id)
        return Work(
            operation=operation, instance=instance, binding=binding, waits=waits
        )
    every = bindings.of_instance(db, operation.instance_id, operation.generation)
    return Work(
        operation=operation, instance=instance, bindings=tuple(every), waits=waits
    )


def identity_of(asked: Json) -> Identity | None:
    """Whom the platform said it acts for when it asked."""
    said = asked.get("identity")
    return None if said is None else Identity(said["platform"], said["value"])


def view_of(
    broker_id: str, registry: Registry, instance: Instance
) -> InstanceView[Any]:
    """An instance as its backend sees it."""
    model = registry.instance_model(instance.backend, instance.plan)
    return InstanceView(
        name=resource_name(broker_id, instance.instance_id, instance.generation),
        instance_id=instance.instance_id,
        offering=instance.offering,
        plan=instance.plan,
        platform=instance.platform,
        parameters=registry.model_of(model, instance.parameters),
        context=instance.context,
        facts=instance.facts,
        organization_guid=instance.organization_guid,
        space_guid=instance.space_guid,
        maintenance_version=instance.maintenance_version,
        usable=instance.usable,
    )


class Requests:
    """Builds what backends are called with."""

    def __init__(self, broker_id: str, registry: Registry) -> None:
        self._broker_id = broker_id
        self._registry = registry

    def name(self, operation: Operation) -> str:
        """The name of what an operation is about."""
        return resource_name(
            self._broker_id,
            operation.instance_id,
            operation.generation,
            operation.binding_id,
            operation.binding_generation,
        )

    def instance_name(self, operation: Operation) -> str:
        """The name of the instance of an operation."""
        return resource_name(
            self._broker_id, operation.instance_id, operation.generation
        )

    def view(self, instance: Instance) -> InstanceView[Any]:
        """An instance as its backend sees it."""
        return view_of(self._broker_id, self._registry, instance)

    def provision(self, work: Work) -> ProvisionRequest[Any]:
        """Make the instance as it was recorded."""
        return self.provision_of(work.instance, work.operation.asked)

    def provision_of(self, instance: Instance, asked: Json) -> ProvisionRequest[Any]:
        """The same, of an instance that is not recorded yet (for `check`)."""
        view = self.view(instance)
        return ProvisionRequest(
            name=view.name,
            instance_id=view.instance_id,
            offering=view.offering,
            plan=view.plan,
            platform=view.platform,
            context=view.context,
            identity=identity_of(asked),
            facts=view.facts,
            parameters=view.parameters,
            organization_guid=view.organization_guid,
            space_guid=view.space_guid,
            maintenance_version=view.maintenance_version,
        )

    def update(self, work: Work) -> UpdateRequest[Any]:
        """Bring the instance to what was asked."""
        return self.update_of(work.instance, work.operation.asked)

    def update_of(self, instance: Instance, asked: Json) -> UpdateRequest[Any]:
        """The same, before it is recorded (for `check`)."""
        return self._change(
            instance, target_of(instance, asked["target"]), asked, asked["changed"]
        )

    def restore(self, work: Work) -> UpdateRequest[Any]:
        """Bring the instance back to what is stored, from a failed update."""
        asked = work.operation.asked
        reached = target_of(work.instance, asked["target"])
        return self._change(reached, work.instance, asked, asked["changed"])

    def _change(
        self, before: Instance, after: Instance, asked: Json, changed: list[str]
    ) -> UpdateRequest[Any]:
        view = self.view(after)
        return UpdateRequest(
            name=view.name,
            instance_id=view.instance_id,
            offering=view.offering,
            plan=view.plan,
            platform=view.platform,
            context=view.context,
            identity=identity_of(asked),
            facts=view.facts,
            parameters=view.parameters,
            changed=frozenset(cast(list[Changed], changed)),
            previous=self.view(before),
            maintenance_version=view.maintenance_version,
        )

    def deprovision(self, work: Work) -> DeprovisionRequest:
        """Remove the instance; facts only if they are of this generation."""
        instance, operation = work.instance, work.operation
        current = instance.generation == operation.generation
        return DeprovisionRequest(
            name=self.instance_name(operation),
            instance_id=instance.instance_id,
            **placed(work),
            platform=operation.platform,
            context=instance.context if current else None,
            identity=identity_of(operation.asked),
            facts=instance.facts if current else None,
        )

    def bind(self, work: Work) -> BindRequest[Any, Any]:
        """Make the binding as it was recorded."""
        assert work.binding is not None
        return self.bind_of(work.instance, work.binding, work.operation.asked)

    def bind_of(
        self, instance: Instance, binding: Binding, asked: Json
    ) -> BindRequest[Any, Any]:
        """The same, of a binding that is not recorded yet (for `check`)."""
        view = self.view(instance)
        predecessor = None
        if binding.predecessor is not None:
            predecessor = Predecessor(
                binding_id=binding.predecessor,
                name=resource_name(
                    self._broker_id,
                    instance.instance_id,
                    instance.generation,
                    binding.predecessor,
                    asked.get("predecessor_generation", 1),
                ),
            )
        model: type[BaseModel] = self._registry.binding_model(instance.backend)
        return BindRequest(
            name=resource_name(
                self._broker_id,
                instance.instance_id,
                instance.generation,
                binding.binding_id,
                binding.generation,
            ),
            instance_id=instance.instance_id,
            offering=instance.offering,
            plan=instance.plan,
            platform=instance.platform,
            context=binding.context,
            identity=identity_of(asked),
            facts=instance.facts,
            binding_id=binding.binding_id,
            parameters=self._registry.model_of(model, binding.parameters),
            instance=view,
            app_guid=binding.app_guid,
            bind_resource=binding.bind_resource,
            predecessor=predecessor,
        )

    def unbind(self, work: Work, binding: Binding | None = None) -> UnbindRequest:
        """Remove a binding: the operation's own, or one named by a deprovision."""
        operation = work.operation
        if binding is not None:
            operation = replace(
                operation,
                binding_id=binding.binding_id,
                binding_generation=binding.generation,
            )
        mine = binding or work.binding
        current = (
            mine is not None
            and mine.generation == operation.binding_generation
            and mine.instance_generation == operation.generation
        )
        instance = work.instance
        return UnbindRequest(
            name=self.name(operation),
            instance_id=instance.instance_id,
            **placed(work),
            platform=operation.platform,
            context=mine.context if mine is not None and current else None,
            identity=identity_of(operation.asked),
            facts=instance.facts
            if instance.generation == operation.generation
            else None,
            binding_id=operation.binding_id or "",
            instance_name=self.instance_name(operation),
            binding_facts=mine.facts if mine is not None and current else None,
        )


def target_of(instance: Instance, target: Mapping[str, Any]) -> Instance:
    """The instance as an update wants it."""
    return replace(instance, **target)


def placed(work: Work) -> dict[str, str]:
    """Offering and plan of the generation that an operation works on."""
    was: dict[str, str] | None = work.operation.asked.get("was")
    if was is not None:
        return was
    return {"offering": work.instance.offering, "plan": work.instance.plan}
