"""An author's own backend keeps the contract: boxes of texts, one line a request.

The server is a thread of this process. It knows `box NAME SIZE`, `drop NAME`, `key BOX
NAME SECRET ROLE`, `revoke NAME`, `list`; and from an application `in NAME SECRET BOX`,
then `put TEXT`, `get` and `touch`. Every answer is a line of JSON.
"""

import asyncio
import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel

from osbkit import (
    BindRequest,
    Bound,
    DeprovisionRequest,
    Endpoint,
    Found,
    NoParameters,
    ProvisionRequest,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)
from osbkit.domain import Json
from osbkit.testing import BackendContract, Roles


class BoxServer(socketserver.ThreadingTCPServer):
    """Boxes and keys, in memory."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.boxes: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.inside: dict[str, list[socket.socket]] = {}
        self.lock = threading.Lock()


class Talk(socketserver.StreamRequestHandler):
    """One connection."""

    server: BoxServer
    key: str = ""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            for line in self.rfile:
                with self.server.lock:
                    answer = self.answer(*json.loads(line))
                self.wfile.write(json.dumps(answer).encode() + b"\n")

    def answer(self, word: str, *said: Any) -> Any:
        boxes, keys = self.server.boxes, self.server.keys
        match word, said:
            case "box", (name, size, mark):
                boxes.setdefault(name, {"texts": []}).update(size=size, mark=mark)
            case "drop", (name,):
                boxes.pop(name, None)
                for key in [key for key in keys if keys[key]["box"] == name]:
                    self.revoke(key)
            case "key", (box, name, secret, role, mark):
                keys[name] = {"box": box, "secret": secret, "role": role, "mark": mark}
            case "revoke", (name,):
                self.revoke(name)
            case "list", ():
                listed = [[name, None, box["mark"]] for name, box in boxes.items()]
                return listed + [
                    [n, key["box"], key["mark"]] for n, key in keys.items()
                ]
            case "in", (name, secret, box):
                found = keys.get(name, {})
                if (found.get("secret"), found.get("box")) != (secret, box):
                    return {"refused": True}
                self.key = name
                self.server.inside.setdefault(name, []).append(self.connection)
            case _:
                return self.use(word, *said)
        return {}

    def use(self, word: str, *said: Any) -> Any:
        key = self.server.keys[self.key]
        texts = self.server.boxes[key["box"]]["texts"]
        if word == "put" and key["role"] != "reader":
            texts.append(said[0])
        elif word == "get" and key["role"] != "writer":
            return {"text": texts.pop(0) if texts else None}
        elif word != "touch":
            return {"refused": True}
        return {}

    def revoke(self, name: str) -> None:
        self.server.keys.pop(name, None)
        for connection in self.server.inside.pop(name, []):
            with contextlib.suppress(OSError):  # it has left
                connection.shutdown(socket.SHUT_RDWR)


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *said: Any
) -> Any:
    writer.write(json.dumps(said).encode() + b"\n")
    await writer.drain()
    line = await reader.readline()
    if not line:
        raise ConnectionError("cut")
    answer = json.loads(line)
    if answer == {"refused": True}:
        raise PermissionError(said[0])
    return answer


class Access(BaseModel, extra="forbid"):
    """A binding's parameters."""

    role: Literal["both", "writer", "reader"] = "both"


class Boxes(ServiceBackend[NoParameters, Access]):
    """One box per instance, one key per binding."""

    lists_bindings = True

    def __init__(self, reached: tuple[str, int], told: tuple[str, int]) -> None:
        self.reached, self.told = reached, told

    async def _say(self, *said: Any) -> Any:
        reader, writer = await asyncio.open_connection(*self.reached)
        try:
            return await ask(reader, writer, *said)
        finally:
            writer.close()

    async def provision(
        self, request: ProvisionRequest[NoParameters], run: Run
    ) -> None:
        mark = [self.broker.id, request.instance_id]
        await self._say("box", request.name, request.plan, mark)

    async def update(self, request: UpdateRequest[NoParameters], run: Run) -> None:
        mark = [self.broker.id, request.instance_id]
        await self._say("box", request.name, request.plan, mark)

    async def bind(self, request: BindRequest[NoParameters, Access], run: Run) -> Bound:
        secret, box = run.secret("key"), request.instance.name
        mark = [self.broker.id, request.instance_id, request.binding_id]
        role = request.parameters.role
        await self._say("key", box, request.name, secret, role, mark)
        host, port = self.told
        return Bound(
            credentials={"key": request.name, "password": secret, "box": box},
            endpoints=[Endpoint(host=host, ports=[port])],
        )

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        await self._say("revoke", request.name)

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        await self._say("drop", request.name)

    async def inventory(self) -> AsyncIterator[Found]:
        for name, box, mark in await self._say("list"):
            if mark[0] != self.broker.id:
                continue
            yield Found(
                name=name,
                kind="binding" if box else "instance",
                instance_name=box,
                instance_id=mark[1],
                binding_id=mark[2] if box else None,
            )

    async def ping(self) -> None:
        await self._say("list")


class Application:
    """Connected with a key."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.ends = reader, writer

    async def put(self, text: str) -> None:
        await ask(*self.ends, "put", text)

    async def get(self) -> str | None:
        text: str | None = (await ask(*self.ends, "get"))["text"]
        return text

    async def touch(self) -> None:
        await ask(*self.ends, "touch")


class TestBoxes(BackendContract):
    plan, larger_plan = "small", "large"
    roles: ClassVar[Roles] = {None: [], "writer": ["get"], "reader": ["put"]}
    refusals = (PermissionError, ConnectionError)
    server: BoxServer

    @pytest.fixture(autouse=True)
    def a_server(self) -> Iterator[None]:
        with BoxServer() as self.server:
            thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
            thread.start()
            yield
            self.server.shutdown()
            thread.join()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.server.server_address[:2]
        return str(host), port

    def backend(self, host: str, port: int) -> Boxes:
        return Boxes((host, port), self.address)

    @contextlib.asynccontextmanager
    async def client(self, credentials: Json) -> AsyncIterator[Application]:
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            said = [credentials[key] for key in ("key", "password", "box")]
            await ask(reader, writer, "in", *said)
            yield Application(reader, writer)
        finally:
            writer.close()

    def trespassing(self, credentials: Json, other: Json) -> Json:
        return {**credentials, "box": other["box"]}

    async def state(self, name: str) -> object:
        box = self.server.boxes.get(name)
        keys = [key for key in self.server.keys.items() if key[1]["box"] == name]
        return box and box["size"], [(key, had["role"]) for key, had in keys]
