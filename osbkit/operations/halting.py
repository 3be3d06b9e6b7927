"""Waiting for calls that were halted.

A DELETE ends the creation in the store, but the creation's call may still be
running, here or on another machine. Nothing may be removed before that call has
returned, or its late effect would stay: so the delete waits until each halted
operation is over, or until its lease ran out plus `GRACE`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from osbkit.domain import MICROSECONDS, Operation
from osbkit.store import operations
from osbkit.store.rows import now

GRACE = 5 * MICROSECONDS
TICK = 0.2


def unfinished(
    mine: Operation, opened: Iterable[Operation], moment: int
) -> list[Operation]:
    """The halted calls that may still be running.

    Args:
        opened: every open operation of the instance.
        moment: microseconds.
    """
    return [
        other
        for other in opened
        if other.id != mine.id
        and other.stop_asked
        and other.generation == mine.generation
        and (mine.binding_id is None or other.binding_id == mine.binding_id)
        and (other.run_at or 0) + GRACE > moment
    ]


async def wait_until_stopped(
    store: Any,
    mine: Operation,
    returned: Callable[[str, float], Awaitable[None]],
) -> None:
    """Return when no halted call of the same resource runs any more.

    Args:
        returned: waits for a call of this process, at most some seconds.
    """
    while True:
        opened = await store.read(
            partial(operations.open_of, instance_id=mine.instance_id)
        )
        left = unfinished(mine, opened, now())
        if not left:
            break
        await returned(left[0].id, TICK)
        await asyncio.sleep(0)
