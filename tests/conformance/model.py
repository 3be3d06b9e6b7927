"""What a broker may answer, request by request: a model of the specification.

    model.ask(request)      how the request is to be answered: at once, or not before
                            the operation that it began or joined has ended
    model.end(op, ending)   the service has ended an operation, well or badly
    model.late()            every request that still waits has waited long enough
    model.clean()           the broker's own clean-ups have had their turn

It is written from the specification and, where that leaves a choice, from the
readings in docs/specification.md; it imports nothing of osbkit and knows of no
broker. A request with several faults may be answered for any of them, so most
answers are sets. Whatever is not in the set is a difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

Json = dict[str, Any]
Mode = Literal["sync", "async", "auto"]
Key = tuple[str, str | None]
SENTENCE = "The queue server is full."
VERSION = "1.0.0"


# --- the catalog ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan, and what its offering says of it."""

    name: str
    offering: str = "queue"
    mode: Mode = "auto"
    bind_mode: Mode = "auto"
    bindable: bool = True
    updateable: bool = True
    rotatable: bool = True
    retrievable: bool = True
    fails: bool = False

    @property
    def binds(self) -> Mode:
        """What cannot be fetched is answered inline, or nobody would ever see it."""
        inline = self.bind_mode == "auto" and not self.retrievable
        return "sync" if inline else self.bind_mode


PLANS = {
    plan.name: plan
    for plan in (
        Plan(name="sync", mode="sync", bind_mode="sync"),
        Plan(name="async", mode="async", bind_mode="async"),
        Plan(name="auto"),
        Plan(name="polled", mode="async"),
        Plan(name="fixed", updateable=False, rotatable=False),
        Plan(name="unbindable", bindable=False, rotatable=False),
        Plan(name="failing", mode="async", bind_mode="async", fails=True),
        Plan(name="plain", offering="other", rotatable=False, retrievable=False),
    )
}


def fits(parameters: Json) -> bool:
    """Whether parameters are as the schema of every plan says."""
    return parameters.keys() <= {"size", "color"} and all(
        parameters[name] in allowed
        for name, allowed in (("size", range(1, 10)), ("color", ("red", "green")))
        if name in parameters
    )


def fits_binding(parameters: Json) -> bool:
    """The same of a binding's."""
    return parameters.keys() <= {"role"} and all(
        value in ("reader", "writer") for value in parameters.values()
    )


# --- requests and answers ---------------------------------------------------------

Verb = Literal[
    "provision",
    "update",
    "deprovision",
    "fetch",
    "poll",
    "bind",
    "unbind",
    "fetch_binding",
    "poll_binding",
]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of a platform. A body of a DELETE or a poll is its query."""

    verb: Verb
    platform: str
    instance: str
    binding: str | None = None
    body: Json = field(default_factory=dict)
    flag: bool = False


@dataclass(frozen=True)
class Answer:
    """One answer that is allowed.

    Attributes:
        error: the code that the body must hold; None for none.
        holds: what else must be in the body, by name.
        lacks: what must not.
        usable, repeatable: as the fields of that name must be.
    """

    status: int
    error: str | None = None
    holds: tuple[tuple[str, Any], ...] = ()
    lacks: tuple[str, ...] = ()
    usable: bool | None = None
    repeatable: bool | None = None
    empty: bool = False


BAD = Answer(400)
UNKNOWN = Answer(404)
CONFLICT = Answer(409)
GONE = Answer(410, empty=True)
DONE = Answer(200, empty=True)
BUSY = Answer(422, "ConcurrencyError")
NEEDS_FLAG = Answer(422, "AsyncRequired")
OTHER_VERSION = Answer(422, "MaintenanceInfoConflict")
NO_UPDATE = Answer(422, "UpdateRefused", repeatable=False)
AWAY = Answer(503)


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
    sentence: str | None = None

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state == "in progress"

    @property
    def key(self) -> Key:
        """The resource; of each there is one live operation at most."""
        binding = None if self.binding is None else self.binding.id
        return self.instance.id, binding

    def fail(self, failure: Answer, sentence: str | None = None) -> None:
        """It has ended badly; this is what those get who wait."""
        self.state, self.failure, self.sentence = "failed", failure, sentence


@dataclass(eq=False)
class Binding:
    """One life of a binding id."""

    id: str
    platform: str
    plan: str
    asked: Json
    state: str = "making"
    residue: bool = False
    cleanup: bool = False
    latest: Operation | None = None
    body: Json | None = None

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
        holds: list[tuple[str, Any]] = []
        if operation.token is not None:
            holds.append(("operation", operation.token))
        if self.request.verb in {"provision", "update"}:
            holds.append(("dashboard_url", operation.instance.dashboard))
        return Answer(202, holds=tuple(holds), lacks=("credentials",))

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
        return shown_binding(operation.binding, status)
    return Answer(status, holds=(("dashboard_url", operation.instance.dashboard),))


def shown_binding(binding: Binding, status: int) -> Answer:
    """A binding with its credentials; those that were told before, if any were."""
    told = None if binding.body is None else binding.body["credentials"]
    return Answer(status, holds=(("credentials", told),), lacks=("operation",))


# --- the model --------------------------------------------------------------------


class Model:
    """Every id that was ever asked for, and what became of it."""

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}
        self.tokens: dict[str, Operation] = {}
        self.waiting: list[Asked] = []
        self.urls: set[str] = set()
        self.secrets: set[str] = set()

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
        failure = Answer(500)
        match operation.kind:
            case "update" if refused:
                failure = Answer(422, "UpdateRefused", repeatable=False)
            case "provision" | "bind" if refused:
                failure = BAD
            case "update" if ending in {Ending.USABLE, Ending.UNUSABLE}:
                usable = ending is Ending.USABLE
                failure = Answer(500, usable=usable, repeatable=usable)
            case "update" if ending is Ending.LEAVES:
                failure = Answer(500, usable=False)  # it could not be taken back
            case "deprovision" if ending in {Ending.USABLE, Ending.UNUSABLE}:
                failure = Answer(500, usable=ending is Ending.USABLE)
        operation.fail(failure, SENTENCE)
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
                operation.fail(AWAY)
                self._undo(operation, leaves=leaves)

    def clean(self) -> None:
        """What failures have left behind is removed."""
        for instance in self.instances.values():
            instance.restoring = False
        for one in self.resources:
            if one.cleanup:
                one.residue = one.cleanup = False

    # --- requests -----------------------------------------------------------------

    def ask(self, request: Request) -> Asked:
        """How a request is to be answered; what it begins has begun."""
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
        body = request.body
        if any(
            not body.get(name)
            for name in ("service_id", "plan_id", "organization_guid", "space_guid")
        ):
            return Asked(request, (BAD,))
        faults = self._faults(request)
        found = self.instances.get(request.instance)
        deletes = found is not None and deleting(found)
        if found is not None and (deletes or found.state in {"making", "ready"}):
            if found.platform != request.platform:
                return Asked(request, (CONFLICT, *faults))
            same = all(
                (body.get(name) or {}) == (found.asked.get(name) or {})
                for name in (*NAMES, "organization_guid", "space_guid")
            )
            if deletes:
                at_once = (BUSY,) if same else (BUSY, CONFLICT)
                return Asked(request, (*at_once, *faults))
            if not same:
                return Asked(request, (CONFLICT, *faults))
            if found.state == "making":
                assert found.running is not None
                return self._join(request, found.running)
            return Asked(request, (Answer(200, holds=dashboard_of(found)),))
        if faults:
            return Asked(request, faults)
        fresh = Instance(request.instance, request.platform, body)
        fresh.bindings = found.bindings if found is not None else {}
        self.instances[request.instance] = fresh
        return self._begin(request, fresh, None, fresh.plan.mode)

    def _faults(self, request: Request) -> tuple[Answer, ...]:
        body = request.body
        plan = PLANS.get(body["plan_id"])
        if plan is None or plan.offering != body["service_id"]:
            return (BAD,)
        faults = []
        if not fits(body.get("parameters") or {}):
            faults.append(BAD)
        if version_of(body) not in {None, VERSION}:
            faults.append(OTHER_VERSION)
        if plan.mode == "async" and not request.flag:
            faults.append(NEEDS_FLAG)
        return tuple(faults)

    # --- updating -----------------------------------------------------------------

    def _update(self, request: Request) -> Asked:
        """Spec: "Updating a Service Instance", Response."""
        body = request.body
        if not body.get("service_id"):
            return Asked(request, (BAD,))
        found = self.instances.get(request.instance)
        if found is None or not found.seen_by(request.platform):
            return Asked(request, (UNKNOWN,))
        faults, target = self._changes(request, found)
        running = found.running
        if (
            running is not None
            and running.kind == "update"
            and wish(running.sent) == wish(body)
        ):
            if found.plan.mode != running.mode == "async" and not request.flag:
                # on its way to a plan that needs the flag, it may be waited for
                return Asked(request, (NEEDS_FLAG,), running, then="busy")
            return self._join(request, running)
        if running is not None or found.restoring or found.binding_runs:
            return Asked(request, (BUSY, *faults))
        if faults:
            return Asked(request, faults)
        if all(found.asked.get(name) == value for name, value in target.items()):
            return Asked(request, (Answer(200, holds=dashboard_of(found)),))
        plan: str = target.get("plan_id", found.plan.name)
        return self._begin(request, found, None, PLANS[plan].mode, **target)

    def _changes(
        self, request: Request, found: Instance
    ) -> tuple[tuple[Answer, ...], Json]:
        """What is wrong with a PATCH, and what it leads to."""
        body = request.body
        faults: list[Answer] = []
        target: Json = {}
        wanted = body.get("plan_id") or found.plan.name
        plan = PLANS.get(wanted)
        if body["service_id"] != found.plan.offering:
            faults.append(BAD)
        if plan is None or plan.offering != found.plan.offering:
            faults.append(BAD)
            plan = found.plan
        if plan is not found.plan:
            target["plan_id"] = plan.name
            if not found.plan.updateable:
                faults.append(NO_UPDATE)
        if version_of(body) not in {None, VERSION}:
            faults.append(OTHER_VERSION)
        sent = body.get("parameters") or {}
        stored = found.asked.get("parameters") or {}
        merged = {name: value for name, value in stored.items() if name not in sent}
        merged |= {name: value for name, value in sent.items() if value is not None}
        if not fits(merged):
            faults.append(BAD)
        if merged != stored:
            target["parameters"] = merged
        if plan.mode == "async" and not request.flag:
            faults.append(NEEDS_FLAG)
        return tuple(faults), target

    # --- deprovisioning -----------------------------------------------------------

    def _deprovision(self, request: Request) -> Asked:
        """Spec: "Deprovisioning", Response."""
        if not request.body.get("service_id") or not request.body.get("plan_id"):
            return Asked(request, (BAD,))
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
        holds = [
            ("service_id", found.plan.offering),
            ("plan_id", found.plan.name),
            *dashboard_of(found),
        ]
        if parameters := found.asked.get("parameters"):
            holds.append(("parameters", parameters))
        lacks = () if parameters else ("parameters",)
        return Asked(request, (Answer(200, holds=tuple(holds), lacks=lacks),))

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
            return Asked(request, (Answer(200, holds=(("state", "succeeded"),)),))
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
        parameters = found.asked.get("parameters")
        shown = shown_binding(found, 200)
        if parameters:
            shown = replace(shown, holds=(*shown.holds, ("parameters", parameters)))
        return Asked(request, (shown,))

    # --- binding ------------------------------------------------------------------

    def _bind(self, request: Request) -> Asked:
        """Spec: "Binding", "Binding Rotation", Response."""
        body = request.body
        rotates: str | None = body.get("predecessor_binding_id")
        if not rotates and not (body.get("service_id") and body.get("plan_id")):
            return Asked(request, (BAD,))
        instance = self.instances.get(request.instance)
        if instance is None or not instance.seen_by(request.platform):
            return Asked(request, (UNKNOWN,))
        faults = self._bind_faults(request, instance)
        found = self._binding(request)
        if found is not None and found.state in {"making", "ready"}:
            same = same_binding(found, instance, body)
            if found.running is not None and found.running.kind == "unbind":
                at_once = (BUSY,) if same else (BUSY, CONFLICT)
                return Asked(request, (*at_once, *faults))
            if not same:
                return Asked(request, (CONFLICT, *faults))
            if found.running is not None:
                return self._join(request, found.running)
            also = (BUSY,) if deleting(instance) else ()
            return Asked(request, (shown_binding(found, 200), *also))
        if found is not None and found.running is not None:
            return Asked(request, (BUSY, *faults))
        if instance.running is not None or instance.restoring:
            return Asked(request, (BUSY, *faults))
        if faults:
            return Asked(request, faults)
        taken = instance.bindings[rotates].asked if rotates else body
        fresh = Binding(
            request.binding or "",
            request.platform,
            instance.plan.name,
            {**taken, "predecessor_binding_id": rotates},
        )
        instance.bindings[fresh.id] = fresh
        return self._begin(request, instance, fresh, instance.plan.binds)

    def _bind_faults(self, request: Request, instance: Instance) -> tuple[Answer, ...]:
        body, plan = request.body, instance.plan
        faults = []
        wrong = (
            body.get("service_id", plan.offering) != plan.offering
            or body.get("plan_id", plan.name) != plan.name
            or not plan.bindable
        )
        rotates = body.get("predecessor_binding_id")
        if rotates:
            before = instance.bindings.get(rotates)
            there = before is not None and before.state == "ready"
            busy = before is not None and before.running is not None
            wrong |= not plan.rotatable or not there or busy
            wrong |= bool(body.get("parameters") or body.get("app_guid"))
        else:
            wrong |= not fits_binding(body.get("parameters") or {})
        if wrong:
            faults.append(BAD)
        if plan.binds == "async" and not request.flag:
            faults.append(NEEDS_FLAG)
        return tuple(faults)

    def _unbind(self, request: Request) -> Asked:
        """Spec: "Unbinding", Response."""
        if not request.body.get("service_id") or not request.body.get("plan_id"):
            return Asked(request, (BAD,))
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

NAMES = ("service_id", "plan_id", "parameters")


def deleting(instance: Instance) -> bool:
    """Whether its removal runs."""
    return instance.running is not None and instance.running.kind == "deprovision"


def dashboard_of(instance: Instance) -> tuple[tuple[str, Any], ...]:
    """The field of its dashboard."""
    return (("dashboard_url", instance.dashboard),)


def version_of(body: Json) -> str | None:
    """The version of the maintenance_info that a request asks for."""
    version: str | None = (body.get("maintenance_info") or {}).get("version")
    return version


def wish(body: Json) -> tuple[Any, ...]:
    """What a PATCH asks for: absent, null and empty are the same."""
    plan, parameters = body.get("plan_id"), body.get("parameters") or {}
    return body["service_id"], plan, parameters, body.get("context"), version_of(body)


def same_binding(found: Binding, instance: Instance, body: Json) -> bool:
    """Spec: 409 "with different parameters"; a successor is its predecessor's."""
    if body.get("service_id", instance.plan.offering) != instance.plan.offering:
        return False
    if body.get("plan_id", found.plan) not in {found.plan, instance.plan.name}:
        return False
    before = found.asked.get("predecessor_binding_id")
    if before or body.get("predecessor_binding_id"):
        return bool(before == body.get("predecessor_binding_id"))
    return all(
        (body.get(name) or None) == (found.asked.get(name) or None)
        for name in ("parameters", "app_guid")
    )


def told(operation: Operation) -> Answer:
    """What a poll says of an operation."""
    holds = [("state", operation.state)]
    if operation.sentence is not None:
        holds.append(("description", operation.sentence))
    usable = repeatable = None
    if operation.failure is not None and operation.binding is None:
        usable = operation.failure.usable
        repeatable = operation.failure.repeatable
    return Answer(200, holds=tuple(holds), usable=usable, repeatable=repeatable)


# --- answers ----------------------------------------------------------------------


def difference(asked: Asked, status: int, body: Json) -> str | None:
    """Why an answer is none of those allowed; None if it is one."""
    why = []
    for answer in asked.allowed():
        reason = unlike(answer, status, body)
        if reason is None:
            return None
        why.append(f"{answer.status} {answer.error or ''}: {reason}")
    return "; or ".join(why) or "it has to wait"


def unlike(answer: Answer, status: int, body: Json) -> str | None:
    """Why an answer is not this one."""
    if status != answer.status:
        return "another status"
    if answer.empty:
        return "the body is not {}" if body else None
    if body.get("error") != answer.error:
        return f"error is {body.get('error')}"
    if status >= 400 and not body.get("description"):
        return "no description"
    if body.get("instance_usable") is not answer.usable:
        return "instance_usable"
    if body.get("update_repeatable") is not answer.repeatable:
        return "update_repeatable"
    for name, value in answer.holds:
        if name not in body or not (body[name] if value is None else True):
            return f"{name} is not there"
        if value is not None and body[name] != value:
            return f"{name} is not {value}"
    for name in answer.lacks:
        if name in body:
            return f"{name} is there"
    return None


def learn(model: Model, asked: Asked, body: Json) -> str | None:
    """Keep what the broker chose itself: it must be new, and stay.

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
    token, url = body.get("operation"), body.get("dashboard_url")
    if token is not None and operation is not None and operation.token is None:
        if token in model.tokens:
            return "an operation that was another's"
        operation.token = token
        model.tokens[token] = operation
    if url is not None and instance is not None and instance.dashboard is None:
        if url in model.urls:
            return "a dashboard_url that was another's"
        instance.dashboard = url
        model.urls.add(url)
    if "credentials" in body and binding is not None and binding.body is None:
        secret = repr(body["credentials"])
        if secret in model.secrets:
            return "credentials that were another's"
        binding.body = body
        model.secrets.add(secret)
    return None
