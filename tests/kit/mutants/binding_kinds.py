"""Wrong in drains, routes, volumes and endpoints."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tests.kit.matrix import Mutant
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker

Change = Callable[[ReferenceBroker], None]


def told_otherwise(edit: Callable[[Json], None], *kinds: str) -> Change:
    """What tells of a binding is edited in place.

    Args:
        kinds: of requests; both that tell of a binding if left out.
    """
    changed = kinds or ("PUT binding", "GET binding")

    def rewrite(asked: Asked, told: Answer) -> Answer | None:
        if asked.kind not in changed or told.status not in {200, 201}:
            return None
        told.body = deepcopy(told.body)
        edit(told.body)
        return told

    return lambda broker: setattr(broker, "rewrite", rewrite)


def has_not(*names: str) -> Change:
    """What tells of a binding lacks some fields."""
    return told_otherwise(lambda body: _changed([body], dict.fromkeys(names)))


def has(name: str, value: Any, *, instead_of: bool = False) -> Change:
    """What tells of a binding has a field.

    Args:
        instead_of: only where it was there before; else where it was not.
    """

    def edit(body: Json) -> None:
        if (name in body) is instead_of:
            body[name] = value

    return told_otherwise(edit)


def mount(**changes: Any) -> Change:
    """The fields of every mount are changed; those that become None go."""
    return told_otherwise(lambda body: _changed(body.get("volume_mounts"), changes))


def device(**changes: Any) -> Change:
    """The fields of every device are changed; those that become None go."""

    def edit(body: Json) -> None:
        for each in body.get("volume_mounts", []):
            _changed([each["device"]], changes)

    return told_otherwise(edit)


def endpoint(**changes: Any) -> Change:
    """The fields of every endpoint are changed; those that become None go."""
    return told_otherwise(lambda body: _changed(body.get("endpoints"), changes))


def _changed(ones: list[Json] | None, changes: Json) -> None:
    for one in ones or []:
        one |= changes
        for name in [name for name, value in one.items() if value is None]:
            del one[name]


MUTANTS = [
    Mutant(
        "drain_without_url",
        "The binding of a log drain tells no syslog_drain_url.",
        fails=("drain_tells_its_url",),
        change=has_not("syslog_drain_url"),
    ),
    Mutant(
        "drain_for_all",
        "Every binding tells a syslog_drain_url.",
        fails=("no_drain_unannounced",),
        change=has("syslog_drain_url", "syslog-tls://logs.reference.example:6514"),
    ),
    Mutant(
        "route_is_an_object",
        "route_service_url is an object.",
        fails=("route_service_url_is_text",),
        change=has("route_service_url", {"url": "https://x.example"}, instead_of=True),
    ),
    Mutant(
        "route_for_all",
        "Every binding tells a route_service_url.",
        fails=("no_route_unannounced",),
        change=has("route_service_url", "https://route.reference.example"),
    ),
    Mutant(
        "volume_without_mounts",
        "The binding of a volume tells no volume_mounts.",
        fails=("volume_tells_its_mounts",),
        change=has_not("volume_mounts"),
    ),
    Mutant(
        "volume_with_no_mounts",
        "The binding of a volume tells an empty array of volume_mounts.",
        fails=("volume_tells_its_mounts",),
        change=has("volume_mounts", [], instead_of=True),
    ),
    Mutant(
        "volume_for_all",
        "Every binding tells a mount.",
        fails=("no_volume_unannounced",),
        change=has(
            "volume_mounts",
            [
                {
                    "driver": "nfs",
                    "container_dir": "/data",
                    "mode": "rw",
                    "device_type": "shared",
                    "device": {"volume_id": "v-1"},
                }
            ],
        ),
    ),
    Mutant(
        "mounts_are_one_object",
        "volume_mounts is an object.",
        fails=("mounts_are_whole",),
        change=has("volume_mounts", {"driver": "nfs"}, instead_of=True),
    ),
    Mutant(
        "mount_is_a_text",
        "A mount is a string.",
        fails=("mounts_are_whole",),
        change=has("volume_mounts", ["nfs:/data"], instead_of=True),
    ),
    *(
        Mutant(
            f"mount_without_{name}",
            f"A mount has no {name}.",
            fails=("mounts_are_whole",),
            change=mount(**{name: None}),
        )
        for name in ("driver", "container_dir", "mode", "device_type", "device")
    ),
    Mutant(
        "mount_mode_is_ro",
        "The mode of a mount is ro.",
        fails=("mode_of_mounts_is_known",),
        change=mount(mode="ro"),
    ),
    Mutant(
        "device_type_is_block",
        "The device_type of a mount is block.",
        fails=("device_type_of_mounts_is_known",),
        change=mount(device_type="block"),
    ),
    Mutant(
        "device_without_volume",
        "The device of a mount has no volume_id.",
        fails=("devices_have_a_volume",),
        change=device(volume_id=None),
    ),
    Mutant(
        "mount_config_is_a_text",
        "The mount_config of a device is a string.",
        fails=("devices_have_a_volume",),
        change=device(mount_config="a=b"),
    ),
    Mutant(
        "endpoints_are_one_object",
        "endpoints is an object.",
        fails=("endpoints_have_a_host",),
        change=has("endpoints", {"host": "x.example", "ports": ["1"]}, instead_of=True),
    ),
    Mutant(
        "endpoint_without_host",
        "An endpoint has no host.",
        fails=("endpoints_have_a_host",),
        change=endpoint(host=None),
    ),
    Mutant(
        "endpoint_host_has_a_port",
        "The host of an endpoint has a port behind it.",
        fails=("endpoints_have_a_host",),
        change=endpoint(host="service.reference.example:8443"),
    ),
    Mutant(
        "endpoint_hosts_are_two",
        "The host of an endpoint names two addresses.",
        fails=("endpoints_have_a_host",),
        change=endpoint(host="192.0.2.1,192.0.2.2"),
    ),
    Mutant(
        "endpoint_ports_are_numbers",
        "The ports of an endpoint are numbers.",
        fails=("endpoints_have_ports",),
        change=endpoint(ports=[8443]),
    ),
    Mutant(
        "endpoint_ports_are_none",
        "The ports of an endpoint are an empty array.",
        fails=("endpoints_have_ports",),
        change=endpoint(ports=[]),
    ),
    Mutant(
        "endpoint_ports_are_one_text",
        "The ports of an endpoint are a string.",
        fails=("endpoints_have_ports",),
        change=endpoint(ports="8443"),
    ),
    Mutant(
        "endpoint_ports_run_down",
        "A range of ports begins with the higher one.",
        fails=("endpoints_have_ports",),
        change=endpoint(ports=["9010-9000"]),
    ),
    Mutant(
        "endpoint_port_is_too_high",
        "A port of an endpoint is higher than any can be.",
        fails=("endpoints_have_ports",),
        change=endpoint(ports=["65536"]),
    ),
    Mutant(
        "endpoint_protocol_is_http",
        "The protocol of an endpoint is http.",
        fails=("protocol_of_endpoints_is_known",),
        change=endpoint(protocol="http"),
    ),
]
