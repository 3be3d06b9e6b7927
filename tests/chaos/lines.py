"""JSON, one object a line, over TCP on the loopback: how processes here talk.

A connection carries one question and one answer.
"""

import asyncio
import json
from typing import Any

Json = dict[str, Any]
LIMIT = 64 * 1024 * 1024


class Silent(ConnectionError):
    """The connection ended without an answer."""


async def ask(port: int, question: Json) -> Json:
    """One question, one answer.

    Raises:
        OSError: nobody listens, or no answer came (`Silent`).
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise Silent("no answer came")
        answer: Json = json.loads(line)
        return answer
    finally:
        writer.close()
