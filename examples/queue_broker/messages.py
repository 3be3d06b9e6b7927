"""The HTTP side of the embedded queue: what applications talk to.

    POST   /{queue}/messages?delay=              JSON body → 201 {"id"}
    POST   /{queue}/receive?wait=&lease=         200 the body; Message-Id,
                                                 Message-Receipt, Receive-Count
                                                 or 204: nothing to be had
    DELETE /{queue}/messages/{id}?receipt=       204; 409 if the lease ran out
    GET    /{queue}/dead-letters?limit=          200 {"dead_letters": [...]}
    DELETE /{queue}/dead-letters/{id}            204

`Broker(mounts={"/v1/queues": MessagesApp(store)})` serves it beside the broker and
outside the broker's authentication: an application shows `Authorization: Bearer`
with the token of its binding. An unknown queue and an unknown token get the same
401, so that names cannot be probed, and both are told before anything else that is
wrong with a request. Delivery is at least once: who does not acknowledge in time
sees the message again, on another receipt.

Every refusal is a JSON object {"error", "description"} and repeats nothing of the
request. Plain ASGI: one request, one coroutine, no framework between.

Units: delay, wait and lease are seconds, decimals allowed; sizes are bytes.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

import structlog
from pydantic_core import from_json
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from examples.queue_broker.queue_file import (
    DeadLetter,
    LeaseLost,
    NotAuthorized,
    QueueFull,
    QueueRefused,
    Right,
    RoleMissing,
    StoreUnavailable,
)
from examples.queue_broker.queue_store import QueueStore

MAX_BODY_BYTES = 256 * 1024
MAX_WAIT_SECONDS = 20  # under every proxy's idle time-out met
MAX_LEASE_SECONDS = 43_200
DEAD_LETTERS_SHOWN = 10  # unless limit= says more
MAX_DEAD_LETTERS_SHOWN = 100

_NUMBER: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_ID: Final = re.compile(r"[0-9]{1,18}")

log = structlog.get_logger(__name__)
T = TypeVar("T")


class RequestWrong(QueueRefused):
    """The request itself is at fault."""


class BodyTooLarge(QueueRefused):
    """The message is larger than any message may be."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"A message may have at most {limit} bytes.")


STATUS: Mapping[type[Exception], tuple[int, str]] = {
    NotAuthorized: (401, "NotAuthorized"),
    RoleMissing: (403, "RoleMissing"),
    RequestWrong: (400, "BadRequest"),
    LeaseLost: (409, "LeaseLost"),
    BodyTooLarge: (413, "MessageTooLarge"),
    QueueFull: (507, "QueueFull"),
}


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, taken apart."""

    queue: str
    message: str  # the id in the path, as it came; empty where there is none
    token: str
    query: Mapping[str, list[str]]
    receive: Receive

    def text(self, name: str) -> str | None:
        return self.query.get(name, [None])[0]

    def number(self, name: str, low: float, high: int) -> float | None:
        """A number of the query, None if it is not there."""
        text = self.text(name)
        if text is None:
            return None
        if _NUMBER.fullmatch(text) is None or not low <= float(text) <= high:
            raise RequestWrong(f"{name} must be a number from {low:g} to {high}.")
        return float(text)


_Handler = Callable[["MessagesApp", _Call], Awaitable[Response]]


class MessagesApp:
    """The ASGI application of all queues of a store.

    Args:
        store: may be opened later; until then every request gets 503.
        max_body_bytes: of one message; chunked bodies are counted as they come.
    """

    def __init__(
        self, store: QueueStore, *, max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self._store = store
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP is not served."""
        if scope["type"] != "http":
            raise RuntimeError("the queues speak HTTP only")
        response = await self._answer(scope, receive)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        try:
            return await self._dispatch(scope, receive)
        except QueueRefused as refused:
            return _refusal(*STATUS[type(refused)], str(refused))
        except StoreUnavailable:
            log.warning("queue.unavailable")
            return _refusal(
                503, "Unavailable", "The queue cannot be reached now; try again."
            )

    async def _dispatch(self, scope: Scope, receive: Receive) -> Response:
        match, methods = _route(scope["path"].removeprefix(scope.get("root_path", "")))
        if match is None:
            return _refusal(404, "NotFound", "There is nothing at this path.")
        if scope["method"] not in methods:
            allowed = ", ".join(methods)
            answer = _refusal(
                405, "MethodNotAllowed", f"This path takes {allowed} only."
            )
            answer.headers["Allow"] = allowed
            return answer
        right, handler = methods[scope["method"]]
        call = _Call(
            queue=match["queue"],
            message=match.groupdict().get("id", ""),
            token=_token(scope),
            query=parse_qs(scope["query_string"].decode("latin-1")),
            receive=receive,
        )
        try:
            return await handler(self, call)
        except (RequestWrong, BodyTooLarge):
            await self._store.authorize(call.queue, call.token, right)
            raise

    async def send_message(self, call: _Call) -> Response:
        """Store a message."""
        body = await self._body(call)
        try:
            from_json(body, allow_inf_nan=False)
        except ValueError:
            raise RequestWrong("The body must be JSON in UTF-8.") from None
        delay = call.number("delay", 0, MAX_LEASE_SECONDS) or 0
        message_id = await self._store.send(call.queue, call.token, body, delay=delay)
        return JSONResponse({"id": str(message_id)}, status_code=201)

    async def receive_message(self, call: _Call) -> Response:
        """Lease a message, or wait for one."""
        wait = call.number("wait", 0, MAX_WAIT_SECONDS) or 0
        lease = call.number("lease", 1, MAX_LEASE_SECONDS)
        await self._body(call)
        found = self._store.receive(call.queue, call.token, wait=wait, lease=lease)
        message = await (_while_connected(found, call.receive) if wait else found)
        if message is None:
            return Response(status_code=204)
        return Response(
            message.body,
            media_type="application/json",
            headers={
                "Message-Id": str(message.id),
                "Message-Receipt": message.receipt,
                "Receive-Count": str(message.receive_count),
                "Cache-Control": "no-store",
            },
        )

    async def acknowledge_message(self, call: _Call) -> Response:
        """Remove a received message."""
        receipt = call.text("receipt")
        if receipt is None:
            raise RequestWrong("receipt is missing: it came with the message.")
        await self._store.acknowledge(
            call.queue, call.token, _message_id(call), receipt
        )
        return Response(status_code=204)

    async def list_dead_letters(self, call: _Call) -> Response:
        """Show the oldest dead letters."""
        limit = call.number("limit", 1, MAX_DEAD_LETTERS_SHOWN)
        found = await self._store.dead_letters(
            call.queue, call.token, limit=int(limit or DEAD_LETTERS_SHOWN)
        )
        return JSONResponse({"dead_letters": [_shown(letter) for letter in found]})

    async def delete_dead_letter(self, call: _Call) -> Response:
        """Remove a dead letter."""
        await self._store.delete_dead_letter(call.queue, call.token, _message_id(call))
        return Response(status_code=204)

    async def _body(self, call: _Call) -> bytes:
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            event = await call.receive()
            if event["type"] == "http.disconnect":
                raise RequestWrong("The request ended before its body did.")
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                raise BodyTooLarge(self._max_body_bytes)
            more = event.get("more_body", False)
        return b"".join(parts)


_QUEUE = "/(?P<queue>[^/]+)"
_Methods = Mapping[str, tuple[Right, _Handler]]
ROUTES: tuple[tuple[re.Pattern[str], _Methods], ...] = (
    (
        re.compile(f"{_QUEUE}/messages"),
        {"POST": (Right.SEND, MessagesApp.send_message)},
    ),
    (
        re.compile(f"{_QUEUE}/receive"),
        {"POST": (Right.RECEIVE, MessagesApp.receive_message)},
    ),
    (
        re.compile(f"{_QUEUE}/messages/(?P<id>[^/]+)"),
        {"DELETE": (Right.RECEIVE, MessagesApp.acknowledge_message)},
    ),
    (
        re.compile(f"{_QUEUE}/dead-letters"),
        {"GET": (Right.RECEIVE, MessagesApp.list_dead_letters)},
    ),
    (
        re.compile(f"{_QUEUE}/dead-letters/(?P<id>[^/]+)"),
        {"DELETE": (Right.RECEIVE, MessagesApp.delete_dead_letter)},
    ),
)


def _route(path: str) -> tuple[re.Match[str] | None, _Methods]:
    for pattern, methods in ROUTES:
        if match := pattern.fullmatch(path):
            return match, methods
    return None, {}


def _token(scope: Scope) -> str:
    """The bearer token, or an empty string, which is nobody's token."""
    shown = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(shown) != 1:
        return ""
    scheme, _, token = shown[0].decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _message_id(call: _Call) -> int:
    if _ID.fullmatch(call.message) is None:
        raise RequestWrong("The id of a message is a number: it came with it.")
    return int(call.message)


def _shown(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": str(letter.id),
        "receive_count": letter.receive_count,
        "body": from_json(letter.body),
    }


def _refusal(status: int, error: str, description: str) -> Response:
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="queues"'
    if status == 503:
        headers["Retry-After"] = "1"
    return JSONResponse(
        {"error": error, "description": description},
        status_code=status,
        headers=headers,
    )


async def _while_connected(
    waiting: Coroutine[Any, Any, T], receive: Receive
) -> T | None:
    """Wait for an answer while the client does; a message is for those who are there.

    The connection is looked at only once the body has been read to its end: what
    comes next is the disconnect.
    """
    answer = asyncio.ensure_future(waiting)
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
