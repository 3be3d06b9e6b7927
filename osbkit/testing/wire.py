"""A wire between a backend and its server, which breaks where a test says.

A turn is one thing said by the backend that the server answers: the turns of a wire
are counted over all of its connections. A wire breaks once, at the turn it is told:

    before   what is said does not reach the server: nothing has happened
    after    the server has done it and has answered; the answer is lost

Both ways the connection is cut. What comes later passes.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Literal

Moment = Literal["before", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "after")
CHUNK = 65_536
LOOPBACK = "127.0.0.1"


class Wire:
    """Forwards TCP connections from a port of its own to a server.

    Attributes:
        host, port: where the backend is to go.
        turns: so many since it was armed.
        away: whether there is no server at the other end.
    """

    host = LOOPBACK

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._turn: int | None = None
        self._moment: Moment = "before"
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0
        self.turns = 0
        self.broken = False
        self.away = False

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def arm(self, turn: int, moment: Moment) -> None:
        """Break at this turn from now on, 1 being the next."""
        self._turn, self._moment = turn, moment
        self.turns, self.broken = 0, False

    def disarm(self) -> bool:
        """Break no more.

        Returns:
            whether it broke since it was armed.
        """
        self._turn = None
        return self.broken

    def _breaks(self) -> Moment | None:
        """Count a turn; when the wire breaks at it."""
        self.turns += 1
        if self._turn is None or self.turns != self._turn:
            return None
        self.broken = True
        return self._moment

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there: asyncio.StreamWriter | None = None
        try:
            if self.away:
                return
            back, there = await asyncio.open_connection(*self._target)
            await Connection(self._breaks).forward(reader, there, back, writer)
        except OSError:
            return  # the server is away, or somebody left
        finally:
            for end in filter(None, (there, writer)):
                end.transport.abort()


class Connection:
    """One connection: whose turn it is, and whether the next answer is lost."""

    def __init__(self, breaks: Callable[[], Moment | None]) -> None:
        self._breaks = breaks
        self._answered = True
        self._loses = False

    async def forward(
        self,
        reader: asyncio.StreamReader,
        there: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Until one side closes, or the wire breaks."""
        ways = [
            asyncio.create_task(self._forth(reader, there)),
            asyncio.create_task(self._back(back, writer)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when="FIRST_COMPLETED")
            if self._loses and ways[0] in done:  # said, and gone: wait for its effect
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ways[1], 5)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _forth(
        self, reader: asyncio.StreamReader, there: asyncio.StreamWriter
    ) -> None:
        while said := await reader.read(CHUNK):
            if self._answered:
                self._answered = False
                moment = self._breaks()
                if moment == "before":
                    return
                self._loses = moment == "after"
            there.write(said)
            await there.drain()

    async def _back(
        self, back: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while answer := await back.read(CHUNK):
            if self._loses:
                return
            self._answered = True
            writer.write(answer)
            await writer.drain()
