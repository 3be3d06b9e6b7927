"""Records for the tests of the store; every field may be said otherwise."""

from typing import Any

from osbkit.domain import (
    Binding,
    Instance,
    Operation,
    OperationKind,
    ResourceState,
    WantedInstance,
)
from osbkit.store import operations

NOON = 1_700_000_000_000_000
SECOND = 1_000_000
LEASE = 15 * SECOND
DAY = 86_400 * SECOND


def an_instance(number: int = 1, **fields: Any) -> Instance:
    """An instance that is being made."""
    given: dict[str, Any] = {
        "uid": f"{number:032x}",
        "instance_id": f"i-{number}",
        "platform": "default",
        "service_id": "s-1",
        "plan_id": "p-1",
        "offering": "queue",
        "plan": "tiny",
        "backend": "queue",
        "generation": 1,
        "state": ResourceState.MAKING,
        "organization_guid": "org",
        "space_guid": "space",
        "parameters": {},
        "created_at": NOON,
    }
    return Instance(**given | fields)


def a_binding(number: int = 1, **fields: Any) -> Binding:
    """A binding that is being made."""
    given: dict[str, Any] = {
        "uid": f"{number:032x}",
        "instance_id": "i-1",
        "binding_id": f"b-{number}",
        "platform": "default",
        "service_id": "s-1",
        "plan_id": "p-1",
        "generation": 1,
        "instance_generation": 1,
        "state": ResourceState.MAKING,
        "parameters": {},
        "created_at": NOON,
    }
    return Binding(**given | fields)


def an_operation(number: int = 1, **fields: Any) -> Operation:
    """A provision that nobody has claimed."""
    given: dict[str, Any] = {
        "id": f"op-{number}",
        "kind": OperationKind.PROVISION,
        "instance_id": "i-1",
        "platform": "default",
        "backend": "queue",
        "generation": 1,
        "run_at": NOON,
        "deadline": NOON + 3600 * SECOND,
        "created_at": NOON + number,
    }
    made = Operation(**given | fields)
    if made.live_key is not None:
        return made
    key = operations.key_of(
        made.kind,
        made.instance_id,
        made.binding_id,
        made.generation,
        made.binding_generation,
    )
    return Operation(**given | fields | {"live_key": key})


def wanted_by(instance: Instance) -> WantedInstance:
    """The request that asks for an instance."""
    return WantedInstance(
        service_id=instance.service_id,
        plan_id=instance.plan_id,
        organization_guid=instance.organization_guid,
        space_guid=instance.space_guid,
        parameters=instance.parameters,
    )
