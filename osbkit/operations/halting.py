"""Waiting for calls that were halted.

A DELETE ends the creation in the store, but the creation's call may still be
running, here or on another machine. What it makes after the removal would stay: so
the delete waits until each halted call has returned, or

    its lease ran out, plus `GRACE`   its process is gone, or paused
    `PATIENCE` is over                it is deaf: no cancellation reaches a thread,
                                      and the platform must get its answer

and what such a call made all the same is swept when it returns; it has a name of
its own generation, so it never meets what was made since.

A clean-up after an update waits for a running update as well: it brings back what is
stored then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from osbkit.domain import MICROSECONDS, Operation, OperationKind
from osbkit.store import operations
from osbkit.store.protocol import Store
from osbkit.store.rows import now

GRACE = 5 * MICROSECONDS
PATIENCE = 30 * MICROSECONDS
"""Less than `sync_budget_required`: the DELETE that waits can still say that it is
done, and a PUT of the same id begins anew."""
TICK = 0.2


def unfinished(
    mine: Operation, opened: Iterable[Operation], moment: int
) -> list[Operation]:
    """The halted calls that may still be running.

    Args:
        opened: every open operation of the instance.
        moment: microseconds.
    """
    changing = [
        other
        for other in opened
        if mine.asked.get("of") == OperationKind.UPDATE
        and other.kind is OperationKind.UPDATE
        and other.live
        and other.generation == mine.generation
    ]
    if changing or moment >= mine.created_at + PATIENCE:
        return changing
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
    store: Store,
    mine: Operation,
    returned: Callable[[str, float], Awaitable[None]],
) -> None:
    """Return when no halted call of the same resource runs any more.

    Args:
        returned: waits for a call of this process, at most some seconds.
    """
    while True:
        opened = await store.read(
            partial(operations.known_of, instance_id=mine.instance_id)
        )
        left = unfinished(mine, opened, now())
        if not left:
            break
        await returned(left[0].id, TICK)
        await asyncio.sleep(0)
