"""Requests that a process finds when it has stood still: paused, swapped out, frozen.

The platform gave them up long ago, closed the connection, and asked another process
to delete what they would make; carried out now, they would make it for nobody, or
delete what was made anew. The closed connection tells them from others. To look for
it costs a moment, so only a process that has stood still does.

Units: seconds.
"""

import asyncio
import time

from starlette.requests import Request

from osbkit.errors import Unavailable
from osbkit.telemetry import log

BEAT = 0.5
STILL = 2.0
"""A beat that is so late tells that the process stood still."""
AFTERWARDS = 5.0
"""What had come in by then has been read."""
LOOK = 0.05
"""In which the loop reads that a connection was closed."""

GONE = "The broker stood still, and the client left meanwhile; repeat the request."


class Pulse:
    """Knows whether the process stood still a moment ago; beats in its event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last = 0.0
        self._woke = -AFTERWARDS

    def stood_still(self) -> bool:
        """Whether what is read now may have lain for long."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._last = loop, time.monotonic()
            loop.call_later(BEAT, self._beat, loop)
        moment = time.monotonic()
        self._feel(moment)
        return moment - self._woke < AFTERWARDS

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        moment = time.monotonic()
        self._feel(moment)
        self._last = moment
        if self._loop is loop:
            loop.call_later(BEAT, self._beat, loop)

    def _feel(self, moment: float) -> None:
        if moment - self._last > BEAT + STILL:
            self._woke = moment


pulse = Pulse()


async def require_client(request: Request, *, whole: bool = True) -> None:
    """Go on unless the process stood still and the client has gone meanwhile.

    Args:
        whole: the body was read to its end.

    Raises:
        Unavailable: nobody waits for the answer.
    """
    if not pulse.stood_still():
        return
    while not whole:
        message = await request.receive()
        whole = not message.get("more_body", False)
    await asyncio.sleep(LOOK)
    if await request.is_disconnected():
        log.warning("request.client_gone", method=request.method)
        raise Unavailable(GONE)
