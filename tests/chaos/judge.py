"""The end of a run: three views of every resource, held against each other.

    platform   what it believes to have, after all it was answered
    store      the rows, and what the API says of them
    cloud      what is really there

    lost       a platform holds what the store or the cloud has not, or has otherwise
    doubled    the cloud has two things for one id
    orphaned   the cloud or the store has what no platform holds
    not final  an operation or a lifecycle that has not come to its end

A timeline puts the ledger, the platform's requests and the operations of one
instance in order.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from osbkit.store import tables
from tests.chaos.cloud import INSTANCE
from tests.chaos.lines import Json
from tests.chaos.platforms import Platform

COUNTS = ("lost", "doubled", "orphaned", "not final")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be.

    Attributes:
        count: which of `COUNTS`.
        instance_id: whose timeline explains it.
    """

    count: str
    instance_id: str
    text: str


@dataclass
class Store:
    """The rows, read once.

    Attributes:
        instances: id → state.
        bindings: instance id → binding id → state, those of the present life.
        operations: instance id → rows, oldest first.
    """

    instances: dict[str, str] = field(default_factory=dict)
    bindings: dict[str, dict[str, str]] = field(default_factory=dict)
    operations: dict[str, list[Json]] = field(default_factory=dict)

    @classmethod
    def read(cls, engine: sa.Engine) -> "Store":
        """What is there now."""
        found = cls()
        lives: dict[str, int] = {}
        plain = [c for c in tables.operations.c if c not in set(tables.SEALED)]
        with engine.connect() as db:
            for row in db.execute(sa.select(tables.instances)).mappings():
                found.instances[row["instance_id"]] = row["state"]
                lives[row["instance_id"]] = row["generation"]
            for row in db.execute(sa.select(tables.bindings)).mappings():
                if lives.get(row["instance_id"]) == row["instance_generation"]:
                    of = found.bindings.setdefault(row["instance_id"], {})
                    of[row["binding_id"]] = row["state"]
            chosen = sa.select(*plain).order_by(tables.operations.c.created_at)
            for row in db.execute(chosen).mappings():
                every = found.operations.setdefault(row["instance_id"], [])
                every.append(dict(row))
        return found


def open_operations(engine: sa.Engine) -> int:
    """How many have not ended."""
    count = sa.select(sa.func.count()).select_from(tables.operations)
    still = count.where(tables.operations.c.ended_at.is_(None))
    with engine.connect() as db:
        return db.execute(still).scalar_one()


def judge(
    lifecycles: list[Platform],
    store: Store,
    things: list[Json],
    shown: dict[str, Json | None],
) -> list[Finding]:
    """Everything that is not as it must be.

    Args:
        things: what the cloud has.
        shown: instance id → its parameters by the API; None where it is not found.
    """
    instances: dict[str, list[Json]] = defaultdict(list)
    credentials: dict[str, list[Json]] = defaultdict(list)
    for thing in things:
        of = instances if thing["kind"] == INSTANCE else credentials
        of[thing["instance_id"]].append(thing)
    found: list[Finding] = []
    known = {one.id for one in lifecycles}
    for lifecycle in lifecycles:
        mine = instances[lifecycle.id], credentials[lifecycle.id]
        for count, text in _of_one(lifecycle, store, *mine, shown):
            found.append(Finding(count, lifecycle.id, text))
    for instance_id in (instances.keys() | credentials.keys()) - known:
        if instances[instance_id] or credentials[instance_id]:
            found.append(Finding("orphaned", instance_id, "nobody ever asked for it"))
    return found


def _of_one(
    lifecycle: Platform,
    store: Store,
    instances: list[Json],
    credentials: list[Json],
    shown: dict[str, Json | None],
) -> Iterator[tuple[str, str]]:
    for row in store.operations.get(lifecycle.id, ()):
        if row["ended_at"] is None:
            yield "not final", f"operation {row['id']} ({row['kind']}, {row['state']})"
    if not lifecycle.done:
        yield "not final", "its lifecycle has not ended"
        return
    held, state = lifecycle.held, store.instances.get(lifecycle.id)
    if len(instances) > 1:
        names = ", ".join(one["name"] for one in instances)
        yield "doubled", f"the cloud has {names} for it"
    if held.instance:
        yield from _present(lifecycle, state, instances, shown)
    else:
        if instances:
            yield "orphaned", f"the cloud has {instances[0]['name']}, no platform does"
        if state in {"ready", "making"}:
            yield "orphaned", f"the store says {state}, no platform has it"
    yield from _bindings(lifecycle, store.bindings.get(lifecycle.id, {}), credentials)


def _present(
    lifecycle: Platform,
    state: str | None,
    instances: list[Json],
    shown: dict[str, Json | None],
) -> Iterator[tuple[str, str]]:
    if state != "ready":
        yield "lost", f"a platform holds it, the store says {state}"
    if not instances:
        yield "lost", "a platform holds it, the cloud does not have it"
        return
    values, stored = instances[0]["values"], shown.get(lifecycle.id)
    if stored is None:
        yield "lost", "a platform holds it, and GET does not find it"
    elif stored != values:
        yield "lost", f"the store says {stored}, the cloud {values}"
    if lifecycle.held.values not in (None, values):
        yield "lost", f"the platform says {lifecycle.held.values}, the cloud {values}"


def _bindings(
    lifecycle: Platform, states: dict[str, str], credentials: list[Json]
) -> Iterator[tuple[str, str]]:
    held = lifecycle.held.bindings
    by_binding: dict[str, list[Json]] = defaultdict(list)
    for one in credentials:
        by_binding[one["binding_id"]].append(one)
    for binding_id, given in held.items():
        mine = by_binding.pop(binding_id, [])
        right = {"user": given["user"], "password": given["password"]}
        there = [
            {"user": one["name"], "password": one["values"]["password"]} for one in mine
        ]
        if len(mine) > 1:
            yield "doubled", f"the cloud has two credentials for binding {binding_id}"
        if right not in there:
            what = "others" if there else "none"
            yield "lost", f"binding {binding_id}: the cloud has {what}"
        state = states.get(binding_id)
        if state != "ready":
            yield "lost", f"binding {binding_id}: the store says {state}"
    for binding_id, left in by_binding.items():
        yield "orphaned", f"binding {binding_id}: {left[0]['name']} is alive"
    for binding_id, state in states.items():
        if state in {"ready", "making"} and binding_id not in held:
            yield "orphaned", f"binding {binding_id}: the store says {state}"


def timeline(
    instance_id: str, lifecycle: Platform | None, store: Store, ledger: Path
) -> list[str]:
    """What happened to one instance, in order; moments in seconds of the day."""
    entries: list[tuple[float, str]] = []
    if lifecycle is not None:
        what = f"{lifecycle.kind} {lifecycle.plan}"
        entries += [(at, f"platform  {what}: {text}") for at, text in lifecycle.log]
    for row in store.operations.get(instance_id, ()):
        what = f"{row['kind']} {row['id'][-6:]} gen {row['generation']}"
        if row["binding_id"]:
            what += f" binding {row['binding_id'][:8]}/{row['binding_generation']}"
        entries.append((row["created_at"] / 1e6, f"store     {what} recorded"))
        told = (
            f"fence {row['fence']}, attempt {row['attempt']}, {row['phase']},"
            f" halted by {(row['halted_by'] or 'nobody')[-6:]}: {row['description']}"
        )
        ended = row["ended_at"]
        at = time.time() if ended is None else ended / 1e6
        how = "open" if ended is None else row["state"]
        entries.append((at, f"store     {what} {how} ({told})"))
    with ledger.open() as lines:
        for line in lines:
            if instance_id in line:
                entries.append(_of_ledger(json.loads(line)))
    return [f"{_clock(at)}  {text}" for at, text in sorted(entries)]


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.3f}"[1:]


def _of_ledger(entry: dict[str, Any]) -> tuple[float, str]:
    said = entry["said"] or ("done" if entry.get("was") is None else "done again")
    operation = entry.get("operation", "")[-6:]
    values = entry["values"] or ""
    return entry["at"], (
        f"cloud     {entry['verb']} {entry['name']} {said} {values}"
        f" (pid {entry.get('pid')}, operation {operation})"
    )
