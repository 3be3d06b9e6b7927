"""Removing what a check made, also after it failed or was stopped.

The ledger knows from the requests what may exist: a PUT enters it, a finished DELETE
strikes it out. What cannot be removed is told, so that a person can.

Units: seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from osbkit.conformance.exchange import Exchange, decoded
from osbkit.conformance.polling import Tempo, until_ended

Send = Callable[..., Awaitable[Exchange]]
Key = tuple[str, str | None]
TRIES = 6


@dataclass
class Entry:
    """Something that may exist.

    Attributes:
        path: of it.
        ids: offering and plan, as its PUT named them; the last is the newest.
        doubtful: every PUT of it was rejected; it should not exist.
    """

    path: str
    ids: list[tuple[str, str]] = field(default_factory=list)
    doubtful: bool = True


class Ledger:
    """What may exist on the broker because of one target."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}

    def before(self, method: str, path: str, body: Any) -> None:
        """Note a request that may make something."""
        seen = Exchange(method=method, path=path)
        if seen.verb in {"provision", "bind", "update"}:
            _, instance, binding = seen.place
            key = (instance or "", binding)
            if seen.verb != "update":
                self._entries.setdefault(key, Entry(path))
            if key in self._entries:
                self._entries[key].ids += _ids(body)

    def after(self, seen: Exchange) -> None:
        """Note its answer."""
        kind, instance, binding = seen.place
        key = (instance or "", binding)
        entry = self._entries.get(key)
        if entry is None or kind not in {"instance", "binding"}:
            return
        if seen.method == "PUT" and not seen.rejected:
            entry.doubtful = False
        if seen.method == "DELETE" and seen.status in {200, 410}:
            self.strike(key)

    def strike(self, key: Key) -> None:
        """It is gone, and its bindings with it."""
        self._entries.pop(key, None)
        if key[1] is None:
            for each in [each for each in self._entries if each[0] == key[0]]:
                del self._entries[each]

    @property
    def open(self) -> list[tuple[Key, Entry]]:
        """What may exist, bindings before their instances."""
        return sorted(self._entries.items(), key=lambda each: each[0][1] is None)


async def sweep(
    ledger: Ledger, send: Send, tempo: Tempo, fallback: tuple[str, str]
) -> list[str]:
    """Remove everything in the ledger.

    Args:
        fallback: offering and plan to name where the PUT named none.

    Returns:
        A sentence for each thing that could not be removed.
    """
    left: list[str] = []
    for key, entry in ledger.open:
        if key not in dict(ledger.open):
            continue
        last = await _remove(entry, send, tempo, fallback)
        ledger.strike(key)
        if last is not None and not entry.doubtful:
            what = "binding" if key[1] else "instance"
            name = decoded(key[1] or key[0])
            left.append(f"The {what} {name} could not be removed: {last}")
    return left


async def _remove(
    entry: Entry, send: Send, tempo: Tempo, fallback: tuple[str, str]
) -> Exchange | None:
    """Delete it; None when it is gone, else the last answer."""
    named = [] if entry.doubtful else [*dict.fromkeys(reversed(entry.ids))]
    ids = [*named, fallback]
    pause, answer = tempo.first, None
    for number in range(1 if entry.doubtful else TRIES):
        service, plan = ids[number % len(ids)]
        query = {
            "service_id": service,
            "plan_id": plan,
            "accepts_incomplete": "true",
        }
        answer = await send("DELETE", entry.path, query=query)
        if answer.status in {200, 404, 410}:
            return None
        if answer.running:
            ended = await _poll(entry.path, answer.get("operation"), send, tempo)
            if ended.succeeded:
                return None
            answer = ended.last
        elif answer.status == 422:  # something runs: wait for it
            await _poll(entry.path, None, send, tempo)
        await asyncio.sleep(pause)
        pause = min(pause * 2, tempo.longest)
    return answer


async def _poll(path: str, operation: Any, send: Send, tempo: Tempo) -> Any:
    query = {"operation": operation if isinstance(operation, str) else None}
    return await until_ended(
        lambda: send("GET", f"{path}/last_operation", query=query), tempo
    )


def _ids(body: Any) -> list[tuple[str, str]]:
    if not isinstance(body, dict):
        return []
    service, plan = body.get("service_id"), body.get("plan_id")
    if isinstance(service, str) and isinstance(plan, str) and service and plan:
        return [(service, plan)]
    return []
