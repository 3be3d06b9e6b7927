"""What a backend is given and what becomes of what it returns, over HTTP."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from osbkit import Bound, Endpoint, VolumeMount
from osbkit.backends.scripted import Hold, ScriptedBackend, succeed
from osbkit.domain import Identity
from osbkit.operations import backoff
from tests.flows.serving import (
    AUTO,
    QUEUE,
    Served,
    a_catalog,
    body_of,
    is_error,
    plan,
    queue,
    serving,
    soon,
)

WHO = {"user_id": "683ea748-3092-4ff4-b656-39cacc4d5360"}


@pytest.fixture
def backend() -> ScriptedBackend:
    """The backend of the offering `queue`."""
    return ScriptedBackend()


@pytest.fixture
async def broker(tmp_path: Any, backend: ScriptedBackend) -> Any:
    """A broker on it."""
    async with serving(tmp_path, {"queue": backend}) as served:
        yield served


async def test_facts_reach_every_later_call_and_none_keeps_them(
    broker: Served, backend: ScriptedBackend
) -> None:
    backend.next("provision", succeed({"port": 1}))
    backend.next("update", succeed(None), succeed({"port": 2}))
    backend.next("bind", succeed(Bound(facts={"user": "u"})))

    await broker.put()
    await broker.patch(parameters={"size": 1})
    await broker.patch(parameters={"size": 2})
    await broker.patch(parameters={"size": 3})
    await broker.bind()
    await broker.unbind()
    await broker.delete()

    assert backend.made("provision")[0].request.facts is None
    updates = [call.request for call in backend.made("update")]
    assert [one.facts for one in updates] == [{"port": 1}, {"port": 1}, {"port": 2}]
    assert [one.previous.facts for one in updates] == [one.facts for one in updates]
    for verb in ("bind", "unbind", "deprovision"):
        request = backend.made(verb)[0].request
        assert request.facts == {"port": 2}
    assert backend.made("unbind")[0].request.binding_facts == {"user": "u"}


async def test_a_request_says_who_asks_for_what_and_where(
    broker: Served, backend: ScriptedBackend
) -> None:
    """HDR-10, HDR-11, PROFILE-01 to PROFILE-05."""
    value = base64.b64encode(json.dumps(WHO).encode()).decode()
    asked = broker.with_headers(
        X_Broker_API_Originating_Identity=f"cloudfoundry {value}"
    )
    context = {"platform": "cloudfoundry", "space_name": "dev"}

    await asked.put(context=context)
    await asked.patch(context=context, parameters={"size": 1})
    await asked.bind(context=context, bind_resource={"app_guid": "a", "route": "r"})
    await asked.unbind()
    await asked.delete()

    for call in backend.calls:
        request = call.request
        assert request.identity == Identity("cloudfoundry", WHO)
        assert (request.offering, request.plan) == ("queue", "auto")
        assert (request.instance_id, request.platform) == ("i-1", "default")
        assert request.context == context
    provision, bind = (backend.made(v)[0].request for v in ("provision", "bind"))
    assert (provision.organization_guid, provision.space_guid) == ("org", "space")
    assert (bind.app_guid, bind.bind_resource["route"]) == ("a", "r")
    assert bind.instance.name == provision.name
    assert backend.made("unbind")[0].request.instance_name == provision.name
    await broker.put("i-2")
    assert backend.made("provision")[1].request.identity is None


async def test_what_a_bind_returns_reaches_the_platform_in_its_words(
    broker: Served, backend: ScriptedBackend
) -> None:
    """BIND-23, BIND-26, ENDP-01 to ENDP-03, VOL-01 to VOL-04, BIND-33 to BIND-35."""
    expires = datetime(2090, 1, 2, 3, 4, 5, tzinfo=UTC)
    bound = Bound(
        credentials={"uri": "queue://h", "big": 2**53 + 1, "fits": 2**53, "on": True},
        endpoints=[
            Endpoint(host="h", ports=[443, "9000-9010"]),
            Endpoint(host="i", ports=[53], protocol="udp"),
        ],
        volume_mounts=[
            VolumeMount(
                driver="nfs",
                container_dir="/data",
                mode="rw",
                volume_id="v",
                mount_config={"uid": 1},
            )
        ],
        syslog_drain_url="syslog://drain",
        route_service_url="https://proxy",
        expires_at=expires,
        renew_before=expires - timedelta(days=1),
    )
    backend.next("bind", succeed(bound))
    await broker.put()

    made = await broker.bind()

    assert made.status_code == 201
    assert body_of(made) == {
        "credentials": {
            "uri": "queue://h",
            "big": str(2**53 + 1),
            "fits": 2**53,
            "on": True,
        },
        "endpoints": [
            {"host": "h", "ports": ["443", "9000-9010"], "protocol": "tcp"},
            {"host": "i", "ports": ["53"], "protocol": "udp"},
        ],
        "volume_mounts": [
            {
                "driver": "nfs",
                "container_dir": "/data",
                "mode": "rw",
                "device_type": "shared",
                "device": {"volume_id": "v", "mount_config": {"uid": 1}},
            }
        ],
        "syslog_drain_url": "syslog://drain",
        "route_service_url": "https://proxy",
        "metadata": {
            "expires_at": "2090-01-02T03:04:05.000Z",
            "renew_before": "2090-01-01T03:04:05.000Z",
        },
    }
    assert body_of(await broker.get_binding()) == body_of(made)


NOON = datetime(2090, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "bound",
    [
        pytest.param(Bound(endpoints=[Endpoint(host="h", ports=[])]), id="no port"),
        pytest.param(
            Bound(endpoints=[Endpoint(host="h", ports=["x"])]), id="no number"
        ),
        pytest.param(Bound(credentials={"a": object()}), id="credentials not JSON"),
        pytest.param(Bound(credentials={"a": float("nan")}), id="not a number"),
        pytest.param(Bound(facts={"a": object()}), id="facts not JSON"),
        pytest.param(Bound(expires_at=NOON.replace(tzinfo=None)), id="no time zone"),
        pytest.param(
            Bound(expires_at=NOON, renew_before=NOON + timedelta(seconds=1)),
            id="renewal after the end: BIND-35",
        ),
    ],
)
async def test_a_bound_that_no_platform_could_read_is_rolled_back(
    broker: Served,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    bound: Bound,
) -> None:
    """ORPH-02: no binding stays that nobody knows the credentials of."""
    monkeypatch.setattr(backoff, "delay", lambda *_: 0.0)
    backend.always("bind", succeed(bound))
    await broker.put()

    is_error(await broker.bind(), 500)

    assert backend.bindings == {}
    assert (await broker.unbind()).status_code == 410


async def test_a_backend_that_requires_an_application_gets_one(
    broker: Served, backend: ScriptedBackend
) -> None:
    """BIND-16, BIND-17, BIND-30, BIND-31, ERR-10."""
    backend.requires_app = True
    await broker.put()
    before = await broker.everything()

    for fields in ({}, {"app_guid": ""}, {"bind_resource": {"route": "r"}}):
        refused = await broker.bind(**fields)
        is_error(refused, 422, "RequiresApp")

    assert await broker.everything() == before
    assert (await broker.bind("b-1", app_guid="a")).status_code == 201
    resource = {"app_guid": "b"}
    assert (await broker.bind("b-2", bind_resource=resource)).status_code == 201
    guids = [call.request.app_guid for call in backend.made("bind")]
    assert guids == ["a", "b"]


async def test_a_backend_that_cannot_bind_side_by_side_binds_one_by_one(
    broker: Served, backend: ScriptedBackend
) -> None:
    """CONC-04: and the bindings of another instance do not wait for it."""
    backend.parallel_binds = False
    for instance in ("i-1", "i-2"):
        await broker.put(instance)
    await broker.bind("b-0")
    hold = Hold()
    backend.next("bind", succeed(hold=hold))
    first = asyncio.create_task(broker.bind("b-1"))
    await soon(hold.entered.wait())
    second = asyncio.create_task(broker.bind("b-2"))
    removal = asyncio.create_task(broker.unbind("b-0"))

    assert (await broker.bind("b-1", "i-2")).status_code == 201
    assert [call.verb for call in backend.inside] == ["bind"]
    assert backend.made("unbind") == []
    hold.release()

    assert [one.status_code for one in await soon(asyncio.gather(first, second))] == [
        201,
        201,
    ]
    assert (await soon(removal)).status_code == 200


async def test_a_plan_that_cannot_be_bound_is_not(
    tmp_path: Any, backend: ScriptedBackend
) -> None:
    """BIND-28, CAT-28, CAT-37."""
    catalog = a_catalog(queue(plans=[plan(AUTO, "auto", bindable=False)]))
    async with serving(tmp_path, {"queue": backend}, catalog) as broker:
        await broker.put()

        is_error(await broker.bind(), 400)

        assert backend.made("bind") == []
        fetched = body_of(await broker.get())
        assert fetched == {"service_id": QUEUE, "plan_id": AUTO}
