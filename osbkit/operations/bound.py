"""What a bind returned, as the wire's body and the store's columns."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from osbkit.backends.contract import Bound, Endpoint, VolumeMount
from osbkit.domain import MICROSECONDS, Json
from osbkit.errors import BackendFault, Failed
from osbkit.store.sealing import canonical
from osbkit.telemetry import log

Answer = tuple[Json, Json | None, int | None]
EXACT = 2**53
ANNOUNCED = {
    "syslog_drain_url": "syslog_drain",
    "route_service_url": "route_forwarding",
    "volume_mounts": "volume_mount",
}
"""Fields of a binding, each with the permission its offering must require."""
SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]+")
PORTS = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?")


def answer(bound: Bound, requires: Sequence[str] | None = None, **about: str) -> Answer:
    """Body (spec: "Binding", Body), facts, and the expiry in microseconds.

    Args:
        requires: of the offering; None where it is not known any more.
        about: what names the operation in the log.

    Raises:
        Failed: what the offering does not announce; a platform would call the
            whole answer invalid, and delete the binding.
        BackendFault: the backend returned what no platform reads.
    """
    body: Json = {"credentials": exact(dict(bound.credentials))}
    warn(body["credentials"], about)
    if bound.endpoints:
        body["endpoints"] = [endpoint_of(one) for one in bound.endpoints]
    if bound.volume_mounts:
        body["volume_mounts"] = [mount_of(one) for one in bound.volume_mounts]
    if bound.syslog_drain_url is not None:
        body["syslog_drain_url"] = bound.syslog_drain_url
    if bound.route_service_url is not None:
        require_secure(bound.route_service_url)
        body["route_service_url"] = bound.route_service_url
    if requires is not None:
        require_announced(body, requires, about)
    metadata = {}
    if bound.expires_at is not None:
        metadata["expires_at"] = moment(bound.expires_at)
    if bound.renew_before is not None:
        if bound.expires_at is not None and bound.renew_before > bound.expires_at:
            raise BackendFault("Bound.renew_before must not be after expires_at")
        metadata["renew_before"] = moment(bound.renew_before)
    if metadata:
        body["metadata"] = metadata
    require_json(body, "a Bound's fields")
    require_json(bound.facts, "a Bound's facts")
    expires = bound.expires_at
    return (
        body,
        bound.facts,
        None if expires is None else int(expires.timestamp() * MICROSECONDS),
    )


def require_announced(
    body: Json, requires: Sequence[str], about: dict[str, str]
) -> None:
    """Spec: "MUST be declared in the Catalog endpoint".

    Raises:
        Failed: a field is there whose permission is not.
    """
    for name, permission in ANNOUNCED.items():
        if name in body and permission not in requires:
            log.error("bind.not_announced", field=name, requires=permission, **about)
            raise Failed("The service gave more than its offering in the catalog says.")


def require_secure(url: str) -> None:
    """Spec: "route_service_url". Cloud Foundry wants a host behind the https.

    Raises:
        BackendFault: there is none, or another scheme; without the URL.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not url.startswith("https://") or not host:
        raise BackendFault("Bound.route_service_url must be https:// and a host")


def require_json(value: Any, what: str) -> None:
    """Raises BackendFault unless JSON can say it."""
    try:
        canonical(value).encode()
    except (TypeError, ValueError, RecursionError):  # its text may hold a value
        raise BackendFault(
            f"{what} must be JSON: objects with text as keys, lists, texts, finite"
            " numbers, booleans and None"
        ) from None


def warn(credentials: Json, about: dict[str, str]) -> None:
    """Tell the operator of keys that make no Kubernetes Secret, for which Service
    Catalog and Korifi repeat the PUT for days, and of nulls, which become text."""
    unfit = [
        key
        for key, value in credentials.items()
        if value is None or not SECRET_KEY.fullmatch(key)
    ]
    if unfit:
        log.warning("credentials.unfit", keys=unfit, **about)


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
        raise BackendFault("Endpoint.ports must hold numbers or ranges, at least one")
    return {"host": endpoint.host, "ports": ports, "protocol": endpoint.protocol}


def mount_of(mount: VolumeMount) -> Json:
    """Spec: "Volume Mounts Object"; `device_type` can only be "shared"."""
    said = (mount.driver, mount.container_dir, mount.volume_id)
    if not all(said) or mount.mode not in {"r", "rw"}:
        raise BackendFault(
            "a VolumeMount must have a driver, a container_dir, a volume_id and the"
            ' mode "r" or "rw"'
        )
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
        raise BackendFault("a Bound's moments must carry a time zone")
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
