"""Random sequences of every verb, held against a model of the specification.

A step is one request of a platform (new, repeated to the letter, with other or
wrong attributes), the end of a call that the service holds, the end of every
waiting request's patience, or the turn of the broker's clean-ups. After each step
every request without an answer must be one that has to wait, and every answer must
be one that `model` allows. At the end of a run everything is deleted: then nothing
is left in the service's ledger nor alive in the store.

    MACHINE_SEED=1     other sequences than those of every run, by this seed
    MACHINE_STEPS=50000   more of them
"""

import ast
import asyncio
import os
from collections.abc import Iterator
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
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conformance import model as spec
from tests.conformance.model import Asked, Ending, Json, Model, Plan, Request, Verb
from tests.conformance.steps import PLATFORMS, Stepping, stepping

STEPS = int(os.environ.get("MACHINE_STEPS", "10000"))
SEED = os.environ.get("MACHINE_SEED")
RUN = 100  # steps of one sequence
OPEN = 6  # requests that wait at most


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
        stranger: the platform whose instance it is not asks.
        slip: what is wrong with the request; 0 for nothing.
        ending: of what begins; None holds it inside the service.
        released: of what is held.
        back: how many requests or operations ago; negative for none.
    """

    instance: int
    binding: int
    before: int
    stranger: bool
    flag: bool
    plan: str
    other_plan: str | None
    parameters: Json | None
    change: Json | None
    role: Json | None
    app: str | None
    org: str
    slip: int
    ending: Ending | None
    released: Ending
    back: int


IDS_EACH = 3
THERE = 80  # per cent of the requests are about something that is there
GIVEN = {"service_id": "any", "plan_id": "any"}  # hints, but they must be there
SIZES: list[Json | None] = [{}, {"size": 1}, {"size": 2}, {"size": 1, "color": "red"}]
CHANGES: list[Json | None] = [{"size": 2}, {"size": None}, {"color": "green"}, {}, None]
ROLES: list[Json | None] = [{}, {"role": "writer"}, None]


def whim(number: int) -> Whim:
    """The whim of a number: close numbers have nothing in common."""
    chance = Random(number)
    pick = chance.choice
    return Whim(
        instance=chance.randrange(100),
        binding=chance.randrange(100),
        before=chance.randrange(100),
        stranger=chance.random() < 0.1,
        flag=chance.random() < 0.7,
        plan=pick([*spec.PLANS, "sync", "async", "auto"]),
        other_plan=pick([None] * 8 + [*spec.PLANS]),
        parameters=pick(SIZES),
        change=pick(CHANGES),
        role=pick(ROLES),
        app=pick([None, None, "app"]),
        org=pick(["org"] * 4 + ["other"]),
        slip=pick([0] * 30 + [1, 2, 3, 4, 5]),
        ending=pick([None] * 8 + [Ending.WELL] * 8 + list(Ending)),
        released=pick([Ending.WELL] * 6 + list(Ending)),
        back=chance.randrange(-2, 6),
    )


whims = st.integers(0, 2**64 - 1).map(whim)


def slipped(body: Json, slip: int) -> Json:
    """A body with one thing wrong; 0 leaves it as it is."""
    match slip:
        case 1:
            return body | {"plan_id": "unheard-of"}
        case 2:
            return body | {"service_id": "other"}
        case 3:
            return {name: body[name] for name in body if name != "service_id"}
        case 4:
            return body | {"parameters": {"size": 10, "role": "none"}}
        case 5:
            return body | {"maintenance_info": {"version": "0.9.0"}}
    return body


def hints(whim: Whim) -> Json:
    """The query of a DELETE."""
    return {"plan_id": "any"} if whim.slip else GIVEN


class Machine(RuleBasedStateMachine):
    """One sequence."""

    scene: Scene

    def __init__(self) -> None:
        super().__init__()
        self.number = self.scene.number()
        self.model = Model()
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

    # --- requests -----------------------------------------------------------------

    @initialize(first=whims, second=whims)
    def begin(self, first: Whim, second: Whim) -> None:
        """Two instances to begin with, and a binding of each."""
        for number, each in enumerate((first, second)):
            smooth = replace(
                each,
                instance=THERE + number,
                binding=THERE,
                stranger=False,
                flag=True,
                slip=0,
                ending=each.ending if number else Ending.WELL,
            )
            self.put(smooth)
            self.put_binding(smooth)

    @precondition(lambda self: self.patient)
    @rule(whim=whims)
    def provision(self, whim: Whim) -> None:
        """PUT of an instance."""
        self.put(whim)

    @precondition(lambda self: self.patient)
    @rule(whim=whims)
    def repeat(self, whim: Whim) -> None:
        """One of the last requests again, to the letter or with another flag."""
        if self.sent:
            old = self.sent[-1 - max(0, whim.back) % len(self.sent)]
            flag = whim.flag if whim.stranger else old.flag
            self.send(replace(old, flag=flag), whim.ending)

    @precondition(lambda self: self.patient)
    @rule(whim=whims)
    def update(self, whim: Whim) -> None:
        """PATCH."""
        body: Json = {
            "service_id": self.plan_of(whim).offering,
            "parameters": whim.change,
        }
        if whim.other_plan is not None:
            body["plan_id"] = whim.other_plan
        self.ask("update", whim, slipped(body, whim.slip))

    @precondition(lambda self: self.patient)
    @rule(whim=whims)
    def deprovision(self, whim: Whim) -> None:
        """DELETE of an instance."""
        self.ask("deprovision", whim, hints(whim))

    @rule(whim=whims)
    def fetch(self, whim: Whim) -> None:
        """GET of an instance."""
        self.ask("fetch", whim)

    @rule(whim=whims)
    def poll(self, whim: Whim) -> None:
        """Last operation of an instance."""
        self.ask("poll", whim, self.token(whim))

    @precondition(lambda self: self.patient)
    @rule(whim=whims)
    def bind(self, whim: Whim) -> None:
        """PUT of a binding."""
        self.put_binding(whim)

    @precondition(lambda self: self.patient)
    @rule(whim=whims)
    def rotate(self, whim: Whim) -> None:
        """PUT of a binding that succeeds another."""
        before = self.binding(replace(whim, binding=whim.before))
        body: Json = {"predecessor_binding_id": before}
        if whim.slip:
            body["parameters"] = whim.role
        fresh = replace(whim, binding=THERE + whim.binding % IDS_EACH)
        self.ask("bind", fresh, body, of_binding=True)

    @precondition(lambda self: self.patient)
    @rule(whim=whims)
    def unbind(self, whim: Whim) -> None:
        """DELETE of a binding."""
        self.ask("unbind", whim, hints(whim), of_binding=True)

    @rule(whim=whims)
    def fetch_binding(self, whim: Whim) -> None:
        """GET of a binding."""
        self.ask("fetch_binding", whim, of_binding=True)

    @rule(whim=whims)
    def poll_binding(self, whim: Whim) -> None:
        """Last operation of a binding."""
        self.ask("poll_binding", whim, self.token(whim), of_binding=True)

    # --- what happens besides -----------------------------------------------------

    @precondition(lambda self: self.broker.steps.inside)
    @rule(whim=whims)
    def release(self, whim: Whim) -> None:
        """An operation ends well or badly."""
        keys = list(self.broker.steps.held)
        key = keys[whim.instance % len(keys)]
        operation = self.model.operation(key)
        plan = operation.instance.plan
        ending = spec.possible(operation.kind, plan, whim.released)
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

    # --- how ----------------------------------------------------------------------

    def instance(self, whim: Whim) -> str:
        """An instance id of this sequence."""
        there = [one.id for one in self.model.instances.values() if one.busy_or_there]
        if whim.instance < THERE and there:
            return there[whim.instance % len(there)]
        return f"{self.number}-i{whim.instance % IDS_EACH}"

    def binding(self, whim: Whim) -> str:
        """A binding id likewise."""
        found = self.model.instances.get(self.instance(whim))
        every = {} if found is None else found.bindings
        there = [one.id for one in every.values() if one.busy_or_there]
        if whim.binding < THERE and there:
            return there[whim.binding % len(there)]
        return f"b{whim.binding % IDS_EACH}"

    def plan_of(self, whim: Whim) -> Plan:
        """The plan that the instance has, or any."""
        found = self.model.instances.get(self.instance(whim))
        return spec.PLANS["auto"] if found is None else found.plan

    def platform(self, whim: Whim) -> str:
        """Who asks: the owner, or somebody else."""
        found = self.model.instances.get(self.instance(whim))
        owner = PLATFORMS[0] if found is None else found.platform
        return next(one for one in PLATFORMS if (one != owner) is whim.stranger)

    def token(self, whim: Whim) -> Json:
        """The query of a poll: one of the last tokens, a wrong one, or none."""
        if whim.back < 0:
            return {} if whim.back == -1 else {"operation": "unheard-of"}
        tokens = list(self.model.tokens)
        found = whim.back < len(tokens)
        return {"operation": tokens[-1 - whim.back]} if found else {}

    def put(self, whim: Whim) -> None:
        """Send a PUT of an instance."""
        body = {
            "service_id": spec.PLANS[whim.plan].offering,
            "plan_id": whim.plan,
            "organization_guid": whim.org,
            "space_guid": "space",
            "parameters": whim.parameters,
        }
        self.ask("provision", whim, slipped(body, whim.slip))

    def put_binding(self, whim: Whim) -> None:
        """Send a PUT of a binding."""
        plan = self.plan_of(whim)
        body: Json = {
            "service_id": plan.offering,
            "plan_id": plan.name,
            "parameters": whim.role,
        }
        if whim.app is not None:
            body["app_guid"] = whim.app
        self.ask("bind", whim, slipped(body, whim.slip), of_binding=True)

    def ask(
        self,
        verb: Verb,
        whim: Whim,
        body: Json | None = None,
        *,
        of_binding: bool = False,
    ) -> None:
        """Send a new request."""
        request = Request(
            verb=verb,
            platform=self.platform(whim),
            instance=self.instance(whim),
            binding=self.binding(whim) if of_binding else None,
            body=body or {},
            flag=whim.flag and verb in CHANGING,
        )
        if verb in CHANGING:
            self.sent.append(request)
        self.send(request, whim.ending)

    def send(self, request: Request, ending: Ending | None) -> None:
        """Send a request; what it begins ends at once unless it is held."""
        self.broken = True  # until the answer is judged
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
        body = answer.json()
        if answer.headers["content-type"] != "application/json" or None in (
            body.values()
        ):
            self.differ(asked, f"{answer.status_code} {answer.text}")
        told = f"{answer.status_code} {body}"
        note(f"# {told}")
        if reason := spec.difference(asked, answer.status_code, body):
            self.differ(asked, f"{told}: {reason}")
        if again := spec.learn(self.model, asked, body):
            self.differ(asked, f"{told}: {again}")

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
            self.release(replace(whim(0), released=Ending.WELL))
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


CHANGING = frozenset({"provision", "update", "deprovision", "bind", "unbind"})


def drive(scene: Scene, steps: int) -> None:
    """Run sequences of RUN steps, `steps` in all.

    Raises:
        Difference: found in one of them.
    """
    machine: Any = type("Sequences", (Machine,), {"scene": scene})
    if SEED is not None:
        machine = seed(int(SEED))(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=steps // RUN * 5 // 4,  # some are shorter
            stateful_step_count=RUN,
            derandomize=SEED is None,
            database=None,
            deadline=None,
            phases=[Phase.generate],  # to look for a shorter one takes minutes
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


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
    tree = ast.parse(Path(spec.__file__).read_text())
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names]
        )
    }

    assert imported == {"collections.abc", "dataclasses", "enum", "typing"}
