"""Ending a task that runs in the background, for certain."""

import asyncio
from typing import Any


async def end(task: "asyncio.Task[Any] | None", again: float = 0.5) -> None:
    """Cancel a task until it has ended.

    A cancellation may be lost: before Python 3.12 `asyncio.wait_for`, which drivers
    use, returns its result instead where both come at the same moment.

    Args:
        task: its own error is not raised here.
        again: seconds until it is cancelled once more; what it does to clean up
            should take less.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again)
