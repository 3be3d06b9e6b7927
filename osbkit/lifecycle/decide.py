"""What a request means, given what is there. Pure: no clock, no store, no backend.

Each function takes what was read under the instance's lock and returns what is
to be done, or raises the refusal that is the answer:

    Begin      record a new operation (and halt those named)
    Repeat     the same request runs already: its operation is the answer
    Settled    the same request was done already: the record is the answer

"Running" are the operations the platform has not seen end, of this generation.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from osbkit.domain import (
    OWN_ACCOUNT,
    Binding,
    Instance,
    Operation,
    OperationKind,
    ResourceState,
    WantedBinding,
    WantedInstance,
    WantedUpdate,
    same_json,
)
from osbkit.errors import (
    AsyncRequired,
    BindingConflict,
    Gone,
    InstanceConflict,
    NotThere,
    OperationInProgress,
)

INSTANCE_UNKNOWN = "There is no service instance with this id."
BINDING_UNKNOWN = "There is no service binding with this id."


@dataclass(frozen=True, slots=True)
class Begin:
    """A new operation.

    Attributes:
        generation: which life of the id it works on.
        halts: operations that end for it; their calls are asked to stop.
        leftover: the generation before this one may have left something behind.
    """

    generation: int
    halts: tuple[Operation, ...] = ()
    leftover: bool = False


@dataclass(frozen=True, slots=True)
class Repeat:
    """The request runs already."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class Settled:
    """The request was done already."""


Decision = Begin | Repeat | Settled


def on_provision(
    found: Instance | None,
    running: Sequence[Operation],
    wanted: WantedInstance,
    platform: str,
) -> Decision:
    """Decide a PUT of an instance. Spec: "Provisioning", Response.

    Raises:
        InstanceConflict: the id is in use with other attributes (409), "whether
            the instance exists or is being provisioned", or by another platform.
        OperationInProgress: the instance is being deleted.
    """
    if found is None:
        return Begin(generation=1)
    mine = platforms(of_instance(running))
    if not mine and (found.state is ResourceState.GONE or over(found)):
        return Begin(generation=found.generation + 1, leftover=found.residue)
    if found.platform != platform:
        raise InstanceConflict
    if any(operation.kind is OperationKind.DEPROVISION for operation in mine):
        raise OperationInProgress
    if not same_attributes(found, wanted):
        raise InstanceConflict
    for operation in mine:
        if operation.kind is OperationKind.PROVISION:
            return Repeat(operation)
    return Settled()


def on_update(
    found: Instance | None,
    running: Sequence[Operation],
    wanted: WantedUpdate,
    platform: str,
) -> Begin | Repeat:
    """Decide a PATCH. Spec: "Updating a Service Instance".

    Raises:
        NotThere: unknown, gone, never made, or another platform's.
        OperationInProgress: something else runs on the instance or its bindings.
    """
    there = instance_of(found, platform)
    for operation in of_instance(running):
        if operation.kind is OperationKind.UPDATE and same_json(
            operation.asked.get("sent"), wanted.sent()
        ):
            return Repeat(operation)
    if any(blocking(running)):
        raise OperationInProgress
    if there.state is not ResourceState.READY:
        raise NotThere(INSTANCE_UNKNOWN)
    return Begin(generation=there.generation)


def on_deprovision(
    found: Instance | None,
    running: Sequence[Operation],
    platform: str,
    *,
    async_only: bool,
    accepts_incomplete: bool,
) -> Begin | Repeat:
    """Decide a DELETE of an instance; it halts whatever else runs.

    Spec: "Deprovisioning": "the creation ... MUST be halted and ... deletion
    begins".

    Raises:
        Gone: nothing is there, or it is another platform's.
        AsyncRequired: the plan deletes only asynchronously, and the instance is
            healthy. What a failed creation left is the broker's own account.
    """
    if found is None or found.platform != platform:
        raise Gone
    if found.state is ResourceState.GONE:
        raise Gone
    for operation in of_instance(running):
        if operation.kind is OperationKind.DEPROVISION:
            return Repeat(operation)
    if over(found) and not found.residue:
        raise Gone
    healthy = found.state is not ResourceState.FAILED
    if async_only and not accepts_incomplete and healthy:
        raise AsyncRequired
    return Begin(generation=found.generation, halts=tuple(running))


def on_bind(
    instance: Instance | None,
    found: Binding | None,
    running: Sequence[Operation],
    wanted: WantedBinding,
    platform: str,
) -> Decision:
    """Decide a PUT of a binding. Spec: "Binding", Response.

    Raises:
        NotThere: the instance is unknown, gone or another platform's.
        BindingConflict: the id is in use under this instance with other
            attributes, made or being made.
        OperationInProgress: the instance is being changed, or the binding removed.
    """
    there = instance_of(instance, platform)
    mine = [
        operation
        for operation in platforms(running)
        if found is not None and is_of(operation, found)
    ]
    if any(operation.kind is OperationKind.UNBIND for operation in mine):
        raise OperationInProgress
    if found is not None and (mine or not binding_over(found, there)):
        if not same_binding(found, there, wanted):
            raise BindingConflict
        for operation in mine:
            if operation.kind is OperationKind.BIND:
                return Repeat(operation)
        if found.state is ResourceState.READY:
            return Settled()
    if any(blocking(of_instance(running))):
        raise OperationInProgress
    if there.state is not ResourceState.READY:
        raise NotThere(INSTANCE_UNKNOWN)
    if found is None:
        return Begin(generation=1)
    return Begin(generation=found.generation + 1, leftover=found.residue)


def on_unbind(
    instance: Instance | None,
    found: Binding | None,
    running: Sequence[Operation],
    platform: str,
    *,
    async_only: bool,
    accepts_incomplete: bool,
) -> Begin | Repeat:
    """Decide a DELETE of a binding; it halts the creation. Spec: "Unbinding".

    Raises:
        Gone: nothing is there under this instance, or it is another platform's.
        OperationInProgress: the instance is being changed.
        AsyncRequired: as of a deprovision.
    """
    if instance is None or instance.platform != platform:
        raise Gone
    if found is None or instance.state is ResourceState.GONE:
        raise Gone
    if found.state is ResourceState.GONE:
        raise Gone  # a sweep after it is the broker's own account
    mine = [operation for operation in running if is_of(operation, found)]
    for operation in mine:
        if operation.kind is OperationKind.UNBIND:
            return Repeat(operation)
    if any(op.kind is OperationKind.DEPROVISION for op in of_instance(running)):
        raise OperationInProgress  # it revokes this binding, or has done so
    if not mine and binding_over(found, instance) and not found.residue:
        raise Gone
    if any(blocking(of_instance(running))):
        raise OperationInProgress
    healthy = found.state is not ResourceState.FAILED
    if async_only and not accepts_incomplete and healthy:
        raise AsyncRequired
    return Begin(generation=found.generation, halts=tuple(mine))


def instance_of(found: Instance | None, platform: str) -> Instance:
    """The instance as this platform may see it.

    Raises:
        NotThere: unknown, gone, never made, or another platform's.
    """
    if (
        found is None
        or found.platform != platform
        or found.state in {ResourceState.GONE, ResourceState.FAILED}
    ):
        raise NotThere(INSTANCE_UNKNOWN)
    return found


def over(found: Instance) -> bool:
    """Whether a creation failed: the id may be made again."""
    return found.state is ResourceState.FAILED


def binding_over(found: Binding, instance: Instance) -> bool:
    """Whether a binding is no more, or belongs to an earlier life of its instance."""
    return (
        found.state in {ResourceState.GONE, ResourceState.FAILED}
        or found.instance_generation != instance.generation
    )


def of_instance(running: Iterable[Operation]) -> list[Operation]:
    """The operations on the instance itself."""
    return [operation for operation in running if operation.binding_id is None]


def platforms(running: Iterable[Operation]) -> list[Operation]:
    """Those that a platform asked for; the rest is the broker's own account."""
    return [operation for operation in running if operation.kind not in OWN_ACCOUNT]


def is_of(operation: Operation, binding: Binding) -> bool:
    """Whether an operation works on this life of a binding."""
    return (
        operation.binding_id == binding.binding_id
        and operation.binding_generation == binding.generation
        and operation.generation == binding.instance_generation
    )


def blocking(running: Iterable[Operation]) -> list[Operation]:
    """Those a platform waits for; the broker's own account blocks only updates
    that are being taken back."""
    return [
        operation
        for operation in running
        if operation.kind not in OWN_ACCOUNT or operation.asked.get("of") == "update"
    ]


def same_attributes(found: Instance, wanted: WantedInstance) -> bool:
    """Spec: 409 "with different attributes". Parameters by JSON value."""
    return (
        found.service_id == wanted.service_id
        and found.plan_id == wanted.plan_id
        and found.organization_guid == wanted.organization_guid
        and found.space_guid == wanted.space_guid
        and same_json(found.parameters, wanted.parameters)
    )


def same_binding(found: Binding, there: Instance, wanted: WantedBinding) -> bool:
    """Spec: 409 "with different parameters"; plan, application and route count too.

    The plan is the one the instance had then, or has now. A rotation names its
    predecessor and nothing else; the rest was taken over.
    """
    if wanted.service_id not in {None, found.service_id}:
        return False
    if wanted.plan_id not in {None, found.plan_id, there.plan_id}:
        return False
    if wanted.predecessor is not None or found.predecessor is not None:
        return found.predecessor == wanted.predecessor
    return (
        found.app_guid == wanted.app_guid
        and route_of(found.bind_resource) == route_of(wanted.bind_resource)
        and same_json(found.parameters, wanted.parameters)
    )


def route_of(bind_resource: dict[str, object] | None) -> object:
    """The route of a bind resource, which tells two route bindings apart."""
    return (bind_resource or {}).get("route")
