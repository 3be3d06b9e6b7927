"""Waiting for a reason to check a broker again.

There are two: its catalog changed, or it was away and came back, as it is when its
author starts it anew.

Units: seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from osbkit.conformance.exchange import Exchange

EVERY = 1.0  # seconds between two looks

Look = Callable[[], Awaitable[Exchange]]
Pause = Callable[[float], Awaitable[None]]


async def until_changed(look: Look, known: Any, pause: Pause = asyncio.sleep) -> str:
    """Look at the catalog from time to time; say what the reason was.

    Args:
        known: the catalog as JSON at the last run; None when it could not be read,
            so that the first catalog is a reason.
    """
    away = False
    while True:
        await pause(EVERY)
        seen = await look()
        if seen.status != 200:
            away = away or not seen.status or seen.status >= 500
        elif away:
            return "The broker came back."
        elif seen.json != known:
            return "The catalog changed."
