"""A large database beside an empty one: look-ups, plans, housekeeping.

The rows are made by the server itself from one instance that the store has written;
their ids are those of a formula, so any of them can be asked for. What is sealed is
copied, which keeps the sizes, and is never opened. Each step is then taken on both
databases in turn, call by call, so that a busy moment of the machine meets both.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from statistics import median
from uuid import uuid4

import psycopg
import sqlalchemy as sa

from osbkit.domain import DAY, OperationState, WantedInstance
from osbkit.lifecycle.instances import Recorded, record_provision
from osbkit.operations.claiming import take_up
from osbkit.store import instances, operations
from osbkit.store.address import server_of
from osbkit.store.rows import new_operation_id, now
from osbkit.store.server import ServerStore
from osbkit.store.tables import instances as instance_rows
from osbkit.store.tables import operations as operation_rows
from scripts.benchmarks import workload
from scripts.benchmarks.filling import instance_of, operation_of

INSTANCES, OPERATIONS = 1_000_000, 5_000_000
CALLS = 400
WARM = 50
OWNER = "f" * 32
KEPT = 8 * DAY

SEED = "00000000-0000-4000-8000-000000000000"
MADE_INSTANCES = {
    "instance_id": "md5('i' || n)::uuid",
    "uid": "md5('u' || n)",
    "latest": "lpad(to_hex(n), 26, '0')",
}
MADE_OPERATIONS = {
    "id": "lpad(to_hex(n), 26, '0')",
    "instance_id": "md5('i' || ((n - 1) % {instances} + 1))::uuid",
    "created_at": "{since} + n * {step}",
    "ended_at": "{since} + n * {step} + 1000000",
}


def made(table: sa.Table, fields: dict[str, str], rows: int, **numbers: int) -> str:
    """The statement that makes rows like the seed's, with some fields by a formula."""
    columns = [column.name for column in table.c]
    values = [fields.get(name, f"seed.{name}").format(**numbers) for name in columns]
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(values)}"  # noqa: S608
        f" FROM {table.name} AS seed, generate_series(1::bigint, {rows}) AS n"
        f" WHERE seed.instance_id = '{SEED}'"
    )


def identifier(number: int) -> str:
    """The id of an instance that was made."""
    import hashlib

    digest = hashlib.md5(f"i{number}".encode(), usedforsecurity=False).hexdigest()
    return "-".join(
        [digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]]
    )


def fill(url: str, many: int = INSTANCES, ended: int = OPERATIONS) -> float:
    """Make the rows; the seconds that it took.

    The operations ended within the days that they are kept, evenly.
    """
    began = time.monotonic()
    asyncio.run(_seed(url))
    since = now() - KEPT
    step = KEPT // ended
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("SET synchronous_commit = off")
        for statement in (
            made(instance_rows, MADE_INSTANCES, many),
            made(
                operation_rows,
                MADE_OPERATIONS,
                ended,
                instances=many,
                since=since,
                step=step,
            ),
            "VACUUM (ANALYZE)",
        ):
            db.execute(statement.encode())
    return time.monotonic() - began


async def _seed(url: str) -> None:
    """One instance that is ready, and its creation, as the store leaves them."""
    store = await opened(url)
    operation_id, moment = new_operation_id(), now()

    def add(db: sa.Connection) -> None:
        instances.add(db, instance_of(SEED, operation_id, moment))
        made = operation_of(SEED, operation_id, moment)
        operations.add(db, made)
        operations.finish(db, made, OperationState.SUCCEEDED, now=moment)

    await store.write(add)
    await store.close()


async def opened(url: str) -> ServerStore:
    """A store, as a broker has it."""
    server = server_of(url)
    assert server is not None
    store = ServerStore(server, workload.KEYS)
    await store.open()
    return store


# --- the steps ------------------------------------------------------------------------


class Steps:
    """What is done again and again on one database.

    Args:
        known: how many instances of `fill` it has; 0 for a database without.
    """

    def __init__(self, store: ServerStore, known: int) -> None:
        self._store = store
        self._known = known
        self._turn = count(1)
        self._waiting: list[str] = []

    def _some(self) -> str:
        """An instance that is there; far from the one before."""
        return identifier(next(self._turn) * 7919 % self._known + 1)

    async def poll(self) -> None:
        """The latest operation of an instance."""
        found = await self._store.read(
            partial(operations.latest, instance_id=self._some())
        )
        assert found is not None
        assert found.operation is not None

    async def provision(self) -> None:
        """Unit A of a new id; its operation waits for `claim`."""
        instance_id, operation_id = str(uuid4()), new_operation_id()
        moment = now()
        fresh = instance_of(instance_id, operation_id, moment)
        recorded: Recorded = await self._store.write(
            partial(
                record_provision,
                fresh=fresh,
                operation=operation_of(
                    instance_id, operation_id, moment, owner=None, run_at=moment
                ),
                wanted=WANTED,
                refusal=None,
                polls=True,
            )
        )
        assert recorded.work is not None
        self._waiting.append(operation_id)

    async def claim(self) -> None:
        """A look at what is due, a claim, an end."""
        seen = await self._store.read(
            partial(operations.glance, owner=OWNER, now=now())
        )
        assert seen.due
        operation_id = self._waiting.pop(0)
        await self._store.write(
            partial(take_up, operation_id=operation_id, owner=OWNER, alone=False)
        )
        await self._store.write(partial(_end, operation_id=operation_id))


def _end(db: sa.Connection, operation_id: str) -> None:
    found = operations.find(db, operation_id)
    assert found is not None
    operations.finish(db, found, OperationState.SUCCEEDED, now=now())


WANTED = WantedInstance(
    service_id=workload.SERVICE_ID,
    plan_id=workload.PLANS["inline"],
    organization_guid=workload.ORGANIZATION,
    space_guid=workload.SPACE,
    parameters=workload.PARAMETERS,
    context=workload.CONTEXT,
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One step on both databases; milliseconds, medians."""

    step: str
    empty: float
    full: float


async def compare(empty: str, full: str, known: int) -> list[Compared]:
    """Take each step on both in turn.

    Args:
        empty: the URL of a database with a thousand instances, to have something
            to poll; else it is new.
        full: the URL of the one that `fill` has filled.
        known: how many instances that one has.
    """
    one, other = await opened(empty), await opened(full)
    few, many = Steps(one, FEW), Steps(other, known)
    try:
        return [
            await _in_turn("poll", few.poll, many.poll),
            await _in_turn("provision", few.provision, many.provision),
            await _in_turn("claim", few.claim, many.claim),
        ]
    finally:
        await one.close()
        await other.close()


FEW = 1_000
Step = Callable[[], Awaitable[None]]


async def _in_turn(name: str, one: Step, other: Step) -> Compared:
    times: dict[Step, list[float]] = {one: [], other: []}
    for number in range(CALLS):
        for step in (one, other) if number % 2 else (other, one):
            began = time.perf_counter()
            await step()
            times[step].append((time.perf_counter() - began) * 1e3)
    return Compared(name, *(median(times[step][WARM:]) for step in (one, other)))
