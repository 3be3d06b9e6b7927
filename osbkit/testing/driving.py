"""A backend driven as the broker would: requests, runs, names.

    drive = Drive(backend, plan="small", parameters={})
    one = await drive.provision()
    bound = await drive.bind(one)

Every call may be made again: the same operation, its next attempt, the same secrets.
"""

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from osbkit.backends.contract import (
    BindRequest,
    Bound,
    DeprovisionRequest,
    Facts,
    Found,
    InstanceView,
    Predecessor,
    ProvisionRequest,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)
from osbkit.backends.registry import author_of, models_of
from osbkit.domain import Json, resource_name

PLATFORM = "contract"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class RehearsedRun(Run):
    """A run without a broker: steps and secrets in memory.

    Attributes:
        told: the texts of every progress.
    """

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.attempt = 0
        self.deadline = datetime.now(UTC) + timedelta(hours=1)
        self.log: Any = structlog.get_logger("osbkit.testing")
        self.told: list[str] = []
        self._steps: dict[str, Any] = {}

    def again(self) -> "RehearsedRun":
        """The next attempt of the same operation."""
        self.attempt += 1
        return self

    async def progress(
        self, text: str, *, percent: int | None = None, poll_after: int | None = None
    ) -> None:
        """See Run."""
        self.told.append(text)

    async def step(
        self, name: str, call: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        """See Run."""
        if name not in self._steps:
            self._steps[name] = json.loads(json.dumps(await call(*args)))
        return self._steps[name]

    def secret(self, name: str, *, length: int = 32) -> str:
        """See Run."""
        seed = f"{self.id}/{name}".encode()
        data = hashlib.shake_256(seed).digest(length)
        return "".join(LETTERS[byte % len(LETTERS)] for byte in data)


@dataclass(kw_only=True)
class Binding:
    """A binding of the test.

    Attributes:
        bound: what the last call of bind gave; None before.
    """

    id: str
    name: str
    request: BindRequest[Any, Any]
    run: RehearsedRun = field(default_factory=RehearsedRun)
    bound: Bound | None = None

    @property
    def credentials(self) -> Json:
        """What the application got, as it went over the wire."""
        assert self.bound is not None, "bind has not ended"
        found: Json = json.loads(json.dumps(dict(self.bound.credentials)))
        return found


@dataclass(kw_only=True)
class Instance:
    """An instance of the test, as the broker's row would have it."""

    id: str
    name: str
    plan: str
    parameters: Any
    facts: Facts | None = None
    bindings: list[Binding] = field(default_factory=list)
    run: RehearsedRun = field(default_factory=RehearsedRun)


class Drive:
    """Calls the verbs of a backend that is open.

    Args:
        offering, plan, parameters: of every instance, unless said otherwise.
    """

    def __init__(
        self,
        backend: ServiceBackend[Any, Any],
        *,
        offering: str,
        plan: str,
        parameters: Json,
    ) -> None:
        self.backend = backend
        self.instances: list[Instance] = []
        self._offering = offering
        self._plan = plan
        self._parameters = parameters

    def instance(self, plan: str | None = None) -> Instance:
        """An instance that is not there yet."""
        chosen = plan or self._plan
        narrower = author_of(self.backend).plan_parameters
        model = narrower.get(chosen, models_of(self.backend)[0])
        id_ = f"contract {secrets.token_hex(8)}"
        made = Instance(
            id=id_,
            name=resource_name(self.backend.broker.id, id_, 1),
            plan=chosen,
            parameters=model.model_validate_json(json.dumps(self._parameters)),
        )
        self.instances.append(made)
        return made

    def binding(
        self,
        of: Instance,
        parameters: Json | None = None,
        predecessor: Binding | None = None,
    ) -> Binding:
        """A binding that is not there yet."""
        model = models_of(self.backend)[1]
        id_ = f"contract {secrets.token_hex(8)}"
        request: BindRequest[Any, Any] = BindRequest(
            name=resource_name(self.backend.broker.id, of.id, 1, id_),
            binding_id=id_,
            parameters=model.model_validate_json(json.dumps(parameters or {})),
            instance=self._view(of),
            predecessor=None
            if predecessor is None
            else Predecessor(binding_id=predecessor.id, name=predecessor.name),
            **self._common(of),
        )
        made = Binding(id=id_, name=request.name, request=request)
        of.bindings.append(made)
        return made

    async def provision(self, one: Instance | None = None) -> Instance:
        """Make an instance, or make it again."""
        one = one or self.instance()
        request: ProvisionRequest[Any] = ProvisionRequest(
            name=one.name,
            parameters=one.parameters,
            organization_guid="org",
            space_guid="space",
            **self._common(one),
        )
        one.facts = await self.backend.provision(request, one.run.again())
        return one

    async def update(self, one: Instance, plan: str) -> None:
        """Bring it to another plan; the row changes when the call has ended."""
        wanted = {**self._common(one), "plan": plan}
        request: UpdateRequest[Any] = UpdateRequest(
            name=one.name,
            parameters=one.parameters,
            changed=frozenset({"plan"}),
            previous=self._view(one),
            **wanted,
        )
        facts = await self.backend.update(request, RehearsedRun().again())
        one.plan, one.facts = plan, one.facts if facts is None else facts

    async def bind(
        self,
        of: Instance,
        parameters: Json | None = None,
        *,
        predecessor: Binding | None = None,
    ) -> Binding:
        """Make a binding."""
        return await self.bind_again(self.binding(of, parameters, predecessor))

    async def bind_again(self, binding: Binding) -> Binding:
        """The next attempt at the same binding."""
        binding.bound = await self.backend.bind(binding.request, binding.run.again())
        return binding

    async def unbind(self, of: Instance, binding: Binding) -> None:
        """Remove a binding, or remove it again."""
        request = UnbindRequest(
            name=binding.name,
            binding_id=binding.id,
            instance_name=of.name,
            binding_facts=binding.bound.facts if binding.bound else None,
            **self._common(of),
        )
        await self.backend.unbind(request, RehearsedRun().again())

    async def deprovision(self, one: Instance) -> None:
        """Remove an instance, or remove it again."""
        request = DeprovisionRequest(name=one.name, **self._common(one))
        await self.backend.deprovision(request, RehearsedRun().again())

    async def listed(self) -> list[Found]:
        """What the backend lists, sorted by name."""
        found = [each async for each in self.backend.inventory()]
        return sorted(found, key=lambda each: (each.kind, each.name))

    async def clear(self) -> None:
        """Remove everything that was made."""
        for one in self.instances:
            for binding in one.bindings:
                await self.unbind(one, binding)
            await self.deprovision(one)

    def _common(self, one: Instance) -> dict[str, Any]:
        return {
            "instance_id": one.id,
            "offering": self._offering,
            "plan": one.plan,
            "platform": PLATFORM,
            "facts": one.facts,
        }

    def _view(self, one: Instance) -> InstanceView[Any]:
        return InstanceView(
            name=one.name,
            instance_id=one.id,
            offering=self._offering,
            plan=one.plan,
            platform=PLATFORM,
            parameters=one.parameters,
            facts=one.facts,
        )
