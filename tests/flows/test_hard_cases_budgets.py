"""Hard cases of "Sync, async, auto": how long a request waits, and what it then says.

The calls are held by events; the budgets are a few hundredths of a second, or none.
"""

import asyncio
from typing import Any

import httpx
import pytest

from osbkit.backends.scripted import Hold, ScriptedBackend, fail, succeed
from osbkit.errors import Failed
from tests.flows.conftest import Serve
from tests.flows.serving import (
    ASYNC,
    AUTO,
    SYNC,
    Served,
    a_catalog,
    body_of,
    is_error,
    plan,
    queue,
    soon,
    states,
)
from tests.flows.verbs import CHANGES, Change, changes

SHORT = 0.02
WAITED = pytest.mark.parametrize(
    ("mode", "flag"),
    [
        pytest.param(SYNC, None, id="sync"),
        pytest.param(SYNC, True, id="sync with the flag"),
        pytest.param(AUTO, None, id="auto"),
    ],
)


def is_late(answer: httpx.Response) -> str:
    """503, to be repeated: the sentence."""
    body = is_error(answer, 503)
    assert answer.headers["retry-after"].isdigit()
    assert body.keys() == {"description"}
    return str(body["description"])


# --- auto with the flag -------------------------------------------------------------


@changes()
async def test_auto_with_the_flag_answers_inline_what_is_done_in_time(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """ASYNC-01, ASYNC-05."""
    broker.allow(sync_budget=20.0)
    await change.prepare(broker, AUTO)

    assert (await change.ask(broker, AUTO, True)).status_code == change.done


@changes()
async def test_auto_with_the_flag_goes_on_with_the_same_call_after_its_budget(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """ASYNC-02, ASYNC-08."""
    await change.prepare(broker, AUTO)
    broker.allow(sync_budget=SHORT)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold))

    accepted = await soon(change.ask(broker, AUTO, True))

    assert accepted.status_code == 202
    assert not hold.cancelled.is_set()
    hold.release()
    await broker.quiet()
    assert len(backend.made(change.verb)) == 1
    polled = await change.poll(broker, body_of(accepted)["operation"])
    assert body_of(polled) == {"state": "succeeded"}


async def test_a_plan_may_have_a_budget_of_its_own(
    serve: Serve, backend: ScriptedBackend
) -> None:
    quick = plan(AUTO, "auto", settings={"sync_budget": SHORT})
    broker = await serve(catalog=a_catalog(queue(plans=[quick])), sync_budget=20.0)
    hold = Hold()
    backend.next("provision", succeed(hold=hold))

    assert (await soon(broker.put(flag=True))).status_code == 202

    hold.release()
    await broker.quiet()


# --- without the flag, or sync ------------------------------------------------------


@changes("provision", "update", "bind")
@WAITED
async def test_what_is_made_too_late_is_taken_back_before_the_answer(
    broker: Served,
    backend: ScriptedBackend,
    change: Change,
    mode: str,
    flag: bool | None,
) -> None:
    """ASYNC-09, ORPH-03, UPD-10: the platform saw an error, and keeps nothing."""
    await change.prepare(broker, mode)
    stood = backend.left
    broker.allow(sync_budget_required=SHORT)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold, works="first"))

    answer = await soon(change.ask(broker, mode, flag))

    sentence = is_late(answer)
    assert hold.cancelled.is_set()
    assert backend.left == stood
    assert states(await broker.operations())[-1] == (change.verb, "failed")
    polled = body_of(await change.poll(broker))
    assert polled == {"state": "failed", "description": sentence}
    if change.verb == "update":
        last = backend.made("update")[-1].request
        assert last.parameters.model_dump() == {"size": 1}
        assert (await broker.row()).parameters == {"size": 1}
        assert (await broker.get()).status_code == 200
    else:
        removal = CHANGES["unbind" if change.of_binding else "deprovision"]
        assert (await removal.ask(broker, mode)).status_code == 410
    broker.allow(sync_budget_required=20.0)
    assert (await change.ask(broker, mode, flag)).status_code == change.done


@changes("unbind", "deprovision")
@WAITED
async def test_what_is_removed_too_late_goes_on_and_is_joined(
    broker: Served,
    backend: ScriptedBackend,
    change: Change,
    mode: str,
    flag: bool | None,
) -> None:
    """PLAT-33, ORPH-04: the platform repeats a DELETE until it sees the end."""
    await change.prepare(broker, mode)
    stood = backend.left
    broker.allow(sync_budget_required=SHORT)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold))

    is_late(await soon(change.ask(broker, mode, flag)))

    assert not hold.cancelled.is_set()
    assert body_of(await change.poll(broker)) == {"state": "in progress"}
    broker.allow(sync_budget_required=20.0)
    again = asyncio.create_task(change.ask(broker, mode))
    await asyncio.sleep(0)
    hold.release()
    assert (await soon(again)).status_code == 410
    assert len(backend.made(change.verb)) == 1
    assert backend.left < stood
    assert body_of(await change.poll(broker)) == {"state": "succeeded"}


@changes("provision", "bind")
async def test_a_roll_back_that_takes_too_long_goes_on_without_the_caller(
    broker: Served,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
) -> None:
    """PLAT-35: 503 all the same; a DELETE may come at any moment."""
    await change.prepare(broker, AUTO)
    stood = backend.left
    monkeypatch.setattr("osbkit.lifecycle.waiting.ROLLBACK_WAIT", SHORT)
    broker.allow(sync_budget_required=SHORT)
    undo = CHANGES["unbind" if change.of_binding else "deprovision"]
    hold = Hold()
    backend.next(change.verb, succeed(hold=Hold(), works="first"))
    backend.next(undo.verb, succeed(hold=hold))

    is_late(await soon(change.ask(broker, AUTO)))

    assert len(backend.left) == len(stood) + 1
    assert body_of(await change.poll(broker))["state"] == "in progress"
    hold.release()
    await broker.quiet()
    assert backend.left == stood
    assert body_of(await change.poll(broker))["state"] == "failed"


async def test_a_call_that_cannot_be_stopped_is_rolled_back_when_it_returns(
    broker: Served, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it makes after its caller has gone is removed, not kept."""
    monkeypatch.setattr("osbkit.lifecycle.waiting.ROLLBACK_WAIT", SHORT)
    broker.allow(sync_budget_required=SHORT)
    hold = Hold(deaf=True)
    backend.next("provision", succeed(hold=hold))

    is_late(await soon(broker.put()))

    assert backend.made("deprovision") == []
    hold.release()
    await broker.quiet()
    assert [call.verb for call in backend.calls[1:]] == ["provision", "deprovision"]
    assert backend.left == set()
    assert (await broker.row()).state == "failed"


async def test_a_roll_back_after_the_budget_that_fails_is_cleaned_up_later(
    broker: Served, backend: ScriptedBackend, impatient: None
) -> None:
    """ORPH-05."""
    broker.allow(sync_budget_required=SHORT)
    backend.next("provision", succeed(hold=Hold(), works="first"))
    backend.next("deprovision", fail(Failed("Not now.")))

    is_late(await soon(broker.put()))

    assert len(backend.left) == 1
    await broker.hurry()
    assert backend.left == set()
    assert (await broker.delete()).status_code == 410


# --- async --------------------------------------------------------------------------


@changes()
async def test_async_answers_at_once(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """ASYNC-08."""
    await change.prepare(broker, ASYNC)
    broker.allow(sync_budget=3600.0, sync_budget_required=3600.0)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold))

    accepted = await soon(change.ask(broker, ASYNC, True))

    assert accepted.status_code == 202
    hold.release()
    await broker.quiet()
    polled = await change.poll(broker, body_of(accepted)["operation"])
    assert body_of(polled) == {"state": "succeeded"}


@changes("provision", "update", "bind")
@pytest.mark.parametrize("flag", [None, False])
async def test_async_without_the_flag_is_refused_before_anything_is_recorded(
    broker: Served, backend: ScriptedBackend, change: Change, flag: bool | None
) -> None:
    """ASYNC-06, ASYNC-07, ASYNC-10, ASYNC-11, PROV-25, UPD-13, BIND-19."""
    await change.prepare(broker, ASYNC)
    before = await broker.everything()
    calls = len(backend.made(change.verb))

    body = is_error(await change.ask(broker, ASYNC, flag), 422, "AsyncRequired")

    assert body["description"] == (
        "This service plan requires client support for asynchronous service operations."
    )
    assert await broker.everything() == before
    assert len(backend.made(change.verb)) == calls


# --- mode and bind_mode -------------------------------------------------------------


def of_modes(mode: str, bind_mode: str, **fields: Any) -> Any:
    """A catalog of one plan."""
    only = plan(AUTO, "auto", settings={"mode": mode, "bind_mode": bind_mode})
    return a_catalog(queue(plans=[only], **fields))


async def test_an_async_plan_may_bind_for_platforms_without_the_flag(
    serve: Serve,
) -> None:
    """BIND-01, UNBIND-02: Service Catalog, eden and Cloud Foundry's keys."""
    broker = await serve(catalog=of_modes("async", "auto"))
    await broker.put(flag=True)
    await broker.quiet()

    assert (await broker.bind()).status_code == 201
    assert (await broker.unbind()).status_code == 200
    is_error(await broker.delete(), 422, "AsyncRequired")


async def test_a_sync_plan_may_bind_asynchronously(serve: Serve) -> None:
    """BIND-19, BFETCH-11."""
    broker = await serve(catalog=of_modes("sync", "async"))
    assert (await broker.put()).status_code == 201

    is_error(await broker.bind(), 422, "AsyncRequired")
    assert (await broker.bind(flag=True)).status_code == 202
    await broker.quiet()
    assert (await broker.get_binding()).status_code == 200
    assert (await broker.delete()).status_code == 200


async def test_auto_binds_inline_where_no_get_could_follow(
    serve: Serve, backend: ScriptedBackend
) -> None:
    """BIND-24, BFETCH-11: the credentials must be in the answer."""
    catalog = of_modes("auto", "auto", bindings_retrievable=False)
    broker = await serve(catalog=catalog, sync_budget=0.0)
    await broker.put(flag=True)
    await broker.quiet()
    hold = Hold()
    backend.next("bind", succeed(hold=hold))

    bind = asyncio.create_task(broker.bind(flag=True))
    await soon(hold.entered.wait())
    hold.release()

    bound = await soon(bind)
    assert bound.status_code == 201
    assert "credentials" in body_of(bound)
