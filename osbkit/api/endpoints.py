"""The nine routes below the catalog: parse, hand over, answer.

No decision, no status, no SQL. One route object per path, so that `Allow` is
complete; `gate` has put a `Call` into the scope.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from osbkit.api import answers, headers, wire
from osbkit.api.standstill import require_client
from osbkit.domain import Caller, Identity
from osbkit.errors import NotThere
from osbkit.lifecycle.bindings import Bindings
from osbkit.lifecycle.instances import Instances
from osbkit.lifecycle.polling import Polling

Endpoint = Callable[[Request], Awaitable[Response]]
KEY = "osbkit.call"
IDENTITY = b"x-broker-api-originating-identity"


@dataclass(frozen=True, slots=True)
class Rooms:
    """The lifecycle, as the endpoints use it."""

    instances: Instances
    bindings: Bindings
    polling: Polling
    body_limit: int


@dataclass(frozen=True, slots=True)
class Call:
    """What the gate found out about a request."""

    caller: Caller
    version: headers.Version
    target: headers.Target
    rooms: Rooms
    identity_header: bytes | None

    @property
    def identity(self) -> Identity | None:
        """Whom the platform says it acts for."""
        return headers.identity_of(self.identity_header)


def call_of(request: Request) -> Call:
    """What the gate put into the scope.

    Raises:
        NotThere: it put nothing there: a path that only looks like one of ours
            once it is decoded (`/v2%2Fservice_instances/…`).
    """
    call: Call | None = request.scope.get(KEY)
    if call is None:
        raise NotThere(headers.UNKNOWN)
    return call


async def provision(request: Request) -> Response:
    """Make an instance, or say how far the making is. Spec: "Provisioning"."""
    call = call_of(request)
    wanted = wire.provision(await wire.body_of(request, call.rooms.body_limit))
    outcome = await call.rooms.instances.provision(
        call.caller,
        call.target.instance_id,
        wanted,
        accepts_incomplete=wire.accepts_incomplete(request),
        identity=call.identity,
    )
    return answers.changed(outcome, call.version)


async def update(request: Request) -> Response:
    """Change an instance. Spec: "Updating a Service Instance"."""
    call = call_of(request)
    wanted = wire.update(await wire.body_of(request, call.rooms.body_limit))
    outcome = await call.rooms.instances.update(
        call.caller,
        call.target.instance_id,
        wanted,
        accepts_incomplete=wire.accepts_incomplete(request),
        identity=call.identity,
    )
    return answers.changed(outcome, call.version, update=True)


async def deprovision(request: Request) -> Response:
    """Remove an instance. Spec: "Deprovisioning"."""
    call = call_of(request)
    ids = wire.ids_of(request)
    await require_client(request, whole=False)
    outcome = await call.rooms.instances.deprovision(
        call.caller,
        call.target.instance_id,
        ids,
        accepts_incomplete=wire.accepts_incomplete(request),
        identity=call.identity,
    )
    return answers.changed(outcome, call.version)


async def fetch_instance(request: Request) -> Response:
    """Show an instance. Spec: "Fetching a Service Instance"."""
    call = call_of(request)
    found = await call.rooms.instances.fetch(call.caller, call.target.instance_id)
    return answers.instance(found, call.version)


async def poll_instance(request: Request) -> Response:
    """Spec: "Polling Last Operation for Service Instances"."""
    call = call_of(request)
    polled = await call.rooms.polling.of_instance(
        call.caller, call.target.instance_id, wire.operation_of(request)
    )
    return answers.polled(polled, call.version)


async def bind(request: Request) -> Response:
    """Make a binding or its successor. Spec: "Binding", "Binding Rotation"."""
    call = call_of(request)
    wanted = wire.bind(await wire.body_of(request, call.rooms.body_limit))
    outcome = await call.rooms.bindings.bind(
        call.caller,
        call.target.instance_id,
        call.target.binding_id,
        wanted,
        accepts_incomplete=wire.accepts_incomplete(request),
        identity=call.identity,
    )
    return answers.changed(outcome, call.version)


async def unbind(request: Request) -> Response:
    """Remove a binding. Spec: "Unbinding"."""
    call = call_of(request)
    ids = wire.ids_of(request)
    await require_client(request, whole=False)
    outcome = await call.rooms.bindings.unbind(
        call.caller,
        call.target.instance_id,
        call.target.binding_id,
        ids,
        accepts_incomplete=wire.accepts_incomplete(request),
        identity=call.identity,
    )
    return answers.changed(outcome, call.version)


async def fetch_binding(request: Request) -> Response:
    """Show a binding. Spec: "Fetching a Service Binding"."""
    call = call_of(request)
    found = await call.rooms.bindings.fetch(
        call.caller, call.target.instance_id, call.target.binding_id
    )
    return answers.binding(found, call.version)


async def poll_binding(request: Request) -> Response:
    """Spec: "Polling Last Operation for Service Bindings"."""
    call = call_of(request)
    polled = await call.rooms.polling.of_binding(
        call.caller,
        call.target.instance_id,
        call.target.binding_id,
        wire.operation_of(request),
    )
    return answers.polled(polled, call.version)


def by_method(methods: dict[str, Endpoint]) -> Endpoint:
    """One endpoint for every method of a path."""

    known = {"HEAD": methods["GET"], **methods}  # Starlette adds HEAD to GET

    async def endpoint(request: Request) -> Response:
        return await known[request.method](request)

    return endpoint


INSTANCE = "/v2/service_instances/{instance_id}"
BINDING = INSTANCE + "/service_bindings/{binding_id}"
ROUTES: dict[str, dict[str, Endpoint]] = {
    INSTANCE: {
        "GET": fetch_instance,
        "PUT": provision,
        "PATCH": update,
        "DELETE": deprovision,
    },
    INSTANCE + "/last_operation": {"GET": poll_instance},
    BINDING: {"GET": fetch_binding, "PUT": bind, "DELETE": unbind},
    BINDING + "/last_operation": {"GET": poll_binding},
}


def add_routes(app: Any) -> None:
    """Put the routes on a FastAPI application, before its own."""
    own = list(app.router.routes)
    app.router.routes.clear()
    for path, methods in ROUTES.items():
        app.add_route(path, by_method(methods), methods=list(methods))
    app.router.routes.extend(own)
