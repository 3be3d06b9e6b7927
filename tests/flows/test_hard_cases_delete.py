"""Hard cases: DELETE, whatever runs; and the same id again.

Rows of the design: "creation failed", "any other change while an operation is
live", "creation a DELETE halts", "DELETE while the creation runs", "with bindings
left", "without the flag on an async plan", "never seen or gone", "DELETE ids".
"""

import asyncio
import threading
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from osbkit import (
    DeprovisionRequest,
    Failed,
    NoParameters,
    ProvisionRequest,
    Refused,
    UpdateFailed,
)
from osbkit.backends.scripted import Hold, ScriptedBackend, Verb, fail, succeed
from osbkit.backends.threaded import BlockingBackend, BlockingRun, threaded
from osbkit.lifecycle import instances
from tests.flows.conftest import Serve
from tests.flows.serving import (
    ASYNC,
    AUTO,
    SYNC,
    Served,
    a_catalog,
    body_of,
    is_error,
    queue,
    soon,
    states,
    until,
)
from tests.flows.verbs import CHANGES, Change, changes

FLAGS = pytest.mark.parametrize(
    "flag", [pytest.param(True, id="flag"), pytest.param(None, id="no flag")]
)
MODES = pytest.mark.parametrize(
    "mode",
    [
        pytest.param(SYNC, id="sync"),
        pytest.param(AUTO, id="auto"),
        pytest.param(ASYNC, id="async"),
    ],
)
DEAFNESS = pytest.mark.parametrize(
    "deaf",
    [
        pytest.param(False, id="a call that returns when asked"),
        pytest.param(True, id="a call that ignores cancellation"),
    ],
)


# --- the same id again --------------------------------------------------------------


@MODES
async def test_a_put_after_a_failed_creation_begins_a_new_generation(
    broker: Served, backend: ScriptedBackend, mode: str
) -> None:
    """ORPH-01, LOP-19."""
    backend.next("provision", fail(Failed("No room.")))
    await broker.put(plan=mode, flag=True)
    await broker.quiet()
    assert (await broker.row()).state == "failed"
    first = body_of(await broker.poll())
    assert first == {"state": "failed", "description": "No room."}

    await broker.put(plan=mode, flag=True)
    await broker.quiet()

    row = await broker.row()
    assert (row.state, row.generation) == ("ready", 2)
    assert states(await broker.operations()) == [
        ("provision", "failed"),
        ("provision", "succeeded"),
    ]
    names = [call.name for call in backend.made("provision")]
    assert names[0] != names[1]
    assert backend.left == {names[1]}
    assert body_of(await broker.poll()) == {"state": "succeeded"}


async def test_a_put_after_a_failed_creation_may_have_other_attributes(
    broker: Served, backend: ScriptedBackend
) -> None:
    backend.next("provision", fail(Failed("No room.")))
    await broker.put(parameters={"size": 1})

    again = await broker.put(plan=SYNC, parameters={"size": 2})

    assert again.status_code == 201
    row = await broker.row()
    assert (row.plan, row.parameters, row.generation) == ("sync", {"size": 2}, 2)


async def test_a_put_begins_anew_while_the_old_one_is_still_cleaned_up(
    broker: Served, backend: ScriptedBackend, impatient: None
) -> None:
    """The clean-up goes on by the old name and harms nothing new."""
    backend.next("provision", fail(Failed("No room."), leaves=True))
    hold = Hold()
    backend.next("deprovision", fail(RuntimeError("away")), succeed(hold=hold))
    is_error(await broker.put(), 500)
    hurried = asyncio.create_task(broker.hurry())
    await soon(hold.entered.wait())
    old = backend.made("provision")[0].name
    assert backend.left == {old}

    again = await broker.put(plan=SYNC)

    assert again.status_code == 201
    hold.release()
    await soon(hurried)
    new = backend.made("provision")[1].name
    assert backend.left == {new}
    assert {call.name for call in backend.made("deprovision")} == {old}
    assert sorted(states(await broker.operations())) == [
        ("cleanup", "succeeded"),
        ("provision", "failed"),
        ("provision", "succeeded"),
    ]
    assert (await broker.row()).state == "ready"


async def test_a_put_after_a_finished_delete_begins_a_new_generation(
    broker: Served, backend: ScriptedBackend
) -> None:
    """PROV-36."""
    await broker.put()
    await broker.bind()
    await broker.delete()

    assert (await broker.put()).status_code == 201

    assert (await broker.row()).generation == 2
    assert (await broker.get_binding()).status_code == 404
    assert (await broker.bind()).status_code == 201
    names = [call.name for call in backend.made("provision")]
    bound = [call.name for call in backend.made("bind")]
    assert len({*names, *bound}) == 4
    assert backend.left == {names[1], bound[1]}


async def test_a_bind_after_a_failed_one_begins_a_new_generation(
    broker: Served, backend: ScriptedBackend
) -> None:
    """ORPH-02."""
    await broker.put()
    backend.next("bind", fail(Failed("No user left."), leaves=True))
    is_error(await broker.bind(parameters={"role": "r"}), 500)

    again = await broker.bind(parameters={"role": "w"})

    assert again.status_code == 201
    names = [call.name for call in backend.made("bind")]
    assert names[0] != names[1]
    assert set(backend.bindings) == {names[1]}
    assert (await broker.binding_row()).generation == 2


async def test_a_bind_begins_anew_while_the_old_one_is_still_cleaned_up(
    broker: Served, backend: ScriptedBackend, impatient: None
) -> None:
    await broker.put()
    backend.next("bind", fail(Failed("No user left."), leaves=True))
    hold = Hold()
    backend.next("unbind", fail(RuntimeError("away")), succeed(hold=hold))
    is_error(await broker.bind(parameters={"role": "r"}), 500)
    hurried = asyncio.create_task(broker.hurry())
    await soon(hold.entered.wait())

    assert (await broker.bind(parameters={"role": "w"})).status_code == 201

    hold.release()
    await soon(hurried)
    assert set(backend.bindings) == {backend.made("bind")[1].name}


# --- any other change while an operation is live ------------------------------------


@pytest.mark.parametrize(
    ("running", "asked"),
    [
        pytest.param("provision", "update", id="PATCH while it is made"),
        pytest.param("provision", "bind", id="bind while it is made: BIND-38"),
        pytest.param("update", "other update", id="another PATCH while updated"),
        pytest.param("update", "bind", id="bind while updated: BIND-38"),
        pytest.param("update", "unbind", id="unbind while updated"),
        pytest.param("deprovision", "provision", id="PUT while removed: CONC-11"),
        pytest.param("deprovision", "update", id="PATCH while removed"),
        pytest.param("deprovision", "bind", id="bind while removed"),
        pytest.param("deprovision", "unbind", id="unbind while removed"),
        pytest.param("bind", "update", id="PATCH while bound: CONC-04"),
        pytest.param("unbind", "update", id="PATCH while unbound: CONC-04"),
        pytest.param("unbind", "bind", id="the binding's PUT while it is removed"),
    ],
)
@FLAGS
async def test_another_change_while_one_runs_is_a_concurrency_error(
    broker: Served, backend: ScriptedBackend, running: Verb, asked: str, flag: Any
) -> None:
    """CONC-02, CONC-08, BIND-18, UNBIND-10."""
    broker.allow(sync_budget=0.0)
    if running != "provision":
        await broker.put(parameters={"size": 1})
    if "unbind" in {running, asked}:
        await CHANGES["bind"].ask(broker, AUTO)
    hold = Hold()
    both = (running, asked) == ("deprovision", "unbind")  # held while it is revoked
    backend.next("unbind" if both else running, succeed(hold=hold))
    first = body_of(await CHANGES[running].ask(broker, AUTO, True))
    await soon(hold.entered.wait())
    before = await broker.everything()

    if asked == "other update":
        answer = await broker.patch(flag=flag, parameters={"colour": "blue"})
    else:
        answer = await CHANGES[asked].ask(broker, AUTO, flag)  # type: ignore[index]

    is_error(answer, 422, "ConcurrencyError")
    assert await broker.everything() == before
    hold.release()
    await broker.quiet()
    polled = await CHANGES[running].poll(broker, first["operation"])
    assert body_of(polled) == {"state": "succeeded"}


async def test_bindings_of_one_instance_are_made_side_by_side(
    broker: Served, backend: ScriptedBackend
) -> None:
    """CONC-04: a binding does not stand in the way of another."""
    await broker.put()
    hold = Hold()
    backend.next("bind", succeed(hold=hold))
    first = asyncio.create_task(broker.bind("b-1"))
    await soon(hold.entered.wait())

    assert (await broker.bind("b-2")).status_code == 201
    assert (await broker.unbind("b-2")).status_code == 200

    hold.release()
    assert (await soon(first)).status_code == 201


async def test_the_lock_is_of_one_instance_only(
    broker: Served, backend: ScriptedBackend
) -> None:
    """CONC-09."""
    hold = Hold()
    backend.next("provision", succeed(hold=hold))
    first = asyncio.create_task(broker.put("i-1"))
    await soon(hold.entered.wait())

    assert (await broker.put("i-2")).status_code == 201
    assert (await broker.patch("i-2", parameters={"size": 2})).status_code == 200
    assert (await broker.delete("i-2")).status_code == 200

    hold.release()
    assert (await soon(first)).status_code == 201


# --- DELETE while something runs ----------------------------------------------------


@pytest.mark.parametrize(
    "mode", [pytest.param(SYNC, id="sync"), pytest.param(AUTO, id="auto")]
)
@DEAFNESS
async def test_a_delete_halts_a_creation_whose_request_is_open(
    broker: Served, backend: ScriptedBackend, mode: str, deaf: bool
) -> None:
    """DEPROV-11, DEPROV-13: the open PUT gets 503, and nothing comes back."""
    hold = Hold(deaf=deaf)
    backend.next("provision", succeed(hold=hold))
    creation = asyncio.create_task(broker.put(plan=mode))
    await soon(hold.entered.wait())
    old = (await broker.operations())[0].id

    deletion = asyncio.create_task(broker.delete())
    await soon(hold.cancelled.wait())
    if deaf:
        assert (await broker.operations())[1].state == "in progress"
        assert backend.made("deprovision") == []
        is_failed = body_of(await broker.poll(operation=old))
        assert is_failed["state"] == "failed"
        is_error(await soon(creation), 503)  # it waits for no call that is deaf
        assert not deletion.done()
        hold.release()

    assert (await soon(deletion)).status_code == 200
    is_error(await soon(creation), 503)
    assert [call.verb for call in backend.calls if call.verb != "check"] == [
        "provision",
        "deprovision",
    ]
    assert backend.left == set()
    assert (await broker.row()).state == "gone"
    assert states(await broker.operations()) == [
        ("provision", "failed"),
        ("deprovision", "succeeded"),
    ]
    polled = body_of(await broker.poll(operation=old))
    assert polled == {
        "state": "failed",
        "description": "The operation was ended by a deletion.",
    }
    assert body_of(await broker.poll()) == {"state": "succeeded"}


@DEAFNESS
async def test_a_delete_halts_a_creation_that_is_polled(
    broker: Served, backend: ScriptedBackend, deaf: bool
) -> None:
    """DEPROV-11, DEPROV-12: old operation failed, new one and none as the delete."""
    hold, leaving = Hold(deaf=deaf), Hold()
    backend.next("provision", succeed(hold=hold, works="first"))
    backend.next("deprovision", succeed(hold=leaving))
    old = body_of(await broker.put(plan=ASYNC, flag=True))["operation"]
    await soon(hold.entered.wait())

    new = body_of(await broker.delete(flag=True))["operation"]
    await soon(hold.cancelled.wait())

    assert new != old
    assert body_of(await broker.poll(operation=old))["state"] == "failed"
    for operation in (new, None):
        polled = body_of(await broker.poll(operation=operation))
        assert polled == {"state": "in progress"}
    is_error(await broker.get(), 404)
    is_error(await broker.put(plan=ASYNC, flag=True), 422, "ConcurrencyError")
    hold.release()
    await soon(leaving.entered.wait())
    leaving.release()
    await broker.quiet()
    for operation in (new, None):
        polled = body_of(await broker.poll(operation=operation))
        assert polled == {"state": "succeeded"}
    assert backend.left == set()
    again = await broker.put(plan=ASYNC, flag=True)
    assert again.status_code == 202
    await broker.quiet()
    names = [call.name for call in backend.made("provision")]
    assert backend.left == {names[1]} != {names[0]}


class Stubborn(BlockingBackend[NoParameters, NoParameters]):
    """Makes its instance in a thread that nobody can interrupt."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.go_on = threading.Event()
        self.things: set[str] = set()
        self.told = False

    def provision(
        self, request: ProvisionRequest[NoParameters], run: BlockingRun
    ) -> None:
        self.inside.set()
        self.go_on.wait()
        self.told = run.cancelled
        self.things.add(request.name)

    def deprovision(self, request: DeprovisionRequest, run: BlockingRun) -> None:
        self.things.discard(request.name)


async def test_a_delete_waits_for_the_thread_of_the_creation_it_halts(
    serve: Serve,
) -> None:
    """DEPROV-11: what the thread makes late is removed."""
    author = Stubborn()
    catalog = a_catalog(queue(bindable=False, plan_updateable=False))
    broker = await serve(catalog=catalog, backends={"queue": threaded(author)})
    creation = asyncio.create_task(broker.put())
    await until(author.inside.is_set)

    deletion = asyncio.create_task(broker.delete())
    await until(lambda: broker.engine.running == 2)
    await asyncio.sleep(0.01)
    assert not deletion.done()
    author.go_on.set()

    assert (await soon(deletion)).status_code == 200
    is_error(await soon(creation), 503)
    assert author.told
    assert author.things == set()


@DEAFNESS
async def test_a_delete_halts_a_creation_that_is_being_rolled_back(
    broker: Served, backend: ScriptedBackend, deaf: bool
) -> None:
    """DEPROV-11."""
    hold = Hold(deaf=deaf)
    backend.next("provision", fail(Failed("No room."), leaves=True))
    backend.next("deprovision", succeed(hold=hold))
    creation = asyncio.create_task(broker.put())
    await soon(hold.entered.wait())

    deletion = asyncio.create_task(broker.delete())
    await soon(hold.cancelled.wait())
    hold.release()

    assert (await soon(deletion)).status_code == 200
    is_error(await soon(creation), 503)
    assert backend.left == set()
    assert all(one.ended_at for one in await broker.operations())


async def test_a_delete_halts_a_creation_that_waits_for_its_next_attempt(
    broker: Served, backend: ScriptedBackend
) -> None:
    backend.next("provision", fail(RuntimeError("away"), leaves=True))
    creation = asyncio.create_task(broker.put())
    await until(lambda: any(call.ended for call in backend.made("provision")))

    assert (await soon(broker.delete())).status_code == 200

    is_error(await soon(creation), 503)
    assert len(backend.made("provision")) == 1
    assert backend.left == set()


@DEAFNESS
async def test_a_delete_halts_an_update(
    broker: Served, backend: ScriptedBackend, deaf: bool
) -> None:
    """DEPROV-10 is not needed: the update is ended, then everything removed."""
    await broker.put()
    hold = Hold(deaf=deaf)
    backend.next("update", succeed(hold=hold))
    change = asyncio.create_task(broker.patch(parameters={"size": 2}))
    await soon(hold.entered.wait())

    deletion = asyncio.create_task(broker.delete())
    await soon(hold.cancelled.wait())
    is_error(await soon(change), 503)
    assert not (deaf and deletion.done())
    hold.release()

    assert (await soon(deletion)).status_code == 200
    assert backend.left == set()


class Sulking(ScriptedBackend):
    """Answers a cancellation with an error of its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error
        self.waits = asyncio.Event()

    async def update(self, request: Any, run: Any) -> None:
        await super().update(request, run)
        self.waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise self._error from None


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Failed("Interrupted."), id="Failed"),
        pytest.param(Refused("Interrupted."), id="Refused"),
        pytest.param(UpdateFailed("Interrupted."), id="UpdateFailed"),
        pytest.param(RuntimeError("interrupted"), id="another"),
    ],
)
async def test_a_halted_call_that_raises_takes_nothing_back(
    serve: Serve, error: Exception
) -> None:
    """What it was about belongs to the delete, which waits until it returned."""
    backend = Sulking(error)
    broker = await serve(backends={"queue": backend})
    await broker.put()
    change = asyncio.create_task(broker.patch(parameters={"size": 2}))
    await soon(backend.waits.wait())

    assert (await soon(broker.delete())).status_code == 200

    is_error(await soon(change), 503)
    assert len(backend.made("update")) == 1
    assert backend.left == set()
    update = (await broker.operations())[1]
    assert update.description == "The operation was ended by a deletion."


@DEAFNESS
async def test_a_delete_halts_the_bindings_that_are_being_made_and_removed(
    broker: Served, backend: ScriptedBackend, deaf: bool
) -> None:
    """DEPROV-11, DEPROV-15."""
    await broker.put()
    await broker.bind("b-1")
    making, removing = Hold(deaf=deaf), Hold(deaf=deaf)
    backend.next("bind", succeed(hold=making, works="first"))
    backend.next("unbind", succeed(hold=removing))
    bind = asyncio.create_task(broker.bind("b-2"))
    unbind = asyncio.create_task(broker.unbind("b-1"))
    for hold in (making, removing):
        await soon(hold.entered.wait())

    deletion = asyncio.create_task(broker.delete())
    for hold in (making, removing):
        await soon(hold.cancelled.wait())
    if deaf:
        assert len(backend.made("unbind")) == 1
        assert backend.made("deprovision") == []
    for answer in (await soon(bind), await soon(unbind)):
        is_error(answer, 503)
    making.release()
    removing.release()

    assert (await soon(deletion)).status_code == 200
    assert backend.left == set()
    for binding in ("b-1", "b-2"):
        assert (await broker.binding_row(binding)).state == "gone"
        assert body_of(await broker.poll_binding(binding)) == {"state": "succeeded"}


@MODES
@DEAFNESS
async def test_an_unbind_halts_the_bind(
    broker: Served, backend: ScriptedBackend, mode: str, deaf: bool
) -> None:
    """UNBIND-11 to UNBIND-13."""
    await CHANGES["bind"].prepare(broker, mode)
    flag = True if mode == ASYNC else None
    hold = Hold(deaf=deaf)
    backend.next("bind", succeed(hold=hold, works="first"))
    bind = asyncio.create_task(broker.bind(plan=mode, flag=flag))
    await soon(hold.entered.wait())
    old = (await broker.operations())[-1].id

    unbind = asyncio.create_task(broker.unbind(flag=flag))
    await soon(hold.cancelled.wait())
    if deaf:
        assert backend.made("unbind") == []
    answer = await soon(bind)  # while the call may still run
    hold.release()

    if mode == ASYNC:
        assert answer.status_code == 202
        new = body_of(await soon(unbind))["operation"]
        await broker.quiet()
        polled = await broker.poll_binding(operation=new)
        assert body_of(polled) == {"state": "succeeded"}
    else:
        assert (await soon(unbind)).status_code == 200
        is_error(answer, 503)
    polled = await broker.poll_binding(operation=old)
    assert body_of(polled)["state"] == "failed"
    assert body_of(await broker.poll_binding()) == {"state": "succeeded"}
    assert backend.bindings == {}
    assert len(backend.instances) == 1


# --- DELETE with bindings left ------------------------------------------------------


@MODES
async def test_a_delete_revokes_the_bindings_first(
    broker: Served, backend: ScriptedBackend, mode: str
) -> None:
    """DEPROV-15: within one operation; nobody keeps a credential."""
    flag = True if mode == ASYNC else None
    await CHANGES["bind"].prepare(broker, mode)
    for binding in ("b-1", "b-2"):
        await broker.bind(binding, plan=mode, flag=flag)
        await broker.quiet()

    await broker.delete(flag=flag)
    await broker.quiet()

    assert [call.verb for call in backend.calls][-3:] == [
        "unbind",
        "unbind",
        "deprovision",
    ]
    assert backend.left == set()
    assert (await broker.kinds())[-1] == "deprovision"
    for binding in ("b-1", "b-2"):
        row = await broker.binding_row(binding)
        assert (row.state, row.bound, row.parameters) == ("gone", None, {})
        is_error(await broker.get_binding(binding), 404)
        assert (await broker.unbind(binding)).status_code == 410


async def test_no_binding_is_shown_while_its_instance_is_removed(
    broker: Served, backend: ScriptedBackend
) -> None:
    """BFETCH-03: its credentials are perhaps revoked by now."""
    broker.allow(sync_budget=0.0)
    await broker.put()
    await broker.bind()
    hold = Hold()
    backend.next("deprovision", succeed(hold=hold))
    assert (await broker.delete(flag=True)).status_code == 202
    await soon(hold.entered.wait())

    is_error(await broker.get_binding(), 404)
    hold.release()


async def test_a_binding_that_a_failed_delete_revoked_is_gone(
    broker: Served, backend: ScriptedBackend
) -> None:
    """The instance stays; what no longer opens anything is not handed out again."""
    await broker.put()
    await broker.bind()
    backend.next("deprovision", fail(Failed("The server is out of reach.")))

    is_error(await broker.delete(), 500)

    assert backend.bindings == {}
    assert (await broker.row()).state == "ready"
    is_error(await broker.get_binding(), 404)
    assert (await broker.unbind()).status_code == 410
    assert (await broker.bind()).status_code == 201
    assert (await broker.delete()).status_code == 200
    assert backend.left == set()


async def test_a_delete_leaves_the_clean_up_after_an_earlier_binding_to_itself(
    broker: Served, backend: ScriptedBackend
) -> None:
    """The binding's id was used again: the deletion revokes the later life only."""
    await broker.put()
    backend.next("bind", fail(Failed("The server is full."), leaves=True))
    backend.next("unbind", fail(RuntimeError("away")))
    is_error(await broker.bind(), 500)
    assert (await broker.bind()).status_code == 201
    assert len(backend.bindings) == 2

    assert (await broker.delete()).status_code == 200
    await broker.hurry()

    assert backend.left == set()


async def delete_that_halts_a_bind_and_fails(
    broker: Served, backend: ScriptedBackend
) -> None:
    """The bind has made its credential; the instance is still there afterwards."""
    await broker.put(plan=ASYNC, flag=True)
    await broker.quiet()
    hold = Hold()
    backend.next("bind", succeed(works="first", hold=hold))
    await broker.bind(plan=ASYNC, flag=True)
    await soon(hold.entered.wait())
    backend.next("unbind", fail(Failed("The server is out of reach.")))
    await broker.delete(flag=True)
    await broker.quiet()


async def test_a_binding_that_a_failed_delete_halted_can_be_made_again(
    broker: Served, backend: ScriptedBackend
) -> None:
    """Its creation has failed: what it left is cleaned up, and nothing conflicts."""
    await delete_that_halts_a_bind_and_fails(broker, backend)
    assert body_of(await broker.poll_binding())["state"] == "failed"

    again = await broker.bind(plan=ASYNC, flag=True, parameters={"role": "other"})
    assert again.status_code == 202
    await broker.hurry()

    assert (await broker.get_binding()).status_code == 200
    assert len(backend.bindings) == 1
    await broker.delete(flag=True)
    await broker.quiet()
    assert backend.left == set()


async def test_what_a_failed_delete_has_halted_on_the_instance_is_cleaned_up(
    broker: Served, backend: ScriptedBackend
) -> None:
    """The instance stays as it was, and no credential that nobody knows of on it."""
    await delete_that_halts_a_bind_and_fails(broker, backend)
    assert body_of(await broker.poll())["state"] == "failed"
    assert len(backend.bindings) == 1
    await broker.hurry()

    assert await broker.kinds() == ["provision", "bind", "deprovision", "cleanup"]
    assert backend.bindings == {}
    assert (await broker.get()).status_code == 200


# --- DELETE without the flag on an async plan ---------------------------------------


@changes("deprovision", "unbind")
async def test_a_delete_without_the_flag_of_what_is_healthy_is_refused(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """ASYNC-06, ASYNC-11, DEPROV-09, UNBIND-09."""
    await change.prepare(broker, ASYNC)
    before = await broker.everything()

    is_error(await change.ask(broker, ASYNC), 422, "AsyncRequired")

    assert await broker.everything() == before
    assert backend.made(change.verb) == []


@pytest.mark.parametrize(
    ("making", "removing"),
    [
        pytest.param("provision", "deprovision", id="instance"),
        pytest.param("bind", "unbind", id="binding"),
    ],
)
async def test_a_delete_without_the_flag_of_a_failed_creation_waits_for_its_cleanup(
    broker: Served,
    backend: ScriptedBackend,
    making: Verb,
    removing: Verb,
) -> None:
    """ORPH-01, ORPH-02, ORPH-03: platforms clean up without the flag."""
    await CHANGES[making].prepare(broker, ASYNC)
    backend.next(making, fail(Failed("No room."), leaves=True))
    backend.next(removing, fail(RuntimeError("away")))
    await CHANGES[making].ask(broker, ASYNC, True)
    await broker.quiet()
    assert broker.waiting == 1
    name = backend.made(making)[0].name
    assert name in backend.left

    answer = await CHANGES[removing].ask(broker, ASYNC)

    assert (answer.status_code, body_of(answer)) == (200, {})
    assert name not in backend.left
    assert broker.waiting == 0
    again = await CHANGES[removing].ask(broker, ASYNC)
    assert again.status_code == 410


@pytest.mark.parametrize(
    ("making", "removing"),
    [
        pytest.param("provision", "deprovision", id="instance"),
        pytest.param("bind", "unbind", id="binding"),
    ],
)
async def test_a_delete_without_the_flag_of_a_failed_creation_waits_no_longer(
    broker: Served, backend: ScriptedBackend, making: Verb, removing: Verb
) -> None:
    await CHANGES[making].prepare(broker, ASYNC)
    backend.next(making, fail(Failed("No room."), leaves=True))
    hold = Hold()
    backend.next(removing, fail(RuntimeError("away")), succeed(hold=hold))
    await CHANGES[making].ask(broker, ASYNC, True)
    await broker.quiet()
    name = backend.made(making)[0].name
    broker.allow(sync_budget_required=0.02)

    is_error(await CHANGES[removing].ask(broker, ASYNC), 422, "AsyncRequired")

    assert not hold.cancelled.is_set()
    hold.release()
    await broker.quiet()
    assert name not in backend.left
    assert (await CHANGES[removing].ask(broker, ASYNC)).status_code == 410


async def test_a_delete_without_the_flag_of_a_creation_that_left_nothing_is_gone(
    broker: Served, backend: ScriptedBackend
) -> None:
    backend.next("provision", fail(Failed("No room.")))
    await broker.put(plan=ASYNC, flag=True)
    await broker.quiet()
    before = await broker.everything()

    answer = await broker.delete()

    assert (answer.status_code, body_of(answer)) == (410, {})
    assert await broker.everything() == before


# --- never seen, and the ids --------------------------------------------------------


@FLAGS
async def test_a_delete_of_what_was_never_there_is_gone_and_never_not_found(
    broker: Served, flag: bool | None
) -> None:
    """DEPROV-08, UNBIND-08."""
    await broker.put("i-1")
    before = await broker.everything()

    for answer in (
        await broker.delete("unknown", flag=flag),
        await broker.unbind("unknown", "i-1", flag=flag),
        await broker.unbind("b-1", "unknown", flag=flag),
    ):
        assert (answer.status_code, body_of(answer)) == (410, {})

    assert await broker.everything() == before


@changes("unbind", "deprovision")
@pytest.mark.parametrize(
    "ids",
    [
        pytest.param({"plan_id": AUTO}, id="no service_id"),
        pytest.param({"service_id": AUTO}, id="no plan_id"),
        pytest.param({"service_id": "", "plan_id": AUTO}, id="service_id empty"),
        pytest.param({"service_id": AUTO, "plan_id": ""}, id="plan_id empty"),
        pytest.param({}, id="neither"),
    ],
)
async def test_a_delete_without_both_ids_is_malformed(
    broker: Served, backend: ScriptedBackend, change: Change, ids: dict[str, str]
) -> None:
    """DEPROV-06, DEPROV-07, UNBIND-06, UNBIND-07: and nothing is deleted."""
    await CHANGES["unbind"].prepare(broker, AUTO)
    before = await broker.everything()
    path = "/service_instances/i-1"
    if change.of_binding:
        path += "/service_bindings/b-1"

    answer = await broker.ask("DELETE", path, params=ids)

    missing = next(n for n in ("service_id", "plan_id") if not ids.get(n))
    assert missing in is_error(answer, 400)["description"]
    assert await broker.everything() == before
    assert len(backend.left) == 2


@changes("unbind", "deprovision")
async def test_a_delete_with_ids_of_something_else_is_carried_out(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """DEPROV-16, UNBIND-15: a clean-up must not fail for a stale catalog."""
    await CHANGES["unbind"].prepare(broker, AUTO)
    ask = broker.unbind if change.of_binding else broker.delete

    answer = await ask(service_id="another", plan_id="no plan at all")

    assert (answer.status_code, body_of(answer)) == (200, {})
    assert len(backend.left) == (1 if change.of_binding else 0)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> CapturingLogger:
    """What the lifecycle of instances and bindings logs."""
    log = CapturingLogger()
    monkeypatch.setattr(instances, "log", log)
    return log


@changes("unbind", "deprovision")
@pytest.mark.parametrize(
    ("ids", "differ"),
    [
        pytest.param({}, None, id="the stored ones"),
        pytest.param({"plan_id": "a-secret"}, ["plan_id"], id="the plan"),
        pytest.param(
            {"service_id": "x", "plan_id": "y"}, ["service_id", "plan_id"], id="both"
        ),
    ],
)
async def test_ids_of_a_delete_that_differ_are_logged_by_name(
    broker: Served,
    change: Change,
    told: CapturingLogger,
    ids: dict[str, Any],
    differ: list[str] | None,
) -> None:
    """What was sent is not repeated: it may be anything."""
    await CHANGES["unbind"].prepare(broker, AUTO)
    about = {"instance_id": "i-1"}
    if change.of_binding:
        about["binding_id"] = "b-1"

    await (broker.unbind if change.of_binding else broker.delete)(**ids)

    assert [(one.method_name, one.args, one.kwargs) for one in told.calls] == (
        [("warning", ("request.ids_differ",), {"differ": differ, **about})]
        if differ
        else []
    )


async def test_the_plan_that_a_binding_was_made_on_does_not_differ(
    broker: Served, told: CapturingLogger
) -> None:
    """A platform may send the plan of then or of now."""
    await broker.put()
    for binding in ("b-1", "b-2", "b-3"):
        await broker.bind(binding)
    await broker.patch(plan_id=SYNC)

    await broker.unbind("b-1", plan_id=AUTO)
    await broker.unbind("b-2", plan_id=SYNC)
    assert told.calls == []
    await broker.unbind("b-3", plan_id=ASYNC)
    assert len(told.calls) == 1
