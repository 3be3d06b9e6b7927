"""Which field of an answer came with which version of the specification.

Some clients judge an answer by the closed shape of their version, so a field that
came later, or that nobody knows, must not be there. Source: the specification's
release notes and its tags. What stands below an OPAQUE field is the author's own.
"""

from collections.abc import Iterator
from typing import Any, Final

Version = tuple[int, int]

ERROR: Final[dict[str, Version]] = {
    "error": (2, 0),
    "description": (2, 0),
    "instance_usable": (2, 16),
    "update_repeatable": (2, 16),
}
OPERATION: Final[dict[str, Version]] = {"operation": (2, 9)}
INSTANCE_METADATA: Final[dict[str, Version]] = {
    "metadata": (2, 16),
    "metadata.labels": (2, 16),
    "metadata.attributes": (2, 17),
}
BINDING: Final[dict[str, Version]] = {
    "credentials": (2, 0),
    "syslog_drain_url": (2, 4),
    "route_service_url": (2, 8),
    "volume_mounts": (2, 10),
    "volume_mounts.driver": (2, 10),
    "volume_mounts.container_dir": (2, 10),
    "volume_mounts.mode": (2, 10),
    "volume_mounts.device_type": (2, 10),
    "volume_mounts.device": (2, 10),
    "volume_mounts.device.volume_id": (2, 10),
    "volume_mounts.device.mount_config": (2, 10),
    "endpoints": (2, 15),
    "endpoints.host": (2, 15),
    "endpoints.ports": (2, 15),
    "endpoints.protocol": (2, 15),
    "metadata": (2, 16),
    "metadata.expires_at": (2, 16),
    "metadata.renew_before": (2, 17),
}
POLL: Final[dict[str, Version]] = {
    "state": (2, 7),
    "description": (2, 7),
    "instance_usable": (2, 16),
    "update_repeatable": (2, 16),
}
CATALOG: Final[dict[str, Version]] = {
    "services": (2, 0),
    "services.id": (2, 0),
    "services.name": (2, 0),
    "services.description": (2, 0),
    "services.tags": (2, 0),
    "services.requires": (2, 0),
    "services.bindable": (2, 0),
    "services.instances_retrievable": (2, 14),
    "services.bindings_retrievable": (2, 14),
    "services.allow_context_updates": (2, 15),
    "services.metadata": (2, 0),
    "services.dashboard_client": (2, 3),
    "services.dashboard_client.id": (2, 3),
    "services.dashboard_client.secret": (2, 3),
    "services.dashboard_client.redirect_uri": (2, 3),
    "services.plan_updateable": (2, 4),
    "services.plans": (2, 0),
    "services.plans.id": (2, 0),
    "services.plans.name": (2, 0),
    "services.plans.description": (2, 0),
    "services.plans.metadata": (2, 0),
    "services.plans.free": (2, 2),
    "services.plans.bindable": (2, 11),
    "services.plans.binding_rotatable": (2, 17),
    "services.plans.plan_updateable": (2, 15),
    "services.plans.schemas": (2, 13),
    "services.plans.maximum_polling_duration": (2, 15),
    "services.plans.maintenance_info": (2, 15),
    "services.plans.maintenance_info.version": (2, 15),
    "services.plans.maintenance_info.description": (2, 15),
}
OPAQUE: Final = frozenset(
    {
        "credentials",
        "parameters",
        "metadata.labels",
        "metadata.attributes",
        "volume_mounts.device.mount_config",
        "services.metadata",
        "services.plans.metadata",
        "services.plans.schemas",
    }
)
ANSWERS: Final[dict[str, dict[str, Version]]] = {
    "catalog": CATALOG,
    "provision": {**OPERATION, **INSTANCE_METADATA, "dashboard_url": (2, 0)},
    "update": {**OPERATION, **INSTANCE_METADATA, "dashboard_url": (2, 14)},
    "deprovision": OPERATION,
    "bind": {"operation": (2, 14), **BINDING},
    "unbind": {"operation": (2, 14)},
    "poll": POLL,
    "fetch instance": {
        **dict.fromkeys(("service_id", "plan_id", "dashboard_url"), (2, 14)),
        "parameters": (2, 14),
        "maintenance_info": (2, 15),
        "maintenance_info.version": (2, 15),
        **dict.fromkeys(INSTANCE_METADATA, (2, 17)),
    },
    "fetch binding": {**BINDING, "parameters": (2, 14)},
}


def strangers(verb: str, version: Version, status: int, body: Any) -> list[str]:
    """The fields of an answer that a client of this version does not know.

    Args:
        verb: one of rules.VERBS.
        body: the JSON value.
    """
    table = "poll" if verb.startswith("poll ") else verb
    known = ERROR if status >= 400 else ANSWERS[table]
    return [path for path in paths(body) if path not in known or version < known[path]]


def paths(value: Any, above: str = "") -> Iterator[str]:
    """The dotted path of every field, through lists."""
    if isinstance(value, list):
        for entry in value:
            yield from paths(entry, above)
    elif isinstance(value, dict) and above not in OPAQUE:
        for name, inner in value.items():
            path = f"{above}.{name}" if above else name
            yield path
            yield from paths(inner, path)
