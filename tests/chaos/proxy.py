"""What stands in front of the replicas: round robin by connection, and faults.

A platform's connection carries one request. It is given to the next replica that
accepts it; where none does, the platform gets 503 without a body, as from any
balancer. Some connections are cut: before the request goes on, once it has, or in the
middle of the answer. A replica that owes answers and gives none is passed over for a
while, as by a balancer that hears of its clients' time-outs.

Units: seconds.
"""

import asyncio
import contextlib
import random
from collections import Counter

from tests.chaos.lines import LIMIT

CUT = 0.03
SILENT = 1.5
NOBODY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
Streams = tuple[int, asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """See the module.

    Attributes:
        cuts: how often a connection is cut, 0 to 1.
        counts: of the cuts, by place.
    """

    def __init__(self, ports: list[int], seed: str) -> None:
        self.port = 0
        self.cuts = 0.0
        self.counts: Counter[str] = Counter()
        self._ports = ports
        self._next = 0
        self._owed: dict[int, list[float]] = {port: [] for port in ports}
        self._heard = dict.fromkeys(ports, 0.0)
        self._rng = random.Random(f"{seed}/proxy")
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=LIMIT
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        place = None
        if self._rng.random() < self.cuts:
            place = self._rng.choice(("before", "after", "middle"))
            self.counts[f"connection cut, {place}"] += 1
        try:
            await self._relay(reader, writer, place)
        except OSError:
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def _relay(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        place: str | None,
    ) -> None:
        request = await reader.read(LIMIT)  # a platform's request is one segment
        if place == "before" or not request:
            return
        streams = await self._replica()
        if streams is None:
            writer.write(NOBODY)
            await writer.drain()
            return
        port, back, forth = streams
        asked = asyncio.get_running_loop().time()
        self._owed[port].append(asked)
        gone = asyncio.ensure_future(reader.read(1))
        try:
            forth.write(request)
            await forth.drain()
            if place == "after":
                await asyncio.sleep(self._rng.random() * 0.05)
                return
            answer = asyncio.ensure_future(back.read(-1))
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
                return
            told = answer.result()
            self._heard[port] = asyncio.get_running_loop().time()
            if place == "middle":
                told = told[: self._rng.randrange(1, max(2, len(told)))]
            writer.write(told)
            await writer.drain()
        finally:
            self._owed[port].remove(asked)
            gone.cancel()
            forth.close()

    async def _replica(self) -> Streams | None:
        """A connection to the next replica that accepts one."""
        for _ in range(2):
            self._next += 1
            turn = self._next % len(self._ports)
            ports = self._ports[turn:] + self._ports[:turn]
            for port in sorted(ports, key=self._is_silent):
                with contextlib.suppress(OSError):
                    return port, *await asyncio.open_connection(
                        "127.0.0.1", port, limit=LIMIT
                    )
            await asyncio.sleep(0.1)
        return None

    def _is_silent(self, port: int) -> bool:
        owed = self._owed[port]
        if not owed:
            return False
        since = max(min(owed), self._heard[port])
        return asyncio.get_running_loop().time() - since > SILENT
