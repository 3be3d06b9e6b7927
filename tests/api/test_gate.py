"""The outermost layer: mounting, prefix, probes, start and stop, faults, echo.

Requirements proved here: GEN-02, HDR-05 to HDR-09, HDR-14, HDR-15, ERR-14.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from osbkit import Broker, Catalog
from osbkit.api import auth, gate
from osbkit.api.answers import FAULT
from osbkit.api.gate import NOT_STARTED, Farewell
from osbkit.errors import SettingsInvalid, Unavailable
from tests.api.brokers import (
    ASYNC,
    SERVICES,
    VERSION,
    Queues,
    Served,
    a_broker,
    client_of,
    serving,
)

ECHO = "X-Broker-API-Request-Identity"
SECRET = "password=hunter2"
CATALOG = "/v2/catalog"


class Log:
    """Keeps events instead of printing them."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **fields: self.events.append((event, fields))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    kept = Log()
    monkeypatch.setattr(gate, "log", kept)
    return kept


class Server:
    """The server's side of ASGI: what it is told, and what it tells."""

    def __init__(self, app: Any) -> None:
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self._app = app

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    async def call(self, scope: dict[str, Any], *messages: dict[str, Any]) -> None:
        for message in messages:
            self.told.put_nowait(message)
        await self._app(scope, self.told.get, self.send)

    async def live(self) -> list[dict[str, Any]]:
        """Start and stop."""
        start, stop = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
        await self.call({"type": "lifespan", "asgi": {"version": "3.0"}}, start, stop)
        return self.sent


# --- start and stop -----------------------------------------------------------------


async def test_lifespan_starts_and_stops_the_broker(tmp_path):
    broker = a_broker(tmp_path)

    sent = await Server(broker.app).live()

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert broker.running is None


async def test_refused_start_is_one_sentence_and_no_traceback(tmp_path, log):
    broker = a_broker(tmp_path / "missing")

    sent = await Server(broker.app).live()

    assert sent == [
        {
            "type": "lifespan.startup.failed",
            "message": f"OSBKIT_DATABASE_URL: the directory {tmp_path / 'missing'} does"
            " not exist; make it or name another.",
        }
    ]
    assert log.events == [], "the server prints the sentence, once"
    assert broker.running is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param(
            {"basic_user": None, "basic_password": None},
            "No credential is set: set OSBKIT_BASIC_USER",
            id="no credential",
        ),
        pytest.param(
            {"encryption_keys": SecretStr("main:" + "x" * 44)},
            "OSBKIT_ENCRYPTION_KEYS: entry 1",
            id="a key that is none",
        ),
        pytest.param(
            {"database_url": SecretStr("oracle://u:hunter2@h/d")},
            "OSBKIT_DATABASE_URL names 'oracle'",
            id="a database that is not served",
        ),
        pytest.param(
            {"database_url": SecretStr("postgresql://u:hunter2@h/d")},
            "OSBKIT_ENCRYPTION_KEYS is not set",
            id="a server without keys",
        ),
    ],
)
async def test_start_with_wrong_settings_names_the_setting(tmp_path, wrong, said):
    sent = await Server(a_broker(tmp_path, **wrong).app).live()

    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert said in sent[0]["message"]
    assert "hunter2" not in sent[0]["message"]


async def test_start_with_a_wrong_catalog_tells_every_finding(tmp_path):
    plans = [dict(plan) for plan in SERVICES["services"][0]["plans"]]
    plans[0]["name"] = plans[1]["name"]
    plans[2]["id"] = ""
    services = {"services": [SERVICES["services"][0] | {"plans": plans}]}
    given = a_broker(tmp_path)
    broker = Broker(
        catalog=lambda: Catalog.from_dict(services),
        backends={"queue": Queues()},
        settings=given._settings,
    )

    sent = await Server(broker.app).live()

    assert sent[0]["type"] == "lifespan.startup.failed"
    assert sent[0]["message"].count("\n  - ") >= 2


class Broken(Queues):
    """Cannot be opened, or not be closed."""

    def __init__(self, *, opens: bool) -> None:
        super().__init__()
        self.opens = opens

    async def open(self) -> None:
        if not self.opens:
            raise RuntimeError(SECRET)

    async def close(self) -> None:
        if self.opens:
            raise RuntimeError(SECRET)


@pytest.mark.parametrize(("opens", "when"), [(False, "startup"), (True, "shutdown")])
async def test_fault_at_start_or_stop_is_told_without_its_text(
    tmp_path, log, opens, when
):
    server = Server(a_broker(tmp_path, backend=Broken(opens=opens)).app)

    with pytest.raises(RuntimeError):
        await server.live()

    assert server.sent[-1]["type"] == f"lifespan.{when}.failed"
    assert "RuntimeError" in server.sent[-1]["message"]
    assert SECRET not in repr(server.sent) + repr(log.events)
    assert log.events[-1][0] == "start.fault"


async def test_broker_may_be_started_again(tmp_path):
    broker = a_broker(tmp_path)

    for _ in range(2):
        async with broker.lifespan(), client_of(broker.app) as client:
            assert (await client.get(CATALOG)).status_code == 200
        async with client_of(broker.app) as client:
            assert (await client.get(CATALOG)).status_code == 503


async def test_fault_of_a_start_leaves_nothing_locked(tmp_path):
    with pytest.raises(RuntimeError):
        async with a_broker(tmp_path, backend=Broken(opens=False)).lifespan():
            pass

    async with serving(tmp_path) as served:
        assert (await served.client.get(CATALOG)).status_code == 200


async def test_broker_that_was_not_started_says_so_in_a_sentence(tmp_path):
    broker = a_broker(tmp_path)
    async with client_of(broker.app) as client:
        for method, path in (
            ("GET", CATALOG),
            ("PUT", Served.instance()),
            ("GET", "/docs"),
        ):
            answer = await client.request(method, path, headers={ECHO: "r-1"})

            assert answer.status_code == 503
            assert answer.json() == {"description": NOT_STARTED}
            assert answer.headers["retry-after"]
            assert answer.headers[ECHO] == "r-1"


# --- mounted, prefixed --------------------------------------------------------------


@asynccontextmanager
async def mounted(folder: Path) -> AsyncIterator[Served]:
    """A broker within another application, at /osb."""
    backend = Queues()
    broker = a_broker(folder, backend=backend)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with broker.lifespan():
            yield

    host = FastAPI(lifespan=lifespan)
    host.mount("/osb", broker.app)
    async with host.router.lifespan_context(host), client_of(host) as client:
        yield Served(broker, client, backend, folder / "broker.db")


async def test_broker_serves_where_it_is_mounted(tmp_path):
    async with mounted(tmp_path) as served:
        client, instance = served.client, f"/osb{served.instance('a%2Fb')}"
        made = await client.put(instance, json=served.provision())
        answers = [
            await client.get("/osb/v2/catalog"),
            await client.get(f"{instance}/last_operation"),
            await client.get(instance),
            await client.get("/osb/openapi.json"),
            await client.get("/osb/health/ready", auth=None),
            await client.delete(instance, params=served.ids()),
        ]
        outside = await client.get(CATALOG)

    assert made.status_code == 201
    assert [answer.status_code for answer in answers] == [200] * 6
    assert answers[3].json()["servers"] == [{"url": "/osb"}]
    assert outside.status_code == 404


async def test_prefix_of_the_settings_stands_before_every_path(tmp_path):
    async with serving(tmp_path, path_prefix="/eu/broker") as served:
        client = served.client
        instance = f"/eu/broker{served.instance()}"
        answers = [
            await client.put(instance, json=served.provision()),
            await client.get("/eu/broker/v2/catalog"),
            await client.get("http://broker.example//eu/broker//v2/catalog/"),
            await client.get("/eu/broker/openapi.json"),
            await client.get("/eu/broker/docs"),
            await client.get("/eu/broker/health/live", auth=None),
            await client.get("/health/live", auth=None),
        ]
        outside = [
            await client.get(path)
            for path in (CATALOG, "/eu/v2/catalog", "/eu/brokers/v2/catalog", "/eu")
        ]

    assert [answer.status_code for answer in answers] == [201, *[200] * 6]
    assert "/eu/broker/openapi.json" in answers[4].text
    assert [answer.status_code for answer in outside] == [404] * 4
    assert all(answer.json()["description"] for answer in outside)


class Beside:
    """An application beside the broker: says where it was called."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        told = f"{scope['root_path']}|{scope['path']}".encode()
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": told})


async def test_application_beside_the_broker_has_its_own_authentication(tmp_path):
    beside = {"/v1/queues": Beside()}
    async with (
        serving(tmp_path, mounts=beside, path_prefix="/eu") as served,
        client_of(served.broker.app, auth=None, headers={}) as stranger,
    ):
        inside = await stranger.get("/eu/v1/queues/q-1/messages")
        exact = await stranger.get("/eu/v1/queues")
        others = [
            await stranger.get(path) for path in ("/eu/v1/queues2", "/eu/v1", "/eu/v2/")
        ]

    assert inside.text == "/eu/v1/queues|/eu/v1/queues/q-1/messages"
    assert exact.text == "/eu/v1/queues|/eu/v1/queues"
    assert [answer.status_code for answer in others] == [401] * 3


async def test_websocket_is_for_applications_beside_the_broker_only(tmp_path):
    async with serving(tmp_path, mounts={"/v1/queues": Beside()}) as served:
        scope = {"type": "websocket", "raw_path": b"/v1/queues/q", "headers": []}
        beside, broker = Server(served.broker.app), Server(served.broker.app)

        await beside.call(scope, {"type": "websocket.connect"})
        await broker.call(
            scope | {"raw_path": b"/v2/catalog"}, {"type": "websocket.connect"}
        )

    assert beside.sent == [{"type": "websocket.accept"}]
    assert [message["type"] for message in broker.sent] == ["websocket.close"]


# --- probes -------------------------------------------------------------------------


async def test_probes_answer_strangers_and_clients_without_a_version(served):
    async with client_of(served.broker.app, auth=None, headers={}) as stranger:
        live = await stranger.get("/health/live")
        ready = await stranger.get("/health/ready/")
        head = await stranger.head("/health/ready")
        other = await stranger.get("/health/else")
        wrong = await stranger.post("/health/live")

    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert head.status_code == 200
    assert other.status_code == 404
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


async def test_broker_that_was_not_started_is_alive_and_not_ready(tmp_path):
    async with client_of(a_broker(tmp_path).app, auth=None) as stranger:
        live = await stranger.get("/health/live")
        ready = await stranger.get("/health/ready")

    assert live.status_code == 200
    assert (ready.status_code, ready.json()["problems"]) == (503, [NOT_STARTED])


async def test_database_that_is_away_is_a_problem_of_readiness(served, monkeypatch):
    async def away(*_: Any) -> None:
        raise Unavailable("The broker's database does not answer.")

    monkeypatch.setattr(served.broker.running.house.store, "write", away)
    ready = await served.client.get("/health/ready")

    assert ready.status_code == 503
    assert ready.json() == {
        "status": "not ready",
        "problems": ["The broker's database does not answer."],
    }


@pytest.mark.parametrize("path", ["/", "", "/v2", "/v2/x", "/health", "v1", "/a/"])
async def test_mount_that_hides_the_api_or_is_never_reached_stops_the_start(
    tmp_path, path
):
    """Below /v2 it would be served without any authentication."""
    with pytest.raises(SettingsInvalid, match="must begin with /"):
        async with serving(tmp_path, mounts={path: Beside()}):
            pass


async def test_backend_that_hangs_does_not_hang_the_probe(served, monkeypatch):
    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("osbkit.broker.PING", 0.0)
    monkeypatch.setattr(served.backend, "ping", hang)
    ready = await served.client.get("/health/ready")

    assert ready.status_code == 503
    assert "does not answer" in ready.json()["problems"][0]


async def test_backend_that_does_not_answer_is_named_without_its_words(
    served, monkeypatch
):
    async def away() -> None:
        raise ConnectionError(SECRET)

    monkeypatch.setattr(served.backend, "ping", away)
    ready = await served.client.get("/health/ready")

    assert ready.status_code == 503
    assert ready.json()["problems"] == ["The backend Queues does not answer."]


async def test_broker_that_is_leaving_is_not_ready(served):
    served.broker.running.leave()

    ready = await served.client.get("/health/ready")

    assert ready.json()["problems"] == ["The broker is stopping."]


def test_signal_is_told_to_the_broker_before_the_server_acts_on_it():
    order: list[str] = []
    loop = asyncio.new_event_loop()

    async def stand() -> None:
        with Farewell(lambda: order.append("broker")):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0)
            inside = signal.getsignal(signal.SIGTERM)
            assert inside is not server
        assert signal.getsignal(signal.SIGTERM) is server

    def server(*_: Any) -> None:
        order.append("server")

    before = signal.signal(signal.SIGTERM, server)
    try:
        loop.run_until_complete(stand())
    finally:
        signal.signal(signal.SIGTERM, before)
        loop.close()

    assert sorted(order) == ["broker", "server"]


# --- faults -------------------------------------------------------------------------


async def test_fault_in_a_route_becomes_500_without_its_text(served, monkeypatch, log):
    async def fault(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(served.broker.running.rooms.instances, "fetch", fault)
    transport = httpx.ASGITransport(app=served.broker.app)  # raises what escapes
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://b",
        auth=("platform", "a-password-of-the-tests"),
        headers=VERSION | {ECHO: "r-2"},
    ) as client:
        answer = await client.get(served.instance())

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"description": FAULT}
    assert answer.headers[ECHO] == "r-2"
    assert [event for event, _ in log.events] == ["request.fault"]
    assert log.events[0][1]["trouble"] == "RuntimeError"
    assert SECRET not in repr(log.events)


async def test_fault_before_the_routes_becomes_500_too(served, monkeypatch, log):
    def fault(_: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(auth.Authenticator, "cached", fault)
    answer = await served.client.get(CATALOG)

    assert (answer.status_code, answer.json()) == (500, {"description": FAULT})
    assert SECRET not in repr(log.events)


async def test_fault_of_a_poll_is_passing(served, monkeypatch, log):
    async def fault(*_: Any, **__: Any) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(served.broker.running.rooms.polling, "of_instance", fault)
    answer = await served.client.get(f"{served.instance()}/last_operation")

    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert SECRET not in answer.text


async def test_client_that_leaves_in_its_body_is_no_fault(served, log):
    request = served.client.build_request("PUT", served.instance(), content=b"")
    basic = httpx.BasicAuth("platform", "a-password-of-the-tests")
    signed = next(basic.auth_flow(request))
    server = Server(served.broker.app)
    scope = {
        "type": "http",
        "method": "PUT",
        "path": served.instance(),
        "raw_path": served.instance().encode(),
        "query_string": b"",
        "headers": [(name.lower(), value) for name, value in signed.headers.raw],
    }

    await server.call(scope, {"type": "http.disconnect"})

    assert log.events == []
    polled = await served.client.get(f"{served.instance()}/last_operation")
    assert polled.status_code == 404


async def test_cancelled_request_stays_cancelled(served, monkeypatch):
    entered = asyncio.Event()

    async def slow(*_: Any, **__: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(served.broker.running.rooms.instances, "fetch", slow)
    asking = asyncio.ensure_future(served.client.get(served.instance()))
    await entered.wait()
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking


# --- what is on every answer --------------------------------------------------------


async def test_request_identity_is_on_every_answer(tmp_path):
    async with serving(tmp_path, max_body_bytes=2000) as served:
        client, instance, query = served.client, served.instance(), served.ids()
        echo = {ECHO: "e26cee84-6b38-4456-b34e-d1a9f002c956"}
        etag = (await client.get(CATALOG)).headers["etag"]
        calls: list[tuple[int, str, str, dict[str, Any]]] = [
            (200, "GET", CATALOG, {}),
            (304, "GET", CATALOG, {"headers": {"if-none-match": etag}}),
            (405, "POST", CATALOG, {}),
            (201, "PUT", instance, {"json": served.provision()}),
            (200, "PUT", instance, {"json": served.provision()}),
            (409, "PUT", instance, {"json": served.provision(space_guid="x")}),
            (400, "PUT", instance, {"content": b"{"}),
            (413, "PUT", instance, {"content": b" " * 2001}),
            (405, "POST", instance, {}),
            (422, "PUT", served.instance("n"), {"json": served.provision(ASYNC)}),
            (404, "GET", served.instance("n"), {}),
            (404, "GET", "/v2/nothing", {}),
            (404, "GET", "/nothing", {}),
            (200, "GET", "/docs", {}),
            (400, "GET", CATALOG, {"headers": {"x-broker-api-version": "x"}}),
            (412, "GET", CATALOG, {"headers": {"x-broker-api-version": "3.0"}}),
            (401, "GET", CATALOG, {"auth": ("platform", "wrong")}),
            (401, "GET", "/v2/nothing", {"auth": None}),
            (200, "DELETE", instance, {"params": query}),
            (410, "DELETE", instance, {"params": query}),
            (200, "GET", f"{instance}/last_operation", {}),
            (200, "GET", "/health/live", {}),
        ]
        for status, method, path, more in calls:
            given = more | {"headers": more.get("headers", {}) | echo}
            answer = await client.request(method, path, **given)

            assert answer.status_code == status, (method, path, answer.text)
            assert answer.headers.get_list(ECHO) == [echo[ECHO]], (status, path)


@pytest.mark.parametrize("value", [b"", b"x" * 1025, b"a\x01b"])
async def test_request_identity_that_could_do_harm_is_not_sent_back(served, value):
    answer = await served.client.get(CATALOG, headers={ECHO: value})

    assert answer.status_code == 200
    assert ECHO not in answer.headers


async def test_answer_without_a_request_identity_has_none(served):
    assert ECHO not in (await served.client.get(CATALOG)).headers


@pytest.mark.parametrize(
    ("version", "status"),
    [
        *(("2.17", 200), ("2.11", 200), ("2.99", 200), ("2.10", 412), ("3.0", 412)),
        *(("", 412), ("abc", 400), ("2", 400), (None, 400)),
    ],
)
async def test_version_is_judged_on_every_route_of_the_api(served, version, status):
    headers = {} if version is None else {"x-broker-api-version": version}
    async with client_of(served.broker.app, headers=headers) as client:
        catalog = await client.get(CATALOG)
        unknown = await client.get("/v2/nothing")
        change = await client.put(served.instance(), content=b"{not json")
        docs = await client.get("/openapi.json")

    assert catalog.status_code == status
    assert unknown.status_code == (404 if status == 200 else status)
    assert change.status_code == (400 if status == 200 else status)
    assert docs.status_code == 200
    if status != 200:
        assert "2.17" in catalog.json()["description"]
