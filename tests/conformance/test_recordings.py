"""What real platforms sent, sent again: no answer makes one of them retry, fail or
clean up without cause.

`recordings/` holds requests of real clients, `platforms/` what each client makes
of an answer. Each file is replayed on a synchronous and on an asynchronous plan.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count, product
from typing import Any

import httpx
import pytest

from osbkit import Failed
from osbkit.backends.scripted import Hold, fail, succeed
from tests.conformance.broker import Queues
from tests.conformance.platforms.cloud_foundry import CLOUD_FOUNDRY
from tests.conformance.platforms.eden import EDEN
from tests.conformance.platforms.fields import strangers
from tests.conformance.platforms.korifi import KORIFI
from tests.conformance.platforms.replay import Line, Offer, Replay, recording
from tests.conformance.platforms.rules import (
    ANY,
    CLEAN_UP,
    CRASH,
    DONE,
    FAIL,
    RETRY,
    VERBS,
    WAIT,
    Platform,
    Verdict,
)
from tests.conformance.platforms.service_catalog import SERVICE_CATALOG
from tests.conformance.platforms.service_manager import SERVICE_MANAGER
from tests.flows.serving import PATIENCE, Served, soon

SYNC = Offer("queue", "sync", "sync-large")
AUTO = Offer("queue", "auto", "sync")
ASYNC = Offer("queue", "async", "async-large", held=True, held_bindings=True)
POLLED = Offer("queue", "polled", "async", held=True)
PLATFORMS = (SERVICE_CATALOG, SERVICE_MANAGER, CLOUD_FOUNDRY, KORIFI, EDEN)
NAMES = {
    "Service Catalog": "service-catalog",
    "SAP Service Manager": "service-catalog",  # the same client library
    "Cloud Foundry": "cloud-foundry",
    "Korifi": "korifi",
    "eden": "eden",
}


@pytest.mark.parametrize(
    ("platform", "offer"),
    [
        pytest.param(platform, offer, id=f"{platform.name}, {offer.plan}")
        for platform in PLATFORMS
        for offer in (SYNC, AUTO, ASYNC if platform.polls_bindings else POLLED)
    ],
)
async def test_a_recorded_life_replays_without_a_retry_a_failure_or_a_clean_up(
    broker: Served, queue: Queues, platform: Platform, offer: Offer
) -> None:
    lines = recording(NAMES[platform.name], offer)

    findings = await Replay(broker, platform, offer, queue).run(lines)

    assert findings == []
    assert queue.left == set()
    for verb in ("provision", "deprovision"):
        assert len(queue.made(verb)) == 1  # whatever was asked twice was made once


# --- what overlaps, and what failed with cause --------------------------------------


@pytest.mark.parametrize("offer", [SYNC, AUTO], ids=lambda offer: offer.plan)
@pytest.mark.parametrize("gone", [False, True], ids=["client waits", "client left"])
@pytest.mark.parametrize("deaf", [False, True], ids=["call returns", "call goes on"])
async def test_a_delete_that_overlaps_a_put_which_outlived_its_client_wins(
    broker: Served, queue: Queues, offer: Offer, gone: bool, deaf: bool
) -> None:
    """The first PUT is never heard of again: Service Catalog has given it up."""
    listing, delete, second, first = recording("service-catalog-timeout", offer)
    replay = Replay(broker, SERVICE_CATALOG, offer, queue)
    broker.allow(sync_budget=PATIENCE, sync_budget_required=PATIENCE)
    hold = Hold(deaf=deaf)
    queue.next("provision", succeed(hold=hold))

    await replay.expect(listing, "", DONE)
    unheard = asyncio.create_task(replay.send(first, "provision"))
    await soon(hold.entered.wait())
    if gone:
        unheard.cancel()
    removal = asyncio.create_task(replay.expect(delete, "deprovision", DONE))
    await soon(hold.cancelled.wait())
    assert not (deaf and removal.done())  # its call could still make something
    hold.release()
    await soon(removal)
    await replay.expect(second, "provision", DONE)

    assert replay.findings == []
    if not gone:
        assert (await soon(unheard)).status == 503
    await broker.quiet()
    old, new = queue.made("provision")
    assert old.name != new.name
    assert queue.left == {new.name}


@pytest.mark.parametrize("offer", [SYNC, AUTO, ASYNC], ids=lambda offer: offer.plan)
async def test_a_put_that_outlives_the_delete_and_the_next_put_changes_nothing(
    broker: Served,
    queue: Queues,
    offer: Offer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sent first; its call ends last. The broker answers it when the DELETE comes."""
    monkeypatch.setattr("osbkit.operations.halting.PATIENCE", 0)
    listing, delete, second, first = recording("service-catalog-timeout", offer)
    replay = Replay(broker, SERVICE_CATALOG, offer, queue)
    hold = Hold(deaf=True)
    queue.next("provision", succeed(hold=hold))

    await replay.expect(listing, "", DONE)
    unheard = asyncio.create_task(replay.send(first, "provision"))
    await soon(hold.entered.wait())
    await end(replay, delete, "deprovision")
    await end(replay, second, "provision")
    old, new = queue.made("provision")
    assert queue.left == {new.name}
    hold.release()  # now the first call makes its queue after all
    await soon(unheard)
    await broker.hurry()

    assert replay.findings == []
    assert queue.left == {new.name} != {old.name}


async def end(replay: Replay, line: Line, verb: str) -> None:
    """Begin a change, and poll it to its end where it is asynchronous."""
    replay.operation = None
    if not replay.offer.held:
        await replay.expect(line, verb, DONE)
        return
    await replay.expect(line, verb, WAIT)
    polled = replay.poll_of(line)
    async with asyncio.timeout(60):
        while (  # noqa: ASYNC110 (there is no event for it)
            await replay.send(polled, verb)
        ).verdict is WAIT:
            await asyncio.sleep(0.001)
    await replay.expect(polled, verb, DONE)


@pytest.mark.parametrize("deaf", [False, True], ids=["call returns", "call goes on"])
async def test_a_delete_that_overlaps_an_accepted_put_wins(
    broker: Served, queue: Queues, deaf: bool
) -> None:
    """Every answer comes at once; the calls overlap all the same."""
    listing, delete, second, first = recording("service-catalog-timeout", ASYNC)
    replay = Replay(broker, SERVICE_CATALOG, ASYNC, queue)
    hold = Hold(deaf=deaf)
    queue.next("provision", succeed(hold=hold))

    await replay.expect(listing, "", DONE)
    accepted = await replay.expect(first, "provision", WAIT)
    await soon(hold.entered.wait())
    replay.operation = None
    await replay.expect(delete, "deprovision", WAIT)
    await soon(hold.cancelled.wait())
    if deaf:
        await replay.expect(replay.poll_of(delete), "deprovision", WAIT)
    hold.release()
    await broker.quiet()
    await replay.expect(replay.poll_of(delete), "deprovision", DONE)
    replay.operation = accepted.body["operation"]
    await replay.expect(replay.poll_of(first), "provision", CLEAN_UP)  # it has
    replay.operation = None
    await replay.expect(second, "provision", WAIT)
    await broker.quiet()
    await replay.expect(replay.poll_of(second), "provision", DONE)

    assert replay.findings == []
    old, new = queue.made("provision")
    assert old.name != new.name
    assert queue.left == {new.name}


@pytest.mark.parametrize("offer", [SYNC, ASYNC], ids=lambda offer: offer.plan)
async def test_after_a_creation_that_failed_the_clean_up_and_the_next_put_succeed(
    broker: Served, queue: Queues, offer: Offer
) -> None:
    """Here the clean-up has its cause: the service did fail."""
    listing, first, delete, second = recording("service-catalog-retry-after-500", offer)
    replay = Replay(broker, SERVICE_CATALOG, offer, queue)
    queue.next("provision", fail(Failed("The queue server is full."), leaves=True))

    await replay.expect(listing, "", DONE)
    await create(replay, first, CLEAN_UP)
    assert queue.left == set()  # taken back before the platform asks for it
    await replay.expect(delete, "deprovision", DONE)
    await create(replay, second, DONE)

    assert replay.findings == []
    assert queue.left == {queue.made("provision")[1].name}


async def create(replay: Replay, put: Line, wanted: Verdict) -> None:
    """Send a PUT, and poll it to its end where it is asynchronous."""
    replay.operation = None
    if not replay.offer.held:
        await replay.expect(put, "provision", wanted)
        return
    await replay.expect(put, "provision", WAIT)
    await replay.broker.quiet()
    await replay.expect(replay.poll_of(put), "provision", wanted)


# --- the replay can fail ------------------------------------------------------------

Change = Callable[[httpx.Request, int, Any], tuple[int, Any] | None]


class Altered(httpx.AsyncBaseTransport):
    """A broker that is wrong in one way.

    Args:
        change: given the request, status and body, what is answered instead; None
            for what the broker said. A body of bytes is sent as it is.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, change: Change) -> None:
        self._inner = inner
        self._change = change

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask the broker, and put its answer wrong."""
        answer = await self._inner.handle_async_request(request)
        content = await answer.aread()
        wrong = self._change(request, answer.status_code, json.loads(content))
        if wrong is None:
            return httpx.Response(answer.status_code, content=content)
        status, body = wrong
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.Response(status, content=raw)


def alter(
    status: int,
    change: Callable[[Any], tuple[int, Any]],
    *,
    method: str = "",
    path: str = "",
) -> Change:
    """Answer otherwise where status, method and path are these."""

    def altered(request: httpx.Request, got: int, body: Any) -> tuple[int, Any] | None:
        if got != status or path not in request.url.path:
            return None
        return change(body) if request.method == method or not method else None

    return altered


def without(name: str) -> Callable[[Any], tuple[int, Any]]:
    """200 without a field."""
    return lambda body: (200, {key: body[key] for key in body if key != name})


def when(said: str, status: int, **fields: Any) -> Callable[[Any], tuple[int, Any]]:
    """Another answer to a poll that says this."""
    return lambda body: (
        (status, body | fields) if body["state"] == said else (200, body)
    )


def offerings(**fields: Any) -> Change:
    """A catalog whose offerings have other fields."""
    return alter(
        200,
        lambda body: (200, {"services": [one | fields for one in body["services"]]}),
        path="/v2/catalog",
    )


FRESH = count()
POLL, BINDING = "/last_operation", "/service_bindings/"
BUSY = {
    "error": "ConcurrencyError",
    "description": "The Service Broker does not support concurrent requests that"
    " mutate the same resource.",
}


@pytest.mark.parametrize(
    ("platform", "offer", "change", "finding"),
    [
        pytest.param(
            KORIFI, ASYNC, alter(410, lambda body: (404, body)), RETRY, id="gone is 404"
        ),
        pytest.param(
            KORIFI,
            ASYNC,
            alter(202, lambda body: (422, BUSY) if next(FRESH) else (202, body)),
            FAIL,
            id="busy instead of the same operation",
        ),
        pytest.param(
            KORIFI,
            ASYNC,
            alter(202, lambda body: (202, {"operation": f"o-{next(FRESH)}"})),
            "another operation",
            id="another operation each time",
        ),
        pytest.param(
            KORIFI,
            ASYNC,
            alter(200, without("credentials"), method="PUT", path=BINDING),
            RETRY,
            id="credentials not told again",
        ),
        pytest.param(
            KORIFI,
            SYNC,
            offerings(metadata={"documentationUrl": 1}),
            CRASH,
            id="a link that is no text",
        ),
        pytest.param(
            SERVICE_CATALOG,
            SYNC,
            alter(200, lambda _: (200, b""), method="DELETE", path=BINDING),
            RETRY,
            id="unbound without a body",
        ),
        pytest.param(
            SERVICE_CATALOG,
            SYNC,
            alter(201, lambda _: (201, b""), method="PUT"),
            CLEAN_UP,
            id="made without a body",
        ),
        pytest.param(
            SERVICE_CATALOG,
            SYNC,
            alter(200, without("dashboard_url"), method="PATCH"),
            CRASH,
            id="updated without a dashboard",
        ),
        pytest.param(
            SERVICE_CATALOG,
            SYNC,
            alter(201, lambda body: (201, body | {"metadata": {}})),
            "metadata came after (2, 14)",
            id="a field newer than the client",
        ),
        pytest.param(
            SERVICE_CATALOG,
            ASYNC,
            alter(200, when("in progress", 404), path=POLL),
            RETRY,
            id="404 while it runs",
        ),
        pytest.param(
            SERVICE_CATALOG,
            ASYNC,
            alter(200, when("in progress", 400), path=POLL),
            CLEAN_UP,
            id="400 while it runs",
        ),
        pytest.param(
            SERVICE_CATALOG,
            ASYNC,
            alter(200, when("in progress", 200, state="succeeded"), path=POLL),
            DONE,
            id="done too early",
        ),
        pytest.param(
            SERVICE_MANAGER,
            ASYNC,
            alter(200, when("in progress", 500), path=POLL),
            FAIL,
            id="500 while it runs",
        ),
        pytest.param(
            CLOUD_FOUNDRY,
            ASYNC,
            alter(202, lambda body: (202, body | {"operation": None})),
            CLEAN_UP,
            id="operation null",
        ),
        pytest.param(
            CLOUD_FOUNDRY,
            SYNC,
            alter(200, lambda _: (200, b""), method="DELETE"),
            FAIL,
            id="deleted without a body",
        ),
        pytest.param(
            CLOUD_FOUNDRY,
            ASYNC,
            alter(200, when("in progress", 200, state="In Progress"), path=POLL),
            RETRY,
            id="a state in capitals",
        ),
        pytest.param(
            CLOUD_FOUNDRY, SYNC, offerings(tags=None), FAIL, id="tags are null"
        ),
        pytest.param(
            CLOUD_FOUNDRY,
            SYNC,
            alter(200, lambda body: (200, body | {"parameters": None}), method="GET"),
            FAIL,
            id="fetched parameters null",
        ),
        pytest.param(
            EDEN,
            POLLED,
            alter(200, when("succeeded", 410), path=POLL),
            FAIL,
            id="gone for who polls a deletion",
        ),
        pytest.param(
            EDEN,
            SYNC,
            offerings(bindings_retrievable=True),
            "services.bindings_retrievable came after (2, 13)",
            id="a catalog newer than the client",
        ),
    ],
)
async def test_a_broker_that_is_wrong_in_one_way_is_found_out(
    broker: Served,
    queue: Queues,
    platform: Platform,
    offer: Offer,
    change: Change,
    finding: Verdict | str,
) -> None:
    lines = recording(NAMES[platform.name], offer)
    words = finding.value if isinstance(finding, Verdict) else finding
    inner = httpx.ASGITransport(app=broker.broker.app)

    async with httpx.AsyncClient(
        transport=Altered(inner, change), base_url="http://broker"
    ) as http:
        wrong = replace(broker, http=http)
        findings = await Replay(wrong, platform, offer, queue).run(lines)

    assert any(words in found for found in findings), findings


OK: dict[str, Any] = {}
ACCEPTED = {"operation": "o-1"}


@pytest.mark.parametrize(
    ("platform", "verb", "status", "body", "verdict"),
    [
        (SERVICE_CATALOG, "provision", 201, None, DONE),  # a null body passes
        (SERVICE_CATALOG, "provision", 202, {"operation": None}, WAIT),
        (SERVICE_CATALOG, "provision", 202, {"operation": 123}, CLEAN_UP),
        (SERVICE_CATALOG, "provision", 200, b"", RETRY),
        (SERVICE_CATALOG, "provision", 204, b"", CLEAN_UP),
        (SERVICE_CATALOG, "provision", 400, b"", FAIL),
        (SERVICE_CATALOG, "provision", 409, OK, RETRY),
        (SERVICE_CATALOG, "provision", 422, BUSY, RETRY),
        (SERVICE_CATALOG, "provision", 500, OK, CLEAN_UP),
        (SERVICE_CATALOG, "update", 201, {"dashboard_url": "x"}, RETRY),
        (SERVICE_CATALOG, "update", 200, {"dashboard_url": None}, CRASH),
        (SERVICE_CATALOG, "deprovision", 410, b"", DONE),
        (SERVICE_CATALOG, "deprovision", 404, OK, RETRY),
        (SERVICE_CATALOG, "deprovision", 202, b"", RETRY),
        (SERVICE_CATALOG, "bind", 422, BUSY, FAIL),
        (SERVICE_CATALOG, "bind", 500, OK, CLEAN_UP),
        (SERVICE_CATALOG, "bind", 201, {"credentials": "text"}, CLEAN_UP),
        (SERVICE_CATALOG, "bind", 201, {"credentials": {"jdbc url": "x"}}, RETRY),
        (SERVICE_CATALOG, "bind", 201, OK, CRASH),
        (SERVICE_CATALOG, "unbind", 410, b"", RETRY),
        (SERVICE_CATALOG, "unbind", 410, OK, DONE),
        (SERVICE_CATALOG, "poll deprovision", 410, OK, DONE),
        (SERVICE_CATALOG, "poll provision", 410, OK, RETRY),
        (SERVICE_CATALOG, "poll provision", 202, {"state": "succeeded"}, RETRY),
        (SERVICE_CATALOG, "poll provision", 200, {"state": "failed"}, CLEAN_UP),
        (SERVICE_CATALOG, "poll deprovision", 200, {"state": "failed"}, RETRY),
        (SERVICE_CATALOG, "poll bind", 200, {"state": "failed"}, FAIL),
        (SERVICE_CATALOG, "catalog", 200, {"services": []}, DONE),
        (CLOUD_FOUNDRY, "catalog", 200, {"services": []}, FAIL),
        (CLOUD_FOUNDRY, "provision", 201, {"dashboard_url": None}, DONE),
        (CLOUD_FOUNDRY, "provision", 201, {"metadata": None}, CLEAN_UP),
        (CLOUD_FOUNDRY, "provision", 201, None, CLEAN_UP),
        (CLOUD_FOUNDRY, "provision", 200, b"", FAIL),
        (CLOUD_FOUNDRY, "provision", 408, OK, FAIL),
        (CLOUD_FOUNDRY, "provision", 422, BUSY, FAIL),
        (CLOUD_FOUNDRY, "provision", 422, {"description": "no"}, CLEAN_UP),
        (CLOUD_FOUNDRY, "provision", 202, {"operation": "o" * 10_001}, CLEAN_UP),
        (CLOUD_FOUNDRY, "bind", 201, {"credentials": None}, DONE),
        (CLOUD_FOUNDRY, "bind", 201, {"route_service_url": "http://x"}, CLEAN_UP),
        (CLOUD_FOUNDRY, "bind", 201, {"volume_mounts": [{}]}, CLEAN_UP),
        (CLOUD_FOUNDRY, "fetch binding", 200, {"credentials": None}, FAIL),
        (CLOUD_FOUNDRY, "fetch instance", 200, {"dashboard_url": None}, FAIL),
        (CLOUD_FOUNDRY, "deprovision", 410, b"", DONE),
        (CLOUD_FOUNDRY, "deprovision", 404, OK, FAIL),
        (CLOUD_FOUNDRY, "poll provision", 400, OK, FAIL),
        (CLOUD_FOUNDRY, "poll provision", 500, OK, RETRY),
        (CLOUD_FOUNDRY, "poll unbind", 410, OK, DONE),
        (KORIFI, "provision", 500, OK, RETRY),
        (KORIFI, "provision", 409, OK, FAIL),
        (KORIFI, "provision", 202, b"<html>", RETRY),
        (KORIFI, "deprovision", 200, b"", RETRY),
        (KORIFI, "deprovision", 422, BUSY, FAIL),
        (KORIFI, "deprovision", 410, b"", DONE),
        (KORIFI, "poll deprovision", 410, OK, RETRY),
        (KORIFI, "bind", 200, {"credentials": {"jdbc url": "x"}}, RETRY),
        (SERVICE_MANAGER, "deprovision", 410, b"", FAIL),
        (SERVICE_MANAGER, "provision", 408, OK, CLEAN_UP),
        (SERVICE_MANAGER, "poll update", 503, OK, RETRY),
        (EDEN, "deprovision", 410, OK, FAIL),
        (EDEN, "provision", 500, b"<html>", FAIL),
        (EDEN, "bind", 202, ACCEPTED, FAIL),
        (EDEN, "poll provision", 200, b"<html>", DONE),
        (EDEN, "poll deprovision", 410, OK, FAIL),
    ],
    ids=lambda value: value.name if isinstance(value, Platform) else None,
)
def test_a_table_says_what_its_platform_was_seen_to_do(
    platform: Platform, verb: str, status: int, body: Any, verdict: Verdict
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    assert platform.judge(verb, status, raw) is verdict


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_a_table_has_no_hole(platform: Platform) -> None:
    bodies = (b"", b"null", b"{}", b"[]", b"<html>", b'{"state": 1}')

    for verb, status, body in product(VERBS, ANY, bodies):
        platform.judge(verb, status, body)


def test_a_field_that_nobody_knows_is_a_stranger_to_every_version() -> None:
    assert strangers("unbind", (2, 99), 200, {"done": True}) == ["done"]
    assert strangers("poll bind", (2, 7), 200, {"state": "failed"}) == []
    assert strangers("bind", (2, 17), 201, {"credentials": {"any": {"x": 1}}}) == []
    body = {"metadata": {"expires_at": "x", "renew_before": "x"}}
    assert strangers("bind", (2, 16), 201, body) == ["metadata.renew_before"]
