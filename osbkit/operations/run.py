"""What a backend sees of the operation it works on."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from string import ascii_letters, digits
from typing import Any, Protocol

from osbkit.backends.contract import Run
from osbkit.domain import MICROSECONDS, Json, Operation
from osbkit.errors import BackendFault
from osbkit.operations.bound import require_json
from osbkit.store import operations
from osbkit.store.sealing import canonical
from osbkit.telemetry import log

LETTERS = ascii_letters + digits
OWN_SCOPES = ("undo/", "unbind/")
"""Where the steps of a roll-back stand, and of bindings removed with their instance."""


class Holder(Protocol):
    """Who holds the claim: knows the newest fence, and the steps done so far."""

    operation: Operation
    store: Any
    steps: Json | None


class RecordedRun(Run):
    """A run whose progress, steps and secrets are in the operation's row.

    Args:
        deadline: microseconds, where it is not the operation's: a roll-back and
            what the broker does on its own account have a time of their own.
        scope: stands before the names of steps. One operation may call a backend
            several times (every binding of a deleted instance, a roll-back): what
            one call has done must not count for the next.
        version: of the backend's steps (`registry.version_of`).
    """

    def __init__(
        self,
        holder: Holder,
        scope: str = "",
        deadline: int | None = None,
        version: str = "",
    ) -> None:
        self._holder = holder
        self._scope = scope
        self._deadline = deadline
        self._version = version
        self._asked: set[str] = set()
        operation = holder.operation
        self.id = operation.id
        self.attempt = operation.attempt
        moment = operation.deadline if deadline is None else deadline
        self.deadline = datetime.fromtimestamp(moment / MICROSECONDS, UTC)
        self._seed: str = operation.asked["seed"]

    @property
    def log(self) -> Any:
        """A logger that carries the operation's id."""
        operation = self._holder.operation
        return log.bind(
            operation=operation.id,
            kind=operation.kind.value,
            instance_id=operation.instance_id,
            attempt=self.attempt,
        )

    async def progress(
        self,
        text: str,
        *,
        percent: int | None = None,
        poll_after: int | None = None,
    ) -> None:
        """See Run."""
        if percent is not None:
            percent = max(0, min(100, percent))
        if poll_after is not None:
            poll_after = max(1, poll_after)
        await self._holder.store.write(
            partial(
                operations.progress,
                operation=self._holder.operation,
                text=text,
                percent=percent,
                poll_after=poll_after,
            )
        )
        self._holder.operation = replace(
            self._holder.operation,
            description=text,
            percent=percent,
            poll_after=poll_after,
        )

    async def step(
        self, name: str, call: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        """See Run."""
        holder, name = self._holder, self._scope + name
        self._asked.add(name)
        taken = await self._taken()
        if name in taken:
            return taken[name]["result"]
        # as a later attempt will read it; what is no JSON raises before it counts
        begun = call(*args)
        if not isinstance(begun, Awaitable):
            raise BackendFault(f"run.step({name!r}, …) must be given an async function")
        made = await begun
        require_json(made, f"what the step {name!r} returned")
        result = json.loads(canonical(made))
        # at once, so that steps taken side by side do not lose each other
        taken = holder.steps or taken
        step = {"result": result, "version": self._version}
        holder.steps = done = taken | {name: step}
        await self._holder.store.write(
            partial(operations.save_steps, operation=self._holder.operation, done=done)
        )
        return result

    async def _taken(self) -> Json:
        if self._holder.steps is None:
            self._holder.steps = await self._holder.store.read(
                partial(operations.steps, operation_id=self.id)
            )
        return self._holder.steps

    async def strangers(self) -> list[str]:
        """Steps of an earlier attempt, taken by another version of the backend, that
        this call, which has returned, never asked for: it does not know them."""
        if self.attempt == 1:
            return []
        return sorted(
            name
            for name, step in (await self._taken()).items()
            if name not in self._asked
            and not name.startswith(OWN_SCOPES)
            and step.get("version", "") != self._version
        )

    def within(self, scope: str) -> "RecordedRun":
        """The same run for a call of its own."""
        scope = self._scope + scope
        return RecordedRun(self._holder, scope, self._deadline, self._version)

    def secret(self, name: str, *, length: int = 32) -> str:
        """See Run."""
        if not 16 <= length <= 128:
            raise BackendFault("run.secret: length must be between 16 and 128")
        letters: list[str] = []
        block = 0
        while len(letters) < length:
            data = hashlib.blake2b(
                f"{block}/{name}".encode(), key=bytes.fromhex(self._seed)
            ).digest()
            # 248 is the largest multiple of 62 in a byte: no letter is likelier
            letters += [LETTERS[byte % 62] for byte in data if byte < 248]
            block += 1
        return "".join(letters[:length])
