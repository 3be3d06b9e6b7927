"""A platform's HTTP client: one connection a request, and nothing forgiven.

A time-out and a broken connection are told apart from answers, for platforms do
different things after them.

Units: seconds.
"""

import asyncio
import base64
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.chaos.processes import PASSWORD, USER

SECRET = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
VERSIONS = {"cf": "2.15", "sc": "2.14", "korifi": "2.17"}


class NoAnswer(Exception):
    """The platform does not know what became of its request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        body: empty where it was no JSON object, as from a balancer.
    """

    status: int
    body: dict[str, Any]

    @property
    def operation(self) -> str:
        """The token of a 202; empty for none."""
        return str(self.body.get("operation") or "")


class Client:
    """Requests of one kind of platform, to the proxy.

    Attributes:
        counts: of requests, by method and what came of them.
    """

    def __init__(self, port: int, platform: str, counts: Counter[str]) -> None:
        self.counts = counts
        self._port = port
        self._head = (
            "host: broker\r\nconnection: close\r\naccept: application/json\r\n"
            f"authorization: Basic {SECRET}\r\n"
            f"x-broker-api-version: {VERSIONS[platform]}\r\n"
        )

    async def ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
        *,
        within: float,
    ) -> Answer:
        """One request.

        Raises:
            NoAnswer: time-out, or a connection that broke.
        """
        try:
            async with asyncio.timeout(within):
                answer = await self._exchange(method, path, body, query or {})
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as why:
            came = "time-out" if isinstance(why, TimeoutError) else "broken"
            self.counts[f"{method} {came}"] += 1
            raise NoAnswer(came) from None
        self.counts[f"{method} {answer.status}"] += 1
        return answer

    async def _exchange(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        query: dict[str, str],
    ) -> Answer:
        sent = b"" if body is None else json.dumps(body).encode()
        kind = "content-type: application/json\r\n" if sent else ""
        target = f"{path}?{urlencode(query)}" if query else path
        head = (
            f"{method} {target} HTTP/1.1\r\n{self._head}{kind}"
            f"content-length: {len(sent)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(head.encode() + sent)
            await writer.drain()
            status = int((await reader.readuntil(b"\r\n")).split(b" ", 2)[1])
            fields = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(fields.partition(b"content-length:")[2].partition(b"\r\n")[0])
            told = await reader.readexactly(length)
        finally:
            writer.close()
        try:
            found = json.loads(told)
        except ValueError:
            found = {}
        return Answer(status, found if isinstance(found, dict) else {})
