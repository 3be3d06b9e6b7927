"""The five changes of the API as one table, for tests that hold for each of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from osbkit.backends.scripted import Verb
from tests.flows.serving import ASYNC, Served

Ask = Callable[..., Awaitable[httpx.Response]]


@dataclass(frozen=True)
class Change:
    """One of the five.

    Attributes:
        verb: what the backend is called for.
        before: the changes that come before it.
        done: status when it is done while its caller waits.
        repeated: status of the same request when it was done already.
        joined: status of a request that joined it and saw its end.
    """

    verb: Verb
    before: tuple[Verb, ...]
    done: int
    repeated: int
    joined: int

    @property
    def of_binding(self) -> bool:
        """Whether it changes a binding."""
        return self.verb in {"bind", "unbind"}

    @property
    def removes(self) -> bool:
        """Whether it is a DELETE."""
        return self.verb in {"unbind", "deprovision"}

    async def ask(
        self, broker: Served, plan: str, flag: bool | None = None
    ) -> httpx.Response:
        """Ask for it, of instance `i-1` and binding `b-1`."""
        match self.verb:
            case "provision":
                return await broker.put(plan=plan, flag=flag, parameters={"size": 1})
            case "update":
                return await broker.patch(flag=flag, parameters={"size": 2})
            case "bind":
                return await broker.bind(plan=plan, flag=flag, parameters={"role": "r"})
            case "unbind":
                return await broker.unbind(flag=flag)
            case _:
                return await broker.delete(flag=flag)

    async def prepare(self, broker: Served, plan: str) -> None:
        """Do what comes before it."""
        flag = True if plan == ASYNC else None
        for name in self.before:
            answer = await CHANGES[name].ask(broker, plan, flag)
            assert answer.status_code in {200, 201, 202}
            await broker.quiet()

    async def poll(
        self, broker: Served, operation: str | None = None
    ) -> httpx.Response:
        """Ask how far it is."""
        if self.of_binding:
            return await broker.poll_binding(operation=operation)
        return await broker.poll(operation=operation)


CHANGES = {
    change.verb: change
    for change in (
        Change("provision", (), 201, 200, 200),
        Change("update", ("provision",), 200, 200, 200),
        Change("bind", ("provision",), 201, 200, 200),
        Change("unbind", ("provision", "bind"), 200, 410, 410),
        Change("deprovision", ("provision",), 200, 410, 410),
    )
}


def changes(*verbs: Verb) -> Any:
    """Run a test for these of the five, by default for all."""
    chosen = verbs or tuple(CHANGES)
    return pytest.mark.parametrize(
        "change", [pytest.param(CHANGES[verb], id=verb) for verb in chosen]
    )
