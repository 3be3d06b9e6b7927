"""A run without a broker: keeps what it is told."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from osbkit import Run
from osbkit.backends.contract import (
    DeprovisionRequest,
    ProvisionRequest,
    UnbindRequest,
)


class KeptRun(Run):
    """Progress, steps and secrets in memory.

    Attributes:
        told: every progress.
        steps: results by name; what stands here is not done again.
        breaks: raised when a result is to be stored.
    """

    def __init__(self) -> None:
        self.id = "operation"
        self.attempt = 1
        self.deadline = datetime(2030, 1, 1, tzinfo=UTC)
        self.log: Any = None
        self.told: list[tuple[str, int | None, int | None]] = []
        self.steps: dict[str, Any] = {}
        self.breaks: Exception | None = None

    async def progress(
        self,
        text: str,
        *,
        percent: int | None = None,
        poll_after: int | None = None,
    ) -> None:
        """Keep it."""
        self.told.append((text, percent, poll_after))

    async def step(
        self, name: str, call: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        """Do it once."""
        if name not in self.steps:
            result = await call(*args)
            if self.breaks is not None:
                raise self.breaks
            self.steps[name] = result
        return self.steps[name]

    def secret(self, name: str, *, length: int = 32) -> str:
        """The same for the same name."""
        return (name * length)[:length]


def to_provision(name: str = "osb-1", parameters: Any = None) -> ProvisionRequest[Any]:
    """A request to make an instance."""
    return ProvisionRequest(
        name=name,
        instance_id="i-1",
        offering="queue",
        plan="auto",
        platform="default",
        parameters=parameters,
        organization_guid="org",
        space_guid="space",
    )


def to_deprovision(name: str = "osb-1") -> DeprovisionRequest:
    """A request to remove it."""
    return DeprovisionRequest(
        name=name,
        instance_id="i-1",
        offering="queue",
        plan="auto",
        platform="default",
    )


def to_unbind(name: str = "osb-2") -> UnbindRequest:
    """A request to remove a binding."""
    return UnbindRequest(
        name=name,
        instance_id="i-1",
        offering="queue",
        plan="auto",
        platform="default",
        binding_id="b-1",
        instance_name="osb-1",
    )
