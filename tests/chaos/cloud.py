"""The service behind the broker: a process of its own that outlives the broker.

    python -m tests.chaos.cloud LEDGER SEED      prints its port

It holds things by name: instances, and credentials of bindings. Every effect is one
line of the ledger: when, what, under which name, asked for by which process.

    look                               whether it is there
    reserve                            a number, and nothing else
    create, configure, delete          an instance; configure needs it to be there
    grant, revoke                      a credential
    list                               what is there

Calls for one name have their effect in the order in which they came in, whether or
not the caller still listens: no service can promise less and be cleaned up after.

Faults, by `Rates`, drawn from the seed and the call, so the same in every run:

    late      it takes its time, before or after the effect
    slow      it takes more time than the broker allows
    lost      the answer, after the effect
    passing   an error, and no effect
    failed    the same, for good
    refused   the same, the user's fault

`script` says for one instance what comes instead, by verb and call: "hold" has its
effect and is answered after `release`, "failed" fails, "hold failed" does both, "go" is
an ordinary one. `reached` tells which calls are held.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from tests.chaos.lines import LIMIT, Json

INSTANCE, CREDENTIAL = "instance", "credential"
KINDS = {
    "create": INSTANCE,
    "configure": INSTANCE,
    "delete": INSTANCE,
    "grant": CREDENTIAL,
    "revoke": CREDENTIAL,
}
FINAL = frozenset({"create", "configure", "grant"})
"""What may be refused, or fail for good."""
RATES = {
    "late": 0.12,
    "slow": 0.008,
    "lost": 0.04,
    "passing": 0.05,
    "failed": 0.015,
    "refused": 0.015,
}
LATEST = 0.8
SLOW = 11.0


class Cloud:
    """See the module."""

    def __init__(self, ledger: Path, seed: str) -> None:
        self.things: dict[str, Json] = {}
        self.rates: dict[str, float] = {}
        self.busy = 0
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._ledger = ledger.open("a", buffering=1)
        self._numbers = 0
        self._calls: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._scripts: dict[str, dict[str, list[str]]] = {}
        self._held: dict[tuple[str, str], list[tuple[Json, asyncio.Event]]] = (
            defaultdict(list)
        )

    # --- what a connection brings -----------------------------------------------

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One question of one connection."""
        with contextlib.suppress(ConnectionError):
            line = await reader.readline()
            if not line.endswith(b"\n"):
                writer.close()
                return
            asked = json.loads(line)
            control = getattr(self, f"on_{asked['verb']}", None)
            told = await (self.call(asked) if control is None else control(asked))
            if told is not None:
                writer.write(json.dumps(told).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def call(self, asked: Json) -> Json | None:
        """A call of a backend; None leaves it without an answer."""
        self.busy += 1
        try:
            return await self._call(asked)
        finally:
            self.busy -= 1

    async def _call(self, asked: Json) -> Json | None:
        verb, name = asked["verb"], asked["name"]
        turn = self._turns.setdefault(name, asyncio.Lock())
        scripted = self._next_of_script(asked)
        fault = None if scripted is not None else self._draw(asked)
        wait = self._rng(asked, "wait").random() * LATEST
        async with turn:
            if fault == "slow":
                await asyncio.sleep(SLOW)
            elif fault == "late" and wait < LATEST / 2:
                await asyncio.sleep(wait)
            failing = scripted in {"failed", "hold failed"}
            if failing or fault in {"passing", "failed", "refused"}:
                told: Json = {"error": "failed" if failing else fault}
                self._note(str(told["error"]), asked)
            else:
                told = self._effect(verb, name, asked)
        if scripted in {"hold", "hold failed"}:
            await self._hold(asked)
        if fault == "late" and wait >= LATEST / 2:
            await asyncio.sleep(wait)
        if fault == "lost":
            self._note("answer lost", asked)
            return None
        return told

    # --- effects ------------------------------------------------------------------

    def _effect(self, verb: str, name: str, asked: Json) -> Json:
        there = self.things.get(name)
        told: Json = {"there": there is not None}
        match verb:
            case "reserve":
                self._numbers += 1
                told["number"] = self._numbers
            case "create" if there is not None:
                pass  # what is there stays as it is
            case "create" | "grant":
                self.things[name] = {
                    "name": name,
                    "kind": KINDS[verb],
                    "instance_id": asked["instance_id"],
                    "binding_id": asked.get("binding_id"),
                    "values": asked.get("values", {}),
                }
            case "configure" if there is None:
                self._note("absent", asked)
                return {"error": "absent"}
            case "configure":
                assert there is not None
                there["values"] = asked["values"]
            case "delete" | "revoke":
                self.things.pop(name, None)
        self._note("", asked, was=None if there is None else "there")
        return told

    def _note(self, said: str, asked: Json, **more: Any) -> None:
        if said:
            self.counts[said] += 1
        kept = ("verb", "name", "instance_id", "binding_id", "pid", "operation")
        entry = {"at": time.time(), "said": said} | {
            key: asked[key] for key in kept if asked.get(key) is not None
        }
        values = asked.get("values", {})
        shown = {key: value for key, value in values.items() if key != "password"}
        self._ledger.write(json.dumps(entry | more | {"values": shown}) + "\n")

    # --- faults -------------------------------------------------------------------

    def _rng(self, asked: Json, what: str) -> random.Random:
        of = (asked["instance_id"], asked.get("binding_id"), asked["verb"])
        count = self._calls[repr(of)]
        return random.Random(repr((self._seed, of, count, what)))

    def _draw(self, asked: Json) -> str | None:
        of = (asked["instance_id"], asked.get("binding_id"), asked["verb"])
        self._calls[repr(of)] += 1
        if not self.rates:
            return None
        rng = self._rng(asked, "fault")
        roll = rng.random()
        for fault, rate in self.rates.items():
            roll -= rate
            if roll < 0:
                if fault in {"failed", "refused"} and asked["verb"] not in FINAL:
                    return None
                if fault in {"late", "slow"}:
                    self.counts[fault] += 1
                return fault
        return None

    # --- scripts ------------------------------------------------------------------

    def _next_of_script(self, asked: Json) -> str | None:
        """What is scripted for this call; "go" where others are."""
        script = self._scripts.get(asked["instance_id"])
        if script is None:
            return None
        steps = script.get(asked["verb"])
        return steps.pop(0) if steps else "go"

    async def _hold(self, asked: Json) -> None:
        held = asyncio.Event()
        self._held[asked["instance_id"], asked["verb"]].append((asked, held))
        self._note("answer held", asked)
        await held.wait()

    async def on_script(self, asked: Json) -> Json:
        """Steps by verb, one a call."""
        self._scripts[asked["instance_id"]] = asked["steps"]
        return {}

    async def on_unscript(self, asked: Json) -> Json:
        """Let go of an instance altogether."""
        self._scripts.pop(asked["instance_id"], None)
        for key in [key for key in self._held if key[0] == asked["instance_id"]]:
            self._release(key)
        return {}

    async def on_reached(self, asked: Json) -> Json:
        """Whether a call is held, and which process asked."""
        calls = self._held.get((asked["instance_id"], asked["of"]), [])
        return {"pids": [call["pid"] for call, _ in calls]}

    async def on_release(self, asked: Json) -> Json:
        """Answer what is held."""
        self._release((asked["instance_id"], asked["of"]))
        return {}

    def _release(self, key: tuple[str, str]) -> None:
        for _, held in self._held.pop(key, []):
            held.set()

    # --- the rest -----------------------------------------------------------------

    async def on_rates(self, asked: Json) -> Json:
        """Begin or end the faults."""
        self.rates = asked["rates"]
        return {}

    async def on_list(self, asked: Json) -> Json:
        """Everything that is there, and how much is going on."""
        return {
            "things": list(self.things.values()),
            "busy": self.busy,
            "counts": dict(self.counts),
        }


async def main(ledger: str, seed: str) -> None:
    """Serve until standard input ends."""
    cloud = Cloud(Path(ledger), seed)
    server = await asyncio.start_server(cloud.serve, "127.0.0.1", 0, limit=LIMIT)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
