"""A backend as an author would write it for the cloud of this run.

Every verb may run twice and ends in the same state; what it makes has `request.name`.
What the cloud says becomes what the contract knows: Refused, Failed, or trouble.
"""

import os
from typing import Any

from osbkit import (
    BindRequest,
    Bound,
    DeprovisionRequest,
    Facts,
    Failed,
    ProvisionRequest,
    Refused,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)
from tests.chaos.lines import Json, ask


class Trouble(Exception):
    """The cloud had one; it will pass."""


class CloudBackend(ServiceBackend):
    """See the module.

    Args:
        port: of the cloud.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    async def provision(self, request: ProvisionRequest, run: Run) -> Facts | None:
        async def reserve() -> int:
            told = await self._call("reserve", request, run)
            number: int = told["number"]
            return number

        number = await run.step("reserve", reserve)
        await self._call("look", request, run)
        await self._call("create", request, run)
        await run.progress("It is there, and gets its values.", percent=50)
        await self._call(
            "configure", request, run, values=request.parameters.model_dump()
        )
        return {"number": number}

    async def update(self, request: UpdateRequest, run: Run) -> Facts | None:
        await self._call("look", request, run)
        await self._call(
            "configure", request, run, values=request.parameters.model_dump()
        )
        return None

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        await self._call("look", request, run)
        await self._call("delete", request, run)

    async def bind(self, request: BindRequest, run: Run) -> Bound:
        await self._call("look", request, run, binding_id=request.binding_id)
        password = run.secret("password")
        await self._call(
            "grant",
            request,
            run,
            binding_id=request.binding_id,
            values={"password": password},
        )
        return Bound(credentials={"user": request.name, "password": password})

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        await self._call("look", request, run, binding_id=request.binding_id)
        await self._call("revoke", request, run, binding_id=request.binding_id)

    async def _call(self, verb: str, request: Any, run: Run, **more: Any) -> Json:
        told = await ask(
            self._port,
            {
                "verb": verb,
                "name": request.name,
                "instance_id": request.instance_id,
                "operation": run.id,
                "pid": os.getpid(),
                **more,
            },
        )
        match told.get("error"):
            case None:
                return told
            case "refused":
                raise Refused("The cloud does not want this.")
            case "failed":
                raise Failed("The cloud cannot do this.")
            case other:
                raise Trouble(str(other))
