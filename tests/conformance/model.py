"""What a broker may answer, request by request: a model of the specification.

    model.ask(request)      how the request is to be answered: at once, or not before
                            the operation that it began or joined has ended
    model.end(op, ending)   the service has ended an operation, well or badly
    model.late()            every request that still waits has waited long enough
    model.clean()           the broker's own clean-ups have had their turn
    model.release(plan)     the catalog has a newer maintenance_info of a plan

It is written from the specification and, where that leaves a choice, from the
readings in docs/specification.md; it imports nothing of osbkit and knows of no
broker. A request with several faults may be answered for any of them, so most
answers are sets. Whatever is not in the set is a difference. What is asked stands in
`asking`, what an answer holds in `expected`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from tests.conformance.asking import (
    PLANS,
    Json,
    Mode,
    Plan,
    Request,
    Verb,
    app_of,
    fits,
    fits_binding,
    malformed,
    refusal_at_gate,
    route_of,
    same,
    version_of,
)
from tests.conformance.expected import (
    TEXT,
    TOKEN,
    URL,
    Answer,
    Retry,
    Told,
    error,
    unlike,
)

Key = tuple[str, str | None]

BAD = error(400)
UNKNOWN = error(404)
CONFLICT = error(409)
GONE = Answer(410)
DONE = Answer(200)
BUSY = error(422, "ConcurrencyError")
NEEDS_FLAG = error(422, "AsyncRequired")
NEEDS_APP = error(422, "RequiresApp")
OTHER_VERSION = error(422, "MaintenanceInfoConflict")
NO_UPDATE = error(422, "UpdateRefused", repeatable=False)
AWAY = error(503)


# --- the service ------------------------------------------------------------------

SENTENCE = "The queue server is full."
PROGRESS = "Half of it is done"
PERCENT = 50
POLL_AFTER = 7
"""What the service says of each call that it holds, and how long to wait (seconds)."""
EXPIRES, RENEW = "2999-12-31T00:00:00.000Z", "2999-12-01T12:30:00.500Z"
ENDPOINTS: list[Json] = [
    {"host": "queues.example", "ports": ["5671", "9000-9010"], "protocol": "tcp"}
]


def describes(asked: Json) -> Json:
    """The metadata of an instance, by what was asked for."""
    context = asked["context"] or {}
    return {
        "labels": {"plan": asked["plan_id"]},
        "attributes": {
            "size": str(asked["parameters"].get("size", 1)),
            "named": context.get("instance_name", "nothing"),
            "version": asked["version"] or "none",
        },
    }


class Ending(Enum):
    """How the service ends what it was asked to do."""

    WELL = "well"
    TROUBLE = "well at the second attempt"
    FAILED = "failed, and taken back"
    LEAVES = "failed, and taking it back failed as well; of a removal: at once"
    REFUSED = "refused by the service, and taken back"
    USABLE = "failed, the author says that it is usable and may be repeated"
    UNUSABLE = "failed, the author says that it is neither"


def possible(kind: Verb, plan: Plan, ending: Ending) -> Ending:
    """The ending of an operation where another was wished for that it cannot have."""
    if kind == "provision" and plan.fails:
        return Ending.FAILED
    refuses = kind in {"provision", "update", "bind"}
    return Ending.FAILED if ending is Ending.REFUSED and not refuses else ending


@dataclass(eq=False)
class Operation:
    """One change of an instance or a binding that the model follows."""

    kind: Verb
    platform: str
    instance: "Instance"
    binding: "Binding | None"
    mode: Mode
    sent: Json = field(default_factory=dict)
    target: Json = field(default_factory=dict)
    owed: bool = False
    state: str = "in progress"
    token: str | None = None
    failure: Answer | None = None

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state == "in progress"

    @property
    def key(self) -> Key:
        """The resource; of each there is one live operation at most."""
        binding = None if self.binding is None else self.binding.id
        return self.instance.id, binding

    def fail(self, failure: Answer) -> None:
        """It has ended badly; this is what those get who wait."""
        self.state, self.failure = "failed", failure


@dataclass(eq=False)
class Binding:
    """One life of a binding id.

    Attributes:
        asked: parameters, app, route and predecessor.
        secrets: of its credentials, what the service made up.
    """

    id: str
    platform: str
    plan: str
    asked: Json
    state: str = "making"
    residue: bool = False
    cleanup: bool = False
    latest: Operation | None = None
    secrets: Json = field(default_factory=lambda: {"user": TEXT, "key": TEXT})

    @property
    def busy_or_there(self) -> bool:
        """Whether it lives, or something runs on it."""
        return self.state in {"making", "ready"} or self.running is not None

    @property
    def running(self) -> Operation | None:
        """What the platform waits for."""
        return self.latest if self.latest and self.latest.live else None


@dataclass(eq=False)
class Instance:
    """One life of an instance id.

    Attributes:
        asked: offering, plan, organization, space, parameters, context, and the
            version of its maintenance_info: as they are now.
        residue: the creation failed and has left something behind.
        cleanup: that is on the broker's own account.
        restoring: so is taking a failed update back.
    """

    id: str
    platform: str
    asked: Json
    state: str = "making"
    residue: bool = False
    cleanup: bool = False
    restoring: bool = False
    latest: Operation | None = None
    dashboard: str | None = None
    bindings: dict[str, Binding] = field(default_factory=dict)

    @property
    def busy_or_there(self) -> bool:
        """Whether it lives, or something runs on it."""
        return self.state in {"making", "ready"} or self.running is not None

    @property
    def plan(self) -> Plan:
        """As it is now."""
        return PLANS[self.asked["plan_id"]]

    @property
    def running(self) -> Operation | None:
        """What the platform waits for, of the instance itself."""
        return self.latest if self.latest and self.latest.live else None

    @property
    def binding_runs(self) -> bool:
        """Whether anything runs on one of its bindings."""
        return any(binding.running for binding in self.bindings.values())

    def seen_by(self, platform: str) -> bool:
        """Whether a platform may know of it."""
        return self.platform == platform and self.state in {"making", "ready"}


Then = Literal["polls", "accepts", "gives up", "busy", "needs flag"]


@dataclass(eq=False)
class Asked:
    """A request, and how it may be answered.

    Attributes:
        at_once: answers that change nothing.
        operation: what it began, or joined; None if neither.
        then: what it gets when it has waited long enough.
    """

    request: Request
    at_once: tuple[Answer, ...] = ()
    operation: Operation | None = None
    began: bool = False
    then: Then = "polls"
    late: bool = False

    def allowed(self) -> list[Answer]:
        """The answers that may come now; none while it has to wait."""
        found = list(self.at_once)
        operation = self.operation
        if operation is None:
            return found
        if self.then == "polls":
            found.append(self._accepted(operation))
        elif operation.live:
            found += self._still_live(operation) if self.late else []
        else:
            found.append(self._ended(operation))
            if self.late and self.then == "busy":
                found.append(BUSY)  # both happened at the same moment
        return found

    def may_wait(self) -> bool:
        """Whether no answer yet is right."""
        operation = self.operation
        if operation is None or self.late or self.then == "polls":
            return False
        return operation.live

    def _accepted(self, operation: Operation) -> Answer:
        body: Json = {"operation": operation.token or TOKEN}
        if self.request.verb in {"provision", "update"}:
            body |= shown(operation.instance, operation.target)
        hint: tuple[Retry, ...] = (str(POLL_AFTER),)
        if self.began and self.then == "polls":
            hint = (None, *hint)  # the service may not have said it yet
        return Answer(202, body, retry=hint)

    def _still_live(self, operation: Operation) -> list[Answer]:
        match self.then:
            case "accepts":
                return [self._accepted(operation)]
            case "busy":
                return [BUSY]
            case "needs flag":
                return [NEEDS_FLAG]
        return [AWAY]

    def _ended(self, operation: Operation) -> Answer:
        if operation.state == "failed":
            assert operation.failure is not None
            return operation.failure
        match self.request.verb:
            case "provision" | "bind":
                return made(operation, 201 if self.began else 200)
            case "update":
                return made(operation, 200)
        return DONE if self.began else GONE


def made(operation: Operation, status: int) -> Answer:
    """What is said of a resource that is there."""
    if operation.binding is not None:
        return Answer(status, shown_binding(operation.binding))
    return Answer(status, shown(operation.instance))


def shown(instance: Instance, target: Mapping[str, Any] | None = None) -> Json:
    """What every answer about an instance holds, as it is or is going to be."""
    return {
        "dashboard_url": instance.dashboard or URL,
        "metadata": describes({**instance.asked, **(target or {})}),
    }


def shown_binding(binding: Binding) -> Json:
    """A binding; what the service made up is as it was told before."""
    return {
        "credentials": {
            **binding.secrets,
            "plan": binding.plan,
            "role": binding.asked["parameters"].get("role", "reader"),
            "app": binding.asked["app"] or "none",
        },
        "endpoints": ENDPOINTS,
        "metadata": {"expires_at": EXPIRES, "renew_before": RENEW},
    }


# --- the model --------------------------------------------------------------------


class Model:
    """Every id that was ever asked for, and what became of it."""

    def __init__(self, versions: Mapping[str, str | None] | None = None) -> None:
        self.versions = {plan.name: plan.version for plan in PLANS.values()}
        self.versions.update(versions or {})
        self.instances: dict[str, Instance] = {}
        self.tokens: dict[str, Operation] = {}
        self.waiting: list[Asked] = []
        self.known: set[str] = set()

    # --- the service --------------------------------------------------------------

    @property
    def resources(self) -> Iterator[Instance | Binding]:
        """Every instance and every binding."""
        for instance in self.instances.values():
            yield instance
            yield from instance.bindings.values()

    @property
    def live(self) -> Iterator[Operation]:
        """What runs."""
        for one in self.resources:
            if one.running is not None:
                yield one.running

    def operation(self, key: Key) -> Operation:
        """What runs on a resource."""
        return next(operation for operation in self.live if operation.key == key)

    def end(self, operation: Operation, ending: Ending) -> None:
        """The service is done with it."""
        ending = possible(operation.kind, operation.instance.plan, ending)
        if ending in {Ending.WELL, Ending.TROUBLE}:
            self._succeed(operation)
            return
        refused = ending is Ending.REFUSED
        failure = error(500, None, SENTENCE)
        match operation.kind:
            case "update" if refused:
                failure = error(422, "UpdateRefused", SENTENCE, repeatable=False)
            case "provision" | "bind" if refused:
                failure = error(400, None, SENTENCE)
            case "update" if ending in {Ending.USABLE, Ending.UNUSABLE}:
                usable = ending is Ending.USABLE
                failure = error(500, None, SENTENCE, usable=usable, repeatable=usable)
            case "update" if ending is Ending.LEAVES:  # it could not be taken back
                failure = error(500, None, SENTENCE, usable=False)
            case "deprovision" if ending in {Ending.USABLE, Ending.UNUSABLE}:
                usable = ending is Ending.USABLE
                failure = error(500, None, SENTENCE, usable=usable)
        operation.fail(failure)
        self._undo(operation, leaves=ending is Ending.LEAVES)

    def _succeed(self, operation: Operation) -> None:
        operation.state = "succeeded"
        instance, binding = operation.instance, operation.binding
        match operation.kind:
            case "provision":
                instance.state = "ready"
            case "update":
                instance.asked = {**instance.asked, **operation.target}
            case "deprovision":
                instance.state, instance.residue = "gone", False
                self._revoke(instance)
            case "bind" if binding is not None:
                binding.state = "ready"
            case "unbind" if binding is not None:
                binding.state, binding.residue = "gone", False

    def _undo(self, operation: Operation, *, leaves: bool) -> None:
        """What a failure has left, and whose account it is on."""
        one = operation.binding or operation.instance
        match operation.kind:
            case "provision" | "bind":
                one.state, one.residue, one.cleanup = "failed", leaves, leaves
            case "update":
                operation.instance.restoring = leaves
            case "deprovision" | "unbind" if one.state == "failed":
                one.cleanup = True
        if operation.kind == "deprovision" and not leaves:
            self._revoke(operation.instance)

    def _revoke(self, instance: Instance) -> None:
        """The bindings go first; what had failed and left nothing stays failed."""
        for each in instance.bindings.values():
            if each.state == "ready" or each.residue:
                each.state, each.residue, each.cleanup = "gone", False, False

    def late(self, *, leaves: bool) -> None:
        """Every request that waits has waited long enough.

        Args:
            leaves: taking back what was begun fails.
        """
        for asked in self.waiting:
            asked.late = True
            operation = asked.operation
            assert operation is not None
            owed = operation.owed and operation.kind in {"provision", "update", "bind"}
            if asked.began and asked.then == "gives up" and owed and operation.live:
                broken = leaves and operation.kind == "update"
                operation.fail(error(503, usable=False) if broken else AWAY)
                self._undo(operation, leaves=leaves)

    def clean(self) -> None:
        """What failures have left behind is removed."""
        for instance in self.instances.values():
            instance.restoring = False
        for one in self.resources:
            if one.cleanup:
                one.residue = one.cleanup = False

    def release(self, plan: str, version: str) -> None:
        """The catalog has a newer version of a plan's maintenance_info."""
        self.versions[plan] = version

    # --- requests -----------------------------------------------------------------

    def ask(self, request: Request) -> Asked:
        """How a request is to be answered; what it begins has begun."""
        if status := refusal_at_gate(request):
            return Asked(request, (error(status),))
        if malformed(request):
            return Asked(request, (BAD,))
        asked: Asked = getattr(self, f"_{request.verb}")(request)
        if asked.operation is not None:
            self.waiting.append(asked)
        return asked

    def _begin(
        self,
        request: Request,
        instance: Instance,
        binding: Binding | None,
        mode: Mode,
        **target: Any,
    ) -> Asked:
        """A new operation. Spec: "Synchronous and Asynchronous Operations"."""
        then: Then = "gives up"
        if mode == "async":
            then = "polls" if request.flag else "needs flag"
        elif mode == "auto" and request.flag:
            then = "accepts"
        operation = Operation(
            kind=request.verb,
            platform=request.platform,
            instance=instance,
            binding=binding,
            mode=mode,
            sent=request.body,
            target=target,
            owed=then == "gives up",
        )
        (binding or instance).latest = operation
        return Asked(request, operation=operation, began=True, then=then)

    def _join(self, request: Request, operation: Operation) -> Asked:
        """The same request again: it is answered for the same operation."""
        if request.flag:
            operation.owed = False
            return Asked(request, operation=operation)
        if operation.mode == "async":
            return Asked(request, (NEEDS_FLAG,))
        return Asked(request, operation=operation, then="busy")

    # --- provisioning -------------------------------------------------------------

    def _provision(self, request: Request) -> Asked:
        """Spec: "Provisioning", Response."""
        faults = self._faults(request)
        wanted = self._wanted(request.body)
        found = self.instances.get(request.instance)
        deletes = found is not None and deleting(found)
        if found is not None and (deletes or found.state in {"making", "ready"}):
            if found.platform != request.platform:
                return Asked(request, (CONFLICT, *faults))
            repeated = all(same(wanted[name], found.asked[name]) for name in NAMES)
            if deletes:
                at_once = (BUSY,) if repeated else (BUSY, CONFLICT)
                return Asked(request, (*at_once, *faults))
            if not repeated:
                return Asked(request, (CONFLICT, *faults))
            if found.state == "making":
                assert found.running is not None
                return self._join(request, found.running)
            return Asked(request, (Answer(200, shown(found)),))
        if faults:
            return Asked(request, faults)
        fresh = Instance(request.instance, request.platform, wanted)
        fresh.bindings = found.bindings if found is not None else {}
        self.instances[request.instance] = fresh
        return self._begin(request, fresh, None, fresh.plan.mode)

    def _wanted(self, body: Json) -> Json:
        """What a PUT asks for, absent and null as what they mean."""
        return {
            **{name: body[name] for name in NAMES if name != "parameters"},
            "parameters": body.get("parameters") or {},
            "context": body.get("context"),
            "version": version_of(body) or self.versions.get(body["plan_id"]),
        }

    def _faults(self, request: Request) -> tuple[Answer, ...]:
        body = request.body
        plan = PLANS.get(body["plan_id"])
        if plan is None or plan.offering != body["service_id"]:
            return (BAD,)
        faults = []
        if not fits(body.get("parameters") or {}):
            faults.append(BAD)
        if version_of(body) not in {None, self.versions[plan.name]}:
            faults.append(OTHER_VERSION)
        if plan.mode == "async" and not request.flag:
            faults.append(NEEDS_FLAG)
        return tuple(faults)

    # --- updating -----------------------------------------------------------------

    def _update(self, request: Request) -> Asked:
        """Spec: "Updating a Service Instance", Response."""
        body = request.body
        found = self.instances.get(request.instance)
        if found is None or not found.seen_by(request.platform):
            return Asked(request, (UNKNOWN,))
        faults, target = self._changes(request, found)
        running = found.running
        if (
            running is not None
            and running.kind == "update"
            and same(wish(running.sent), wish(body))
        ):
            if found.plan.mode != running.mode == "async" and not request.flag:
                # on its way to a plan that needs the flag, it may be waited for
                return Asked(request, (NEEDS_FLAG,), running, then="busy")
            return self._join(request, running)
        if running is not None or found.restoring or found.binding_runs:
            return Asked(request, (BUSY, *faults))
        if faults:
            return Asked(request, faults)
        context = body.get("context")
        if not target:
            if context is not None:
                found.asked["context"] = context
            return Asked(request, (Answer(200, shown(found)),))
        if context is not None:
            target["context"] = context
        plan: str = target.get("plan_id", found.plan.name)
        return self._begin(request, found, None, PLANS[plan].mode, **target)

    def _changes(
        self, request: Request, found: Instance
    ) -> tuple[tuple[Answer, ...], Json]:
        """What is wrong with a PATCH, and the values that it changes."""
        body = request.body
        faults: list[Answer] = []
        target: Json = {}
        plan = PLANS.get(body.get("plan_id") or found.plan.name)
        if body["service_id"] != found.plan.offering:
            faults.append(BAD)
        if plan is None or plan.offering != found.plan.offering:
            faults.append(BAD)
            plan = found.plan
        if plan is not found.plan:
            target |= {"plan_id": plan.name, "version": self.versions[plan.name]}
            if not found.plan.updateable or plan.apart or found.plan.apart:
                faults.append(NO_UPDATE)
        version = version_of(body)
        if version not in {None, self.versions[plan.name]}:
            faults.append(OTHER_VERSION)
        elif version not in {None, found.asked["version"]}:
            target["version"] = version
        sent = body.get("parameters") or {}
        stored = found.asked["parameters"]
        merged = {name: value for name, value in stored.items() if name not in sent}
        merged |= {name: value for name, value in sent.items() if value is not None}
        if not fits(sent, change=True):
            faults.append(BAD)
        if not same(merged, stored):
            target["parameters"] = merged
        context = body.get("context")
        news = context is not None and not same(context, found.asked["context"] or {})
        if news and found.plan.contexts:
            target["context"] = context
        if plan.mode == "async" and not request.flag:
            faults.append(NEEDS_FLAG)
        return tuple(faults), target

    # --- deprovisioning -----------------------------------------------------------

    def _deprovision(self, request: Request) -> Asked:
        """Spec: "Deprovisioning", Response."""
        found = self.instances.get(request.instance)
        if found is None or found.platform != request.platform:
            return Asked(request, (GONE,))
        running = found.running
        if running is not None and running.kind == "deprovision":
            return self._join(request, running)
        if found.state == "gone" or (found.state == "failed" and not found.residue):
            return Asked(request, (GONE,))
        mode = found.plan.mode
        if mode == "async" and not request.flag and found.state != "failed":
            return Asked(request, (NEEDS_FLAG,))
        self._halt(found, *found.bindings.values())
        found.restoring = False
        return self._begin(request, found, None, mode)

    def _halt(self, *resources: Instance | Binding) -> None:
        """Spec: "MUST have the net effect of halting the current creation"."""
        for one in resources:
            if one.running is not None:
                one.running.fail(AWAY)
            if one.state == "making":
                one.state, one.residue = "failed", True
            one.cleanup = False  # the removal takes it over

    # --- fetching and polling -----------------------------------------------------

    def _fetch(self, request: Request) -> Asked:
        """Spec: "Fetching a Service Instance", Response."""
        found = self.instances.get(request.instance)
        if (
            found is None
            or not found.seen_by(request.platform)
            or found.state != "ready"
            or not found.plan.retrievable
        ):
            return Asked(request, (UNKNOWN,))
        if found.running is not None:
            return Asked(request, (BUSY,))
        body = shown(found)
        body |= {"service_id": found.plan.offering, "plan_id": found.plan.name}
        if found.asked["parameters"]:
            body["parameters"] = found.asked["parameters"]
        if found.asked["version"] is not None:
            body["maintenance_info"] = {"version": found.asked["version"]}
        return Asked(request, (Answer(200, body),))

    def _poll(self, request: Request) -> Asked:
        """Spec: "Polling Last Operation for Service Instances"."""
        named = self._named(request)
        if named is not None:
            return Asked(request, (told(named),))
        found = self.instances.get(request.instance)
        if found is None or found.platform != request.platform:
            return Asked(request, (UNKNOWN,))
        assert found.latest is not None
        return Asked(request, (told(found.latest),))

    def _poll_binding(self, request: Request) -> Asked:
        """Spec: "Polling Last Operation for Service Bindings"."""
        named = self._named(request)
        if named is not None:
            return Asked(request, (told(named),))
        found = self._binding(request)
        if found is None or found.platform != request.platform:
            return Asked(request, (UNKNOWN,))
        if found.state == "gone":  # by itself or with its instance
            return Asked(request, (Answer(200, {"state": "succeeded"}),))
        assert found.latest is not None
        return Asked(request, (told(found.latest),))

    def _named(self, request: Request) -> Operation | None:
        """The operation that a poll asks about, if its platform has that."""
        named = self.tokens.get(request.body.get("operation", ""))
        mine = (request.instance, request.binding)
        if named is None or named.key != mine or named.platform != request.platform:
            return None
        return named

    def _binding(self, request: Request) -> Binding | None:
        found = self.instances.get(request.instance)
        return None if found is None else found.bindings.get(request.binding or "")

    def _fetch_binding(self, request: Request) -> Asked:
        """Spec: "Fetching a Service Binding", Response."""
        instance = self.instances.get(request.instance)
        found = self._binding(request)
        if (
            instance is None
            or not instance.seen_by(request.platform)
            or deleting(instance)
            or not instance.plan.retrievable
            or found is None
            or found.state != "ready"
            or found.running is not None
        ):
            return Asked(request, (UNKNOWN,))
        body = shown_binding(found)
        if found.asked["parameters"]:
            body["parameters"] = found.asked["parameters"]
        return Asked(request, (Answer(200, body),))

    # --- binding ------------------------------------------------------------------

    def _bind(self, request: Request) -> Asked:
        """Spec: "Binding", "Binding Rotation", Response."""
        body = request.body
        rotates: str | None = body.get("predecessor_binding_id")
        instance = self.instances.get(request.instance)
        if instance is None or not instance.seen_by(request.platform):
            return Asked(request, (UNKNOWN,))
        faults = self._bind_faults(request, instance)
        found = self._binding(request)
        if found is not None and found.state in {"making", "ready"}:
            repeated = same_binding(found, instance, body)
            if found.running is not None and found.running.kind == "unbind":
                at_once = (BUSY,) if repeated else (BUSY, CONFLICT)
                return Asked(request, (*at_once, *faults))
            if not repeated:
                return Asked(request, (CONFLICT, *faults))
            if found.running is not None:
                return self._join(request, found.running)
            also = (BUSY,) if deleting(instance) else ()
            return Asked(request, (Answer(200, shown_binding(found)), *also))
        if found is not None and found.running is not None:
            return Asked(request, (BUSY, *faults))
        if instance.running is not None or instance.restoring:
            return Asked(request, (BUSY, *faults))
        if faults:
            return Asked(request, faults)
        asked = instance.bindings[rotates].asked if rotates else bound_to(body)
        fresh = Binding(
            request.binding or "",
            request.platform,
            instance.plan.name,
            {**asked, "predecessor": rotates},
        )
        instance.bindings[fresh.id] = fresh
        return self._begin(request, instance, fresh, instance.plan.binds)

    def _bind_faults(self, request: Request, instance: Instance) -> tuple[Answer, ...]:
        body, plan = request.body, instance.plan
        faults = []
        wrong = (
            (body.get("service_id") or plan.offering) != plan.offering
            or (body.get("plan_id") or plan.name) != plan.name
            or not plan.bindable
        )
        app = app_of(body)
        rotates = body.get("predecessor_binding_id")
        if rotates:
            before = instance.bindings.get(rotates)
            there = before is not None and before.state == "ready"
            busy = before is not None and before.running is not None
            wrong |= not plan.rotatable or not there or busy
            wrong |= any(
                body.get(name) for name in ("parameters", "app_guid", "bind_resource")
            )
            app = None if before is None else before.asked["app"]
        else:
            wrong |= not fits_binding(body.get("parameters") or {})
        if wrong:
            faults.append(BAD)
        if plan.needs_app and app is None:
            faults.append(NEEDS_APP)
        if plan.binds == "async" and not request.flag:
            faults.append(NEEDS_FLAG)
        return tuple(faults)

    def _unbind(self, request: Request) -> Asked:
        """Spec: "Unbinding", Response."""
        instance = self.instances.get(request.instance)
        found = self._binding(request)
        if (
            instance is None
            or instance.platform != request.platform
            or found is None
            or found.state == "gone"
        ):
            return Asked(request, (GONE,))
        running = found.running
        if running is not None and running.kind == "unbind":
            return self._join(request, running)
        clean = found.state == "failed" and not found.residue
        if deleting(instance):
            return Asked(request, (BUSY, GONE) if clean else (BUSY,))
        if clean:
            return Asked(request, (GONE,))
        mode = instance.plan.binds
        needs_flag = mode == "async" and not request.flag and found.state != "failed"
        if instance.running is not None or instance.restoring:
            return Asked(request, (BUSY, NEEDS_FLAG) if needs_flag else (BUSY,))
        if needs_flag:
            return Asked(request, (NEEDS_FLAG,))
        self._halt(found)
        return self._begin(request, instance, found, mode)


# --- small rules ------------------------------------------------------------------

NAMES = ("service_id", "plan_id", "organization_guid", "space_guid", "parameters")
"""The attributes of an instance: what a PUT of the same id must not change."""


def deleting(instance: Instance) -> bool:
    """Whether its removal runs."""
    return instance.running is not None and instance.running.kind == "deprovision"


def wish(body: Json) -> Json:
    """What a PATCH asks for: absent, null and empty are the same."""
    return {
        "service_id": body["service_id"],
        "plan_id": body.get("plan_id"),
        "parameters": body.get("parameters") or {},
        "context": body.get("context"),
        "version": version_of(body),
    }


def bound_to(body: Json) -> Json:
    """What a PUT of a binding asks for."""
    return {
        "parameters": body.get("parameters") or {},
        "app": app_of(body),
        "route": route_of(body),
    }


def same_binding(found: Binding, instance: Instance, body: Json) -> bool:
    """Spec: 409 "with different parameters"; a successor is its predecessor's."""
    if body.get("service_id") not in {None, instance.plan.offering}:
        return False
    if body.get("plan_id") not in {None, found.plan, instance.plan.name}:
        return False
    before, rotates = found.asked["predecessor"], body.get("predecessor_binding_id")
    if before or rotates:
        return bool(before == rotates)
    return all(same(value, found.asked[name]) for name, value in bound_to(body).items())


def told(operation: Operation) -> Answer:
    """What a poll says of an operation."""
    body: Json = {"state": operation.state}
    if operation.live:
        body["description"] = f"{PROGRESS} ({PERCENT} %)"
        return Answer(200, body, retry=(str(POLL_AFTER),))
    if operation.failure is not None:
        body["description"] = operation.failure.body["description"]
        if operation.binding is None:
            body |= operation.failure.left
    return Answer(200, body)


# --- answers ----------------------------------------------------------------------


def difference(asked: Asked, told: Told) -> str | None:
    """Why an answer is none of those allowed; None if it is one."""
    why = []
    for answer in asked.allowed():
        reason = unlike(answer, asked.request, told)
        if reason is None:
            return None
        why.append(f"{answer.status} {answer.body.get('error', '')}: {reason}")
    return "; or ".join(why) or "it has to wait"


def learn(model: Model, asked: Asked, body: Json) -> str | None:
    """Keep what the broker and the service chose: it must be new, and stay.

    Returns:
        what is not new.
    """
    operation = asked.operation
    instance = model.instances.get(asked.request.instance)
    binding = None
    if operation is not None:
        instance, binding = operation.instance, operation.binding
    elif instance is not None:
        binding = instance.bindings.get(asked.request.binding or "")
    fresh: list[str] = []
    if "operation" in body and operation is not None and operation.token is None:
        operation.token = body["operation"]
        model.tokens[body["operation"]] = operation
        fresh.append(body["operation"])
    if "dashboard_url" in body and instance is not None and instance.dashboard is None:
        instance.dashboard = body["dashboard_url"]
        fresh.append(body["dashboard_url"])
    if "credentials" in body and binding is not None:
        for name, value in binding.secrets.items():
            if value is TEXT:
                binding.secrets[name] = body["credentials"][name]
                fresh.append(body["credentials"][name])
    for value in fresh:
        if value in model.known:
            return f"{value} was another's"
        model.known.add(value)
    return None
