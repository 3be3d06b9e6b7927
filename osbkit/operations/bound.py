"""What a bind returned, as the wire's body and the store's columns."""

import re
from datetime import UTC, datetime
from typing import Any

from osbkit.backends.contract import Bound, Endpoint, VolumeMount
from osbkit.domain import MICROSECONDS, Json
from osbkit.store.sealing import canonical

Answer = tuple[Json, Json | None, int | None]
EXACT = 2**53
PORTS = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?")


def answer(bound: Bound) -> Answer:
    """Body (spec: "Binding", Body), facts, and the expiry in microseconds.

    Raises:
        TypeError, ValueError: the backend returned what no platform reads.
    """
    body: Json = {"credentials": exact(dict(bound.credentials))}
    if bound.endpoints:
        body["endpoints"] = [endpoint_of(one) for one in bound.endpoints]
    if bound.volume_mounts:
        body["volume_mounts"] = [mount_of(one) for one in bound.volume_mounts]
    if bound.syslog_drain_url is not None:
        body["syslog_drain_url"] = bound.syslog_drain_url
    if bound.route_service_url is not None:
        if not bound.route_service_url.startswith("https://"):
            raise ValueError("Bound.route_service_url must begin with https://")
        body["route_service_url"] = bound.route_service_url
    metadata = {}
    if bound.expires_at is not None:
        metadata["expires_at"] = moment(bound.expires_at)
    if bound.renew_before is not None:
        if bound.expires_at is not None and bound.renew_before > bound.expires_at:
            raise ValueError("Bound.renew_before must not be after expires_at")
        metadata["renew_before"] = moment(bound.renew_before)
    if metadata:
        body["metadata"] = metadata
    canonical(body)
    expires = bound.expires_at
    return (
        body,
        bound.facts,
        None if expires is None else int(expires.timestamp() * MICROSECONDS),
    )


def exact(value: Any) -> Any:
    """Integers above 2^53 as strings: platforms read numbers as doubles."""
    if isinstance(value, dict):
        return {key: exact(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(inner) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT:
        return str(value)
    return value


def endpoint_of(endpoint: Endpoint) -> Json:
    """Spec: "Endpoint Object": ports are strings."""
    ports = [str(port) for port in endpoint.ports]
    if not ports or not all(PORTS.fullmatch(port) for port in ports):
        raise ValueError("Endpoint.ports must hold numbers or ranges, at least one")
    return {"host": endpoint.host, "ports": ports, "protocol": endpoint.protocol}


def mount_of(mount: VolumeMount) -> Json:
    """Spec: "Volume Mounts Object"; `device_type` can only be "shared"."""
    device: Json = {"volume_id": mount.volume_id}
    if mount.mount_config is not None:
        device["mount_config"] = dict(mount.mount_config)
    return {
        "driver": mount.driver,
        "container_dir": mount.container_dir,
        "mode": mount.mode,
        "device_type": "shared",
        "device": device,
    }


def moment(when: datetime) -> str:
    """Spec: "yyyy-mm-ddTHH:MM:SS.sZ", in UTC."""
    if when.tzinfo is None:
        raise ValueError("a Bound's moments must carry a time zone")
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
