"""What the broker sends, as JSON Schemas: exact, every field named.

The shapes of requests are not here: `wire` has them, as its models. Nor is it said
here which route gives which shape: that is `openapi`. Only where the
specification leaves an object to vendors or to authors (metadata, credentials,
parameters) does a shape let unknown fields pass.
"""

from typing import Any, Final

from osbkit.domain import Json

Shape = dict[str, Any]


def ref(name: str) -> Shape:
    """A shape of `SHAPES`, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(**more: Any) -> Shape:
    """A string that is not empty."""
    return {"type": "string", "minLength": 1, **more}


def one_of(*values: str) -> Shape:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def listed(items: Shape, **more: Any) -> Shape:
    """An array of one shape."""
    return {"type": "array", "items": items, **more}


def closed(required: dict[str, Shape], **optional: Shape) -> Shape:
    """An object with these fields and no others."""
    return opened(required, **optional) | {"additionalProperties": False}


def opened(required: dict[str, Shape], **optional: Shape) -> Shape:
    """An object with these fields; vendors may add their own."""
    shape: Shape = {"type": "object", "properties": required | optional}
    return shape | ({"required": list(required)} if required else {})


BOOLEAN: Final[Shape] = {"type": "boolean"}
OBJECT: Final[Shape] = {"type": "object"}
URL: Final = text()
TOKEN: Final = text(maxLength=10_000, pattern="^[A-Za-z0-9._~-]+$")
MOMENT: Final = text(
    pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
)
MADE: Final[dict[str, Shape]] = {"dashboard_url": URL, "metadata": ref("Metadata")}
BOUND: Final[dict[str, Shape]] = {
    "syslog_drain_url": URL,
    "route_service_url": URL,
    "volume_mounts": listed(ref("VolumeMount"), minItems=1),
    "endpoints": listed(ref("Endpoint"), minItems=1),
    "metadata": ref("BindingMetadata"),
}
LEFT: Final[dict[str, Shape]] = {
    "instance_usable": BOOLEAN,
    "update_repeatable": BOOLEAN,
}
STATE: Final = one_of("in progress", "succeeded", "failed")
PARAMETERS: Final = closed({}, parameters=OBJECT)


def error(*codes: str, **more: Shape) -> Shape:
    """Spec: "Service Broker Errors": a sentence, and a code where there is one."""
    named = {"error": one_of(*codes)} if codes else {}
    return closed({**named, "description": text()}, **more)


SHAPES: Final[dict[str, Json]] = {
    "Nothing": closed({}),
    "Error": error(),
    "Catalog": opened({"services": listed(ref("ServiceOffering"))}),
    "ServiceOffering": opened(
        {
            "id": text(maxLength=63),
            "name": text(maxLength=63),
            "description": text(),
            "bindable": BOOLEAN,
            "plan_updateable": BOOLEAN,
            "plans": listed(ref("ServicePlan"), minItems=1),
        },
        tags=listed({"type": "string"}),
        requires=listed(one_of("syslog_drain", "route_forwarding", "volume_mount")),
        instances_retrievable=BOOLEAN,
        bindings_retrievable=BOOLEAN,
        allow_context_updates=BOOLEAN,
        metadata=OBJECT,
        dashboard_client=opened({"id": text(), "secret": text(), "redirect_uri": URL}),
    ),
    "ServicePlan": opened(
        {
            "id": text(maxLength=63),
            "name": text(maxLength=63),
            "description": text(),
            "free": BOOLEAN,
            "bindable": BOOLEAN,
            "plan_updateable": BOOLEAN,
        },
        metadata=OBJECT,
        binding_rotatable=BOOLEAN,
        maximum_polling_duration={"type": "integer", "minimum": 1},
        maintenance_info=opened({"version": text()}, description=text()),
        schemas=opened(
            {},
            service_instance=opened({}, create=PARAMETERS, update=PARAMETERS),
            service_binding=opened({}, create=PARAMETERS),
        ),
    ),
    "Metadata": closed({}, labels=OBJECT, attributes=OBJECT) | {"minProperties": 1},
    "InstanceMade": closed({}, **MADE),
    "InstanceAccepted": closed({"operation": TOKEN}, **MADE),
    "Accepted": closed({"operation": TOKEN}),
    "Instance": closed(
        {"service_id": text(), "plan_id": text()},
        parameters=OBJECT,
        maintenance_info=closed({"version": text()}),
        **MADE,
    ),
    "Endpoint": closed(
        {
            "host": text(),
            "ports": listed(text(pattern="^[0-9]{1,5}(-[0-9]{1,5})?$"), minItems=1),
            "protocol": one_of("tcp", "udp", "all"),
        }
    ),
    "VolumeMount": closed(
        {
            "driver": text(),
            "container_dir": text(),
            "mode": one_of("r", "rw"),
            "device_type": one_of("shared"),
            "device": closed({"volume_id": text()}, mount_config=OBJECT),
        }
    ),
    "BindingMetadata": closed({}, expires_at=MOMENT, renew_before=MOMENT)
    | {"minProperties": 1},
    "BindingMade": closed({"credentials": OBJECT}, **BOUND),
    "Binding": closed({"credentials": OBJECT}, parameters=OBJECT, **BOUND),
    "InstanceOperation": closed({"state": STATE}, description=text(), **LEFT),
    "BindingOperation": closed({"state": STATE}, description=text()),
}
"""Every shape that more than one answer may have, by its name."""
