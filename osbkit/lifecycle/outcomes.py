"""What the lifecycle tells the api: records, no HTTP objects."""

from dataclasses import dataclass, field

from osbkit.domain import Binding, Instance, Json, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What `describe()` says of an instance, ready for the wire."""

    dashboard_url: str | None = None
    metadata: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to a change.

    Attributes:
        status: 200, 201 or 202.
        operation: its id, with 202.
        body: further fields of the answer.
        poll_after: seconds for Retry-After, with 202.
    """

    status: int
    operation: str | None = None
    body: Json = field(default_factory=dict)
    poll_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedInstance:
    """Spec: "Fetching a Service Instance"."""

    instance: Instance
    shown: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedBinding:
    """Spec: "Fetching a Service Binding"."""

    binding: Binding


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """Spec: "Polling Last Operation".

    Attributes:
        of_binding: answers of bindings have no `instance_usable`.
    """

    operation: Operation
    of_binding: bool = False
