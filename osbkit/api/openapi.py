"""The broker's own OpenAPI document (3.1): what each route takes, and exactly gives.

    ROUTES   one record a route: parameters, body, statuses with their shapes
    document()   these, with the bodies of `wire` and the shapes of `shapes`

Every status that a route can give is named, none is left to `default`, and a test
holds the broker to it. Nothing here serves a request: `app` publishes the
document, behind the broker's authentication.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter

from osbkit.api import wire
from osbkit.api.headers import LONGEST_ID
from osbkit.api.shapes import LEFT, SHAPES, Shape, error, ref, text
from osbkit.domain import Json

JSON: Final = "application/json"
NO_CONTROL: Final = r"^[^\u0000-\u001f\u007f-\u009f]+$"
VERSIONS: Final = r"^2\.(1[1-9]|[2-9][0-9]|[1-9][0-9]{2,8})$"
Bodies = dict[int, Shape | None]


def parameter(where: str, name: str, schema: Shape, **more: Any) -> Json:
    """One parameter; those of a path are always required."""
    needed = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "schema": schema} | needed | more


PARAMETERS: Final[dict[str, Json]] = {
    "version": parameter(
        "header",
        "X-Broker-API-Version",
        text(pattern=VERSIONS),
        required=True,
        description="2.11 or a later 2.x; newer fields are left out for an older one.",
        example="2.17",
    ),
    "identity": parameter(
        "header",
        "X-Broker-API-Originating-Identity",
        text(pattern="^[A-Za-z0-9-]+ [A-Za-z0-9+/]+={0,2}$"),
        description="Platform, blank, base64 of a JSON object; proves nothing.",
    ),
    "request": parameter(
        "header",
        "X-Broker-API-Request-Identity",
        text(pattern="^[ -~]+$", maxLength=1024),
        description="Sent back as it came, with every answer.",
    ),
    "instance": parameter(
        "path", "instance_id", text(maxLength=LONGEST_ID, pattern=NO_CONTROL)
    ),
    "binding": parameter(
        "path", "binding_id", text(maxLength=LONGEST_ID, pattern=NO_CONTROL)
    ),
    "incomplete": parameter(
        "query",
        "accepts_incomplete",
        {"type": "boolean", "default": False},
        description="The platform polls; without it no answer is 202.",
    ),
    "service": parameter("query", "service_id", text(), required=True),
    "plan": parameter("query", "plan_id", text(), required=True),
    "service_hint": parameter("query", "service_id", {"type": "string"}),
    "plan_hint": parameter("query", "plan_id", {"type": "string"}),
    "operation": parameter(
        "query",
        "operation",
        {"type": "string", "maxLength": 10_000},
        description="As the broker gave it; absent or unknown, the latest is meant.",
    ),
}
HEADERS: Final[dict[str, Json]] = {
    "request": {
        "description": "What the request carried under the same name.",
        "schema": {"type": "string"},
    },
    "retry": {
        "description": "Seconds to wait before asking again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "etag": {"description": "Of these bytes.", "schema": {"type": "string"}},
    "challenge": {"required": True, "schema": {"type": "string"}},
}
MORE_HEADERS: Final[dict[int, dict[str, str]]] = {
    304: {"ETag": "etag"},
    401: {"WWW-Authenticate": "challenge"},
    202: {"Retry-After": "retry"},
    429: {"Retry-After": "retry"},
    503: {"Retry-After": "retry"},
}

REFUSALS: Final[Bodies] = {
    status: ref("Error") for status in (400, 401, 412, 413, 429, 503)
}
"""What every route can answer: malformed, unknown caller, version, size, absence."""
UNKNOWN: Final[Bodies] = {404: ref("Error")}
CONFLICT: Final[Bodies] = {409: ref("Error")}
GONE: Final[Bodies] = {410: ref("Nothing")}
BUSY: Final = "ConcurrencyError"
SHORT: Final = "AsyncRequired"
MAINTENANCE: Final = "MaintenanceInfoConflict"


def named(*codes: str, **more: Shape) -> Bodies:
    """422 is always one of the specification's codes, or UpdateRefused."""
    return {422: error(*codes, **more)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path.

    Attributes:
        spec: title of the section in the specification.
        body: the model of the request's body; None for no body.
        gives: status → shape of the body; None for no body.
        fault: status of a fault of the broker's own; a poll says 503, because
            platforms take 500 for the end of the operation.
    """

    name: str
    spec: str
    takes: tuple[str, ...] = ()
    body: TypeAdapter[Any] | None = None
    gives: Mapping[int, Shape | None] = field(default_factory=dict)
    fault: int = 500


INSTANCE: Final = "/v2/service_instances/{instance_id}"
BINDING: Final = INSTANCE + "/service_bindings/{binding_id}"
HINTS: Final = ("service_hint", "plan_hint")
REMOVAL: Final = ("service", "plan", "incomplete")
ROUTES: Final[dict[str, dict[str, Route]]] = {
    "/v2/catalog": {
        "get": Route(
            name="catalog",
            spec="Catalog Management",
            gives={200: ref("Catalog"), 304: None},
        )
    },
    INSTANCE: {
        "get": Route(
            name="fetch_instance",
            spec="Fetching a Service Instance",
            takes=("instance", *HINTS),
            gives={200: ref("Instance")} | UNKNOWN | named(BUSY),
        ),
        "put": Route(
            name="provision",
            spec="Provisioning",
            takes=("instance", "incomplete"),
            body=wire.PROVISION,
            gives={
                200: ref("InstanceMade"),
                201: ref("InstanceMade"),
                202: ref("InstanceAccepted"),
            }
            | CONFLICT
            | named(SHORT, BUSY, MAINTENANCE),
        ),
        "patch": Route(
            name="update",
            spec="Updating a Service Instance",
            takes=("instance", "incomplete"),
            body=wire.UPDATE,
            gives={200: ref("InstanceMade"), 202: ref("InstanceAccepted")}
            | UNKNOWN
            | named(
                *(SHORT, BUSY, MAINTENANCE, "UpdateRefused"),
                update_repeatable=LEFT["update_repeatable"],
            )
            | {500: error(**LEFT)},
        ),
        "delete": Route(
            name="deprovision",
            spec="Deprovisioning",
            takes=("instance", *REMOVAL),
            gives={200: ref("Nothing"), 202: ref("Accepted")}
            | GONE
            | named(SHORT, BUSY)
            | {500: error(instance_usable=LEFT["instance_usable"])},
        ),
    },
    INSTANCE + "/last_operation": {
        "get": Route(
            name="poll_instance",
            spec="Polling Last Operation for Service Instances",
            takes=("instance", *HINTS, "operation"),
            gives={200: ref("InstanceOperation")} | UNKNOWN | GONE,
            fault=503,
        )
    },
    BINDING: {
        "get": Route(
            name="fetch_binding",
            spec="Fetching a Service Binding",
            takes=("binding", "instance", *HINTS),
            gives={200: ref("Binding")} | UNKNOWN,
        ),
        "put": Route(
            name="bind",
            spec="Binding",
            takes=("binding", "instance", "incomplete"),
            body=wire.BIND,
            gives={
                200: ref("BindingMade"),
                201: ref("BindingMade"),
                202: ref("Accepted"),
            }
            | UNKNOWN
            | CONFLICT
            | named(SHORT, BUSY, "RequiresApp"),
        ),
        "delete": Route(
            name="unbind",
            spec="Unbinding",
            takes=("binding", "instance", *REMOVAL),
            gives={200: ref("Nothing"), 202: ref("Accepted")}
            | GONE
            | named(SHORT, BUSY),
        ),
    },
    BINDING + "/last_operation": {
        "get": Route(
            name="poll_binding",
            spec="Polling Last Operation for Service Bindings",
            takes=("binding", "instance", *HINTS, "operation"),
            gives={200: ref("BindingOperation")} | UNKNOWN | GONE,
            fault=503,
        )
    },
}
"""The ten endpoints of the specification."""
ROTATION: Final[Json] = {
    "anyOf": [
        {"required": ["service_id", "plan_id"]},
        {"required": ["predecessor_binding_id"]},
    ]
}
"""A binding names its plan, or the binding that it succeeds."""


def document() -> Json:
    """The whole document, made anew: the caller may change it."""
    schemas: Json = dict(SHAPES)
    paths = {
        path: {method: _operation(route, schemas) for method, route in methods.items()}
        for path, methods in ROUTES.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Open Service Broker API",
            "version": "2.17",
            "description": "The routes of this broker, as it really answers them.",
        },
        "security": [{"basic": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: Route, schemas: Json) -> Json:
    every = (*route.takes, "version", "identity", "request")
    gives = REFUSALS | {route.fault: ref("Error")} | dict(route.gives)
    made: Json = {
        "operationId": route.name,
        "summary": route.spec,
        "tags": [route.takes[0] if route.takes else "catalog"],
        "parameters": [{"$ref": f"#/components/parameters/{one}"} for one in every],
        "responses": {
            str(status): _answer(status, shape)
            for status, shape in sorted(gives.items())
        },
    }
    if route.body is not None:
        made["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": _body(route.body, schemas)}},
        }
    return made


def _answer(status: int, shape: Shape | None) -> Json:
    headers = {"X-Broker-API-Request-Identity": "request"}
    headers |= MORE_HEADERS.get(status, {})
    made: Json = {
        "description": HTTPStatus(status).phrase,
        "headers": {
            name: {"$ref": f"#/components/headers/{one}"}
            for name, one in headers.items()
        },
    }
    if shape is not None:
        made["content"] = {JSON: {"schema": shape}}
    return made


def _body(adapter: TypeAdapter[Any], schemas: Json) -> Shape:
    """A body's schema; what it is made of goes to the components."""
    schema = wire.fields_of(adapter)
    schemas.update(schema.pop("$defs", {}))
    name = str(schema["title"])
    schemas[name] = schema | (ROTATION if adapter is wire.BIND else {})
    return ref(name)
