"""Hard cases: what another start finds.

Rows of the design: "an operation that kills its process", "process killed at any
point", "an offering or plan gone from the catalog". Real kills stand in `crash/`;
here a broker stops, and its rows are made to look as a killed one leaves them.
"""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from osbkit.backends.scripted import Hold, ScriptedBackend, Verb, succeed
from osbkit.operations import engines
from tests.flows.serving import (
    ASYNC,
    AUTO,
    ELSEWHERE,
    OTHER,
    QUEUE,
    Served,
    a_catalog,
    body_of,
    is_error,
    other,
    plan,
    queue,
    serving,
    soon,
    states,
)
from tests.flows.verbs import CHANGES, Change, changes


@asynccontextmanager
async def killed_in(
    folder: Path, backend: ScriptedBackend, change: Change, **columns: Any
) -> AsyncIterator[Served]:
    """A broker that was killed within a change, and is served again.

    Args:
        columns: of the operation as the killed process left it.
    """
    async with serving(folder, {"queue": backend}) as broker:
        await change.prepare(broker, ASYNC)
        works: Any = "last" if change.removes else "first"
        backend.next(change.verb, succeed(hold=(hold := Hold()), works=works))
        assert (await change.ask(broker, ASYNC, True)).status_code == 202
        await soon(hold.entered.wait())
    left = {"owner": "a dead process", "run_at": 2**60, "claims": 1, **columns}
    with sqlite3.connect(folder / "osbkit.db") as db:
        names = ", ".join(f"{name} = ?" for name in left)
        done = db.execute(
            f"UPDATE operations SET {names} WHERE state = 'in progress'",  # noqa: S608
            list(left.values()),
        )
        assert done.rowcount == 1
    db.close()
    async with serving(folder, {"queue": backend}) as broker:
        await broker.quiet()
        yield broker


# --- a process killed at any point --------------------------------------------------


@changes()
async def test_an_operation_goes_on_at_the_next_start(
    tmp_path: Path, backend: ScriptedBackend, change: Change
) -> None:
    """LOP-15, LOP-17: the same operation, one attempt more, whatever its lease says."""
    async with killed_in(tmp_path, backend, change, claims=4) as broker:
        calls = backend.made(change.verb)
        assert [call.attempt for call in calls[-2:]] == [1, 2]
        assert len({call.operation for call in calls[-2:]}) == 1
        polled = await change.poll(broker, calls[-1].operation)
        assert body_of(polled) == {"state": "succeeded"}
        assert await broker.kinds() == [*change.before, change.verb]


@changes("provision", "bind")
async def test_what_an_unanswered_caller_asked_for_is_taken_back(
    tmp_path: Path, backend: ScriptedBackend, change: Change
) -> None:
    """ORPH-03: the platform saw an error and keeps nothing."""
    async with killed_in(tmp_path, backend, change, answer_owed=True) as broker:
        assert len(backend.made(change.verb)) == 1
        assert states(await broker.operations())[-1] == (change.verb, "failed")
        assert body_of(await change.poll(broker))["state"] == "failed"
        removal = CHANGES["unbind" if change.of_binding else "deprovision"]
        assert (await removal.ask(broker, ASYNC)).status_code == 410
        assert len(backend.left) == (1 if change.of_binding else 0)


@changes("update", "unbind", "deprovision")
async def test_what_changes_or_removes_goes_on_though_nobody_was_answered(
    tmp_path: Path, backend: ScriptedBackend, change: Change
) -> None:
    """UPD-01, PLAT-33."""
    async with killed_in(tmp_path, backend, change, answer_owed=True) as broker:
        assert states(await broker.operations())[-1] == (change.verb, "succeeded")
        assert len(backend.made(change.verb)) == 2


@changes("provision", "update", "bind")
async def test_a_roll_back_goes_on_at_the_next_start(
    tmp_path: Path, backend: ScriptedBackend, change: Change
) -> None:
    columns = {"phase": "rollback", "description": "It took too long."}
    async with killed_in(tmp_path, backend, change, **columns) as broker:
        told = {"state": "failed", "description": "It took too long."}
        assert body_of(await change.poll(broker)) == told
        assert len(backend.left) == (1 if change.before else 0)
        if change.verb == "update":
            last = backend.made("update")[-1].request
            assert last.parameters.model_dump() == {"size": 1}


class Careful(ScriptedBackend):
    """Makes its instance in steps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.secrets: list[str] = []

    async def provision(self, request: Any, run: Any) -> Any:
        async def step(name: str) -> str:
            self.steps.append(name)
            return f"{name} of {request.name}"

        chosen = await run.step("choose", step, "choose")
        assert chosen == f"choose of {request.name}"
        self.secrets.append(run.secret("password"))
        await super().provision(request, run)
        await run.step("fill", step, "fill")
        return {"chosen": chosen}


async def test_steps_and_secrets_outlast_the_process(tmp_path: Path) -> None:
    backend = Careful()

    async with killed_in(tmp_path, backend, CHANGES["provision"]) as broker:
        assert backend.steps == ["choose", "fill"]
        assert backend.secrets[0] == backend.secrets[1]
        name = backend.made("provision")[0].name
        assert (await broker.row()).facts == {"chosen": f"choose of {name}"}


# --- an operation that kills its process --------------------------------------------


class Loud:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.errors: list[tuple[str, dict[str, Any]]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.errors.append((event, fields))

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@changes()
async def test_an_operation_claimed_five_times_without_an_end_is_parked(
    tmp_path: Path,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
) -> None:
    """LOP-17: failed to the platform, loud to the operator, not tried again."""
    loud = Loud()
    monkeypatch.setattr(engines, "log", loud)

    async with killed_in(tmp_path, backend, change, claims=5) as broker:
        operation = next(one for one in await broker.operations() if one.parked)
        assert states([operation]) == [(change.verb, "failed")]
        told = body_of(await change.poll(broker))
        assert told.pop("state") == "failed"
        assert operation.id in told["description"]
        event, fields = loud.errors[0]
        assert (event, fields["operation"]) == ("operation.parked", operation.id)
        assert len(backend.made(change.verb)) == 1
        assert broker.waiting == 0
        await can_be_asked_again(broker, backend, change)


async def can_be_asked_again(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """The platform's next request begins anew, and nothing is left behind."""
    match change.verb:
        case "provision" | "bind":
            removal = CHANGES["unbind" if change.of_binding else "deprovision"]
            assert (await removal.ask(broker, ASYNC)).status_code == 200
            assert (await removal.ask(broker, ASYNC)).status_code == 410
            assert len(backend.left) == (1 if change.of_binding else 0)
        case _:
            assert (await change.ask(broker, ASYNC, True)).status_code == 202
            await broker.quiet()
            assert body_of(await change.poll(broker)) == {"state": "succeeded"}


async def test_a_put_after_a_parked_creation_removes_what_that_left(
    tmp_path: Path, backend: ScriptedBackend
) -> None:
    """ORPH-05: on the broker's own account, by the old name."""
    change = CHANGES["provision"]

    async with killed_in(tmp_path, backend, change, claims=5) as broker:
        old = backend.made("provision")[0].name
        assert backend.left == {old}

        assert (await change.ask(broker, ASYNC, True)).status_code == 202
        await broker.hurry()

        new = backend.made("provision")[1].name
        assert backend.left == {new} != {old}
        assert (await broker.row()).state == "ready"


# --- an offering or plan gone from the catalog --------------------------------------


@pytest.mark.parametrize("gone", ["plan", "offering"])
async def test_what_left_the_catalog_works_but_for_new_instances(
    tmp_path: Path, backend: ScriptedBackend, gone: str
) -> None:
    """PROV-21, CAT-36: routed by what is stored with the instance."""
    backends = {"queue": backend, "other": backend}
    full = a_catalog(queue(), other())
    async with serving(tmp_path, backends, full) as broker:
        for instance in ("i-1", "i-2"):
            made = await broker.put(instance, plan=ELSEWHERE, parameters={"size": 1})
            assert made.status_code == 201
        await broker.bind("b-1", plan=ELSEWHERE)

    another = plan("9a9a9a9a-0000-4000-8000-0000000000ff", "another")
    left = [queue(), other(plans=[another])] if gone == "plan" else [queue()]
    everything = frozenset({"all"})
    async with serving(
        tmp_path, backends, a_catalog(*left), allow_catalog_changes=everything
    ) as broker:
        is_error(await broker.put("i-3", plan=ELSEWHERE), 400)
        again = await broker.put("i-1", plan=ELSEWHERE, parameters={"size": 1})
        assert again.status_code == 200
        fetched = body_of(await broker.get("i-1"))
        assert (fetched["service_id"], fetched["plan_id"]) == (OTHER, ELSEWHERE)
        changed = await broker.patch("i-1", service_id=OTHER, parameters={"size": 2})
        assert changed.status_code == 200
        is_error(await broker.patch("i-1", service_id=QUEUE, plan_id=AUTO), 400)
        for binding in ("b-1", "b-2"):
            bound = await broker.bind(binding, plan=ELSEWHERE)
            assert bound.status_code == (200 if binding == "b-1" else 201)
            assert (await broker.get_binding(binding)).status_code == 200
        assert body_of(await broker.poll("i-1")) == {"state": "succeeded"}
        assert (await broker.unbind("b-1")).status_code == 200
        for instance in ("i-1", "i-2"):
            assert (await broker.delete(instance)).status_code == 200
        assert backend.left == set()


@pytest.mark.parametrize("verb", ["provision", "deprovision", "bind"])
async def test_what_ran_when_its_plan_left_the_catalog_goes_on(
    tmp_path: Path, backend: ScriptedBackend, verb: Verb
) -> None:
    """LOP-17."""
    change = CHANGES[verb]
    async with serving(tmp_path, {"queue": backend}) as broker:
        await change.prepare(broker, ASYNC)
        backend.next(verb, succeed(hold=(hold := Hold())))
        running = body_of(await change.ask(broker, ASYNC, True))["operation"]
        await soon(hold.entered.wait())

    smaller = a_catalog(queue(plans=[plan(AUTO, "auto")]))
    everything = frozenset({"all"})
    async with serving(
        tmp_path, {"queue": backend}, smaller, allow_catalog_changes=everything
    ) as broker:
        await broker.quiet()

        polled = await change.poll(broker, running)
        assert body_of(polled) == {"state": "succeeded"}
