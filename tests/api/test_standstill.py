"""A process that stood still does not carry out what nobody waits for any more."""

import asyncio
import base64
import json
from typing import Any

import pytest

from osbkit.api import standstill
from osbkit.api.standstill import AFTERWARDS, BEAT, STILL, Pulse
from tests.api.brokers import PASSWORD, SYNC, USER, Served


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def monotonic(self) -> float:
        return self.moment


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(standstill, "time", found)
    return found


async def test_a_pulse_that_beats_in_time_tells_of_no_standstill(clock):
    pulse = Pulse()

    told = []
    for _ in range(20):
        told.append(pulse.stood_still())
        clock.moment += BEAT
        pulse._beat(asyncio.get_running_loop())

    assert told == [False] * 20


async def test_a_late_beat_tells_of_a_standstill_for_a_while(clock):
    """Whether the loop comes to the beat first, or to what has come in."""
    pulse = Pulse()
    pulse.stood_still()
    clock.moment += BEAT + STILL + 0.1

    told = [pulse.stood_still()]
    for _ in range(int(AFTERWARDS / BEAT) + 1):
        pulse._beat(asyncio.get_running_loop())
        told.append(pulse.stood_still())
        clock.moment += BEAT

    assert told[0] is told[1] is told[-2] is True
    assert told[-1] is False


async def test_another_event_loop_begins_a_pulse_of_its_own(clock):
    pulse = Pulse()
    pulse._loop = asyncio.new_event_loop()
    pulse._loop.close()
    clock.moment += 100

    assert pulse.stood_still() is False


async def ask(
    served: Served, method: str, path: str, body: Any = None, *, leaves: bool
) -> list[Any]:
    """One request as a server hands it over; the client may have left behind it."""
    user = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    text = b"" if body is None else json.dumps(body).encode()
    messages = [{"type": "http.request", "body": text, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if messages:
            return messages.pop()
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path.partition("?")[0],
        "raw_path": path.partition("?")[0].encode(),
        "query_string": path.partition("?")[2].encode(),
        "headers": [
            (b"authorization", b"Basic " + user),
            (b"x-broker-api-version", b"2.17"),
        ],
    }
    await served.broker.app(scope, receive, send)
    return sent


@pytest.fixture
def stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill.pulse, "stood_still", lambda: True)
    monkeypatch.setattr(standstill, "LOOK", 0)


PATH = Served.instance()
IDS = "&".join(f"{name}={value}" for name, value in Served.ids().items())


@pytest.mark.usefixtures("stood_still")
async def test_a_request_whose_client_left_while_the_process_stood_still_is_dropped(
    served,
):
    """Its platform has given up, and asked another process to delete."""
    binding = Served.binding()
    await ask(served, "PUT", PATH, Served.provision(), leaves=False)
    await ask(served, "PUT", binding, Served.bind(), leaves=False)
    before = list(served.backend.calls)

    told = [
        await ask(served, "PUT", f"{PATH}x", Served.provision(), leaves=True),
        await ask(served, "PUT", f"{binding}x", Served.bind(), leaves=True),
        await ask(
            served,
            "PATCH",
            PATH,
            {"service_id": Served.ids()["service_id"], "parameters": {"note": "n"}},
            leaves=True,
        ),
        await ask(served, "DELETE", f"{binding}?{IDS}", leaves=True),
        await ask(served, "DELETE", f"{PATH}?{IDS}", leaves=True),
    ]

    assert [sent[0]["status"] for sent in told] == [503] * 5
    assert served.backend.calls == before == ["provision", "bind"]


@pytest.mark.usefixtures("stood_still")
async def test_a_request_whose_client_waits_is_carried_out_after_a_standstill(served):
    told = await ask(served, "PUT", PATH, Served.provision(SYNC), leaves=False)
    gone = await ask(served, "DELETE", f"{PATH}?{IDS}", leaves=False)

    assert [told[0]["status"], gone[0]["status"]] == [201, 200]


async def test_a_client_that_leaves_at_other_times_ends_nothing(served):
    """What it asked for is recorded, and it may ask how far it is."""
    told = await ask(served, "PUT", PATH, Served.provision(SYNC), leaves=True)

    assert told[0]["status"] == 201
