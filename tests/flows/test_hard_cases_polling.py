"""Hard cases: last_operation, while something runs, after its end, after a deletion.

Row of the design: "last_operation". What is long ago is a moment that is given.
"""

from functools import partial
from typing import Any

import pytest

from osbkit import Failed
from osbkit.backends.scripted import (
    Hold,
    Progress,
    ScriptedBackend,
    fail,
    succeed,
)
from osbkit.errors import Unavailable
from osbkit.lifecycle.housekeeping import forget
from osbkit.store import rows
from tests.flows.serving import (
    ASYNC,
    AUTO,
    QUEUE,
    SYNC,
    Served,
    body_of,
    is_error,
    soon,
)
from tests.flows.verbs import CHANGES, Change, changes

DAY = 86_400 * 1_000_000
SUCCEEDED = {"state": "succeeded"}


@changes()
async def test_every_way_of_asking_without_our_token_means_the_latest(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """LOP-01, LOP-07, LOP-14, BLOP-01, BLOP-10, BLOP-11: platforms invent tokens."""
    await change.prepare(broker, ASYNC)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold))
    accepted = await change.ask(broker, ASYNC, True)
    ours = body_of(accepted)["operation"]
    await soon(hold.entered.wait())
    tokens = ["", "unknown", "0" * 26, "x" * 11_000, "task 7/ü%20", "Provision"]

    for state in ("in progress", "succeeded"):
        for token in (None, ours, *tokens):
            polled = await change.poll(broker, token)
            assert (polled.status_code, body_of(polled)) == (200, {"state": state})
        hold.release()
        await broker.quiet()


async def test_a_token_selects_its_own_operation_for_as_long_as_it_is_kept(
    broker: Served,
) -> None:
    """LOP-13, LOP-15, LOP-17."""
    made = body_of(await broker.put(plan=ASYNC, flag=True))["operation"]
    await broker.quiet()
    changed = await broker.patch(flag=True, parameters={"size": 2})
    await broker.quiet()
    bound = body_of(await broker.bind(plan=ASYNC, flag=True))["operation"]
    await broker.quiet()
    removed = body_of(await broker.delete(flag=True))["operation"]
    await broker.quiet()

    for token in (made, body_of(changed)["operation"], removed):
        assert body_of(await broker.poll(operation=token)) == SUCCEEDED
    assert body_of(await broker.poll_binding(operation=bound)) == SUCCEEDED


async def test_a_token_of_something_else_selects_nothing(
    broker: Served, backend: ScriptedBackend
) -> None:
    """LOP-15, BLOP-04: only an operation of the thing that is asked for."""
    first = body_of(await broker.put("i-1", plan=ASYNC, flag=True))["operation"]
    await broker.quiet()
    backend.next("provision", fail(Failed("No room.")))
    await broker.put("i-2", plan=ASYNC, flag=True)
    await broker.quiet()
    backend.next("bind", fail(Failed("No user.")))
    bound = await broker.bind("b-1", "i-1", plan=ASYNC, flag=True)
    await broker.quiet()

    failed = {"state": "failed", "description": "No room."}
    assert body_of(await broker.poll("i-2", operation=first)) == failed
    of_binding = body_of(bound)["operation"]
    assert body_of(await broker.poll("i-1", operation=of_binding)) == SUCCEEDED
    polled = await broker.poll_binding("b-1", "i-1", operation=first)
    assert body_of(polled) == {"state": "failed", "description": "No user."}
    is_error(await broker.poll("unknown", operation=first), 404)
    is_error(await broker.poll_binding("unknown", "i-1", operation=of_binding), 404)


async def test_the_ids_in_the_query_are_never_checked(broker: Served) -> None:
    """LOP-07, LOP-14, LOP-16: after a plan change platforms send the old plan."""
    await broker.put(plan=AUTO)
    await broker.patch(plan_id=SYNC)

    for ids in (
        {"service_id": QUEUE, "plan_id": AUTO},
        {"service_id": "another", "plan_id": ""},
        {"plan_id": "another"},
    ):
        assert body_of(await broker.poll(**ids)) == SUCCEEDED


@pytest.mark.parametrize("mode", [SYNC, AUTO])
async def test_what_was_done_while_its_caller_waited_is_polled_as_well(
    broker: Served, mode: str
) -> None:
    """LOP-18, PLAT-12."""
    await broker.put(plan=mode)
    await broker.bind(plan=mode)

    assert body_of(await broker.poll()) == SUCCEEDED
    assert body_of(await broker.poll_binding()) == SUCCEEDED


async def test_a_poll_shows_how_far_it_is_and_when_to_ask_again(
    broker: Served, backend: ScriptedBackend
) -> None:
    """ASYNC-12, LOP-03, LOP-11, LOP-12, BLOP-08."""
    said = (
        Progress(text="Choosing a server.", poll_after=30),
        Progress(text="Filling it.", percent=140, poll_after=0),
    )
    for verb in ("provision", "bind"):
        change = CHANGES[verb]
        hold = Hold()
        backend.next(change.verb, succeed(hold=hold, progress=said[:1]))
        await change.ask(broker, ASYNC, True)
        await soon(hold.entered.wait())

        polled = await change.poll(broker)
        assert polled.headers["retry-after"] == "30"
        assert body_of(polled) == {
            "state": "in progress",
            "description": "Choosing a server.",
        }
        again = await change.ask(broker, ASYNC, True)
        assert (again.status_code, again.headers["retry-after"]) == (202, "30")
        hold.release()
        await broker.quiet()
        done = await change.poll(broker)
        assert body_of(done) == SUCCEEDED
        assert "retry-after" not in done.headers

    hold = Hold()
    backend.next("update", succeed(hold=hold, progress=said))
    await broker.patch(flag=True, parameters={"size": 9})
    await soon(hold.entered.wait())
    polled = await broker.poll()
    assert body_of(polled)["description"] == "Filling it. (100 %)"
    assert polled.headers["retry-after"] == "1"
    hold.release()


# --- after a deletion ---------------------------------------------------------------


async def deleted(broker: Served, mode: str) -> tuple[str, str]:
    """An instance and its binding, made and removed: the last operation of each."""
    flag = True if mode == ASYNC else None
    for verb in ("provision", "bind", "unbind", "deprovision"):
        await CHANGES[verb].ask(broker, mode, flag)
        await broker.quiet()
    kept = await broker.operations()
    return kept[-1].id, kept[-2].id


async def forgotten(broker: Served, moment: int) -> None:
    """Let the housekeeping of a moment run."""
    days = broker.running.house.settings.retention_days
    unit = partial(forget, days=days, moment=lambda: moment)
    await broker.running.house.store.write(unit)


@pytest.mark.parametrize("mode", [SYNC, AUTO, ASYNC])
async def test_a_deletion_is_told_for_eight_days_then_410_then_404(
    broker: Served, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """LOP-08 to LOP-10, LOP-13, BLOP-04 to BLOP-06, BLOP-09."""
    instance, binding = await deleted(broker, mode)
    start = rows.now()

    async def polls() -> list[Any]:
        return [
            await broker.poll(operation=instance),
            await broker.poll(),
            await broker.poll_binding(operation=binding),
            await broker.poll_binding(),
        ]

    def travel(days: float) -> int:
        moment = start + int(days * DAY)
        monkeypatch.setattr("osbkit.lifecycle.polling.now", lambda: moment)
        return moment

    for days in (0, 1, 7.9):
        await forgotten(broker, travel(days))
        for answer in await polls():
            assert (answer.status_code, body_of(answer)) == (200, SUCCEEDED)
    for days in (8.1, 30, 89.9):
        await forgotten(broker, travel(days))
        assert await broker.operations() == []
        for answer in await polls():
            assert (answer.status_code, body_of(answer)) == (410, {})
    await forgotten(broker, travel(90.1))
    for answer in await polls():
        is_error(answer, 404)
    rows_left = await broker.everything()
    assert rows_left["instances"] == rows_left["bindings"] == []


async def test_a_tombstone_keeps_ids_and_times_only(broker: Served) -> None:
    """What was sealed is gone with the instance."""
    parameters = {"size": 1, "hint": "hunter2"}
    context = {"platform": "p", "secret": "hunter2"}
    await broker.put(context=context, parameters=parameters)
    resource = {"app_guid": "app"}
    await broker.bind(context=context, parameters=parameters, bind_resource=resource)
    await broker.delete()

    row, found = await broker.row(), await broker.binding_row()

    assert (row.state, row.parameters, row.context, row.facts) == (
        "gone",
        {},
        None,
        None,
    )
    assert (found.state, found.parameters, found.context) == ("gone", {}, None)
    assert (found.bound, found.facts, found.bind_resource) == (None, None, None)
    assert row.ended_at is not None
    assert found.ended_at is not None
    for operation in await broker.operations():
        assert operation.asked == {}


async def test_a_failed_creation_is_told_as_long_as_anything_is_known_of_it(
    broker: Served, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOP-09, LOP-19: failed, and never 410."""
    backend.next("provision", fail(Failed("No room.")))
    await broker.put(plan=ASYNC, flag=True)
    await broker.quiet()
    assert body_of(await broker.poll())["description"] == "No room."

    later = rows.now() + 30 * DAY
    monkeypatch.setattr("osbkit.lifecycle.polling.now", lambda: later)
    await forgotten(broker, later)
    assert body_of(await broker.poll()) == {"state": "failed"}

    await forgotten(broker, rows.now() + 91 * DAY)
    is_error(await broker.poll(), 404)


async def test_what_lives_is_told_however_old_it_is(
    broker: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOP-09, LOP-18: the operation is forgotten, the instance is not."""
    await broker.put()
    await broker.bind()
    later = rows.now() + 1000 * DAY
    monkeypatch.setattr("osbkit.lifecycle.polling.now", lambda: later)

    await forgotten(broker, later)

    assert await broker.operations() == []
    assert body_of(await broker.poll()) == SUCCEEDED
    assert body_of(await broker.poll_binding()) == SUCCEEDED
    assert (await broker.get()).status_code == 200
    assert (await broker.get_binding()).status_code == 200
    assert (await broker.delete()).status_code == 200


async def test_a_new_life_of_an_id_is_told_apart_from_the_old(
    broker: Served, backend: ScriptedBackend
) -> None:
    """LOP-15, LOP-17."""
    old, _ = await deleted(broker, ASYNC)
    hold = Hold()
    backend.next("provision", succeed(hold=hold))
    new = body_of(await broker.put(plan=ASYNC, flag=True))["operation"]
    await soon(hold.entered.wait())

    assert body_of(await broker.poll(operation=old)) == SUCCEEDED
    assert body_of(await broker.poll(operation=new)) == {"state": "in progress"}
    assert body_of(await broker.poll()) == {"state": "in progress"}
    hold.release()


async def test_a_binding_that_went_with_its_instance_is_told_as_removed(
    broker: Served,
) -> None:
    """BLOP-06."""
    await broker.put()
    await broker.bind()
    made = (await broker.operations())[-1].id
    await broker.delete()

    assert body_of(await broker.poll_binding()) == SUCCEEDED
    assert body_of(await broker.poll_binding(operation=made)) == SUCCEEDED


# --- trouble of our own -------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(Unavailable("The database is away."), id="known"),
        pytest.param(RuntimeError("password=hunter2"), id="unexpected"),
    ],
)
async def test_no_fault_of_ours_ends_an_operation_for_the_platform(
    broker: Served, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """PLAT-16: 503 with Retry-After, never 400 or 500, at which platforms give up."""
    await broker.put()
    await broker.bind()

    async def broken(unit: Any) -> Any:
        raise trouble

    monkeypatch.setattr(broker.running.house.store, "read", broken)
    for answer in (await broker.poll(), await broker.poll_binding()):
        body = is_error(answer, 503)
        assert answer.headers["retry-after"].isdigit()
        assert "hunter2" not in str(body)
