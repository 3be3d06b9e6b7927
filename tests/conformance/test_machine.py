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

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.conformance import model as spec
from tests.conformance.model import Asked, Ending, Json, Model, Request, Verb
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
        self.broker = self.run(self._started())

    def run(self, work: Any) -> Any:
        """Run something in the loop."""
        return self._runner.run(work)

    async def _started(self) -> Stepping:
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return await self._stack.enter_async_context(stepping(folder))

    def number(self) -> int:
        """A number that no sequence had: ids are never met again."""
        return next(self._numbers)

    def close(self) -> None:
        """Stop the broker."""
        try:
            self.run(self._closed())
        finally:
            self._runner.close()

    async def _closed(self) -> None:
        for task in tuple(self.broker.open):
            task.cancel()
        await self._stack.aclose()


# --- what platforms send ----------------------------------------------------------

platforms = st.sampled_from([*PLATFORMS[:1] * 5, PLATFORMS[1]])
numbers = st.integers(0, 2)
flags = st.sampled_from([True, True, False])
plans = st.sampled_from([*spec.PLANS, "sync", "auto", "async", "auto", "async"])
orgs = st.sampled_from(["org", "org", "org", "other"])
sizes: st.SearchStrategy[Json | None] = st.sampled_from(
    [{}, {"size": 1}, {"size": 2}, {"size": 1, "color": "red"}, None, {}]
)
changes: st.SearchStrategy[Json | None] = st.sampled_from(
    [{"size": 2}, {"size": 3}, {"size": None}, {"color": "green"}, {}, None]
)
roles: st.SearchStrategy[Json | None] = st.sampled_from(
    [{}, {"role": "writer"}, None, {}]
)
slips = st.sampled_from([0] * 12 + [1, 2, 3, 4, 5])
endings = st.sampled_from([None] * 6 + [Ending.WELL] * 5 + list(Ending))
released = st.sampled_from([Ending.WELL] * 5 + list(Ending))


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

    # --- requests -----------------------------------------------------------------

    @precondition(lambda self: len(self.open) < OPEN)
    @rule(
        platform=platforms,
        number=numbers,
        plan=plans,
        flag=flags,
        parameters=sizes,
        org=orgs,
        slip=slips,
        ending=endings,
    )
    def provision(
        self,
        platform: str,
        number: int,
        plan: str,
        flag: bool,
        parameters: Json | None,
        org: str,
        slip: int,
        ending: Ending | None,
    ) -> None:
        """PUT of an instance."""
        body = {
            "service_id": spec.PLANS[plan].offering,
            "plan_id": plan,
            "organization_guid": org,
            "space_guid": "space",
            "parameters": parameters,
        }
        self.ask("provision", platform, number, slipped(body, slip), flag, ending)

    @precondition(lambda self: len(self.open) < OPEN)
    @rule(
        back=st.integers(0, 7),
        flag=st.sampled_from([None, True, False]),
        ending=endings,
    )
    def repeat(self, back: int, flag: bool | None, ending: Ending | None) -> None:
        """One of the last requests again, to the letter or with the other flag."""
        if not self.sent:
            return
        old = self.sent[-1 - back % len(self.sent)]
        same = old.flag if flag is None else flag
        self.send(
            Request(
                verb=old.verb,
                platform=old.platform,
                instance=old.instance,
                binding=old.binding,
                body=old.body,
                flag=same,
            ),
            ending,
        )

    @precondition(lambda self: len(self.open) < OPEN)
    @rule(
        platform=platforms,
        number=numbers,
        plan=st.sampled_from([None, None, *spec.PLANS]),
        flag=flags,
        parameters=changes,
        slip=slips,
        ending=endings,
    )
    def update(
        self,
        platform: str,
        number: int,
        plan: str | None,
        flag: bool,
        parameters: Json | None,
        slip: int,
        ending: Ending | None,
    ) -> None:
        """PATCH."""
        found = self.model.instances.get(self.instance(number))
        body: Json = {
            "service_id": "queue" if found is None else found.plan.offering,
            "parameters": parameters,
        }
        if plan is not None:
            body["plan_id"] = plan
        self.ask("update", platform, number, slipped(body, slip), flag, ending)

    @precondition(lambda self: len(self.open) < OPEN)
    @rule(
        platform=platforms,
        number=numbers,
        flag=flags,
        lacking=st.sampled_from([False] * 9 + [True]),
        ending=endings,
    )
    def deprovision(
        self,
        platform: str,
        number: int,
        flag: bool,
        lacking: bool,
        ending: Ending | None,
    ) -> None:
        """DELETE of an instance; its ids are hints, but must be there."""
        body = {"plan_id": "any"} if lacking else IDS
        self.ask("deprovision", platform, number, body, flag, ending)

    @rule(platform=platforms, number=numbers)
    def fetch(self, platform: str, number: int) -> None:
        """GET of an instance."""
        self.ask("fetch", platform, number)

    @rule(platform=platforms, number=numbers, back=st.integers(-2, 5))
    def poll(self, platform: str, number: int, back: int) -> None:
        """Last operation of an instance: of a token, of a wrong one, of none."""
        self.ask("poll", platform, number, self.token(back))

    @precondition(lambda self: len(self.open) < OPEN)
    @rule(
        platform=platforms,
        number=numbers,
        binding=numbers,
        flag=flags,
        parameters=roles,
        app=st.sampled_from([None, None, "app"]),
        slip=slips,
        ending=endings,
    )
    def bind(
        self,
        platform: str,
        number: int,
        binding: int,
        flag: bool,
        parameters: Json | None,
        app: str | None,
        slip: int,
        ending: Ending | None,
    ) -> None:
        """PUT of a binding."""
        found = self.model.instances.get(self.instance(number))
        plan = spec.PLANS["auto"] if found is None else found.plan
        body: Json = {
            "service_id": plan.offering,
            "plan_id": plan.name,
            "parameters": parameters,
        }
        if app is not None:
            body["app_guid"] = app
        body = slipped(body, slip)
        self.ask("bind", platform, number, body, flag, ending, binding)

    @precondition(lambda self: len(self.open) < OPEN)
    @rule(
        platform=platforms,
        number=numbers,
        binding=numbers,
        before=numbers,
        flag=flags,
        more=st.sampled_from([{}] * 6 + [{"parameters": {"role": "writer"}}]),
        ending=endings,
    )
    def rotate(
        self,
        platform: str,
        number: int,
        binding: int,
        before: int,
        flag: bool,
        more: Json,
        ending: Ending | None,
    ) -> None:
        """PUT of a binding that succeeds another."""
        body = {"predecessor_binding_id": f"b{before}", **more}
        self.ask("bind", platform, number, body, flag, ending, binding)

    @precondition(lambda self: len(self.open) < OPEN)
    @rule(
        platform=platforms, number=numbers, binding=numbers, flag=flags, ending=endings
    )
    def unbind(
        self,
        platform: str,
        number: int,
        binding: int,
        flag: bool,
        ending: Ending | None,
    ) -> None:
        """DELETE of a binding."""
        self.ask("unbind", platform, number, IDS, flag, ending, binding)

    @rule(platform=platforms, number=numbers, binding=numbers)
    def fetch_binding(self, platform: str, number: int, binding: int) -> None:
        """GET of a binding."""
        self.ask("fetch_binding", platform, number, binding=binding)

    @rule(platform=platforms, number=numbers, binding=numbers, back=st.integers(-2, 5))
    def poll_binding(self, platform: str, number: int, binding: int, back: int) -> None:
        """Last operation of a binding."""
        body = self.token(back)
        self.ask("poll_binding", platform, number, body, binding=binding)

    # --- what happens besides -----------------------------------------------------

    @precondition(lambda self: self.broker.steps.inside)
    @rule(which=st.integers(0, 7), ending=released)
    def release(self, which: int, ending: Ending) -> None:
        """An operation ends well or badly."""
        keys = list(self.broker.steps.held)
        key = keys[which % len(keys)]
        operation = self.model.operation(key)
        ending = spec.possible(operation.kind, operation.instance.plan, ending)
        self.model.end(operation, ending)
        self.do(self.broker.release(key, ending))

    @precondition(lambda self: self.open)
    @rule(undone=st.sampled_from([True, True, False]))
    def late(self, undone: bool) -> None:
        """Whoever waits has waited long enough."""
        self.model.late(leaves=not undone)
        self.do(self.broker.late(undone=undone))

    @precondition(lambda self: self.broker.cleanups)
    @rule(well=st.sampled_from([True, True, False]))
    def clean(self, well: bool) -> None:
        """The clean-ups of failures have their turn."""
        if well:
            self.model.clean()
        self.do(self.broker.clean(well=well))

    # --- how ----------------------------------------------------------------------

    def instance(self, number: int) -> str:
        """An id of this sequence."""
        return f"{self.number}-i{number}"

    def token(self, back: int) -> Json:
        """The query of a poll: one of the last tokens, a wrong one, or none."""
        if back < 0:
            return {} if back == -1 else {"operation": "unheard-of"}
        tokens = list(self.model.tokens)
        return {"operation": tokens[-1 - back]} if back < len(tokens) else {}

    def ask(
        self,
        verb: Verb,
        platform: str,
        number: int,
        body: Json | None = None,
        flag: bool = False,
        ending: Ending | None = None,
        binding: int | None = None,
    ) -> None:
        """Send a new request."""
        request = Request(
            verb=verb,
            platform=platform,
            instance=self.instance(number),
            binding=None if binding is None else f"b{binding}",
            body=body or {},
            flag=flag,
        )
        if verb in CHANGES:
            self.sent.append(request)
        self.send(request, ending)

    def send(self, request: Request, ending: Ending | None) -> None:
        """Send a request; what it begins ends at once unless it is held."""
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
            self.broken = True
            raise Difference(f"the model says {runs} run; inside are {held}")

    def compare(self, asked: Asked, answer: httpx.Response) -> None:
        """Hold one answer against what is allowed."""
        body = answer.json()
        if answer.headers["content-type"] != "application/json" or None in (
            body.values()
        ):
            self.differ(asked, f"{answer.status_code} {answer.text}")
        told = f"{answer.status_code} {body}"
        if reason := spec.difference(asked, answer.status_code, body):
            self.differ(asked, f"{told}: {reason}")
        if again := spec.learn(self.model, asked, body):
            self.differ(asked, f"{told}: {again}")

    def differ(self, asked: Asked, what: str) -> None:
        """Tell of a difference."""
        self.broken = True
        raise Difference(f"{asked.request}\n{what}")

    # --- the end ------------------------------------------------------------------

    def teardown(self) -> None:
        """Let everything end, delete everything, and look what is left."""
        if self.broken:
            return
        while self.broker.steps.inside:
            self.release(0, Ending.WELL)
        for instance in list(self.model.instances.values()):
            number = int(instance.id.rpartition("i")[2])
            args = (instance.platform, number, IDS, True, Ending.WELL)
            self.ask("deprovision", *args)
            self.ask("deprovision", *args)
            assert instance.state in {"gone", "failed"}
        while self.broker.cleanups:
            self.clean(well=True)
        left = self.scene.run(self.broker.left())
        if left:
            raise Difference(f"this is left: {left}")


IDS = {"service_id": "any", "plan_id": "any"}
CHANGES = frozenset({"provision", "update", "deprovision", "bind", "unbind"})


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
            max_examples=steps // RUN,
            stateful_step_count=RUN,
            derandomize=SEED is None,
            database=None,
            deadline=None,
            phases=[Phase.generate],
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

    assert scene.steps >= STEPS * 0.95
