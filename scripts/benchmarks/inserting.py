"""The rows of a provision and nothing else: what a 202 is compared with.

`python -m scripts.benchmarks.inserting SECONDS` with OSBKIT_DATABASE_URL and
OSBKIT_ENCRYPTION_KEYS set prints one line of JSON: units of work and the
microseconds of our CPU for each. Sixteen callers, as many as there are connections
in a measurement of the broker, each writes the rows of one PUT by `store.write`.
"""

import asyncio
import json
import os
import sys
import time
from functools import partial
from uuid import uuid4

import sqlalchemy as sa
import uvloop

from osbkit.domain import Instance, Operation
from osbkit.store import instances, operations
from osbkit.store.address import server_of
from osbkit.store.rows import new_operation_id, now
from osbkit.store.server import ServerStore
from osbkit.telemetry import configure
from scripts.benchmarks.filling import instance_of, operation_of

CALLERS = 16


def add(db: sa.Connection, instance: Instance, operation: Operation) -> None:
    """What unit A of a provision writes."""
    instances.add(db, instance)
    operations.add(db, operation)


async def insert(seconds: float) -> tuple[int, float]:
    """Write for so long; how many times, and the CPU that it took."""
    server = server_of(os.environ["OSBKIT_DATABASE_URL"])
    assert server is not None
    store = ServerStore(server, os.environ["OSBKIT_ENCRYPTION_KEYS"])
    await store.open()
    count = 0

    async def call(until: float) -> None:
        nonlocal count
        while time.monotonic() < until:
            instance_id, operation_id = str(uuid4()), new_operation_id()
            moment = now()
            await store.write(
                partial(
                    add,
                    instance=instance_of(instance_id, operation_id, moment),
                    operation=operation_of(instance_id, operation_id, moment),
                )
            )
            count += 1

    async def all_for(span: float) -> None:
        until = time.monotonic() + span
        await asyncio.gather(*(call(until) for _ in range(CALLERS)))

    try:
        await all_for(1)
        count, before = 0, time.process_time()
        await all_for(seconds)
        return count, time.process_time() - before
    finally:
        await store.close()


if __name__ == "__main__":
    configure("ERROR")
    done, spent = uvloop.run(insert(float(sys.argv[1])))
    print(json.dumps({"units": done, "cpu": spent / done * 1e6}))
