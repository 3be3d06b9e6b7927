"""The scripted backend: does as told, and keeps account of it."""

import asyncio
from typing import Any

import pytest

from osbkit import Bound, Description, Failed, Found, Refused
from osbkit.backends.contract import InstanceView
from osbkit.backends.scripted import (
    BOUND,
    Call,
    Hold,
    Progress,
    ScriptedBackend,
    fail,
    succeed,
)
from tests.backends.runs import KeptRun, to_deprovision, to_provision, to_unbind
from tests.flows.serving import soon


@pytest.fixture
def backend() -> ScriptedBackend:
    """One without a script."""
    return ScriptedBackend()


async def test_without_a_script_every_verb_succeeds_and_is_written_down(
    backend: ScriptedBackend,
) -> None:
    run = KeptRun()
    request: Any = to_provision("osb-1")
    binding: Any = to_unbind("osb-2")

    await backend.check(request)
    assert await backend.provision(request, run) is None
    assert await backend.update(request, run) is None
    assert await backend.bind(binding, run) == BOUND
    assert backend.left == {"osb-1", "osb-2"}
    assert backend.instances == {"osb-1": request}
    await backend.unbind(binding, run)
    await backend.deprovision(to_deprovision("osb-1"), run)

    assert backend.left == set()
    assert [call.verb for call in backend.calls] == [
        "check",
        "provision",
        "update",
        "bind",
        "unbind",
        "deprovision",
    ]
    assert {call.ended for call in backend.calls} == {"returned"}
    assert backend.made("bind") == [
        Call(
            verb="bind",
            name="osb-2",
            attempt=1,
            operation="operation",
            request=binding,
            ended="returned",
        )
    ]


async def test_removing_what_is_not_there_succeeds(backend: ScriptedBackend) -> None:
    await backend.deprovision(to_deprovision(), KeptRun())
    await backend.unbind(to_unbind(), KeptRun())

    assert backend.left == set()


async def test_the_next_calls_come_first_then_what_is_always_so(
    backend: ScriptedBackend,
) -> None:
    request: Any = to_unbind()
    backend.always("bind", succeed(Bound(credentials={"n": 0})))
    backend.next(
        "bind",
        fail(Refused("No."), times=2),
        succeed(Bound(credentials={"n": 1})),
    )

    for _ in range(2):
        with pytest.raises(Refused):
            await backend.bind(request, KeptRun())
    bounds = [await backend.bind(request, KeptRun()) for _ in range(3)]

    assert [one.credentials["n"] for one in bounds] == [1, 0, 0]
    assert [call.ended for call in backend.calls[:3]] == [
        "raised",
        "raised",
        "returned",
    ]


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_failure_leaves_something_behind_if_told_so(
    backend: ScriptedBackend, leaves: bool
) -> None:
    backend.next("provision", fail(Failed("No."), leaves=leaves))

    with pytest.raises(Failed):
        await backend.provision(to_provision(), KeptRun())

    assert backend.left == ({"osb-1"} if leaves else set())


@pytest.mark.parametrize(
    ("works", "while_held"),
    [
        pytest.param("first", {"osb-1"}, id="first"),
        pytest.param("last", set(), id="last"),
    ],
)
async def test_a_held_call_stays_inside_until_it_is_released(
    backend: ScriptedBackend, works: Any, while_held: set[str]
) -> None:
    hold = Hold()
    backend.next("provision", succeed({"size": 1}, hold=hold, works=works))
    call = asyncio.create_task(backend.provision(to_provision(), KeptRun()))

    await soon(hold.entered.wait())
    assert backend.left == while_held
    assert [one.verb for one in backend.inside] == ["provision"]
    hold.release()

    assert await soon(call) == {"size": 1}
    assert backend.left == {"osb-1"}
    assert backend.inside == []


async def test_a_held_call_that_is_cancelled_says_so(backend: ScriptedBackend) -> None:
    hold = Hold()
    backend.next("provision", succeed(hold=hold))
    call = asyncio.create_task(backend.provision(to_provision(), KeptRun()))
    await soon(hold.entered.wait())

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await soon(call)
    assert hold.cancelled.is_set()
    assert backend.calls[0].ended == "cancelled"
    assert backend.left == set()


async def test_a_deaf_call_goes_on_to_its_end(backend: ScriptedBackend) -> None:
    hold = Hold(deaf=True)
    backend.next("provision", succeed({"size": 1}, hold=hold))
    call = asyncio.create_task(backend.provision(to_provision(), KeptRun()))
    await soon(hold.entered.wait())

    for _ in range(2):
        hold.cancelled.clear()
        call.cancel()
        await soon(hold.cancelled.wait())
        assert not call.done()
    hold.release()

    assert await soon(call) == {"size": 1}
    assert backend.calls[0].ended == "returned"


async def test_a_hold_that_was_released_keeps_nobody(backend: ScriptedBackend) -> None:
    hold = Hold()
    hold.release()
    backend.always("provision", succeed(hold=hold))

    await soon(backend.provision(to_provision(), KeptRun()))

    assert hold.entered.is_set()


async def test_progress_is_told_before_the_call_is_held(
    backend: ScriptedBackend,
) -> None:
    run, hold = KeptRun(), Hold()
    said = (Progress(text="Half.", percent=50), Progress(text="More.", poll_after=9))
    backend.next("provision", succeed(hold=hold, progress=said))
    call = asyncio.create_task(backend.provision(to_provision(), run))

    await soon(hold.entered.wait())

    assert run.told == [("Half.", 50, None), ("More.", None, 9)]
    hold.release()
    await soon(call)


@pytest.mark.parametrize(
    ("shown", "url"),
    [
        pytest.param(None, None, id="nothing"),
        pytest.param(Description(labels={"a": "b"}), None, id="labels only"),
        pytest.param(
            Description(dashboard_url="https://d"), "https://d/osb-1", id="a dashboard"
        ),
    ],
)
def test_a_dashboard_identifies_its_instance(
    shown: Description | None, url: str | None
) -> None:
    backend = ScriptedBackend(shown=shown)
    view: InstanceView[Any] = InstanceView(
        name="osb-1",
        instance_id="i-1",
        offering="queue",
        plan="auto",
        platform="default",
        parameters=None,
    )

    said = backend.describe(view)

    assert said.dashboard_url == url
    assert said.labels == (shown.labels if shown else {})


async def test_it_lists_its_ledger_as_it_stood_when_it_was_asked(
    backend: ScriptedBackend,
) -> None:
    await backend.provision(to_provision("osb-1"), KeptRun())
    backend.bindings["osb-stranger"] = None
    hold = Hold()
    backend.next("inventory", succeed(hold=hold))

    listing = asyncio.ensure_future(listed(backend))
    await soon(hold.entered.wait())
    backend.instances.clear()
    hold.release()

    assert await soon(listing) == [
        Found(name="osb-1", instance_id="i-1"),
        Found(name="osb-stranger", kind="binding"),
    ]
    assert await listed(backend) == [Found(name="osb-stranger", kind="binding")]
    assert [call.ended for call in backend.made("inventory")] == ["returned"] * 2


async def test_a_listing_fails_as_told(backend: ScriptedBackend) -> None:
    backend.next("inventory", fail(RuntimeError("away")))

    with pytest.raises(RuntimeError, match="away"):
        await listed(backend)


async def listed(backend: ScriptedBackend) -> list[Found]:
    return [found async for found in backend.inventory()]


def test_what_it_keeps_shows_no_parameters_and_no_credentials() -> None:
    """A test's report is read by many."""
    secret = Bound(credentials={"password": "hunter2"})
    call = Call(
        verb="provision",
        name="osb-1",
        attempt=1,
        operation="operation",
        request=to_provision(parameters={"password": "hunter2"}),
    )

    assert "hunter2" not in repr((call, succeed(secret)))
