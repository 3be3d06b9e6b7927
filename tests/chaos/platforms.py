"""Platforms as they really behave, one lifecycle each; see `Platform`.

    CloudFoundry     gives up after a time-out and deletes what it does not know of;
                     polls last_operation at a fixed pace and not for ever
    ServiceCatalog   the same id again after every failure, the DELETE before it; the
                     time-out's DELETE and the next PUT overlap the first PUT; binds
                     and unbinds without the flag, and any error of a bind is final
    Korifi           sends the whole PUT or DELETE again on every round, some of them
                     side by side; no time-out; credentials come from the last PUT

What a platform holds in the end is what its users see. After a clean refusal, and
after `failed`, some users delete and some do not: nothing may be left either way.

Units: seconds.
"""

import asyncio
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import offers, scale
from tests.chaos.wire import Answer, Client, NoAnswer

FLAG = {"accepts_incomplete": "true"}
TRIES = 8
SECONDS_LATER = 1.0
"""Before a DELETE, as it was seen of all of them; what a broker has not recorded by
then it did not hear of in time."""

Body = dict[str, Any]
Query = dict[str, str]
NO_QUERY: Query = {}


@dataclass
class Held:
    """What a platform holds of one lifecycle.

    Attributes:
        instance: whether it has the instance.
        values: its parameters; None where an update's outcome is not known.
        bindings: id → credentials.
    """

    instance: bool = False
    values: Body | None = None
    bindings: dict[str, Body] = field(default_factory=dict)


@dataclass
class World:
    """What every lifecycle of a run shares.

    Attributes:
        wrong: answers that no platform can make anything of.
    """

    port: int
    seed: str
    requests: Counter[str]
    wrong: list[str] = field(default_factory=list)


class Platform:
    """One lifecycle: provision, sometimes update, bind, unbind, deprovision.

    Attributes:
        held: what the platform believes to have.
        log: moments and what happened, for a post-mortem.
        done: it has come to its end.
    """

    kind = ""
    timeout = scale.TIMEOUT

    def __init__(self, world: World, number: int) -> None:
        self.rng = random.Random(f"{world.seed}/{number}")
        self.world = world
        self.number = number
        self.id = self._uuid()
        self.plan = self.rng.choice(tuple(offers.PLANS))
        self.held = Held()
        self.log: list[tuple[float, str]] = []
        self.done = False
        self.client = Client(world.port, self.kind, world.requests)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    @property
    def path(self) -> str:
        """Of the instance."""
        return f"/v2/service_instances/{self.id}"

    def path_of(self, binding_id: str) -> str:
        """Of a binding."""
        return f"{self.path}/service_bindings/{binding_id}"

    @property
    def ids(self) -> dict[str, str]:
        """Offering and plan, as body or query."""
        return {"service_id": offers.SERVICE, "plan_id": offers.plan_id(self.plan)}

    def note(self, text: str) -> None:
        """Remember what happened."""
        self.log.append((time.time(), text))

    async def pause(self, seconds: float) -> None:
        """Wait about so long."""
        await asyncio.sleep(seconds * self.rng.uniform(0.5, 1.5))

    async def ask(
        self, method: str, path: str, body: Body | None = None, query: Query = NO_QUERY
    ) -> Answer:
        """One request, written down. Raises NoAnswer."""
        short = path.removeprefix("/v2/service_instances/")
        short = short.replace(self.id, "…").replace("service_bindings/", "")
        flag = "+" if "accepts_incomplete" in query else ""
        try:
            answer = await self.client.ask(
                method, path, body, query, within=self.timeout
            )
        except NoAnswer as none:
            self.note(f"{method}{flag} {short} → {none}")
            raise
        told = answer.body.get("state") or answer.body.get("error") or answer.operation
        self.note(f"{method}{flag} {short} → {answer.status} {told or ''}".rstrip())
        if method == "DELETE" and answer.status == 404:
            self.world.wrong.append(f"404 to DELETE {path}")
        return answer

    # --- the whole ----------------------------------------------------------------

    async def run(self) -> None:
        """Live it."""
        values = {"size": self.rng.randrange(100)}
        if await self.provision(self._wanted(values), values):
            await self._use()
        self.done = True

    def _wanted(self, values: Body) -> Body:
        return {
            **self.ids,
            "organization_guid": "an-organisation",
            "space_guid": "a-space",
            "parameters": values,
        }

    async def _use(self) -> None:
        rng = self.rng
        stays, untidy = rng.random() < 0.25, rng.random() < 0.2
        binds = rng.choice((0, 1, 1, 2))
        update_at = rng.choice((0, 1, 9, 9))
        for turn in range(max(binds, 1)):
            if turn == update_at:
                await self.update({"size": 100 + rng.randrange(100)})
            if turn < binds:
                await self._bind_some()
            await self.pause(0.1)
        for binding_id in tuple(self.held.bindings):
            if (not stays and not untidy) or rng.random() < 0.3:
                await self.unbind(binding_id)
        if not stays:
            await self.deprovision()

    async def _bind_some(self) -> None:
        """A user binds, and again under another id while it does not work."""
        for _ in range(self.rng.choice((1, 1, 3))):
            binding_id = self._uuid()
            if await self.bind(binding_id, {**self.ids, "parameters": {}}):
                return
            await self.pause(0.3)

    # --- what kinds do in their own way -------------------------------------------

    async def provision(self, body: Body, values: Body) -> bool:
        """Make it; True once the platform has it."""
        raise NotImplementedError

    async def update(self, values: Body) -> None:
        """Change it; Korifi never does."""

    async def bind(self, binding_id: str, body: Body) -> bool:
        """Make a binding; True once the platform has its credentials."""
        raise NotImplementedError

    async def unbind(self, binding_id: str) -> None:
        """Remove a binding."""
        await self.remove(self.path_of(binding_id))
        self.held.bindings.pop(binding_id, None)

    async def deprovision(self) -> None:
        """Remove the instance, and what bindings it has."""
        await self.remove(self.path)
        self.held = Held()

    # --- what they share ----------------------------------------------------------

    def has(self, values: Body | None) -> bool:
        """The platform has the instance now."""
        self.held.instance, self.held.values = True, values
        return True

    async def remove(self, path: str, *, flag: bool = True) -> None:
        """DELETE until it is gone, however long that takes."""
        query = self.ids | (FLAG if flag else {})
        wait = 0.1
        await self.pause(SECONDS_LATER)
        while True:
            try:
                answer = await self.ask("DELETE", path, None, query)
            except NoAnswer:
                await self.pause(wait)
                wait = min(2.0, wait * 2)
                continue
            if answer.status in {200, 410}:
                return
            if answer.status == 202 and await self.removed(path, answer.operation):
                return
            await self.pause(wait)
            wait = min(2.0, wait * 2)

    async def removed(self, path: str, operation: str) -> bool:
        """Whether an accepted removal came to a good end."""
        return await self.polled(path, operation, 0.2) in {"succeeded", "gone"}

    async def polled(self, path: str, operation: str, pace: float) -> str:
        """Poll to the end: "succeeded", "failed", "gone" or "late"."""
        give_up = asyncio.get_running_loop().time() + scale.POLLS
        while asyncio.get_running_loop().time() < give_up:
            await self.pause(pace)
            pace = self.next_pace(pace)
            try:
                answer = await self.ask(
                    "GET",
                    f"{path}/last_operation",
                    None,
                    self.ids | ({"operation": operation} if operation else {}),
                )
            except NoAnswer:
                continue
            if answer.status == 410:
                return "gone"
            if answer.status == 400:
                self.world.wrong.append(f"400 to a poll of {path}")
                return "failed"
            if answer.status == 200 and answer.body.get("state") != "in progress":
                return str(answer.body.get("state"))
        return "late"

    def next_pace(self, pace: float) -> float:
        """How long to wait before the next poll."""
        return pace


class CloudFoundry(Platform):
    """See the module."""

    kind = "cf"

    async def provision(self, body: Body, values: Body) -> bool:
        outcome, _ = await self._made(self.path, body)
        if outcome == "succeeded":
            return self.has(values)
        if outcome == "unknown" or self.rng.random() < 0.5:
            await self.remove(self.path)
        return False

    async def _made(self, path: str, body: Body) -> tuple[str, Body]:
        """A PUT to its end: "succeeded", "failed", or "unknown"."""
        try:
            answer = await self.ask("PUT", path, body, FLAG)
        except NoAnswer:
            return "unknown", {}
        if answer.status in {200, 201}:
            return "succeeded", answer.body
        if answer.status != 202:
            return ("unknown" if answer.status >= 500 else "failed"), {}
        state = await self.polled(path, answer.operation, 0.3)
        return state if state in {"succeeded", "failed"} else "unknown", {}

    async def update(self, values: Body) -> None:
        body = {**self.ids, "parameters": values, "previous_values": self.ids}
        try:
            answer = await self.ask("PATCH", self.path, body, FLAG)
        except NoAnswer:
            self.held.values = None
            return
        if answer.status == 200:
            self.held.values = values
        elif answer.status == 202:
            state = await self.polled(self.path, answer.operation, 0.3)
            self.held.values = values if state == "succeeded" else None
        elif answer.status >= 500:
            self.held.values = None

    async def bind(self, binding_id: str, body: Body) -> bool:
        path = self.path_of(binding_id)
        outcome, told = await self._made(path, body)
        if outcome == "succeeded" and not told:
            told = await self._fetched(path)
            outcome = "succeeded" if told else "unknown"
        if outcome == "succeeded":
            self.held.bindings[binding_id] = told["credentials"]
            return True
        if outcome == "unknown" or self.rng.random() < 0.5:
            await self.remove(path)
        return False

    async def _fetched(self, path: str) -> Body:
        for _ in range(TRIES):
            try:
                answer = await self.ask("GET", path)
            except NoAnswer:
                answer = Answer(0, {})
            if answer.status == 200:
                return answer.body
            await self.pause(0.2)
        return {}


class ServiceCatalog(Platform):
    """See the module."""

    kind = "sc"

    def next_pace(self, pace: float) -> float:
        """Doubling."""
        return min(2.0, pace * 2)

    async def provision(self, body: Body, values: Body) -> bool:
        wait = 0.1
        for _ in range(TRIES):
            try:
                answer = await self.ask("PUT", self.path, body, FLAG)
            except NoAnswer:
                answer = Answer(504, {})
            if answer.status in {200, 201}:
                return self.has(values)
            if answer.status == 202:
                state = await self.polled(self.path, answer.operation, 0.1)
                if state == "succeeded":
                    return self.has(values)
                await self.remove(self.path)
                return False
            if answer.status == 400:
                return False
            if answer.status >= 500:
                await self.remove(self.path)
            await self.pause(wait)
            wait = min(2.0, wait * 2)
        await self.remove(self.path)
        return False

    async def update(self, values: Body) -> None:
        body = {"service_id": offers.SERVICE, "parameters": values}
        wait = 0.1
        for _ in range(TRIES):
            self.held.values, before = None, self.held.values
            try:
                answer = await self.ask("PATCH", self.path, body, FLAG)
            except NoAnswer:
                answer = Answer(504, {})
            if answer.status == 200:
                self.held.values = values
                return
            if answer.status == 202:
                state = await self.polled(self.path, answer.operation, 0.1)
                self.held.values = values if state == "succeeded" else None
                return
            if answer.status < 500:
                self.held.values = before
            if answer.status == 400:
                return
            await self.pause(wait)
            wait = min(2.0, wait * 2)

    async def bind(self, binding_id: str, body: Body) -> bool:
        path = self.path_of(binding_id)
        try:
            answer = await self.ask("PUT", path, body)
        except NoAnswer:
            answer = Answer(504, {})
        if answer.status in {200, 201}:
            self.held.bindings[binding_id] = answer.body["credentials"]
            return True
        if answer.status >= 500 or answer.status == 202:
            await self.remove(path, flag=False)
        return False

    async def unbind(self, binding_id: str) -> None:
        await self.remove(self.path_of(binding_id), flag=False)
        self.held.bindings.pop(binding_id, None)


class Korifi(Platform):
    """See the module."""

    kind = "korifi"
    timeout = 60.0

    async def provision(self, body: Body, values: Body) -> bool:
        told = await self._rounds(self.path, body)
        return told is not None and self.has(values)

    async def bind(self, binding_id: str, body: Body) -> bool:
        told = await self._rounds(self.path_of(binding_id), body)
        if told is None:
            return False
        self.held.bindings[binding_id] = told["credentials"]
        return True

    async def _rounds(self, path: str, body: Body) -> Body | None:
        """PUT, and again, until it is there or cannot be; then its user deletes."""
        wait, doubt = 0.005, False
        give_up = asyncio.get_running_loop().time() + scale.POLLS
        while asyncio.get_running_loop().time() < give_up:
            answers = await self._storm(path, body)
            doubt = doubt or any(one.status >= 500 for one in answers)
            done = [one for one in answers if one.status in {200, 201}]
            if done:
                return done[0].body
            taken = [one.operation for one in answers if one.status == 202]
            # side by side, one may see the end of an operation, the next begin anew
            doubt = doubt or len(set(taken)) > 1
            if taken and await self._failed(path, taken[0]):
                break
            if not taken and any(400 <= one.status < 500 for one in answers):
                break
            await self.pause(wait)
            wait = min(0.5, wait * 2)
        else:
            doubt = True
        if doubt or self.rng.random() < 0.5:
            await self.remove(path)
        return None

    async def _storm(self, path: str, body: Body) -> list[Answer]:
        async def put() -> Answer:
            try:
                return await self.ask("PUT", path, body, FLAG)
            except NoAnswer:
                return Answer(504, {})

        width = 3 if self.rng.random() < 0.1 else 1
        return await asyncio.gather(*(put() for _ in range(width)))

    async def _failed(self, path: str, operation: str) -> bool:
        try:
            answer = await self.ask(
                "GET",
                f"{path}/last_operation",
                None,
                self.ids | {"operation": operation},
            )
        except NoAnswer:
            return False
        return answer.status == 200 and answer.body.get("state") == "failed"

    async def removed(self, path: str, operation: str) -> bool:
        """It does not wait for the end: the next DELETE tells."""
        await self._failed(path, operation)
        return False


KINDS: tuple[type[Platform], ...] = (CloudFoundry, ServiceCatalog, Korifi)
