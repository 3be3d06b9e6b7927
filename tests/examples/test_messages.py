"""The HTTP side of the embedded queue, as an application meets it."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from examples.queue_broker.messages import MessagesApp
from examples.queue_broker.queue_file import QueueSettings, Role
from examples.queue_broker.queue_store import QueueStore

from .conftest import BINDING, QUEUE, TOKEN
from .test_queue_store import until_waiting

UNKNOWN = "osb-cccccccccccccccccccc"


def client_of(store, token=TOKEN, **options):
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(MessagesApp(store, **options)),
        base_url="http://queues",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )


@pytest.fixture
async def http(store, queue):
    async with client_of(store, max_body_bytes=1_000) as client:
        yield client


def refused_with(answer, status, error):
    """Whether this is a refusal as promised: a JSON object of two sentences."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "description"}
    return body["error"] == error and body["description"].endswith(".")


async def test_message_is_sent_received_and_acknowledged(http):
    sent = await http.post(f"/{QUEUE}/messages", json={"order": "ä"})
    assert sent.status_code == 201
    message_id = sent.json()["id"]

    got = await http.post(f"/{QUEUE}/receive", params={"lease": 5})
    assert (got.status_code, got.json()) == (200, {"order": "ä"})
    assert got.headers["content-type"] == "application/json"
    assert got.headers["message-id"] == message_id
    assert got.headers["receive-count"] == "1"

    done = await http.delete(
        f"/{QUEUE}/messages/{message_id}",
        params={"receipt": got.headers["message-receipt"]},
    )
    assert (done.status_code, done.content) == (204, b"")
    empty = await http.post(f"/{QUEUE}/receive")
    assert (empty.status_code, empty.content) == (204, b"")


@pytest.mark.parametrize(
    "prefix",
    ["/v1/queues", "/broker/v1/queues"],
    ids=["mounted", "mounted below a prefix"],
)
async def test_paths_are_found_where_the_app_is_mounted(store, queue, prefix):
    transport = httpx.ASGITransport(MessagesApp(store), root_path=prefix)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://queues",
        headers={"Authorization": f"Bearer {TOKEN}"},
    ) as client:
        answer = await client.post(f"{prefix}/{QUEUE}/messages", json=1)

    assert answer.status_code == 201


async def test_acknowledging_after_the_lease_is_a_conflict(http, clock):
    await http.post(f"/{QUEUE}/messages", json=1)
    got = await http.post(f"/{QUEUE}/receive", params={"lease": 5})
    clock.now += 5

    late = await http.delete(
        f"/{QUEUE}/messages/{got.headers['message-id']}",
        params={"receipt": got.headers["message-receipt"]},
    )

    assert refused_with(late, 409, "LeaseLost")


async def test_delay_hides_a_message(http, clock):
    await http.post(f"/{QUEUE}/messages", params={"delay": 30}, json=1)
    assert (await http.post(f"/{QUEUE}/receive")).status_code == 204

    clock.now += 30

    assert (await http.post(f"/{QUEUE}/receive")).status_code == 200


async def test_dead_letters_are_shown_and_deleted(http, clock):
    sent = await http.post(f"/{QUEUE}/messages", json={"poison": True})
    for _ in range(2):
        await http.post(f"/{QUEUE}/receive", params={"lease": 1})
        clock.now += 1
    await http.post(f"/{QUEUE}/receive")

    shown = await http.get(f"/{QUEUE}/dead-letters", params={"limit": 5})

    message_id = sent.json()["id"]
    assert shown.json() == {
        "dead_letters": [
            {"id": message_id, "receive_count": 2, "body": {"poison": True}}
        ]
    }
    gone = await http.delete(f"/{QUEUE}/dead-letters/{message_id}")
    assert gone.status_code == 204
    assert (await http.get(f"/{QUEUE}/dead-letters")).json() == {"dead_letters": []}


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="none"),
        pytest.param("Bearer wrong", id="wrong token"),
        pytest.param("Bearer ", id="empty token"),
        pytest.param(f"Basic {TOKEN}", id="another scheme"),
        pytest.param(TOKEN, id="no scheme"),
        pytest.param("Bearer \xff\xfe", id="not ASCII"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "messages"),
        ("POST", "receive"),
        ("DELETE", "messages/1?receipt=x"),
        ("GET", "dead-letters"),
        ("DELETE", "dead-letters/1"),
    ],
)
async def test_without_its_token_every_request_gets_the_same_401(
    store, queue, method, path, authorization
):
    async with client_of(store, token=None) as client:
        shown = authorization.encode("latin-1") if authorization else None
        answers = [
            await client.request(
                method,
                f"/{name}/{path}",
                content=b"1",
                headers=[(b"Authorization", shown)] if shown else [],
            )
            for name in (QUEUE, UNKNOWN, "osb-..", "x" * 300)
        ]

    assert all(refused_with(answer, 401, "NotAuthorized") for answer in answers)
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["www-authenticate"].startswith("Bearer")


async def test_two_authorization_headers_are_none(store, queue):
    async with client_of(store, token=None) as client:
        answer = await client.post(
            f"/{QUEUE}/receive", headers=[("Authorization", f"Bearer {TOKEN}")] * 2
        )

    assert refused_with(answer, 401, "NotAuthorized")


async def test_stranger_learns_nothing_of_other_mistakes(store, queue):
    async with client_of(store, token="wrong", max_body_bytes=10) as client:
        large = await client.post(f"/{QUEUE}/messages", content=b"1" * 11)
        broken = await client.post(f"/{UNKNOWN}/messages", content=b"{")
        absurd = await client.post(f"/{UNKNOWN}/receive?wait=many")

    for answer in (large, broken, absurd):
        assert refused_with(answer, 401, "NotAuthorized")


async def test_missing_role_is_forbidden(store, queue):
    await store.grant(QUEUE, "osb-p", "P" * 32, Role.PRODUCER)
    await store.grant(QUEUE, "osb-c", "C" * 32, Role.CONSUMER)

    async with client_of(store, "P" * 32) as producer:
        assert refused_with(
            await producer.post(f"/{QUEUE}/receive"), 403, "RoleMissing"
        )
        assert (await producer.post(f"/{QUEUE}/messages", json=1)).status_code == 201
    async with client_of(store, "C" * 32) as consumer:
        assert refused_with(
            await consumer.post(f"/{QUEUE}/messages", content=b"{"), 403, "RoleMissing"
        )
        assert (await consumer.post(f"/{QUEUE}/receive")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"NaN", id="not a number"),
        pytest.param(b"[Infinity]", id="infinity"),
        pytest.param(b"[" * 500, id="500 brackets"),
        pytest.param(b'"hunter2', id="holds a secret"),
    ],
)
async def test_body_that_is_not_json_is_refused_without_echo(http, body):
    answer = await http.post(f"/{QUEUE}/messages", content=body)

    assert refused_with(answer, 400, "BadRequest")
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize(
    ("method", "path", "names"),
    [
        ("POST", "receive?wait=21", "wait"),
        ("POST", "receive?wait=-1", "wait"),
        ("POST", "receive?wait=nan", "wait"),
        ("POST", "receive?lease=0", "lease"),
        ("POST", "receive?lease=43201", "lease"),
        ("POST", "receive?lease=1e3", "lease"),
        ("POST", "messages?delay=43201", "delay"),
        ("GET", "dead-letters?limit=0", "limit"),
        ("DELETE", "messages/1", "receipt"),
        ("DELETE", "messages/one?receipt=x", "id"),
        ("DELETE", "dead-letters/-1", "id"),
    ],
)
async def test_refusal_names_the_argument_that_is_wrong(http, method, path, names):
    answer = await http.request(method, f"/{QUEUE}/{path}", content=b"1")

    assert refused_with(answer, 400, "BadRequest")
    assert names in answer.json()["description"]


async def chunks(size):
    for _ in range(size):
        yield b"1"


async def test_large_body_is_refused_with_a_length_and_in_chunks(http):
    fits = await http.post(f"/{QUEUE}/messages", content=b"1" * 1_000)
    assert fits.status_code == 201

    told = await http.post(f"/{QUEUE}/messages", content=b"1" * 1_001)
    chunked = await http.post(f"/{QUEUE}/messages", content=chunks(1_001))
    beside = await http.post(f"/{QUEUE}/receive", content=chunks(1_001))

    for answer in (told, chunked, beside):
        assert refused_with(answer, 413, "MessageTooLarge")


async def test_full_queue_has_no_room(store, http):
    await store.converge(QUEUE, QueueSettings(max_messages=1, max_bytes=10**6))
    await http.post(f"/{QUEUE}/messages", json=1)

    answer = await http.post(f"/{QUEUE}/messages", json=1)

    assert refused_with(answer, 507, "QueueFull")


@pytest.mark.parametrize(
    "path", ["/", f"/{QUEUE}", f"/{QUEUE}/messages/1/2", f"/{QUEUE}/receive/"]
)
async def test_unknown_path_is_not_found(http, path):
    assert refused_with(await http.post(path), 404, "NotFound")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "messages", "POST"),
        ("PUT", "receive", "POST"),
        ("POST", "messages/1", "DELETE"),
        ("DELETE", "dead-letters", "GET"),
    ],
)
async def test_wrong_method_is_told_the_right_one(http, method, path, allowed):
    answer = await http.request(method, f"/{QUEUE}/{path}")

    assert refused_with(answer, 405, "MethodNotAllowed")
    assert answer.headers["allow"] == allowed


async def test_queues_that_are_not_open_are_unavailable():
    async with client_of(QueueStore()) as client:
        answer = await client.post(f"/{QUEUE}/messages", json=1)

    assert refused_with(answer, 503, "Unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_long_poll_is_woken_by_a_send(store, http):
    polling = asyncio.create_task(http.post(f"/{QUEUE}/receive?wait=20"))
    await until_waiting(store)

    await http.post(f"/{QUEUE}/messages", json={"n": 1})

    assert (await polling).json() == {"n": 1}


async def test_live_long_poll_is_cut_when_its_token_is_revoked(store, http):
    polling = asyncio.create_task(http.post(f"/{QUEUE}/receive?wait=20"))
    await until_waiting(store)

    await store.revoke(QUEUE, BINDING)

    assert refused_with(await polling, 401, "NotAuthorized")


async def test_message_is_not_handed_to_a_client_that_has_gone(store, queue):
    app = MessagesApp(store)
    gone = asyncio.Event()
    events = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[MutableMapping[str, Any]] = []

    async def receive():
        if events:
            return events.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(event):
        sent.append(event)

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{QUEUE}/receive",
        "query_string": b"wait=20",
        "headers": [(b"authorization", b"Bearer " + TOKEN.encode())],
    }
    call = asyncio.create_task(app(scope, receive, send))
    await until_waiting(store)

    gone.set()
    await call

    assert store.waiting == 0
    await store.send(QUEUE, TOKEN, json.dumps("still here").encode())
    message = await store.receive(QUEUE, TOKEN)
    assert message is not None
    assert message.receive_count == 1


async def test_client_that_goes_within_its_body_sends_nothing(store, queue):
    events = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b'{"half', "more_body": True},
    ]

    async def receive():
        return events.pop()

    async def send(event):
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{QUEUE}/messages",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + TOKEN.encode())],
    }
    await MessagesApp(store)(scope, receive, send)

    assert (await store.state(QUEUE)).stored == 0


async def test_anything_but_http_is_not_served(store):
    async def never(*_):
        raise AssertionError("nothing is read or sent")

    with pytest.raises(RuntimeError, match="HTTP only"):
        await MessagesApp(store)({"type": "websocket"}, never, never)
