"""Kinds of bindings: drains, routes, volumes, endpoints.

Spec: "Types of Binding", "Volume Mount Object", "Device Object", "Endpoint Object".
What every binding tells, its credentials and its metadata, stands in `binding.py`;
what belongs to the information of a binding is named here for all of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from osbkit.conformance import wants
from osbkit.conformance.catalog import Json, Offering, objects
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect, expect_none, expect_status, skip
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.target import Target

INFORMATION: Final = (
    "credentials",
    "syslog_drain_url",
    "route_service_url",
    "volume_mounts",
    "endpoints",
    "metadata",
)
"""Fields that tell of a binding itself."""

HIGHEST_PORT = 65_535
PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
HOST_NAME = re.compile(r"\w(?:[\w.-]*[\w.])?")


def tells_binding(seen: Exchange) -> bool:
    """It tells the information of a binding: 200 or 201 to its PUT, 200 to its GET."""
    if seen.verb == "bind":
        return seen.done
    return seen.verb == "fetch binding" and seen.status == 200


def binding_tells(name: str) -> Callable[[Exchange], bool]:
    """Answers that tell of a binding and have this field, whatever it holds."""
    return lambda seen: tells_binding(seen) and name in seen.object


# --- what the catalog requires, and nothing else -------------------------------------


async def _told(target: Target, permission: str) -> Exchange:
    """What tells of a binding of an offering that requires a permission."""
    plan = target.plan(wants.binds, wants.requires(permission))
    binding = await (await target.provisioned(plan)).bound()
    told = await binding.told()
    expect_status(told, 200, 201)
    return told


async def _never_unannounced(target: Target, field: str, permission: str) -> None:
    """No binding in this run told a field without the permission for it.

    Raises:
        Broken: one did.
        Skip: no binding was told without the permission.
    """
    await _fetch_one(target)
    offerings = {each.id: each for each in target.catalog.offerings}
    judged = [
        (offering, seen)
        for offering, seen in _bindings_told(target, offerings)
        if permission not in offering.requires
    ]
    if not judged:
        skip(f"No binding was told of an offering that does not require {permission}.")
    wrong = [(offering, seen) for offering, seen in judged if seen.get(field)]
    names = sorted({offering.name for offering, _ in wrong})
    expect_none(
        (f"{field} of {name}, which does not require {permission}" for name in names),
        *(seen for _, seen in wrong[:3]),
    )


async def _fetch_one(target: Target) -> None:
    """Fetch a binding that was made asynchronously, unless one has been fetched."""
    plans = target.plans(wants.bind_async_only, wants.bindings_retrievable)
    fetched = any(
        seen.verb == "fetch binding" and tells_binding(seen)
        for seen in target.session.seen
    )
    if plans and not fetched:
        await (await (await target.provisioned(plans[0])).bound()).fetch()


def _bindings_told(
    target: Target, offerings: Mapping[str, Offering]
) -> Iterator[tuple[Offering, Exchange]]:
    """All that told of bindings in this run, with the offering that their PUT named."""
    named: dict[str, Offering] = {}
    for seen in list(target.session.seen):
        if seen.verb == "bind" and isinstance(seen.sent_json, dict):
            service = seen.sent_json.get("service_id")
            if isinstance(service, str) and service in offerings and seen.good:
                named[seen.path] = offerings[service]
        if tells_binding(seen) and seen.path in named:
            yield named[seen.path], seen


@check("CRED-01", advice="Answer the binding of a log drain with syslog_drain_url.")
async def drain_tells_its_url(target: Target) -> None:
    """A binding of an offering that requires syslog_drain tells syslog_drain_url."""
    told = await _told(target, "syslog_drain")
    url = told.get("syslog_drain_url")
    expect(isinstance(url, str) and url != "", "there is no syslog_drain_url", told)


@check(
    "CRED-02",
    advice='Declare "requires": ["syslog_drain"], or leave syslog_drain_url out.',
    alone=True,
)
async def no_drain_unannounced(target: Target) -> None:
    """No binding tells syslog_drain_url unless its offering requires syslog_drain."""
    await _never_unannounced(target, "syslog_drain_url", "syslog_drain")


@every_answer(
    "CRED-03",
    when=binding_tells("route_service_url"),
    advice="Give the URL as a string; leave it out if traffic is routed out-of-band.",
)
def route_service_url_is_text(seen: Exchange) -> None:
    """route_service_url is a string that is not empty."""
    url = seen.get("route_service_url")
    expect(isinstance(url, str) and url != "", "route_service_url is no text", seen)


@check(
    "CRED-04",
    "CAT-38",
    advice='Declare "requires": ["route_forwarding"], or leave the URL out.',
    alone=True,
)
async def no_route_unannounced(target: Target) -> None:
    """No binding tells route_service_url unless its offering requires
    route_forwarding."""
    await _never_unannounced(target, "route_service_url", "route_forwarding")


@check("CRED-05", advice="Answer the binding of a volume with volume_mounts.")
async def volume_tells_its_mounts(target: Target) -> None:
    """A binding of an offering that requires volume_mount tells volume_mounts."""
    told = await _told(target, "volume_mount")
    expect(bool(told.get("volume_mounts")), "there are no volume_mounts", told)


@check(
    "CRED-06",
    advice='Declare "requires": ["volume_mount"], or leave volume_mounts out.',
    alone=True,
)
async def no_volume_unannounced(target: Target) -> None:
    """No binding tells volume_mounts unless its offering requires volume_mount."""
    await _never_unannounced(target, "volume_mounts", "volume_mount")


# --- volume mounts -------------------------------------------------------------------


def _mounts(seen: Exchange) -> list[tuple[str, Json]]:
    """The mounts that are objects, each with its place for people."""
    mounts = seen.get("volume_mounts")
    return [(f"mount {n + 1}", each) for n, each in enumerate(objects(mounts))]


@every_answer(
    "VOL-01",
    when=binding_tells("volume_mounts"),
    advice="Give an array of objects, each with driver, container_dir, mode,"
    " device_type (strings) and device (an object).",
)
def mounts_are_whole(seen: Exchange) -> None:
    """volume_mounts is an array of objects with all five fields of a mount."""
    mounts = seen.get("volume_mounts")
    expect(isinstance(mounts, list), "volume_mounts is no array", seen)
    expect(all(isinstance(e, dict) for e in mounts), "a mount is no object", seen)
    fields: dict[str, type] = {
        **dict.fromkeys(("driver", "container_dir", "mode", "device_type"), str),
        "device": dict,
    }
    expect_none(
        (
            f"{where} has no {name} of the right type"
            for where, mount in _mounts(seen)
            for name, kind in fields.items()
            if not isinstance(mount.get(name), kind)
        ),
        seen,
    )


@every_answer(
    "VOL-02",
    when=binding_tells("volume_mounts"),
    advice='mode is "r" for read-only or "rw" for read and write.',
)
def mode_of_mounts_is_known(seen: Exchange) -> None:
    """The mode of a mount is r or rw."""
    expect_none(
        (
            f"the mode of {where} is {mount['mode']!r}"
            for where, mount in _mounts(seen)
            if isinstance(mount.get("mode"), str) and mount["mode"] not in {"r", "rw"}
        ),
        seen,
    )


@every_answer(
    "VOL-03",
    when=binding_tells("volume_mounts"),
    advice='device_type is "shared"; no other is specified.',
)
def device_type_of_mounts_is_known(seen: Exchange) -> None:
    """The device_type of a mount is shared."""
    expect_none(
        (
            f"the device_type of {where} is {mount['device_type']!r}"
            for where, mount in _mounts(seen)
            if isinstance(mount.get("device_type"), str)
            and mount["device_type"] != "shared"
        ),
        seen,
    )


@every_answer(
    "VOL-04",
    when=binding_tells("volume_mounts"),
    advice="Give device.volume_id as a string, and mount_config as an object.",
)
def devices_have_a_volume(seen: Exchange) -> None:
    """The device of a mount has a volume_id; its mount_config is an object."""
    expect_none(
        (
            f"{where}: {what}"
            for where, mount in _mounts(seen)
            if isinstance(mount.get("device"), dict)
            for what in _device_faults(mount["device"])
        ),
        seen,
    )


def _device_faults(device: Json) -> Iterator[str]:
    volume = device.get("volume_id")
    if not isinstance(volume, str) or not volume:
        yield "device.volume_id is no text"
    if "mount_config" in device and not isinstance(device["mount_config"], dict):
        yield "device.mount_config is no object"


# --- endpoints -----------------------------------------------------------------------


def _endpoints(seen: Exchange) -> list[tuple[str, Json]]:
    """The endpoints that are objects, each with its place for people."""
    told = seen.get("endpoints")
    return [(f"endpoint {n + 1}", each) for n, each in enumerate(objects(told))]


@every_answer(
    "ENDP-01",
    when=binding_tells("endpoints"),
    since="2.15",
    advice="Give an array of objects, each with one host name or one IP address as"
    " host, without scheme, port or path.",
)
def endpoints_have_a_host(seen: Exchange) -> None:
    """endpoints is an array of objects, each with a host name or an IP address."""
    endpoints = seen.get("endpoints")
    expect(isinstance(endpoints, list), "endpoints is no array", seen)
    expect(all(isinstance(e, dict) for e in endpoints), "one is no object", seen)
    expect_none(
        (
            f"the host of {where} is no host name and no IP address"
            for where, endpoint in _endpoints(seen)
            if not is_host(endpoint.get("host"))
        ),
        seen,
    )


def is_host(value: Any) -> bool:
    """Whether a value is one host name or one IP address."""
    if not isinstance(value, str):
        return False
    try:
        ip_address(value)
    except ValueError:
        return HOST_NAME.fullmatch(value) is not None
    return True


@every_answer(
    "ENDP-02",
    when=binding_tells("endpoints"),
    since="2.15",
    advice='Give an array of strings, such as ["443", "9000-9010"].',
)
def endpoints_have_ports(seen: Exchange) -> None:
    """ports of an endpoint is an array, not empty, of strings, each a port or a range
    of ports."""
    expect_none(
        (
            f"{where}: {fault}"
            for where, endpoint in _endpoints(seen)
            for fault in _port_faults(endpoint.get("ports"))
        ),
        seen,
    )


def _port_faults(ports: Any) -> Iterator[str]:
    if not isinstance(ports, list) or not ports:
        yield "ports is no array, or an empty one"
        return
    for port in ports:
        if not isinstance(port, str):
            yield f"the port {port!r} is no string"
        elif not _is_port(port):
            yield f"{port!r} is no port and no range of ports"


def _is_port(text: str) -> bool:
    found = PORTS.fullmatch(text)
    if found is None:
        return False
    low = int(found[1])
    high = int(found[2] or low)
    return 1 <= low <= high <= HIGHEST_PORT


@every_answer(
    "ENDP-03",
    when=lambda seen: (
        tells_binding(seen) and any("protocol" in one for _, one in _endpoints(seen))
    ),
    since="2.15",
    advice="Name tcp, udp or all; leave it out for tcp.",
)
def protocol_of_endpoints_is_known(seen: Exchange) -> None:
    """The protocol of an endpoint is tcp, udp or all."""
    expect_none(
        (
            f"the protocol of {where} is {endpoint['protocol']!r}"
            for where, endpoint in _endpoints(seen)
            if "protocol" in endpoint
            and endpoint["protocol"] not in ("tcp", "udp", "all")
        ),
        seen,
    )
