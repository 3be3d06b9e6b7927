"""Random sequences of every verb, held against a model of the specification.

A step is one request of a platform (new, repeated to the letter or nearly so, with
other or wrong attributes, malformed, of an older client), the end of a call that the
service holds, the end of every waiting request's patience, the turn of the broker's
clean-ups, or a newer version in the catalog. After each step every request without
an answer must be one that has to wait, and every answer must be one that `model`
allows, to the last field. At the end of a run everything is deleted: then nothing is
left in the service's ledger nor alive in the store.

    MACHINE_SEED=1     other sequences than those of every run, by this seed
    MACHINE_STEPS=50000   more of them
"""

import ast
import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conformance import asking, expected
from tests.conformance import model as spec
from tests.conformance.asking import (
    PLANS,
    PLATFORMS,
    SECRET,
    Json,
    Plan,
    Request,
    Verb,
)
from tests.conformance.expected import Told
from tests.conformance.model import Asked, Ending, Model
from tests.conformance.steps import Stepping, stepping

STEPS = int(os.environ.get("MACHINE_STEPS", "10000"))
SEED = 1000 * int(os.environ.get("MACHINE_SEED", "0"))
RUN = 100  # steps of one sequence
OPEN = 6  # requests that wait at most
HELD = 3  # operations that are held at most: each keeps others away


class Difference(AssertionError):
    """The broker and the model disagree."""


class Scene:
    """A broker in a loop of its own, which the sequences use one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.steps = 0
        self.broker: Stepping = self.run(self._started())

    def run(self, work: Any) -> Any:
        """Run something in the loop.

        Raises:
            Difference: it does not come to rest.
        """
        try:
            return self._runner.run(work)
        except TimeoutError as error:
            raise Difference("something moves, and does not stop") from error

    def number(self) -> int:
        """A number that no sequence had: ids are never met again."""
        return next(self._numbers)

    def renew(self) -> None:
        """Take another broker: what a difference left must not show in the next."""
        self.run(self._stopped())
        self.broker = self.run(self._started())

    def close(self) -> None:
        """Stop the broker."""
        try:
            self.run(self._stopped())
        finally:
            self._runner.close()

    async def _started(self) -> Stepping:
        folder = self._folder / str(self.number())
        folder.mkdir()
        return await self._stack.enter_async_context(stepping(folder))

    async def _stopped(self) -> None:
        for task in tuple(self.broker.open):
            task.cancel()
        await self._stack.aclose()


# --- what platforms send ----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Whim:
    """What one step is about; each takes of it what it needs.

    Attributes:
        instance, binding, before: one of those that are there, or any id.
        about: an instance of this kind, if there is one; see `KINDS`.
        as_is: what is there is asked for as it is now.
        stranger: the platform whose instance it is not asks.
        slip: what is wrong with the request; 0 for nothing.
        more: fields that decide nothing, or nothing by themselves.
        maintained: what the request says of maintenance_info.
        headers: fields of the request that are sent as headers, and `no_flag`.
        ending: of what begins; None holds it inside the service.
        released: of what is held.
        back: how many requests or operations ago; negative for none.
    """

    instance: int
    binding: int
    before: int
    about: str
    as_is: bool
    stranger: bool
    flag: bool
    plan: str
    other_plan: str | None
    parameters: Json | None
    change: Json | None
    role: Json | None
    bound_to: Json
    org: str
    slip: int
    more: Json
    maintained: str
    headers: Json
    ending: Ending | None
    released: Ending
    back: int


IDS_EACH = 4
THERE = 88  # per cent of the requests are about something that is there
NEW = 50  # per cent of the PUTs are not
GIVEN = {"service_id": "any", "plan_id": "any"}  # hints, but they must be there
SIZES: list[Json | None] = [{}, {"size": 1}, {"size": 2}, {"size": 1, "color": "red"}]
CHANGES: list[Json | None] = [{"size": 2}, {"size": None}, {"color": "green"}, {}, None]
ROLES: list[Json | None] = [{}, {"role": "writer"}, None]
APPS: list[Json] = [
    {},
    {},
    {"app_guid": "app"},
    {"app_guid": ""},
    {"bind_resource": {"app_guid": "app", "space_guid": "space"}},
    {"app_guid": "app", "bind_resource": {"app_guid": "other-app"}},
    {"bind_resource": {"route": "route.example"}},
    {"bind_resource": {}},
]
CONTEXTS: list[Json] = [
    {"platform": "cloudfoundry", "organization_guid": "org", "instance_name": "mine"},
    {"platform": "cloudfoundry", "organization_guid": "org", "instance_name": "yours"},
    {"platform": "kubernetes", "namespace": "default", "clusterid": "1"},
    {"platform": "sapcp", "signature": "c2ln", "instance_name": "mine"},
    {},
]
MORE: list[Json] = [
    *({"context": context} for context in CONTEXTS),
    {"context": None},
    {"x-vendor": {"any": ["thing", None]}, "previous_values": {"plan_id": "any"}},
    *[{}] * 7,
]
MAINTAINED = ["not"] * 8 + ["null", "empty", "right", "right", "described", "wrong"]
VERSIONS = ["2.17"] * 14 + ["2.11", "2.13", "2.14", "2.15", "2.16", "2.99"]
NO_VERSIONS = [None, "", "2.10", "3.0", "two", "2.17.1"]
IDENTITIES = [None, "7f9a-1c", "a request of a user", "", "x" * 1024, "x" * 1025]
USERS = [None, None, "cloudfoundry eyJ1c2VyX2lkIjogInVzZXIifQ==", "kubernetes", "%"]
NO_FLAGS = [None, None, "false", "maybe", "True", ""]


def whim_of(chance: Random) -> Whim:
    """A whim."""
    pick = chance.choice
    return Whim(
        instance=chance.randrange(100),
        binding=chance.randrange(100),
        before=chance.randrange(100),
        about="any",
        as_is=chance.random() < 0.5,
        stranger=chance.random() < 0.06,
        flag=chance.random() < 0.7,
        plan=pick([*PLANS, "sync", "async", "auto", "plain", "plain"]),
        other_plan=pick([None] * 8 + [*PLANS]),
        parameters=pick(SIZES),
        change=pick(CHANGES),
        role=pick(ROLES),
        bound_to=pick(APPS),
        org=pick(["org"] * 4 + ["other"]),
        slip=chance.randrange(1, 1000) if chance.random() < 0.15 else 0,
        more=pick(MORE),
        maintained=pick(MAINTAINED),
        headers={
            "version": pick(NO_VERSIONS if chance.random() < 0.02 else VERSIONS),
            "identity": pick(IDENTITIES),
            "user": pick(USERS),
            "no_flag": pick(NO_FLAGS),
        },
        ending=pick([None] * 6 + [Ending.WELL] * 9 + list(Ending)),
        released=pick([Ending.WELL] * 6 + list(Ending)),
        back=chance.randrange(-2, 6),
    )


numbers = st.integers(0, 2**64 - 1)

# --- what is wrong with a request -------------------------------------------------

Slip = Callable[[Json], Json | str]


def saying(**fields: Any) -> Slip:
    """Other values, or fields that do not belong there."""
    return lambda body: body | fields


def leaving_out(name: str) -> Slip:
    """A field that is missing."""
    return lambda body: {other: body[other] for other in body if other != name}


def instead(raw: str) -> Slip:
    """Another body altogether."""
    return lambda _: raw


UNREADABLE = [
    instead(raw)
    for raw in ("", "[]", "null", '{"service_id": ', '{"parameters": {"size": NaN}}')
]
IDS = [
    saying(service_id="other"),
    saying(service_id=SECRET),
    saying(service_id=7),
    saying(service_id=""),
    saying(service_id=None),
    leaving_out("service_id"),
    saying(plan_id=SECRET),
    saying(plan_id=7),
    saying(plan_id=""),
]
NO_OBJECTS: list[Any] = [SECRET, [SECRET], 7, True]
OBJECTS = [
    *(saying(parameters=value) for value in [*NO_OBJECTS, {"none": SECRET}]),
    *(saying(context=value) for value in NO_OBJECTS),
]
SIZES_OF_NOTHING = [
    saying(parameters={"size": size}) for size in (10, 0, True, "5", 1.0, SECRET, [1])
]
NO_INFOS: list[Any] = [SECRET, [], {"version": 1}, {"version": SECRET}, {"version": ""}]
INFOS = [saying(maintenance_info=value) for value in NO_INFOS]
SLIPS: dict[str, list[Slip]] = {
    "provision": [
        *UNREADABLE,
        *IDS,
        *OBJECTS,
        *SIZES_OF_NOTHING,
        *INFOS,
        saying(plan_id=None),
        leaving_out("plan_id"),
        *(saying(plan_id=other) for other in ("sync", "async", "auto")),
        saying(parameters={"size": 3}),
        saying(organization_guid="another"),
        saying(organization_guid=""),
        saying(organization_guid=7),
        leaving_out("organization_guid"),
        saying(space_guid=["space"]),
        saying(space_guid="another"),
        leaving_out("space_guid"),
    ],
    "update": [
        *UNREADABLE,
        *IDS,
        *OBJECTS,
        *SIZES_OF_NOTHING,
        *INFOS,
        saying(parameters={"none": None}),
        saying(previous_values=SECRET),
        saying(previous_values={"plan_id": 7}),
    ],
    "bind": [
        *UNREADABLE,
        *IDS,
        *OBJECTS,
        saying(plan_id=None),
        leaving_out("plan_id"),
        saying(parameters={"role": SECRET}),
        saying(app_guid=7),
        *(saying(bind_resource=value) for value in NO_OBJECTS),
        saying(bind_resource={"app_guid": 7}),
        saying(bind_resource={"route": [SECRET]}),
        *(saying(predecessor_binding_id=value) for value in ("", 7, SECRET)),
    ],
    "rotate": [
        *UNREADABLE,
        *(saying(predecessor_binding_id=value) for value in ("", 7, None, SECRET)),
        saying(service_id="other"),
        saying(service_id=7),
        saying(service_id=""),
        saying(plan_id=SECRET),
        saying(plan_id="auto"),
        saying(parameters={"role": "writer"}),
        saying(parameters=[]),
        saying(app_guid="app"),
        saying(bind_resource={"app_guid": "app"}),
    ],
    "remove": [
        *(leaving_out(name) for name in GIVEN),
        saying(service_id=""),
        saying(plan_id=""),
        saying(service_id=SECRET),
    ],
    "repeat": [
        saying(context={"platform": "cloudfoundry", "instance_name": "another"}),
        saying(maintenance_info={"version": "0.9.0"}),
        saying(maintenance_info={"version": SECRET}),
        saying(maintenance_info=7),
        saying(parameters={"size": 1.0}),
        saying(parameters={"size": True}),
        saying(parameters={}),
        saying(parameters=None),
        saying(bind_resource={"app_guid": "app"}),
        saying(space_guid="another"),
        saying(plan_id="auto"),
        saying(plan_id=SECRET),
        saying(**{"x-vendor": None}),
    ],
}


def slipped(body: Json, slip: int, kind: str) -> tuple[Json, str | None]:
    """A body with one thing wrong, or what is sent instead; 0 leaves it as it is."""
    if not slip:
        return body, None
    wrong = SLIPS[kind][slip % len(SLIPS[kind])](body)
    return (body, wrong) if isinstance(wrong, str) else (wrong, None)


class Machine(RuleBasedStateMachine):
    """One sequence."""

    scene: Scene

    def __init__(self) -> None:
        super().__init__()
        self.number = self.scene.number()
        self.salt = self.turn = 0
        self.model = Model(self.broker.versions)
        self.sent: list[Request] = []
        self.open: dict[asyncio.Task[httpx.Response], Asked] = {}
        self.broken = False

    @property
    def broker(self) -> Stepping:
        """The broker."""
        return self.scene.broker

    @property
    def patient(self) -> bool:
        """Whether one more request may have to wait."""
        return len(self.open) < OPEN

    def there(self) -> bool:
        """Whether any instance is there; now and then it does not matter."""
        every = self.model.instances.values()
        return any(one.busy_or_there for one in every) or self.turn % 5 == 0

    def removes(self) -> bool:
        """Whether to delete an instance: every other time, or while one is made."""
        every = self.model.instances.values()
        return any(one.state == "making" for one in every) or self.turn % 2 == 0

    # --- requests -----------------------------------------------------------------

    def whim(self, number: int) -> Whim:
        """The whim of a number; never the same twice, though numbers often are."""
        self.turn += 1
        return whim_of(Random(f"{self.salt} {self.turn} {number}"))

    @initialize(salt=numbers)
    def begin(self, salt: int) -> None:
        """Two instances to begin with, and a binding of each."""
        self.salt = salt
        for number, each in enumerate((self.whim(0), self.whim(0))):
            smooth = replace(
                each,
                instance=THERE + number,
                binding=THERE,
                stranger=False,
                flag=True,
                slip=0,
                as_is=False,
                maintained="not",
                headers={},
                ending=each.ending if number else Ending.WELL,
            )
            self.put(smooth)
            self.put_binding(smooth)

    @precondition(lambda self: self.patient)
    @rule(number=numbers)
    def provision(self, number: int) -> None:
        """PUT of an instance."""
        whim = self.whim(number)
        self.put(replace(whim, instance=whim.instance + THERE - NEW))

    @precondition(lambda self: self.patient)
    @rule(number=numbers)
    def repeat(self, number: int) -> None:
        """One of the last requests again: to the letter, nearly, with another flag."""
        whim = self.whim(number)
        if not self.sent:
            return
        again = self.sent[-1 - max(0, whim.back) % len(self.sent)]
        if whim.stranger or whim.other_plan is not None:
            again = replace(again, flag=whim.flag, **whim.headers)
        if whim.slip and again.verb in {"provision", "update", "bind"}:
            body, _ = slipped(again.body, whim.slip, "repeat")
            again = replace(again, body=body)
        self.send(again, whim.ending)

    @precondition(lambda self: self.patient and self.there())
    @rule(number=numbers)
    def update(self, number: int) -> None:
        """PATCH of parameters, or to another plan, or both."""
        whim = self.whim(number)
        plan = PLANS.get(whim.other_plan or "", self.plan_of(whim))
        body: Json = {
            "service_id": self.plan_of(whim).offering,
            "parameters": whim.change,
            **whim.more,
            **self.maintained(whim, plan),
        }
        if whim.other_plan is not None:
            body["plan_id"] = whim.other_plan
        self.ask("update", whim, body, wrongly="update")

    @precondition(lambda self: self.patient and self.there())
    @rule(number=numbers)
    def update_by_itself(self, number: int) -> None:
        """PATCH of nothing but a context, or maintenance_info."""
        whim = self.whim(number)
        plan = self.plan_of(whim)
        body: Json = {"service_id": plan.offering}
        if whim.as_is:
            body["context"] = CONTEXTS[whim.before % len(CONTEXTS)]
        else:
            body |= self.maintained(replace(whim, maintained="right"), plan)
        self.ask("update", whim, body, wrongly="update")

    @precondition(lambda self: self.patient and self.removes())
    @rule(number=numbers)
    def deprovision(self, number: int) -> None:
        """DELETE of an instance."""
        whim = self.whim(number)
        whim = replace(whim, about="being made" if whim.as_is else "any")
        self.ask("deprovision", whim, GIVEN, wrongly="remove")

    @precondition(lambda self: self.there())
    @rule(number=numbers)
    def fetch(self, number: int) -> None:
        """GET of an instance."""
        whim = self.whim(number)
        self.ask("fetch", whim, GIVEN if whim.slip else {})

    @precondition(lambda self: self.there())
    @rule(number=numbers)
    def poll(self, number: int) -> None:
        """Last operation of an instance."""
        whim = self.whim(number)
        self.ask("poll", whim, self.token(whim))

    @precondition(lambda self: self.patient and self.there())
    @rule(number=numbers)
    def bind(self, number: int) -> None:
        """PUT of a binding."""
        whim = self.whim(number)
        self.put_binding(replace(whim, binding=whim.binding + THERE - NEW))

    @precondition(lambda self: self.patient and self.there())
    @rule(number=numbers)
    def rotate(self, number: int) -> None:
        """PUT of a binding that succeeds another."""
        whim = replace(self.whim(number), about="bound")
        before = self.binding(replace(whim, binding=whim.before))
        body: Json = {"predecessor_binding_id": before}
        if whim.flag:
            plan = self.plan_of(whim)
            body |= {"service_id": plan.offering, "plan_id": plan.name}
        fresh = replace(whim, binding=THERE + whim.binding % IDS_EACH)
        self.ask("bind", fresh, body | whim.more, wrongly="rotate", of_binding=True)

    @precondition(lambda self: self.patient)
    @rule(number=numbers)
    def unbind(self, number: int) -> None:
        """DELETE of a binding."""
        whim = self.whim(number)
        whim = replace(whim, about="being bound" if whim.as_is else "bound")
        self.ask("unbind", whim, GIVEN, wrongly="remove", of_binding=True)

    @precondition(lambda self: self.there())
    @rule(number=numbers)
    def fetch_binding(self, number: int) -> None:
        """GET of a binding."""
        whim = replace(self.whim(number), about="bound")
        hints = GIVEN if whim.slip else {}
        self.ask("fetch_binding", whim, hints, of_binding=True)

    @precondition(lambda self: self.there())
    @rule(number=numbers)
    def poll_binding(self, number: int) -> None:
        """Last operation of a binding."""
        whim = replace(self.whim(number), about="bound")
        self.ask(
            "poll_binding", whim, self.token(whim, of_binding=True), of_binding=True
        )

    # --- what happens besides -----------------------------------------------------

    @precondition(lambda self: self.broker.steps.inside)
    @rule(number=numbers)
    def release(self, number: int) -> None:
        """An operation ends well or badly."""
        whim = self.whim(number)
        keys = list(self.broker.steps.held)
        self.let_go(keys[whim.instance % len(keys)], whim.released)

    def let_go(self, key: spec.Key, wished: Ending) -> None:
        """End what is held for a resource."""
        operation = self.model.operation(key)
        plan = operation.instance.plan
        ending = spec.possible(operation.kind, plan, wished)
        note(f"# {operation.kind} of {key}: {ending}")
        self.model.end(operation, ending)
        self.do(self.broker.release(key, ending))

    @precondition(lambda self: self.open)
    @rule(undone=st.booleans())
    def late(self, undone: bool) -> None:
        """Whoever waits has waited long enough."""
        self.model.late(leaves=not undone)
        self.do(self.broker.late(undone=undone))

    @precondition(lambda self: self.broker.cleanups)
    @rule(well=st.booleans())
    def clean(self, well: bool) -> None:
        """The clean-ups of failures have their turn."""
        if well:
            self.model.clean()
        self.do(self.broker.clean(well=well))

    @precondition(lambda self: not self.open)
    @rule(number=numbers)
    def move_on(self, number: int) -> None:
        """The catalog has a newer maintenance_info of a plan."""
        whim = self.whim(number)
        name = whim.plan
        if whim.before < 10 and PLANS[name].version is not None:
            version = f"1.{self.scene.number()}.0"
            note(f"# {name} is at {version}")
            self.model.release(name, version)
            self.do(self.broker.move_on(name, version))

    # --- how ----------------------------------------------------------------------

    def instance(self, whim: Whim) -> str:
        """An instance id of this sequence."""
        there = [one for one in self.model.instances.values() if one.busy_or_there]
        there = [one for one in there if KINDS[whim.about](one)] or there
        if whim.instance < THERE and there:
            return there[whim.instance % len(there)].id
        return f"{self.number}-i{whim.instance % IDS_EACH}"

    def binding(self, whim: Whim) -> str:
        """A binding id likewise."""
        found = self.model.instances.get(self.instance(whim))
        every = [] if found is None else list(living(found))
        if whim.about == "being bound":
            every = [one for one in every if one.state == "making"] or every
        there = [one.id for one in every]
        if whim.binding < THERE and there:
            return there[whim.binding % len(there)]
        return f"b{whim.binding % IDS_EACH}"

    def plan_of(self, whim: Whim) -> Plan:
        """The plan that the instance has, or any."""
        found = self.model.instances.get(self.instance(whim))
        return PLANS["auto"] if found is None else found.plan

    def platform(self, whim: Whim) -> str:
        """Who asks: the owner, somebody else, or whom nobody knows."""
        if whim.stranger and not whim.binding % 5:
            return "nobody"
        found = self.model.instances.get(self.instance(whim))
        owner = PLATFORMS[0] if found is None else found.platform
        return next(one for one in PLATFORMS if (one != owner) is whim.stranger)

    def token(self, whim: Whim, *, of_binding: bool = False) -> Json:
        """The query of a poll: one of the last tokens, a wrong one, or none."""
        if whim.back < 0:
            return GIVEN | {"operation": ("", SECRET)[whim.flag]} if whim.slip else {}
        tokens = list(self.model.tokens)
        if whim.as_is:
            mine = (self.instance(whim), self.binding(whim) if of_binding else None)
            known = self.model.tokens
            tokens = [one for one in tokens if known[one].key == mine]
        found = whim.back < len(tokens)
        return {"operation": tokens[-1 - whim.back]} if found else {}

    def maintained(self, whim: Whim, plan: Plan) -> Json:
        """The maintenance_info of a request that is about a plan."""
        version = self.model.versions[plan.name] or "1.0.0"
        said: dict[str, Any] = {
            "null": None,
            "empty": {},
            "right": {"version": version},
            "described": {"version": version, "description": "Any.", "x-more": 1},
            "wrong": {"version": "0.9.0"},
        }
        found = whim.maintained
        return {"maintenance_info": said[found]} if found in said else {}

    def put(self, whim: Whim) -> None:
        """Send a PUT of an instance."""
        body = {
            "service_id": PLANS[whim.plan].offering,
            "plan_id": whim.plan,
            "organization_guid": whim.org,
            "space_guid": "space",
            "parameters": whim.parameters,
        }
        found = self.model.instances.get(self.instance(whim))
        if found is not None and whim.as_is:
            body = {name: found.asked[name] for name in spec.NAMES}
            if whim.org != "org":  # but for one attribute
                body["plan_id"] = whim.plan
        body |= whim.more | self.maintained(whim, PLANS[str(body["plan_id"])])
        self.ask("provision", whim, body, wrongly="provision")

    def put_binding(self, whim: Whim) -> None:
        """Send a PUT of a binding."""
        plan = self.plan_of(whim)
        body: Json = {
            "service_id": plan.offering,
            "plan_id": plan.name,
            "parameters": whim.role,
            **whim.bound_to,
            **whim.more,
        }
        instance = self.model.instances.get(self.instance(whim))
        found = instance and instance.bindings.get(self.binding(whim))
        if found is not None and whim.as_is:
            asked = found.asked
            body["parameters"] = asked["parameters"]
            body["bind_resource"] = {"app_guid": asked["app"], "route": asked["route"]}
        self.ask("bind", whim, body, wrongly="bind", of_binding=True)

    def ask(
        self,
        verb: Verb,
        whim: Whim,
        body: Json,
        *,
        wrongly: str | None = None,
        of_binding: bool = False,
    ) -> None:
        """Send a new request.

        Args:
            wrongly: what may be wrong with it; None for nothing.
        """
        raw = None
        if wrongly is not None:
            body, raw = slipped(body, whim.slip, wrongly)
        request = Request(
            verb=verb,
            platform=self.platform(whim),
            instance=self.instance(whim),
            binding=self.binding(whim) if of_binding else None,
            body=body,
            raw=raw,
            flag=whim.flag and verb in CHANGING,
            **whim.headers,
        )
        if verb in CHANGING:
            self.sent.append(request)
        self.send(request, whim.ending)

    def send(self, request: Request, ending: Ending | None) -> None:
        """Send a request; what it begins ends at once unless it is held."""
        self.broken = True  # until the answer is judged
        if ending is None and self.broker.steps.inside >= HELD:
            ending = Ending.WELL
        note(f"# {request} {ending}")
        asked = self.model.ask(request)
        if asked.operation is not None and asked.began and ending is not None:
            operation = asked.operation
            ending = spec.possible(operation.kind, operation.instance.plan, ending)
            self.model.end(operation, ending)
        task = self.do_send(request, ending)
        self.open[task] = asked
        self.judge()

    def do_send(
        self, request: Request, ending: Ending | None
    ) -> asyncio.Task[httpx.Response]:
        """Send it over the wire."""
        task: asyncio.Task[httpx.Response] = self.scene.run(
            self.broker.send(request, ending)
        )
        return task

    def do(self, work: Any) -> None:
        """Do something else, and judge what it brought about."""
        self.broken = True
        self.scene.run(work)
        self.judge()

    def judge(self) -> None:
        """Hold every answer against the model, and every silence."""
        self.scene.steps += 1
        for task, asked in list(self.open.items()):
            if not task.done():
                if not asked.may_wait():
                    self.differ(asked, "no answer")
                continue
            del self.open[task]
            if asked in self.model.waiting:
                self.model.waiting.remove(asked)
            self.compare(asked, task.result())
        runs = {operation.key for operation in self.model.live}
        held = set(self.broker.steps.held)
        if runs != held:
            raise Difference(f"the model says {runs} run; inside are {held}")
        self.broken = False

    def compare(self, asked: Asked, answer: httpx.Response) -> None:
        """Hold one answer against what is allowed."""
        told = Told(answer.status_code, answer.headers, answer.json())
        note(f"# {told.status} {told.body}")
        reason = spec.difference(asked, told)
        reason = reason or spec.learn(self.model, asked, told.body)
        if reason is not None:
            self.differ(asked, f"{told.status} {told.body}: {reason}")

    def differ(self, asked: Asked, what: str) -> None:
        """Tell of a difference."""
        raise Difference(f"{asked.request}\n{what}")

    # --- the end ------------------------------------------------------------------

    def teardown(self) -> None:
        """Let everything end, delete everything, and look what is left."""
        try:
            if not self.broken:
                self.finish()
        finally:
            if self.broken:
                self.scene.renew()

    def finish(self) -> None:
        """The end of a sequence that found no difference."""
        while self.broker.steps.inside:
            self.let_go(next(iter(self.broker.steps.held)), Ending.WELL)
        for instance in list(self.model.instances.values()):
            request = Request(
                verb="deprovision",
                platform=instance.platform,
                instance=instance.id,
                body=GIVEN,
                flag=True,
            )
            self.send(request, Ending.WELL)
            assert instance.state in {"gone", "failed"}
        while self.broker.cleanups:
            self.do(self.broker.clean(well=True))
        self.broken = True
        left = self.scene.run(self.broker.left())
        if left:
            raise Difference(f"this is left: {left}")
        self.broken = False


def living(instance: spec.Instance) -> Iterator[spec.Binding]:
    """The bindings that are there, or that something runs on."""
    return (one for one in instance.bindings.values() if one.busy_or_there)


KINDS: dict[str, Callable[[spec.Instance], bool]] = {
    "any": lambda _: True,
    "being made": lambda one: one.state == "making",
    "bound": lambda one: any(living(one)),
    "being bound": lambda one: any(each.state == "making" for each in living(one)),
}
CHANGING = frozenset({"provision", "update", "deprovision", "bind", "unbind"})


def drive(scene: Scene, steps: int) -> None:
    """Run sequences of at most RUN steps, `steps` in all.

    Raises:
        Difference: found in one of them.
    """
    for round_ in count():
        machine: Any = seed(SEED + round_)(
            type("Sequences", (Machine,), {"scene": scene})
        )
        try:
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=min(50, (steps - scene.steps) // RUN + 1),
                    stateful_step_count=RUN,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate],  # to look for a shorter one takes minutes
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        except FlakyFailure as once:
            # told a second time, after other sequences: the catalog has moved on
            raise Difference(str(once.exceptions[0])) from once
        if scene.steps >= steps:
            return


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A broker for sequences."""
    made = Scene(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
def test_no_sequence_of_requests_finds_the_broker_and_the_specification_at_odds(
    scene: Scene,
) -> None:
    drive(scene, STEPS)

    assert scene.steps >= STEPS


def test_the_model_knows_nothing_of_the_broker() -> None:
    """A mistake of ours must not hide in what we are held against."""
    imported = {
        name
        for module in (asking, expected, spec)
        for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names]
        )
    }
    ours = {"tests.conformance.asking", "tests.conformance.expected"}

    assert imported - ours == {"collections.abc", "dataclasses", "enum", "re", "typing"}
