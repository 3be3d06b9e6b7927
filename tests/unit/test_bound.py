"""What a bind returned, as platforms read it.

Requirements proved here: BIND-23, BIND-33 to BIND-35, ENDP-01, ENDP-02, VOL-01,
LOG-01, ROUTE-01.
"""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from osbkit import Bound, Endpoint, Failed, VolumeMount
from osbkit.errors import BackendFault
from osbkit.operations.bound import EXACT, answer, exact

NOON = datetime(2030, 1, 2, 12, 0, 0, 123_456, tzinfo=UTC)


def test_binding_of_nothing_has_empty_credentials():
    assert answer(Bound()) == ({"credentials": {}}, None, None)


def test_binding_with_everything_is_written_as_the_wire_wants_it():
    bound = Bound(
        credentials={"uri": "amqp://x", "port": 5671, "hosts": ("a", "b")},
        endpoints=[
            Endpoint(host="a.example", ports=[5671, "9000-9010"]),
            Endpoint(host="::1", ports=["53"], protocol="udp"),
        ],
        volume_mounts=[
            VolumeMount(
                driver="nfs", container_dir="/data", mode="rw", volume_id="v-1"
            ),
            VolumeMount(
                driver="nfs",
                container_dir="/log",
                mode="r",
                volume_id="v-2",
                mount_config={"server": "s"},
            ),
        ],
        syslog_drain_url="syslog-tls://logs.example:6514",
        route_service_url="https://proxy.example",
        expires_at=NOON,
        renew_before=NOON - timedelta(days=1),
        facts={"user": "u"},
    )

    body, facts, expires = answer(bound)

    assert body == {
        "credentials": {"uri": "amqp://x", "port": 5671, "hosts": ["a", "b"]},
        "endpoints": [
            {"host": "a.example", "ports": ["5671", "9000-9010"], "protocol": "tcp"},
            {"host": "::1", "ports": ["53"], "protocol": "udp"},
        ],
        "volume_mounts": [
            {
                "driver": "nfs",
                "container_dir": "/data",
                "mode": "rw",
                "device_type": "shared",
                "device": {"volume_id": "v-1"},
            },
            {
                "driver": "nfs",
                "container_dir": "/log",
                "mode": "r",
                "device_type": "shared",
                "device": {"volume_id": "v-2", "mount_config": {"server": "s"}},
            },
        ],
        "syslog_drain_url": "syslog-tls://logs.example:6514",
        "route_service_url": "https://proxy.example",
        "metadata": {
            "expires_at": "2030-01-02T12:00:00.123Z",
            "renew_before": "2030-01-01T12:00:00.123Z",
        },
    }
    assert facts == {"user": "u"}
    assert expires == 1_893_585_600_123_456


def test_moments_are_told_in_utc():
    there = timezone(timedelta(hours=5, minutes=30))

    body, _, expires = answer(Bound(expires_at=NOON.astimezone(there)))

    assert body["metadata"] == {"expires_at": "2030-01-02T12:00:00.123Z"}
    assert expires == 1_893_585_600_123_456


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(EXACT, EXACT, id="2^53"),
        pytest.param(EXACT + 1, str(EXACT + 1), id="above 2^53"),
        pytest.param(-EXACT - 1, str(-EXACT - 1), id="below -2^53"),
        pytest.param(True, True, id="true"),
        pytest.param(1e300, 1e300, id="a double"),
        pytest.param(
            {"a": [EXACT + 1, ({"b": EXACT + 2},)]},
            {"a": [str(EXACT + 1), [{"b": str(EXACT + 2)}]]},
            id="deep inside",
        ),
    ],
)
def test_integers_that_no_double_holds_become_texts(value, expected):
    assert exact(value) == expected
    body, _, _ = answer(Bound(credentials={"value": value}))
    assert body["credentials"] == {"value": expected}


ANNOUNCED: list[Any] = [
    pytest.param(
        {"syslog_drain_url": "syslog://logs.example"}, "syslog_drain", id="a drain"
    ),
    pytest.param(
        {"route_service_url": "https://proxy.example"}, "route_forwarding", id="a route"
    ),
    pytest.param(
        {
            "volume_mounts": [
                VolumeMount(driver="d", container_dir="/", mode="r", volume_id="v")
            ]
        },
        "volume_mount",
        id="a volume",
    ),
]


@pytest.mark.parametrize(("fields", "permission"), ANNOUNCED)
def test_what_the_offering_does_not_announce_fails_the_bind(fields, permission):
    """CRED-02, CRED-04, CRED-06."""
    every = {"syslog_drain", "route_forwarding", "volume_mount"}
    bound = Bound(**fields)

    assert answer(bound, [permission]) == answer(bound)
    with pytest.raises(Failed, match="more than its offering"):
        answer(bound, sorted(every - {permission}))


WRONG: list[Any] = [
    pytest.param({"credentials": {"a": float("nan")}}, id="NaN"),
    pytest.param({"credentials": {"a": object()}}, id="no JSON"),
    pytest.param({"credentials": {"a": {1, 2}}}, id="a set"),
    pytest.param({"credentials": {"a": b"bytes"}}, id="bytes"),
    pytest.param({"endpoints": [Endpoint(host="h", ports=[])]}, id="no port"),
    pytest.param({"endpoints": [Endpoint(host="h", ports=["x"])]}, id="no number"),
    pytest.param({"endpoints": [Endpoint(host="h", ports=["1-"])]}, id="half a range"),
    pytest.param({"endpoints": [Endpoint(host="h", ports=[123456])]}, id="six digits"),
    pytest.param({"endpoints": [Endpoint(host="h", ports=[-1])]}, id="below zero"),
    pytest.param({"expires_at": NOON.replace(tzinfo=None)}, id="no time zone"),
    pytest.param(
        {"expires_at": NOON, "renew_before": NOON + timedelta(seconds=1)},
        id="renewed after it expired",
    ),
    pytest.param(
        {"route_service_url": "http://proxy.example"}, id="a route without TLS"
    ),
]


@pytest.mark.parametrize("fields", WRONG)
def test_what_no_platform_could_read_is_refused(fields):
    with pytest.raises(BackendFault):
        answer(Bound(**fields))
