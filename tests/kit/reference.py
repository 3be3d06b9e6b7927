"""A small broker that is right in every way, and wrong in one on request.

An ASGI application of the standard library alone; it knows nothing of osbkit, and all
its state is in memory. An asynchronous operation ends when it has been polled `polls`
times, so nothing depends on time.

    broker = ReferenceBroker()                       # right
    broker = ReferenceBroker(mutant="no_plan_409")   # wrong in one way

A mutant is a line `if self.wrong("name")` here, or a change that the lists in
`tests.kit.mutants` make from outside: `rewrite` sees every answer before it is sent,
and every decision is a method that can be replaced.
"""

import asyncio
import json
import re
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from tests.kit import offers

Json = dict[str, Any]
USER, PASSWORD = "kit", "reference-password"
HOST = "service.reference.example"


@dataclass
class Asked:
    """A request; `names` are those of its headers in the case of the wire.

    `raw_query` is the query before it is decoded.
    """

    method: str
    parts: list[str]
    query: dict[str, str]
    headers: dict[str, str]
    content: bytes
    names: frozenset[str] = frozenset()
    raw_query: str = ""

    @property
    def flag(self) -> bool:
        return self.query.get("accepts_incomplete") == "true"

    @property
    def kind(self) -> str:
        """Such as "PUT instance"; "" for what is no route."""
        match self.parts:
            case ["catalog"]:
                what = "catalog"
            case ["service_instances", _]:
                what = "instance"
            case ["service_instances", _, "last_operation"]:
                what = "instance poll"
            case ["service_instances", _, "service_bindings", _]:
                what = "binding"
            case ["service_instances", _, "service_bindings", _, "last_operation"]:
                what = "binding poll"
            case _:
                return ""
        return f"{self.method} {what}"

    @property
    def instance_id(self) -> str:
        return self.parts[1]

    @property
    def binding_id(self) -> str:
        return self.parts[3]

    @property
    def body(self) -> Json:
        """The body as a JSON object, or a refusal."""
        try:
            value = json.loads(self.content.decode())
        except (ValueError, RecursionError):
            raise Refusal(400, "The body is not JSON.") from None
        if not isinstance(value, dict):
            raise Refusal(400, "The body is not a JSON object.")
        return value


@dataclass
class Answer:
    """What is sent back; `raw` replaces the body as JSON."""

    status: int
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(
        default_factory=lambda: {"content-type": "application/json"}
    )
    raw: bytes | None = None

    def wire(self) -> bytes:
        return json.dumps(self.body).encode() if self.raw is None else self.raw


class Refusal(Exception):
    """Ends a request with an error."""

    def __init__(
        self, status: int, description: str, code: str | None = None, **fields: Any
    ) -> None:
        super().__init__(description)
        error = {} if code is None else {"error": code}
        self.answer = Answer(status, {**error, "description": description, **fields})


@dataclass
class Operation:
    """Asynchronous work: ends when it has been polled often enough."""

    kind: str
    outcome: str
    polls_left: int
    apply: Callable[[], None]
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "in progress"
    wanted: Any = None

    def poll(self) -> None:
        if self.state != "in progress":
            return
        if self.polls_left:
            self.polls_left -= 1
        else:
            self.end(self.outcome)

    def end(self, state: str) -> None:
        self.state = state
        if state == "succeeded":
            self.apply()


@dataclass
class Thing:
    """An instance or a binding.

    `state` is absent, ready, failed or gone; what runs is the last operation.
    """

    attributes: Json
    state: str = "absent"
    body: Json = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    bindings: dict[str, "Thing"] = field(default_factory=dict)
    deletes: int = 0

    @property
    def running(self) -> Operation | None:
        last = self.operations[-1] if self.operations else None
        return last if last and last.state == "in progress" else None

    @property
    def exists(self) -> bool:
        return self.state == "ready" or (self.running is not None)


CONCURRENT = "Another operation on this resource is in progress."
NEEDS_ASYNC = "This service plan requires client support for asynchronous operations."


class ReferenceBroker:
    """The broker, as an ASGI application.

    Args:
        mutant: in which way it is wrong; empty for none.
        polls: how often an operation says "in progress" before it ends.
    """

    def __init__(self, mutant: str = "", *, polls: int = 2) -> None:
        self.mutant = mutant
        self.polls = polls
        self.catalog = offers.catalog()
        self.instances: dict[str, Thing] = {}
        self.rewrite: Callable[[Asked, Answer], Answer | None] = lambda asked, told: (
            None
        )
        self.user, self.password = USER, PASSWORD
        self.now = 0.0

    def wrong(self, name: str) -> bool:
        """Whether this is the mutant of that name."""
        return self.mutant == name

    def clock(self) -> float:
        """Seconds; they go by only when a mutant says so."""
        return self.now

    # --- HTTP ---------------------------------------------------------------------

    async def __call__(
        self,
        scope: Json,
        receive: Callable[[], Awaitable[Json]],
        send: Callable[[Json], Awaitable[None]],
    ) -> None:
        """Serve one request; the lifespan holds nothing."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        content = b""
        while True:
            message = await receive()
            content += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = _asked(scope, content)
        answer = await self.answered(asked)
        answer = self.rewrite(asked, answer) or answer
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (name.encode(), value.encode("latin-1"))
                    for name, value in answer.headers.items()
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer.wire()})

    async def answered(self, asked: Asked) -> Answer:
        """The answer to a request, with what every answer carries."""
        try:
            answer = await self.routed(asked)
        except Refusal as refusal:
            answer = refusal.answer
        if (identity := asked.headers.get("x-broker-api-request-identity")) is not None:
            answer.headers["x-broker-api-request-identity"] = identity
        return answer

    async def routed(self, asked: Asked) -> Answer:
        """Who asks, in which version, for what."""
        self.authenticate(asked)
        self.check_version(asked)
        verbs: dict[str, Callable[[Asked], Answer]] = {
            "GET catalog": self.get_catalog,
            "PUT instance": self.provision,
            "PATCH instance": self.update,
            "DELETE instance": self.deprovision,
            "GET instance": self.fetch,
            "GET instance poll": self.poll,
            "PUT binding": self.bind,
            "DELETE binding": self.unbind,
            "GET binding": self.fetch_binding,
            "GET binding poll": self.poll_binding,
        }
        if asked.kind not in verbs:
            raise Refusal(405 if asked.kind else 404, "There is no such endpoint.")
        if self.wrong("races"):
            await asyncio.sleep(0)
        return verbs[asked.kind](asked)

    def authenticate(self, asked: Asked) -> None:
        """HTTP basic, on every route, before anything else."""
        token = b64encode(f"{self.user}:{self.password}".encode()).decode()
        scheme, _, value = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or value.strip() != token:
            refusal = Refusal(401, "A user and a password are needed.", "Unauthorized")
            refusal.answer.headers["www-authenticate"] = 'Basic realm="reference"'
            raise refusal

    def check_version(self, asked: Asked) -> None:
        """Absent or malformed 400, unsupported 412."""
        version = asked.headers.get("x-broker-api-version")
        if version is None:
            raise Refusal(400, "The header X-Broker-API-Version is required.")
        parts = re.fullmatch(r"(\d{1,6})\.(\d{1,6})", version)
        if parts is None:
            raise Refusal(400, "X-Broker-API-Version must look like 2.17.")
        if int(parts[1]) != 2 or int(parts[2]) < 11:
            raise Refusal(412, "Use the API version 2.17, or any from 2.11 on.")

    # --- catalog ------------------------------------------------------------------

    def get_catalog(self, asked: Asked) -> Answer:
        """The catalog, without what is for this broker alone."""
        etag = '"reference"'
        if asked.headers.get("if-none-match") == etag:
            return Answer(304, headers={"etag": etag}, raw=b"")
        body = deepcopy(self.catalog)
        for offering in body["services"]:
            for plan in offering["plans"]:
                plan.pop("x-mode", None)
        answer = Answer(200, body)
        answer.headers["etag"] = etag
        return answer

    def plan_of(self, service_id: Any, plan_id: Any) -> tuple[Json, Json]:
        """Offering and plan of a pair of ids, or a refusal."""
        for offering in self.catalog["services"]:
            for plan in offering["plans"]:
                if offering["id"] == service_id and plan["id"] == plan_id:
                    return offering, plan
        raise Refusal(400, "The catalog has no such offering and plan.")

    # --- instances ----------------------------------------------------------------

    def provision(self, asked: Asked) -> Answer:
        """Make an instance, or say how far it is."""
        body = asked.body
        typed(body, PROVISION, required=REQUIRED_TO_PROVISION)
        offering, plan = self.plan_of(body["service_id"], body["plan_id"])
        wanted = {
            "service_id": body["service_id"],
            "plan_id": body["plan_id"],
            "parameters": body.get("parameters") or {},
            "organization_guid": body["organization_guid"],
            "space_guid": body["space_guid"],
        }
        known = self.instances.get(asked.instance_id)
        if known is not None and known.exists:
            return self.provisioned_again(asked, known, wanted)
        self.check_maintenance(body, plan)
        self.check_parameters(body, plan, "service_instance", "create")
        self.check_flag(asked, plan)
        thing = Thing(wanted)
        thing.body = self.told_of(asked.instance_id, offering)
        self.instances[asked.instance_id] = thing
        if not self.runs_async(asked, plan):
            thing.state = "ready"
            return Answer(201, dict(thing.body))
        outcome = "failed" if plan["name"] == "fails" else "succeeded"
        operation = self.begin(thing, "provision", outcome, "ready")
        return Answer(202, {**thing.body, "operation": operation.token})

    def provisioned_again(self, asked: Asked, known: Thing, wanted: Json) -> Answer:
        """A PUT of an id that is in use."""
        running = known.running
        if running is not None and running.kind != "provision":
            raise Refusal(422, CONCURRENT, "ConcurrencyError")
        if self.differs(known.attributes, wanted):
            raise Refusal(409, "The id is in use with other attributes.", "Conflict")
        if running is None:
            return Answer(200, dict(known.body))
        if not asked.flag:
            raise Refusal(422, NEEDS_ASYNC, "AsyncRequired")
        return Answer(202, {**known.body, "operation": running.token})

    def differs(self, known: Json, wanted: Json) -> bool:
        """Whether a repeated PUT asks for something else. Values, not bytes."""
        return known != wanted

    def update(self, asked: Asked) -> Answer:
        """Change plan, parameters, or nothing."""
        body = asked.body
        typed(body, UPDATE, required=("service_id",))
        instance = self.instances.get(asked.instance_id)
        if instance is None or (instance.state != "ready" and not instance.running):
            raise Refusal(404, "There is no such instance.")
        held = instance.attributes
        if body["service_id"] != held["service_id"]:
            raise Refusal(400, "An instance keeps its offering.")
        _, old = self.plan_of(held["service_id"], held["plan_id"])
        offering, plan = self.plan_of(
            held["service_id"], body.get("plan_id") or held["plan_id"]
        )
        wanted = {
            **held,
            "plan_id": plan["id"],
            "parameters": {**held["parameters"], **(body.get("parameters") or {})},
        }
        running = instance.running
        if running is not None:
            if running.kind == "update" and running.wanted == wanted:
                if not asked.flag:
                    raise Refusal(422, NEEDS_ASYNC, "AsyncRequired")
                return Answer(202, {"operation": running.token})
            raise Refusal(422, CONCURRENT, "ConcurrencyError")
        self.check_maintenance(body, plan)
        self.check_parameters(body, plan, "service_instance", "update")
        if plan["id"] != old["id"] and not old.get(
            "plan_updateable", offering["plan_updateable"]
        ):
            raise Refusal(422, "This plan cannot be left.", update_repeatable=False)
        self.check_flag(asked, old)

        def apply() -> None:
            instance.attributes = wanted

        if not self.runs_async(asked, old):
            apply()
            return Answer(200, {"dashboard_url": instance.body["dashboard_url"]})
        outcome = "failed" if old["name"] == "update-fails" else "succeeded"
        operation = self.begin(instance, "update", outcome, "ready", apply)
        operation.wanted = wanted
        told = {"operation": operation.token} | {
            "dashboard_url": instance.body["dashboard_url"]
        }
        return Answer(202, told)

    def deprovision(self, asked: Asked) -> Answer:
        """Delete an instance, or halt its creation and delete what there is."""
        self.check_ids(asked)
        instance = self.instances.get(asked.instance_id)
        if instance is None or (not instance.exists and instance.state != "failed"):
            raise Refusal(410, "There is no such instance.")
        _, plan = self.plan_of(
            instance.attributes["service_id"], instance.attributes["plan_id"]
        )
        running = instance.running
        if running is not None and running.kind == "deprovision":
            if not asked.flag:
                raise Refusal(422, NEEDS_ASYNC, "AsyncRequired")
            return Answer(202, {"operation": running.token})
        if running is not None and running.kind == "update":
            raise Refusal(422, CONCURRENT, "ConcurrencyError")
        self.check_flag(asked, plan)
        if running is not None:
            running.state = "failed"
        instance.deletes += 1

        def apply() -> None:
            instance.bindings.clear()

        if not self.runs_async(asked, plan):
            apply()
            instance.state = "gone"
            return Answer(200)
        failing = plan["name"] == "delete-fails" and instance.deletes == 1
        outcome = "failed" if failing else "succeeded"
        operation = self.begin(instance, "deprovision", outcome, "gone", apply)
        return Answer(202, {"operation": operation.token})

    def fetch(self, asked: Asked) -> Answer:
        """An instance as it is now."""
        instance = self.instances.get(asked.instance_id)
        if instance is None or instance.state != "ready":
            raise Refusal(404, "There is no such instance.")
        held = instance.attributes
        offering, plan = self.plan_of(held["service_id"], held["plan_id"])
        if not offering["instances_retrievable"]:
            raise Refusal(404, "Instances of this offering cannot be fetched.")
        if instance.running is not None:
            raise Refusal(422, CONCURRENT, "ConcurrencyError")
        maintenance = plan.get("maintenance_info")
        return Answer(
            200,
            {
                "service_id": held["service_id"],
                "plan_id": held["plan_id"],
                "parameters": held["parameters"],
                **instance.body,
                **({"maintenance_info": maintenance} if maintenance else {}),
            },
        )

    def poll(self, asked: Asked) -> Answer:
        """The state of an instance's operation."""
        instance = self.instances.get(asked.instance_id)
        if instance is None or (instance.state == "gone" and not instance.operations):
            raise Refusal(404, "There is no such instance.")
        return self.polled(asked, instance)

    # --- bindings -----------------------------------------------------------------

    def bind(self, asked: Asked) -> Answer:
        """Make a binding, or say how far it is."""
        body = asked.body
        rotating = "predecessor_binding_id" in body
        typed(body, BIND, required=() if rotating else REQUIRED_TO_BIND)
        instance = self.instances.get(asked.instance_id)
        if instance is None or not instance.exists:
            raise Refusal(404, "There is no such instance.")
        held = instance.attributes
        offering, plan = self.plan_of(held["service_id"], held["plan_id"])
        if not plan.get("bindable", offering["bindable"]):
            raise Refusal(400, "This plan is not bindable.")
        for name in REQUIRED_TO_BIND:
            if body.get(name, held[name]) != held[name]:
                raise Refusal(400, f"The {name} is not that of the instance.")
        wanted = self.binding_wanted(instance, plan, body)
        known = instance.bindings.get(asked.binding_id)
        if known is not None and known.exists:
            return self.bound_again(asked, known, wanted)
        if instance.running is not None:
            raise Refusal(422, CONCURRENT, "ConcurrencyError")
        self.check_parameters(body, plan, "service_binding", "create")
        if plan["name"] == "needs-app" and not wanted["app"]:
            raise Refusal(422, "Only applications can be bound.", "RequiresApp")
        self.check_flag(asked, plan)
        thing = Thing(wanted)
        thing.body = self.binding_told(offering, plan)
        instance.bindings[asked.binding_id] = thing
        if not self.runs_async(asked, plan):
            thing.state = "ready"
            return Answer(201, dict(thing.body))
        outcome = "failed" if plan["name"] == "bind-fails" else "succeeded"
        operation = self.begin(thing, "bind", outcome, "ready")
        return Answer(202, {"operation": operation.token})

    def binding_wanted(self, instance: Thing, plan: Json, body: Json) -> Json:
        """Attributes of a binding; a successor takes those of its predecessor."""
        if "predecessor_binding_id" in body:
            old = instance.bindings.get(body["predecessor_binding_id"])
            if old is None or old.state != "ready" or not plan.get("binding_rotatable"):
                raise Refusal(400, "The predecessor cannot have a successor.")
            return {**old.attributes, "after": body["predecessor_binding_id"]}
        resource = body.get("bind_resource") or {}
        return {
            "parameters": body.get("parameters") or {},
            "app": resource.get("app_guid") or body.get("app_guid") or "",
            "after": None,
        }

    def bound_again(self, asked: Asked, known: Thing, wanted: Json) -> Answer:
        """A PUT of a binding id that is in use."""
        running = known.running
        if running is not None and running.kind != "bind":
            raise Refusal(422, CONCURRENT, "ConcurrencyError")
        if self.differs(known.attributes, wanted):
            raise Refusal(409, "The id is in use with other attributes.", "Conflict")
        if running is None:
            return Answer(200, dict(known.body))
        if not asked.flag:
            raise Refusal(422, NEEDS_ASYNC, "AsyncRequired")
        return Answer(202, {"operation": running.token})

    def unbind(self, asked: Asked) -> Answer:
        """Delete a binding, or halt its creation and delete what there is."""
        self.check_ids(asked)
        instance = self.instances.get(asked.instance_id)
        known = instance.bindings.get(asked.binding_id) if instance else None
        gone = known is None or (not known.exists and known.state != "failed")
        if instance is None or not instance.exists or known is None or gone:
            raise Refusal(410, "There is no such binding.")
        held = instance.attributes
        _, plan = self.plan_of(held["service_id"], held["plan_id"])
        running = known.running
        if running is not None and running.kind == "unbind":
            if not asked.flag:
                raise Refusal(422, NEEDS_ASYNC, "AsyncRequired")
            return Answer(202, {"operation": running.token})
        self.check_flag(asked, plan)
        if running is not None:
            running.state = "failed"
        if not self.runs_async(asked, plan):
            known.state = "gone"
            return Answer(200)
        operation = self.begin(known, "unbind", "succeeded", "gone")
        return Answer(202, {"operation": operation.token})

    def fetch_binding(self, asked: Asked) -> Answer:
        """A binding as it is now."""
        instance = self.instances.get(asked.instance_id)
        binding = instance.bindings.get(asked.binding_id) if instance else None
        if instance is None or binding is None or binding.state != "ready":
            raise Refusal(404, "There is no such binding.")
        held = instance.attributes
        offering, _ = self.plan_of(held["service_id"], held["plan_id"])
        if not offering["bindings_retrievable"] or binding.running:
            raise Refusal(404, "There is no binding to be fetched.")
        return Answer(
            200, {**binding.body, "parameters": binding.attributes["parameters"]}
        )

    def poll_binding(self, asked: Asked) -> Answer:
        """The state of a binding's operation."""
        instance = self.instances.get(asked.instance_id)
        binding = instance.bindings.get(asked.binding_id) if instance else None
        if binding is None or (binding.state == "gone" and not binding.operations):
            raise Refusal(404, "There is no such binding.")
        return self.polled(asked, binding)

    # --- what verbs have in common --------------------------------------------------

    def polled(self, asked: Asked, thing: Thing) -> Answer:
        """The state of the operation that is named, else of the last one."""
        token = asked.query.get("operation")
        named = [each for each in thing.operations if each.token == token]
        chosen = (named or thing.operations)[-1:]
        if not chosen:
            return Answer(200, {"state": "succeeded"})
        operation = chosen[0]
        operation.poll()
        body: Json = {
            "state": operation.state,
            "description": f"The {operation.kind} is {operation.state}.",
        }
        answer = Answer(200, body)
        if operation.state == "in progress":
            answer.headers["retry-after"] = "1"
        elif operation.state == "failed" and operation.kind == "update":
            body |= {"instance_usable": True, "update_repeatable": False}
        elif operation.state == "failed" and operation.kind == "deprovision":
            body |= {"instance_usable": False}
        return answer

    def begin(
        self,
        thing: Thing,
        kind: str,
        outcome: str,
        state: str,
        apply: Callable[[], None] = lambda: None,
    ) -> Operation:
        """Begin work that ends after some polls, and sets the state then."""

        def succeed() -> None:
            apply()
            thing.state = state

        operation = Operation(kind, outcome, self.polls, succeed)
        if kind in {"provision", "bind"}:
            thing.state = "failed"  # until it succeeds
        thing.operations.append(operation)
        return operation

    def runs_async(self, asked: Asked, plan: Json) -> bool:
        """Whether a request is answered 202."""
        mode = plan["x-mode"]
        return mode == "async" or (mode == "auto" and asked.flag)

    def check_flag(self, asked: Asked, plan: Json) -> None:
        """422 AsyncRequired."""
        if plan["x-mode"] == "async" and not asked.flag:
            raise Refusal(422, NEEDS_ASYNC, "AsyncRequired")

    def check_ids(self, asked: Asked) -> None:
        """A DELETE names offering and plan."""
        for name in ("service_id", "plan_id"):
            if not asked.query.get(name):
                raise Refusal(400, f"The query must hold {name}.")

    def check_maintenance(self, body: Json, plan: Json) -> None:
        """422 MaintenanceInfoConflict."""
        asked = (body.get("maintenance_info") or {}).get("version")
        offered = plan.get("maintenance_info", {}).get("version")
        if asked is not None and asked != offered:
            raise Refusal(
                422, "The plan's maintenance has changed.", "MaintenanceInfoConflict"
            )

    def check_parameters(
        self, body: Json, plan: Json, resource: str, action: str
    ) -> None:
        """400 for what the plan's schema does not allow."""
        places = plan.get("schemas", {}).get(resource, {})
        schema = places.get(action, {}).get("parameters")
        value = body.get("parameters") or {}
        if schema is not None and not allowed(schema, value):
            raise Refusal(400, "The parameters are not valid.")

    def told_of(self, instance_id: str, offering: Json) -> Json:
        """What is told of an instance."""
        return {
            "dashboard_url": f"https://{HOST}/{offering['name']}/{instance_id}",
            "metadata": {
                "labels": {"kind": offering["name"]},
                "attributes": {"reference.colour": "green"},
            },
        }

    def binding_told(self, offering: Json, plan: Json) -> Json:
        """What is told of a binding."""
        told: Json = {
            "credentials": {
                "uri": f"https://{HOST}:8443",
                "user": secrets.token_hex(4),
                "password": secrets.token_hex(16),
            },
            "endpoints": [{"host": HOST, "ports": ["8443"], "protocol": "tcp"}],
        }
        if plan.get("binding_rotatable"):
            told["metadata"] = {
                "expires_at": "2099-12-31T23:59:59.0Z",
                "renew_before": "2099-12-01T00:00:00.0Z",
            }
        if "syslog_drain" in offering.get("requires", []):
            told["syslog_drain_url"] = f"syslog-tls://{HOST}:6514"
        if "route_forwarding" in offering.get("requires", []):
            told["route_service_url"] = f"https://{HOST}/route"
        if "volume_mount" in offering.get("requires", []):
            told["volume_mounts"] = [
                {
                    "driver": "nfs",
                    "container_dir": "/data",
                    "mode": "rw",
                    "device_type": "shared",
                    "device": {"volume_id": "v-1", "mount_config": {"a": "b"}},
                }
            ]
        return told


# --- reading requests ----------------------------------------------------------------

PROVISION: dict[str, type] = {
    "service_id": str,
    "plan_id": str,
    "organization_guid": str,
    "space_guid": str,
    "context": dict,
    "parameters": dict,
    "maintenance_info": dict,
}
UPDATE: dict[str, type] = {
    "service_id": str,
    "plan_id": str,
    "context": dict,
    "parameters": dict,
    "previous_values": dict,
    "maintenance_info": dict,
}
BIND: dict[str, type] = {
    "service_id": str,
    "plan_id": str,
    "app_guid": str,
    "context": dict,
    "bind_resource": dict,
    "parameters": dict,
    "predecessor_binding_id": str,
}
REQUIRED_TO_PROVISION = ("service_id", "plan_id", "organization_guid", "space_guid")
REQUIRED_TO_BIND = ("service_id", "plan_id")


def typed(body: Json, types: dict[str, type], required: tuple[str, ...]) -> None:
    """400 for what is missing, empty or of another type; null counts as absent."""
    for name in required:
        if not body.get(name):
            raise Refusal(400, f"{name} is missing.")
    for name, kind in types.items():
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            raise Refusal(400, f"{name} has the wrong type.")


def allowed(schema: Json, value: Json) -> bool:
    """Whether a flat object fits a flat schema of the kinds in `offers`."""
    properties = schema["properties"]
    return all(
        name in properties and _fits(properties[name], each)
        for name, each in value.items()
    )


def _fits(schema: Json, value: Any) -> bool:
    if schema["type"] == "integer":
        whole = isinstance(value, int) and not isinstance(value, bool)
        return bool(whole and schema["minimum"] <= value <= schema["maximum"])
    if not isinstance(value, str):
        return False
    if "enum" in schema:
        return value in schema["enum"]
    return len(value) <= int(schema["maxLength"])


def _asked(scope: Json, content: bytes) -> Asked:
    raw = scope["raw_path"].partition(b"?")[0].decode("latin-1")
    parts = raw.strip("/").split("/")
    wanted = [unquote_to_bytes(each).decode("utf-8", "replace") for each in parts]
    under = wanted[1:] if wanted[:1] == ["v2"] else [""]
    return Asked(
        method=scope["method"],
        parts=under,
        query=dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True)),
        headers={
            name.decode().lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        },
        content=content,
        names=frozenset(name.decode() for name, _ in scope["headers"]),
        raw_query=scope["query_string"].decode(),
    )


async def _lifespan(
    receive: Callable[[], Awaitable[Json]], send: Callable[[Json], Awaitable[None]]
) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
