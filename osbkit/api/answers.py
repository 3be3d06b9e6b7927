"""Every body that leaves the broker, and every failure body.

A JSON object on every answer, unset fields left out, fields newer than the
client's version left out: `SINCE` says which. Python's own text never gets here.
"""

from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from osbkit.api.headers import Version
from osbkit.domain import Json, Operation, OperationKind, OperationState
from osbkit.errors import RequestRejected, Unauthorized
from osbkit.lifecycle.outcomes import (
    FetchedBinding,
    FetchedInstance,
    Outcome,
    Polled,
)

SINCE: dict[str, Version] = {
    "metadata": (2, 16),
    "endpoints": (2, 15),
    "maintenance_info": (2, 15),
    "instance_usable": (2, 16),
    "update_repeatable": (2, 16),
}
"""Fields of answers by the version that brought them (the specification's release
notes)."""
IN_METADATA: dict[str, Version] = {"attributes": (2, 17), "renew_before": (2, 17)}
"""The same of fields within `metadata`."""
FETCHED_METADATA: Version = (2, 17)
"""Of an instance; a fetched binding tells its expiry since 2.16."""
UPDATE_DASHBOARD: Version = (2, 14)
JSON = "application/json"
FAULT = "The broker met a fault of its own. Its operator finds it in the log."
CHALLENGE = 'Basic realm="osbkit", charset="UTF-8", Bearer realm="osbkit"'
NO_STORE = {"cache-control": "no-store"}


def send(status: int, body: Json, headers: dict[str, str] | None = None) -> Response:
    """A JSON object with a status."""
    return Response(
        to_json(body),
        status,
        media_type=JSON,
        headers=NO_STORE | headers if headers else NO_STORE,
    )


def known(body: Json, version: Version) -> Json:
    """The fields that a client of this version knows."""
    kept = newer_left_out(body, SINCE, version)
    if "metadata" in kept:
        inner = newer_left_out(kept.pop("metadata"), IN_METADATA, version)
        if inner:
            kept["metadata"] = inner
    return kept


def newer_left_out(body: Json, since: dict[str, Version], version: Version) -> Json:
    """The fields that are not newer than a version."""
    return {
        name: value
        for name, value in body.items()
        if version >= since.get(name, (0, 0))
    }


def retrying(seconds: int | None) -> dict[str, str] | None:
    """Retry-After "in seconds rather than a date"."""
    return None if seconds is None else {"retry-after": str(seconds)}


def changed(outcome: Outcome, version: Version, *, update: bool = False) -> Response:
    """The answer to PUT, PATCH or DELETE."""
    body = known(outcome.body, version)
    if update and version < UPDATE_DASHBOARD:
        body.pop("dashboard_url", None)
    if outcome.operation is not None:
        body["operation"] = outcome.operation
    return send(outcome.status, body, retrying(outcome.poll_after))


def instance(fetched: FetchedInstance, version: Version) -> Response:
    """Spec: "Fetching a Service Instance", Body."""
    found = fetched.instance
    body: Json = {"service_id": found.service_id, "plan_id": found.plan_id}
    if fetched.shown.dashboard_url is not None:
        body["dashboard_url"] = fetched.shown.dashboard_url
    if found.parameters:
        body["parameters"] = found.parameters
    if found.maintenance_version is not None:
        body["maintenance_info"] = {"version": found.maintenance_version}
    if fetched.shown.metadata and version >= FETCHED_METADATA:
        body["metadata"] = fetched.shown.metadata
    return send(200, known(body, version))


def binding(fetched: FetchedBinding, version: Version) -> Response:
    """Spec: "Fetching a Service Binding", Body."""
    found = fetched.binding
    body = dict(found.bound or {})
    if found.parameters:
        body["parameters"] = found.parameters
    return send(200, known(body, version))


def polled(answer: Polled, version: Version) -> Response:
    """Spec: "Polling Last Operation", Body."""
    operation = answer.operation
    body: Json = {"state": operation.state.value}
    text = described(operation)
    if text:
        body["description"] = text
    if operation.state is OperationState.FAILED and not answer.of_binding:
        body |= left(operation)
    retry = operation.poll_after if operation.live else None
    return send(200, known(body, version), retrying(retry))


def described(operation: Operation) -> str | None:
    """What a user reads of it: the author's words, with the percentage if known."""
    if operation.live and operation.percent is not None:
        return f"{operation.description} ({operation.percent} %)"
    return operation.description


def fault(path: str) -> Response:
    """A fault of ours, without its text. Spec: "Polling Last Operation": a poll is
    told to come again, as 400 and 500 there end an operation for some platforms."""
    if path.endswith("/last_operation"):
        return send(503, {"description": FAULT}, retrying(5))
    return send(500, {"description": FAULT})


def left(operation: Operation) -> Json:
    """What a failed update or deprovision has left of the instance."""
    body: Json = {}
    if operation.kind in {OperationKind.UPDATE, OperationKind.DEPROVISION}:
        if operation.instance_usable is not None:
            body["instance_usable"] = operation.instance_usable
        if operation.update_repeatable is not None:
            body["update_repeatable"] = operation.update_repeatable
    return body


def rejected(error: RequestRejected, version: Version = (2, 17)) -> Response:
    """The body of every refusal. Spec: "Service Broker Errors"."""
    headers = retrying(error.retry_after) or {}
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = CHALLENGE
    body: Json = {}
    if error.code is not None:
        body["error"] = error.code
    if error.description:
        body["description"] = error.description
    for name in ("instance_usable", "update_repeatable"):
        value: Any = getattr(error, name)
        if value is not None:
            body[name] = value
    return send(error.status, known(body, version), headers)
