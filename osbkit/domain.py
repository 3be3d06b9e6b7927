"""The records every room passes on: Instance, Binding, Operation, Caller.

Frozen dataclasses, standard library only. They know nothing of HTTP, SQL or
JSON text: `osbkit.api.wire` reads and writes the wire, `osbkit.store` the
database. What an author sees stands in `osbkit.backends.contract`.

Units: every moment is an integer of microseconds since 1970 (UTC), as the
database keeps it; every span is in seconds (float).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

Json = dict[str, Any]
MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as far as the broker can prove it.

    Attributes:
        label: the credential's name, for logs.
        platform: owner of every row that this caller makes.
        offerings: ids or names of the offerings it may see; None for all.
    """

    label: str
    platform: str
    offerings: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a platform says is behind a request; never proof of anything.

    Spec: "Originating Identity".
    """

    platform: str
    value: Mapping[str, Any] = field(repr=False)


class OperationKind(StrEnum):
    """What an operation does. The last two are the broker's own account."""

    PROVISION = "provision"
    UPDATE = "update"
    DEPROVISION = "deprovision"
    BIND = "bind"
    UNBIND = "unbind"
    CLEANUP = "cleanup"  # repeats a roll-back that failed
    SWEEP = "sweep"  # removes what a frozen call left after its take-over


OWN_ACCOUNT = frozenset({OperationKind.CLEANUP, OperationKind.SWEEP})
"""What no platform asked for, and none is told of."""
REMOVALS = frozenset({OperationKind.DEPROVISION, OperationKind.UNBIND})


class OperationState(StrEnum):
    """The three states of the wire. Spec: "Polling Last Operation"."""

    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Phase(StrEnum):
    """Which way a live operation is going."""

    FORWARD = "forward"
    ROLLBACK = "rollback"


class ResourceState(StrEnum):
    """Where an instance or a binding stands.

    MAKING ──► READY ──► GONE
       └─────► FAILED ───┘      FAILED and GONE may be made again
    """

    MAKING = "making"
    READY = "ready"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A service instance as the store knows it.

    Attributes:
        uid: the row's own id; part of what its secrets are sealed with.
        generation: counts the re-uses of an instance id, from 1.
        residue: a failed creation may have left something on the service.
        usable: False after a failed update that said so.
        revision: grows with every write; a decision on an older one is void.
        latest: id of the newest operation that the platform may ask about.
    """

    uid: str
    instance_id: str
    platform: str
    service_id: str
    plan_id: str
    offering: str
    plan: str
    backend: str
    generation: int
    state: ResourceState
    organization_guid: str
    space_guid: str
    parameters: Json = field(repr=False)
    context: Json | None = field(default=None, repr=False)
    facts: Json | None = field(default=None, repr=False)
    maintenance_version: str | None = None
    residue: bool = False
    usable: bool = True
    revision: int = 0
    latest: str | None = None
    created_at: int = 0
    ended_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A service binding as the store knows it; unique within its instance.

    Attributes:
        generation: counts the re-uses of the binding id within one generation
            of the instance.
        bound: what the platform gets (the wire's binding body), once ready.
        facts: what the backend keeps for unbind.
        expires_at: microseconds; from then on the binding is not fetched.
    """

    uid: str
    instance_id: str
    binding_id: str
    platform: str
    service_id: str
    plan_id: str
    generation: int
    instance_generation: int
    state: ResourceState
    parameters: Json = field(repr=False)
    app_guid: str | None = None
    bind_resource: Json | None = field(default=None, repr=False)
    context: Json | None = field(default=None, repr=False)
    predecessor: str | None = None
    bound: Json | None = field(default=None, repr=False)
    facts: Json | None = field(default=None, repr=False)
    expires_at: int | None = None
    residue: bool = False
    revision: int = 0
    latest: str | None = None
    created_at: int = 0
    ended_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One piece of backend work, recorded before it starts.

    Spec: "Asynchronous Operations", "Polling Last Operation".

    Attributes:
        id: what the platform sees as `operation`; URL-safe, 26 characters.
        generation, binding_generation: which life of the ids it works on; the
            names on the service follow from them.
        fence: grows by one with every claim. A write that names an older fence
            comes from a runner that lost its claim and must change nothing.
        owner: the process that holds the claim; None when nobody does.
        run_at: when it is due or its lease runs out (microseconds); None once
            ended.
        attempt: calls of the backend begun, 1 for the first.
        claims: claims since the last recorded outcome; too many park it.
        answer_owed: the caller waits without `accepts_incomplete`, so an answer
            that is never given must leave nothing behind.
        deadline: microseconds; what is not done by then is given up.
        asked: what it works towards, sealed in the store: `sent` (the PATCH as
            it came), `target`, `identity`, `seed`.
        stop_asked: another operation took its place; the call is to return.
        halted_by: the operation that took its place.
        begun_at: when the backend was called without waiting further for calls
            that were halted.
        ended_at: when it was over: the result stored, or the call of a halted
            runner really returned. Until then the row is open.
        outcome: what a bind gave, for the caller that waited; in memory only.
    """

    id: str
    kind: OperationKind
    instance_id: str
    platform: str
    backend: str
    generation: int
    binding_id: str | None = None
    binding_generation: int = 0
    state: OperationState = OperationState.IN_PROGRESS
    phase: Phase = Phase.FORWARD
    live_key: str | None = None
    fence: int = 0
    owner: str | None = None
    run_at: int | None = None
    attempt: int = 0
    claims: int = 0
    answer_owed: bool = False
    deadline: int = 0
    asked: Json = field(default_factory=dict, repr=False)
    description: str | None = None
    percent: int | None = None
    poll_after: int | None = None
    refused: bool = False
    status: int | None = None
    instance_usable: bool | None = None
    update_repeatable: bool | None = None
    parked: bool = False
    stop_asked: bool = False
    halted_by: str | None = None
    begun_at: int | None = None
    created_at: int = 0
    ended_at: int | None = None
    outcome: Json | None = field(default=None, repr=False)

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state is OperationState.IN_PROGRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedInstance:
    """A PUT of an instance, parsed. Spec: "Provisioning", Request."""

    service_id: str
    plan_id: str
    organization_guid: str
    space_guid: str
    parameters: Json = field(repr=False)
    context: Json | None = field(default=None, repr=False)
    maintenance_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedUpdate:
    """A PATCH of an instance, parsed. Absent means unchanged.

    Spec: "Updating a Service Instance", Request.
    """

    service_id: str
    plan_id: str | None = None
    parameters: Json = field(default_factory=dict, repr=False)
    context: Json | None = field(default=None, repr=False)
    maintenance_version: str | None = None

    def sent(self) -> Json:
        """The request as JSON, to recognise its repeat by."""
        return {
            "service_id": self.service_id,
            "plan_id": self.plan_id,
            "parameters": self.parameters,
            "context": self.context,
            "maintenance_version": self.maintenance_version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBinding:
    """A PUT of a binding, parsed. Spec: "Binding", "Binding Rotation".

    Attributes:
        service_id, plan_id: None only in a rotation.
    """

    service_id: str | None
    plan_id: str | None
    parameters: Json = field(repr=False)
    app_guid: str | None = None
    bind_resource: Json | None = field(default=None, repr=False)
    context: Json | None = field(default=None, repr=False)
    predecessor: str | None = None


def same_json(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(same_json(value, right[key]) for key, value in left.items())
        )
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(map(same_json, left, right))
        )
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def resource_name(
    broker_id: str,
    instance_id: str,
    generation: int,
    binding_id: str | None = None,
    binding_generation: int = 0,
) -> str:
    """What a backend names its things after: `osb-` and 20 base32 characters.

    A new generation gets a new name, so the late effect of an old call never
    meets a new instance. 24 characters of `[a-z2-7-]` fit every service met.
    """
    parts = [broker_id, instance_id, str(generation)]
    if binding_id is not None:
        parts += [binding_id, str(binding_generation)]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    digest = sha256(text.encode()).digest()
    return f"osb-{base32(int.from_bytes(digest[:13], 'big') >> 4, 20)}"


LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648, in lower case
PAIRS = [first + second for first in LETTERS for second in LETTERS]


def base32(number: int, length: int) -> str:
    """The lowest 5 * `length` bits as base32; ten times as fast as the standard
    library's, which several times a request is worth it. `length` is even."""
    bits = range(5 * length - 10, -1, -10)
    return "".join([PAIRS[number >> shift & 1023] for shift in bits])
