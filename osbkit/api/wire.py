"""Request bodies and queries as the specification writes them, read strictly.

`"5"` and `true` are no integers, unknown fields are ignored ("Service Brokers MUST
ignore"), and no refused value is ever repeated in a message. `parameters: null`,
`maintenance_info: {}` and `app_guid: ""` count as absent: real platforms send them.
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

from osbkit.api.standstill import require_client
from osbkit.catalog.json_text import flaws
from osbkit.domain import Json, WantedBinding, WantedInstance, WantedUpdate
from osbkit.errors import BodyTooLarge, Malformed

Text = Annotated[str, Field(min_length=1)]
TOKEN = 64
MOST_PROBLEMS = 5
SENTENCES = {
    "missing": "is missing",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


class MaintenanceInfo(BaseModel):
    """Only the version counts. Spec: "Maintenance Info Object"."""

    version: str | None = None


class BindResource(BaseModel, extra="allow"):
    """Spec: "Bind Resource Object"; platforms add fields of their own."""

    app_guid: str | None = None
    route: str | None = None


class ProvisionBody(BaseModel):
    """Spec: "Provisioning", Body."""

    service_id: Text
    plan_id: Text
    organization_guid: Text
    space_guid: Text
    parameters: Json | None = None
    context: Json | None = None
    maintenance_info: MaintenanceInfo | None = None


class PreviousValues(BaseModel):
    """Tolerated and ignored: the broker knows what it stored."""

    service_id: str | None = None
    plan_id: str | None = None
    organization_id: str | None = None
    space_id: str | None = None


class UpdateBody(BaseModel):
    """Spec: "Updating a Service Instance", Body."""

    service_id: Text
    plan_id: Text | None = None
    parameters: Json | None = None
    context: Json | None = None
    previous_values: PreviousValues | None = None
    maintenance_info: MaintenanceInfo | None = None


class BindBody(BaseModel):
    """Spec: "Binding" and "Binding Rotation", Body."""

    service_id: Text | None = None
    plan_id: Text | None = None
    app_guid: str | None = None
    bind_resource: BindResource | None = None
    parameters: Json | None = None
    context: Json | None = None
    predecessor_binding_id: Text | None = None


M = TypeVar("M", bound=BaseModel)
PROVISION = TypeAdapter(ProvisionBody)
UPDATE = TypeAdapter(UpdateBody)
BIND = TypeAdapter(BindBody)


async def body_of(request: Request, limit: int) -> bytes:
    """Read a body of at most `limit` bytes, chunked ones included.

    Raises:
        BodyTooLarge: there is more.
        ClientDisconnect: the client is gone.
        Unavailable: it left while this process stood still.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            break
    await require_client(request)
    return b"".join(chunks)


def too_large(limit: int) -> BodyTooLarge:
    """The refusal of a body, by its length or while it is read."""
    return BodyTooLarge(f"The body of this request is larger than {limit} bytes.")


def parse(adapter: TypeAdapter[M], body: bytes) -> M:
    """Read a body.

    Raises:
        Malformed: not JSON, not an object, a field missing or of another type;
            names the field and never its value.
    """
    if not body.strip():
        raise Malformed("The request needs a JSON object as its body.")
    for place, message in flaws(body):
        field = place[0] if place and isinstance(place[0], str) else "the body"
        raise Malformed(f"A value in {named(field)} {message}.")
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        raise Malformed(sentence_of(error)) from None
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None


def named(field: str) -> str:
    """A field's name as it may be repeated: ours, never text of the client."""
    return field if field in FIELDS else "the body"


def sentence_of(error: ValidationError) -> str:
    """What is wrong, field by field, without a word of the client's."""
    problems = []
    for problem in error.errors(
        include_url=False, include_input=False, include_context=False
    )[:MOST_PROBLEMS]:
        if problem["type"] == "json_invalid":
            return "The body is not valid JSON."
        place = ".".join(str(part) for part in problem["loc"])
        text = SENTENCES.get(problem["type"], "is not as the specification says")
        problems.append(f"{place or 'the body'} {text}")
    return f"The request is malformed: {'; '.join(problems)}."


def provision(body: bytes) -> WantedInstance:
    """PUT of an instance. Raises Malformed."""
    got = parse(PROVISION, body)
    return WantedInstance(
        service_id=got.service_id,
        plan_id=got.plan_id,
        organization_guid=got.organization_guid,
        space_guid=got.space_guid,
        parameters=got.parameters or {},
        context=got.context,
        maintenance_version=version_of(got.maintenance_info),
    )


def update(body: bytes) -> WantedUpdate:
    """PATCH of an instance. Raises Malformed."""
    got = parse(UPDATE, body)
    return WantedUpdate(
        service_id=got.service_id,
        plan_id=got.plan_id,
        parameters=got.parameters or {},
        context=got.context,
        maintenance_version=version_of(got.maintenance_info),
    )


def bind(body: bytes) -> WantedBinding:
    """PUT of a binding; a rotation needs no ids. Raises Malformed."""
    got = parse(BIND, body)
    if got.predecessor_binding_id is None:
        for field in ("service_id", "plan_id"):
            if getattr(got, field) is None:
                raise Malformed(f"The request is malformed: {field} is missing.")
    resource = got.bind_resource
    return WantedBinding(
        service_id=got.service_id,
        plan_id=got.plan_id,
        parameters=got.parameters or {},
        # spec: the top-level app_guid is deprecated; either satisfies
        app_guid=(resource.app_guid if resource else None) or got.app_guid or None,
        bind_resource=resource.model_dump(exclude_unset=True) if resource else None,
        context=got.context,
        predecessor=got.predecessor_binding_id,
    )


def version_of(info: MaintenanceInfo | None) -> str | None:
    """The version asked for, if any."""
    return info.version if info is not None else None


def accepts_incomplete(request: Request) -> bool:
    """Only `true` is true. Spec: "Asynchronous Operations"."""
    return request.query_params.get("accepts_incomplete") == "true"


def ids_of(request: Request) -> dict[str, str]:
    """Both ids that a DELETE carries in its query.

    Raises:
        Malformed: one is missing or empty. A value that is not the stored one is
            let through: a clean-up must not fail for it.
    """
    ids: dict[str, str] = {}
    for name in ("service_id", "plan_id"):
        ids[name] = request.query_params.get(name, "")
        if not ids[name]:
            raise Malformed(f"The query parameter {name} is missing.")
    return ids


def operation_of(request: Request) -> str | None:
    """The operation asked for; what cannot be a token of ours counts as none."""
    token = request.query_params.get("operation")
    if not token or len(token) > TOKEN or not token.isascii() or not token.isalnum():
        return None
    return token


FIELDS = frozenset(
    name
    for model in (ProvisionBody, UpdateBody, BindBody)
    for name in model.model_fields
)


def fields_of(adapter: TypeAdapter[Any]) -> Json:
    """The JSON schema of a body, for the OpenAPI document."""
    return adapter.json_schema(ref_template="#/components/schemas/{model}")
