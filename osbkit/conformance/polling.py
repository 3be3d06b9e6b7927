"""Waiting for an operation to end, with bounded patience.

Units: seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from osbkit.conformance.exchange import Exchange

ENDS = frozenset({"succeeded", "failed"})
BAD_ANSWERS = 5  # in a row, then the operation counts as lost


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """How the kit waits.

    Attributes:
        first: before the second poll; doubled from poll to poll.
        longest: between two polls.
        patience: for one operation.
    """

    first: float = 0.05
    longest: float = 1.0
    patience: float = 300.0


@dataclass(frozen=True)
class Ended:
    """How an operation ended, as far as the kit could see.

    Attributes:
        last: the last poll; for an answer that was not 202, that answer itself.
        polls: every poll, in order.
        how: succeeded, failed, gone (410), or lost: no end was seen.
    """

    last: Exchange
    polls: tuple[Exchange, ...]
    how: str

    @property
    def succeeded(self) -> bool:
        """It came to a good end; 410 is one for a delete."""
        return self.how in {"succeeded", "gone"}


async def until_ended(ask: Callable[[], Awaitable[Exchange]], tempo: Tempo) -> Ended:
    """Poll until the operation has ended, or patience has."""
    polls: list[Exchange] = []
    waited, pause, bad = 0.0, tempo.first, 0
    while True:
        seen = await ask()
        polls.append(seen)
        if seen.status == 200 and seen.state in ENDS:
            return Ended(seen, tuple(polls), str(seen.state))
        if seen.status == 410:
            return Ended(seen, tuple(polls), "gone")
        bad = 0 if seen.status == 200 else bad + 1
        if waited >= tempo.patience or bad >= BAD_ANSWERS:
            return Ended(seen, tuple(polls), "lost")
        await asyncio.sleep(pause)
        waited += pause + seen.seconds
        pause = min(pause * 2, tempo.longest)
