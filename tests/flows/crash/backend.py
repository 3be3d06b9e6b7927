"""A backend that works in steps on a `Cloud` and writes down what it is given.

Every verb is repeatable, as the contract wants it; its steps are not: each run of
one takes a new number, so a step that ran twice shows. Between its effects a verb
awaits `pause(place)`, the place being `verb.number`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from osbkit import (
    BindRequest,
    Bound,
    DeprovisionRequest,
    Facts,
    ProvisionRequest,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)
from tests.flows.crash.cloud import Cloud

Pause = Callable[[str], Awaitable[None]]


class CloudBackend(ServiceBackend):
    """See the module."""

    def __init__(self, cloud: Cloud, pause: Pause) -> None:
        self.cloud = cloud
        self.pause = pause

    async def provision(self, request: ProvisionRequest, run: Run) -> Facts | None:
        at = self._begin("provision", request.name, run)
        await self.pause("provision.1")
        secret = run.secret("password")
        at("secret", secret)
        number = await self._step(request.name, run, "reserve", at)
        await self.pause("provision.2")
        self.cloud.make(request.name, "instance")
        await self.pause("provision.made")
        at("effect")
        await run.progress("It is there and starts.", percent=50)
        await self.pause("provision.3")
        second = await self._step(request.name, run, "address", at)
        self.cloud.make(
            request.name,
            "instance",
            detail={
                **request.parameters.model_dump(),
                "instance_id": request.instance_id,
                "number": number,
                "secret": secret,
            },
        )
        at("effect")
        await self.pause("provision.last")
        return {"number": number, "address": second}

    async def update(self, request: UpdateRequest, run: Run) -> Facts | None:
        at = self._begin("update", request.name, run)
        await self.pause("update.1")
        at("secret", run.secret("token"))
        number = await self._step(request.name, run, "resize", at)
        await self.pause("update.2")
        assert request.facts is not None
        self.cloud.make(
            request.name,
            "instance",
            detail={
                **request.parameters.model_dump(),
                "instance_id": request.instance_id,
                "resized": number,
            },
        )
        at("effect")
        await self.pause("update.last")
        return {**request.facts, "resized": number}

    async def bind(self, request: BindRequest, run: Run) -> Bound:
        at = self._begin("bind", request.name, run)
        await self.pause("bind.1")
        secret = run.secret("password")
        at("secret", secret)
        number = await self._step(request.name, run, "user", at)
        await self.pause("bind.2")
        self.cloud.make(
            request.name,
            "credential",
            parent=request.instance.name,
            detail={"secret": secret, "number": number},
        )
        at("effect")
        await self.pause("bind.last")
        return Bound(credentials={"password": secret, "number": number})

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        at = self._begin("unbind", request.name, run)
        await self.pause("unbind.1")
        self.cloud.remove(request.name)
        at("effect")
        await self.pause("unbind.last")

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        at = self._begin("deprovision", request.name, run)
        await self.pause("deprovision.1")
        self.cloud.remove(request.name)
        at("effect")
        await self.pause("deprovision.last")

    def _begin(self, verb: str, name: str, run: Run) -> Callable[..., None]:
        def at(event: str, detail: Any = None) -> None:
            self.cloud.note(
                event, name, operation=run.id, attempt=run.attempt, detail=detail
            )

        at("call", verb)
        return at

    async def _step(
        self, name: str, run: Run, step: str, at: Callable[..., None]
    ) -> int:
        async def take() -> int:
            number = self.cloud.note("taken", name, operation=run.id, detail=step)
            await self.pause(f"step.{step}")
            return number

        number: int = await run.step(step, take)
        at("seen", [step, number])
        return number


def judge(cloud: Cloud, operation: str) -> list[str]:
    """What is wrong with the way an operation went; empty for nothing.

    However often it was begun: attempts only rise, a secret never changes, a step
    is not run again once its result was seen, and nothing is made twice.
    """
    wrong: list[str] = []
    seen: dict[str, int] = {}
    secrets: set[str] = set()
    made: list[str] = []
    attempts: list[int] = []
    names: set[str] = set()
    for entry in cloud.ledger():
        if entry.event == "made":
            made.append(entry.name)
        if entry.operation != operation:
            continue
        names.add(entry.name)
        match entry.event:
            case "call":
                attempts.append(entry.attempt)
            case "secret":
                secrets.add(entry.detail)
            case "taken" if entry.detail in seen:
                wrong.append(f"step {entry.detail} ran again after it was seen")
            case "seen":
                step, number = entry.detail
                if seen.setdefault(step, number) != number:
                    wrong.append(f"step {step} has another result")
    if attempts != sorted(attempts):
        wrong.append(f"attempts {attempts}")
    if len(secrets) > 1:
        wrong.append("the secret changed")
    wrong += [f"{name} was made twice" for name in names if made.count(name) > 1]
    return wrong


def attempts(cloud: Cloud, operation: str) -> list[int]:
    """The attempts at an operation that reached the backend."""
    return [
        entry.attempt for entry in cloud.ledger("call") if entry.operation == operation
    ]
