"""The outermost layer: what happens to a request before any framework sees it.

    lifespan ─► the broker's start and stop; a refusal is one sentence
    request  ─► path prefix ─┬─ /health/… ──────────► probes
                             ├─ mounted applications (their own authentication)
                             └─ started? ─► authentication ─► version ─► path, ids
                                  ─► size ─┬─ catalog: ready-made bytes
                                           └─ routes
             ─► whatever escapes becomes a 500 without its text

The request's identity is echoed on every answer. Nothing here knows an operation.
"""

import asyncio
import re
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from starlette.requests import ClientDisconnect

from osbkit.api import answers, headers, wire
from osbkit.api.auth import Authenticator
from osbkit.api.endpoints import IDENTITY, KEY, Call, Rooms
from osbkit.catalog import CatalogPages
from osbkit.domain import Caller
from osbkit.errors import (
    Malformed,
    MethodUnknown,
    NotThere,
    RequestRejected,
    StartRefused,
    Unavailable,
)
from osbkit.telemetry import log, trouble

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NOT_STARTED = (
    "The broker has not been started. Serve its application itself, or, where it is"
    " mounted in another one, enter `broker.lifespan()` in that one's lifespan."
)
UPGRADED = "The service broker is being upgraded. Try again in a few seconds."
NO_QUALITY = re.compile(rb"q=0(\.0{0,3})?", re.IGNORECASE)
CATALOG_HEADERS = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"accept-encoding, authorization, x-broker-api-version"),
]


class Started(Protocol):
    """What the broker hands the gate once it runs."""

    authenticator: Authenticator
    pages: CatalogPages
    rooms: Rooms
    prefix: bytes

    async def probe(self) -> tuple[int, dict[str, Any]]:
        """Answer a probe: status and body."""
        ...


class Leaves(Protocol):
    """What the lifespan hands the gate."""

    def leave(self) -> None:
        """The process was told to stop."""
        ...


class Gate:
    """See the module.

    Args:
        app: the application behind the gate.
        lifespan: starts and stops the broker.
        started: the running broker, or None.
        waits: what the broker waits for before it runs, in a sentence; or None.
        mounts: path → application outside broker authentication.
    """

    def __init__(
        self,
        app: App,
        *,
        lifespan: Callable[[], AbstractAsyncContextManager[Leaves]],
        started: Callable[[], Started | None],
        waits: Callable[[], str | None],
        mounts: Mapping[str, App],
    ) -> None:
        self._app = app
        self._lifespan = lifespan
        self._started = started
        self._waits = waits
        self._mounts = {
            path.rstrip("/").encode(): mounted for path, mounted in mounts.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._websocket(scope, receive, send)

    # --- requests ---------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        found: dict[bytes, bytes] = {}
        twice = False
        for name, value in scope["headers"]:
            twice = twice or (name == b"authorization" and name in found)
            found[name] = value
        sender = Sender(send, found.get(headers.ECHO))
        version: headers.Version = headers.NEWEST
        try:
            running = self._started()
            raw = inner_path(scope)
            if raw.startswith(b"/health/"):
                await self._probe(scope, receive, sender, raw)
                return
            if running is None:
                raise Unavailable(NOT_STARTED if self._waits() is None else UPGRADED)
            if running.prefix:
                raw = below(running.prefix, raw)
            if raw.startswith(b"/health/"):
                await self._probe(scope, receive, sender, raw)
                return
            if await self._mounted(scope, receive, sender, raw):
                return
            authorization = None if twice else found.get(b"authorization")
            caller = running.authenticator.cached(authorization)
            if caller is None:
                caller = await running.authenticator.authenticate(authorization)
            if not raw.lstrip(b"/").startswith(b"v2/"):
                root = scope.get("root_path", "").rstrip("/")
                scope["root_path"] = root + running.prefix.decode()
                await self._app(scope, receive, sender)
                return
            version = headers.version_of(found.get(b"x-broker-api-version"))
            target = headers.target_of(raw)
            self._require_size(found, running.rooms.body_limit)
            if target is headers.CATALOG:
                await self._catalog(scope, sender, found, running, caller, version)
                return
            scope["path"] = scope["raw_path"] = target.path
            scope["raw_path"] = target.path.encode()
            scope["root_path"] = ""
            scope[KEY] = Call(
                caller, version, target, running.rooms, found.get(IDENTITY)
            )
            await self._app(scope, receive, sender)
        except RequestRejected as rejected:
            await self._reject(scope, receive, sender, rejected, version)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (the last handler)
            log.error("request.fault", method=scope["method"], **trouble(error))
            if not sender.begun:
                await answers.fault(scope["path"])(scope, receive, sender)

    async def _reject(
        self,
        scope: Scope,
        receive: Receive,
        sender: "Sender",
        rejected: RequestRejected,
        version: headers.Version,
    ) -> None:
        if sender.begun:
            return
        await answers.rejected(rejected, version)(scope, receive, sender)

    @staticmethod
    def _require_size(found: Mapping[bytes, bytes], limit: int) -> None:
        length = found.get(b"content-length")
        if length is None:
            return
        if not length.isdigit():
            raise Malformed("The header Content-Length is not a number.")
        if len(length) > 18 or int(length) > limit:
            raise wire.too_large(limit)

    async def _catalog(
        self,
        scope: Scope,
        send: "Sender",
        found: Mapping[bytes, bytes],
        running: Started,
        caller: Caller,
        version: headers.Version,
    ) -> None:
        """GET /v2/catalog: bytes made at the start. Spec: "Catalog Management"."""
        if scope["method"] not in {"GET", "HEAD"}:
            answer = answers.rejected(MethodUnknown("The catalog can only be read."))
            answer.headers["allow"] = "GET, HEAD"
            await answer(scope, _nothing, send)
            return
        page = running.pages.page(version, caller.offerings)
        zipped = accepts_gzip(found.get(b"accept-encoding", b""))
        etag = page.gzip_etag if zipped else page.etag
        start: list[tuple[bytes, bytes]] = [*CATALOG_HEADERS, (b"etag", etag)]
        wanted = found.get(b"if-none-match")
        if wanted is not None and matches(wanted, (page.etag, page.gzip_etag)):
            await send({"type": "http.response.start", "status": 304, "headers": start})
            await send({"type": "http.response.body", "body": b""})
            return
        body = page.gzip if zipped else page.plain
        if zipped:
            start.append((b"content-encoding", b"gzip"))
        start.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send(
            {
                "type": "http.response.body",
                "body": b"" if scope["method"] == "HEAD" else body,
            }
        )

    async def _probe(
        self, scope: Scope, receive: Receive, send: "Sender", raw: bytes
    ) -> None:
        """`/health/live` and `/health/ready`, outside authentication; below the path
        prefix as well."""
        if scope["method"] not in {"GET", "HEAD"}:
            answer = answers.rejected(MethodUnknown("A probe can only be read."))
            answer.headers["allow"] = "GET, HEAD"
            await answer(scope, receive, send)
            return
        path = raw.decode("ascii", "replace").rstrip("/")
        running = self._started()
        status: int
        body: dict[str, Any]
        if path == "/health/live":
            status, body = 200, {"status": "live"}
        elif path != "/health/ready":
            raise NotThere(headers.UNKNOWN)
        elif running is None:
            problem = self._waits() or NOT_STARTED
            status, body = 503, {"status": "not ready", "problems": [problem]}
        else:
            status, body = await running.probe()
        await answers.send(status, body)(scope, receive, send)

    async def _mounted(
        self, scope: Scope, receive: Receive, send: Send, raw: bytes
    ) -> bool:
        """Hand a request to a mounted application, with its root path set."""
        path = b"/" + raw.lstrip(b"/")
        for prefix, app in self._mounts.items():
            if path == prefix or path.startswith(prefix + b"/"):
                whole: bytes = scope.get("raw_path") or scope["path"].encode()
                root = whole[: len(whole) - len(raw)] + prefix
                await app({**scope, "root_path": root.decode()}, receive, send)
                return True
        return False

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        running = self._started()
        raw = inner_path(scope)
        if running is not None and await self._mounted(
            scope, receive, send, raw.removeprefix(running.prefix)
        ):
            return
        await receive()
        await send({"type": "websocket.close", "code": 1000})

    # --- start and stop -----------------------------------------------------------

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        began = False
        try:
            async with self._lifespan() as broker:
                began = True
                with Farewell(broker.leave):
                    await send({"type": "lifespan.startup.complete"})
                    await receive()
        except StartRefused as refused:
            # the server prints it: a line of ours would be the same sentence again
            await send({"type": "lifespan.startup.failed", "message": str(refused)})
            return
        except Exception as error:
            log.error("start.fault", **trouble(error))
            kind = "shutdown" if began else "startup"
            place = f"{type(error).__qualname__} at {trouble(error)['where']}"
            await send(
                {
                    "type": f"lifespan.{kind}.failed",
                    "message": f"The broker's {kind} met a fault: {place}.",
                }
            )
            raise
        await send({"type": "lifespan.shutdown.complete"})


class Sender:
    """Sends an answer, with the request's identity echoed. Spec: "Request
    Identity"."""

    __slots__ = ("_echo", "_send", "begun")

    def __init__(self, send: Send, identity: bytes | None) -> None:
        self._send = send
        self._echo = (
            (headers.ECHO, identity)
            if identity is not None and headers.echoable(identity)
            else None
        )
        self.begun = False

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.begun = True
            if self._echo is not None:
                message["headers"] = [*message.get("headers", ()), self._echo]
        await self._send(message)


class Farewell:
    """Tells the broker of SIGTERM and SIGINT before the server acts on them.

    A server waits for open requests before it ends the lifespan, and the requests
    wait for operations: told at once, they answer and the server can leave.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        """Stand in front of the server's handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if not callable(before):
                continue
            self._before[number] = before
            signal.signal(number, self._handler(loop, before))

    def _handler(
        self, loop: asyncio.AbstractEventLoop, before: Callable[..., Any]
    ) -> Callable[..., Any]:
        def handle(number: int, frame: Any) -> None:
            loop.call_soon_threadsafe(self._leave)
            before(number, frame)

        return handle

    def __exit__(self, *_: object) -> None:
        """Step aside."""
        for number, before in self._before.items():
            signal.signal(number, before)


def inner_path(scope: Scope) -> bytes:
    """The raw path below the root path the application is mounted at."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    raw = raw.partition(b"?")[0]
    root = scope.get("root_path", "").rstrip("/").encode()
    if root and raw.startswith(root + b"/"):
        return raw[len(root) :]
    return raw


def below(prefix: bytes, raw: bytes) -> bytes:
    """The path below OSBKIT_PATH_PREFIX.

    Raises:
        NotThere: it is not below it.
    """
    path = b"/" + raw.lstrip(b"/")
    if not path.startswith(prefix + b"/"):
        raise NotThere(headers.UNKNOWN)
    return path[len(prefix) :]


def accepts_gzip(header: bytes) -> bool:
    """Whether a client takes gzip (RFC 9110, "Accept-Encoding")."""
    if b"gzip" not in header:
        return False
    for part in header.split(b","):
        name, _, quality = part.strip().partition(b";")
        if name.strip() == b"gzip":
            return NO_QUALITY.fullmatch(quality.replace(b" ", b"")) is None
    return False


def matches(wanted: bytes, etags: tuple[bytes, ...]) -> bool:
    """Whether an If-None-Match names what would be sent."""
    parts = {part.strip().removeprefix(b"W/") for part in wanted.split(b",")}
    return b"*" in parts or not parts.isdisjoint(etags)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
