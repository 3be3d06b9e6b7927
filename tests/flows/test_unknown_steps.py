"""What another version of the backend began, with steps that this one does not know.

One process begins an operation and stops; another, with another version of the
backend, goes on with it. Nobody knows what a step did that is not asked for again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from osbkit.backends.scripted import Hold, ScriptedBackend, fail, succeed
from osbkit.errors import Failed
from osbkit.operations import execute
from osbkit.store import operations
from tests.flows.serving import (
    ASYNC,
    Served,
    body_of,
    serving,
    soon,
    states,
)
from tests.flows.verbs import CHANGES, Change, changes
from tests.migrations.made_up import Log


class Stepped(ScriptedBackend):
    """Takes steps before its work, in every verb.

    Attributes:
        names: of the steps.
        taken: those that were really run.
    """

    def __init__(self, *names: str, version: str = "") -> None:
        super().__init__()
        self.names = list(names)
        self.taken: list[str] = []
        self.steps_version = version

    async def _steps(self, run: Any) -> None:
        async def take(name: str) -> str:
            self.taken.append(name)
            return name

        for name in self.names:
            assert await run.step(name, take, name) == name

    async def provision(self, request: Any, run: Any) -> Any:
        await self._steps(run)
        return await super().provision(request, run)

    async def update(self, request: Any, run: Any) -> Any:
        await self._steps(run)
        return await super().update(request, run)

    async def bind(self, request: Any, run: Any) -> Any:
        await self._steps(run)
        return await super().bind(request, run)

    async def unbind(self, request: Any, run: Any) -> None:
        await self._steps(run)
        await super().unbind(request, run)

    async def deprovision(self, request: Any, run: Any) -> None:
        await self._steps(run)
        await super().deprovision(request, run)


class Changed(Stepped):
    """The same backend after a change of its code."""


@asynccontextmanager
async def handed_over(
    folder: Path, change: Change, before: Stepped, after: Stepped
) -> AsyncIterator[Served]:
    """A change that one version began, its steps taken; another went on with it."""
    async with serving(folder, {"queue": before}) as broker:
        await change.prepare(broker, ASYNC)
        works: Any = "last" if change.removes else "first"
        before.next(change.verb, succeed(hold=(hold := Hold()), works=works))
        before.taken.clear()
        assert (await change.ask(broker, ASYNC, True)).status_code == 202
        await soon(hold.entered.wait())
    after.instances, after.bindings = before.instances, before.bindings
    async with serving(folder, {"queue": after}) as broker:
        await broker.quiet()
        yield broker


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    kept = Log()
    monkeypatch.setattr(execute, "log", kept)
    return kept


@changes()
async def test_step_that_this_version_does_not_know_parks_the_operation(
    tmp_path: Path, change: Change, log: Log
) -> None:
    """LOP-17: failed to the platform, told to the operator, not tried again."""
    before, after = Stepped("account", "user"), Changed("user")

    async with handed_over(tmp_path, change, before, after) as broker:
        operation = (await broker.operations())[-1]
        told = body_of(await change.poll(broker))
        assert await broker.kinds() == [*change.before, change.verb]

    assert states([operation]) == [(change.verb, "failed")]
    assert operation.parked
    assert (told["state"], operation.id in told["description"]) == ("failed", True)
    assert after.taken == []
    (fields,) = [f for event, f in log.events if event == "operation.step_unknown"]
    assert fields["operation"] == operation.id
    assert fields["steps"] == ["account"]
    assert "look on the service" in fields["fix"]


@changes("provision", "bind")
async def test_what_a_parked_creation_has_made_goes_with_the_platforms_delete(
    tmp_path: Path, change: Change
) -> None:
    """ORPH-03."""
    removal = CHANGES["unbind" if change.of_binding else "deprovision"]

    backend = Changed()
    async with handed_over(tmp_path, change, Stepped("a"), backend) as broker:
        row = await (broker.binding_row if change.of_binding else broker.row)()
        left = set(backend.left)
        await removal.ask(broker, ASYNC, True)
        await broker.quiet()
        gone = await removal.ask(broker, ASYNC, True)

    assert row.residue
    assert len(left) == 1 + len(change.before)
    assert len(backend.left) == len(change.before)
    assert gone.status_code == 410


@changes()
async def test_version_that_knows_every_step_goes_on_without_taking_them_again(
    tmp_path: Path, change: Change
) -> None:
    before, after = Stepped("account", "user"), Changed("new", "user", "account")

    async with handed_over(tmp_path, change, before, after) as broker:
        assert states(await broker.operations())[-1] == (change.verb, "succeeded")

    assert after.taken == ["new"]


@changes("provision")
async def test_same_version_need_not_ask_for_a_step_again(
    tmp_path: Path, change: Change
) -> None:
    """It knows its steps: what it left out was not needed this time."""
    before, after = Stepped("account"), Stepped()

    async with handed_over(tmp_path, change, before, after) as broker:
        assert states(await broker.operations())[-1] == (change.verb, "succeeded")


@changes("provision")
@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        pytest.param("1", "1", "succeeded", id="the author says that it is the same"),
        pytest.param("1", "2", "failed", id="the author says that it is another"),
    ],
)
async def test_author_may_say_which_version_knows_which_steps(
    tmp_path: Path, change: Change, before: str, after: str, state: str
) -> None:
    """Instead of the code, which says the contrary here."""
    new = Changed if before == after else Stepped
    went = handed_over(
        tmp_path, change, Stepped("a", version=before), new(version=after)
    )

    async with went as broker:
        assert states(await broker.operations())[-1] == (change.verb, state)


@changes("provision")
async def test_call_that_was_never_handed_over_is_not_judged(
    tmp_path: Path, change: Change, impatient: None
) -> None:
    """Tried again by the same process, as passing trouble is."""
    backend = Stepped("first")

    async def provision(request: Any, run: Any) -> Any:
        if run.attempt == 2:
            backend.names = []
        return await Stepped.provision(backend, request, run)

    backend.provision = provision  # type: ignore[method-assign]
    backend.next("provision", fail(ConnectionError("away")))
    async with serving(tmp_path, {"queue": backend}) as broker:
        await change.ask(broker, ASYNC, True)
        await broker.quiet()

        assert states(await broker.operations()) == [("provision", "succeeded")]


async def test_steps_of_a_roll_back_and_of_bindings_are_no_strangers(
    tmp_path: Path,
) -> None:
    """A deprovision that was handed over when its binding was revoked already."""
    before, after = Stepped(), Changed()
    change = CHANGES["deprovision"]
    async with serving(tmp_path, {"queue": before}) as broker:
        for verb in ("provision", "bind"):
            await CHANGES[verb].ask(broker, ASYNC, True)
            await broker.quiet()
        before.names = ["revoke"]
        before.next("deprovision", succeed(hold=(hold := Hold())))
        await change.ask(broker, ASYNC, True)
        await soon(hold.entered.wait())
        assert before.taken == ["revoke", "revoke"]
    after.instances = before.instances
    after.names = ["revoke"]
    async with serving(tmp_path, {"queue": after}) as broker:
        await broker.quiet()

        assert states(await broker.operations())[-1] == ("deprovision", "succeeded")
    assert after.taken == []


async def test_failure_of_this_version_is_rolled_back_whatever_it_knows(
    tmp_path: Path,
) -> None:
    """The author has said how it ended, and taking back works by name."""
    after = Changed()
    after.next("provision", fail(Failed("There is no room.")))

    went = handed_over(tmp_path, CHANGES["provision"], Stepped("account"), after)
    async with went as broker:
        (operation,) = await broker.operations()

    assert (operation.state.value, operation.parked) == ("failed", False)
    assert operation.description == "There is no room."
    assert after.left == set()


@pytest.mark.parametrize("known", [True, False])
async def test_steps_that_version_0_1_0_recorded_carry_no_version(
    tmp_path: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(db: Any, operation: Any, done: Any) -> None:
        kept = {name: {"result": step["result"]} for name, step in done.items()}
        save(db, operation, kept)

    save = operations.save_steps
    monkeypatch.setattr(operations, "save_steps", without)
    after = Stepped(*(["account"] if known else []))

    went = handed_over(tmp_path, CHANGES["provision"], Stepped("account"), after)
    async with went as broker:
        (operation,) = await broker.operations()

    assert operation.parked is not known
    assert after.taken == []
