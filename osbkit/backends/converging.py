"""The shape that the built-in services share: four operations serve every verb.

    converge   provision, update, an upgrade of maintenance_info, any of them again
    destroy    deprovision, the roll-back of a creation, an orphan
    grant      bind, a rotation, either of them again
    revoke     unbind, the roll-back of a bind, an orphan

`converge` and `grant` bring the service from whatever is there to what is wanted:
they never say "create, and fail if it exists". `destroy` and `revoke` take the names
alone, and what is missing counts as removed. So a call that was broken off anywhere is
mended by the same call again, or taken back by its opposite.

Beside them a service writes `inventory` and `ping` of `ServiceBackend`.
"""

import abc
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from osbkit.backends.contract import (
    B,
    BindRequest,
    Bound,
    DeprovisionRequest,
    Facts,
    P,
    ProvisionRequest,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)

PROVIDER = "osbkit"


class QueueAccess(BaseModel, extra="forbid"):
    """What a user may say of a binding to a queue."""

    role: Literal["readwrite", "producer", "consumer"] = Field(
        "readwrite", description="Whether the application sends, receives, or both"
    )


class ConvergingBackend(ServiceBackend[P, B]):
    """A service made by four operations. The names they get are on the service."""

    lists_bindings = True

    @abc.abstractmethod
    async def converge(
        self, wanted: ProvisionRequest[P] | UpdateRequest[P]
    ) -> Facts | None:
        """Bring the instance to what is wanted, from any state."""

    @abc.abstractmethod
    async def destroy(self, name: str) -> None:
        """Remove the instance and every principal of it, as far as they are there."""

    @abc.abstractmethod
    async def grant(self, request: BindRequest[P, B], password: str) -> Bound:
        """Let the binding's principal in, with this password and no more rights than
        its role has; the rights come last."""

    @abc.abstractmethod
    async def revoke(self, name: str, instance_name: str) -> None:
        """Let nobody in by this binding, cut who is in, and remove its principal.

        What the application has stored belongs to the instance and stays.
        """

    async def provision(self, request: ProvisionRequest[P], run: Run) -> Facts | None:
        """See ServiceBackend."""
        return await self.converge(request)

    async def update(self, request: UpdateRequest[P], run: Run) -> Facts | None:
        """See ServiceBackend."""
        return await self.converge(request)

    async def bind(self, request: BindRequest[P, B], run: Run) -> Bound:
        """See ServiceBackend."""
        return await self.grant(request, run.secret("password"))

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self.revoke(request.name, request.instance_name)

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self.destroy(request.name)


def credentials(
    kind: str,
    *,
    host: str,
    port: int,
    username: str,
    password: str,
    uri: str,
    own: Mapping[str, Any],
) -> dict[str, Any]:
    """Credentials as both kinds of application read them.

    Flat, so that a platform can make a Secret of them. Cloud Foundry's libraries read
    `hostname`, `port`, `name`, `username`, `password` and `uri`; Service Binding for
    Kubernetes reads `type`, `provider`, `host`, `port`, `username`, `password` and
    `uri`.

    Args:
        kind: the `type`.
        own: what this service has besides.
    """
    return {
        "type": kind,
        "provider": PROVIDER,
        "hostname": host,
        "host": host,
        "port": port,
        "username": username,
        "password": password,
        "uri": uri,
        **own,
    }
