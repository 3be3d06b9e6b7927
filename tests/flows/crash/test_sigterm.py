"""SIGTERM under load: sixteen clients at work, and the process is told to leave.

Every request that is answered gets a JSON object, whatever the answer. What was
accepted goes on at the next start; what was refused or never answered has left
nothing behind. The ledger and the broker say the same in the end.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.flows.crash.backend import judge
from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.scene import binding_path, instance_path
from tests.flows.crash.server import (
    FLAG,
    HEADERS,
    PATIENCE,
    Json,
    Runner,
    Server,
    until,
)

pytestmark = pytest.mark.slow

CLIENTS = 16
LEAVES_AFTER = 80
GRACE = 30.0
"""Seconds: 20 for open requests (`osbkit serve`), 9 for calls, 1 to spare."""
SAID = {200, 201, 202, 404, 410, 422, 503}


@dataclass
class Life:
    """One instance as its client knows it."""

    instance: str
    plan: str
    sent: Json
    answers: dict[str, httpx.Response] = field(default_factory=dict)

    def status(self, verb: str) -> int | None:
        """Of the answer to a verb; None where none came."""
        answer = self.answers.get(verb)
        return None if answer is None else answer.status_code


class Load:
    """Clients that go on until the connection breaks."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lives: list[Life] = []
        self.every: list[httpx.Response] = []
        self.enough = asyncio.Event()

    async def client(self, number: int, http: httpx.AsyncClient) -> None:
        """One client: an instance, its binding, polls, and the end of both."""
        for turn in range(1000):
            plan = ("slow", "quick", "auto")[(number + turn) % 3]
            waits = plan == "quick" or (plan == "auto" and turn % 2 == 0)
            life = Life(f"i{number}-{turn}", plan, {} if waits else FLAG)
            self.lives.append(life)
            try:
                await self.live(life, http)
            except httpx.TransportError:
                return

    async def live(self, life: Life, http: httpx.AsyncClient) -> None:
        path, bound = instance_path(life.instance), binding_path(life.instance, "b")
        gone = life.sent | deletion(life.plan)
        await self.ask(life, http, "PUT", path, instance_body(life.plan), life.sent)
        await self.ask(life, http, "POLL", f"{path}/last_operation", None, {})
        await self.ask(life, http, "BIND", bound, binding_body(life.plan), life.sent)
        await self.ask(life, http, "UNBIND", bound, None, gone)
        await self.ask(life, http, "DELETE", path, None, gone)

    async def ask(
        self,
        life: Life,
        http: httpx.AsyncClient,
        verb: str,
        path: str,
        body: Json | None,
        query: Json,
    ) -> None:
        methods = {"POLL": "GET", "BIND": "PUT", "UNBIND": "DELETE"}
        answer = await http.request(
            methods.get(verb, verb), self.server.url + path, json=body, params=query
        )
        life.answers[verb] = answer
        self.every.append(answer)
        if len(self.every) >= LEAVES_AFTER:
            self.enough.set()

    async def run(self) -> int:
        """Load the server, tell it to leave in the midst; its exit status."""
        async with httpx.AsyncClient(headers=HEADERS, timeout=PATIENCE) as http:
            clients = [
                asyncio.ensure_future(self.client(number, http))
                for number in range(CLIENTS)
            ]
            async with asyncio.timeout(PATIENCE):
                await self.enough.wait()
            status = await asyncio.to_thread(self.server.terminate, GRACE)
            await asyncio.gather(*clients)
        return status


@pytest.mark.parametrize("runner", ["uvicorn", "osbkit serve"])
async def test_sigterm_under_load_answers_in_json_and_loses_nothing(
    make_server: Callable[..., Server], runner: Runner
) -> None:
    server = make_server(runner)
    await asyncio.to_thread(server.start)
    load = Load(server)
    status = await load.run()
    await asyncio.to_thread(server.start)
    ended = {
        life.instance: await asyncio.to_thread(end_of, server, life)
        for life in load.lives
    }

    assert status in {0, -15}  # uvicorn raises the signal again when it is done
    assert "Traceback" not in server.told()
    for answer in load.every:
        assert isinstance(answer.json(), dict)
        assert answer.headers["content-type"] == "application/json"
        assert answer.status_code in SAID, answer.text
    for life in load.lives:
        assert fits(life, ended[life.instance]), (life, ended[life.instance])
    live = [i for i, end in ended.items() if end["shown"] == 200]
    bound = [i for i, end in ended.items() if end["bound"] == 200]
    assert len(server.cloud.things("instance")) == len(live)
    assert len(server.cloud.things("credential")) == len(bound)


def test_a_call_that_never_returns_does_not_keep_the_process_past_its_grace(
    make_server: Callable[..., Server],
) -> None:
    """It ignores every cancellation; the next start takes its operation up."""
    server = make_server("osbkit serve")
    server.start()
    server.cloud.hold("deaf")
    path = instance_path("i")
    operation = server.accepted("PUT", path, instance_body("slow"))
    until(lambda: server.cloud.lines(operation) > 0, "the call has begun")
    server.terminate(GRACE)
    server.cloud.release("deaf")
    server.start()

    assert server.ends(path, operation)["state"] == "succeeded"
    assert judge(server.cloud, operation) == []


def end_of(server: Server, life: Life) -> dict[str, Any]:
    """How an instance stands when nothing works on it any more."""
    path, bound = instance_path(life.instance), binding_path(life.instance, "b")
    states = []
    for each in (path, bound):
        if server.ask("GET", f"{each}/last_operation").status_code == 200:
            states.append(server.ends(each)["state"])
        else:
            states.append(None)
    return {
        "instance": states[0],
        "binding": states[1],
        "shown": server.ask("GET", path).status_code,
        "bound": server.ask("GET", bound).status_code,
    }


def fits(life: Life, end: dict[str, Any]) -> bool:
    """Whether the end is what the answers promised."""
    there = bool(end["shown"] == 200)
    if "in progress" in {end["instance"], end["binding"]}:
        return False
    if life.status("DELETE") in {200, 202, 410}:
        return not there and bool(end["bound"] == 404)
    if life.status("UNBIND") is not None:
        return True  # its DELETE went on, or was never heard of
    if life.status("PUT") in {201, 202}:
        return there and end["instance"] == "succeeded"
    if life.status("PUT") == 503:
        return not there and end["instance"] in {"failed", None}
    return life.status("PUT") is None
