"""How long a request waits, and what becomes of it then.

Requirements proved here: ASYNC-05 to ASYNC-09, ERR-06, ERR-07, DEPROV-17, UPD-25.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from osbkit.catalog import PlanSettings
from osbkit.domain import Operation, OperationKind, OperationState
from osbkit.errors import (
    AsyncRequired,
    Malformed,
    OperationFailed,
    OperationInProgress,
    RequestRejected,
    Unavailable,
    UpdateRefused,
)
from osbkit.lifecycle.waiting import (
    LATE,
    REMOVING,
    ROLLBACK_WAIT,
    Patience,
    Waiting,
    failure_of,
    joining,
    patience,
)
from osbkit.settings import Settings
from tests.store.records import an_operation

SETTINGS = Settings(sync_budget=2.0, sync_budget_required=40.0)
PLAN = PlanSettings(sync_budget=8.0)


@pytest.mark.parametrize(
    ("mode", "accepts", "plan", "expected"),
    [
        pytest.param("async", True, None, Patience(0, "accept"), id="async: at once"),
        pytest.param("async", True, PLAN, Patience(0, "accept"), id="whatever is set"),
        pytest.param("auto", True, None, Patience(2, "accept"), id="auto, flag"),
        pytest.param("auto", True, PLAN, Patience(8, "accept"), id="the plan's own"),
        pytest.param("auto", False, None, Patience(40, "give_up"), id="auto, no flag"),
        pytest.param("auto", False, PLAN, Patience(40, "give_up"), id="not the plan's"),
        pytest.param("sync", True, None, Patience(40, "give_up"), id="sync, flag"),
        pytest.param("sync", False, None, Patience(40, "give_up"), id="sync, no flag"),
    ],
)
def test_request_that_begins_waits_by_its_plans_mode(mode, accepts, plan, expected):
    found = patience(mode, accepts, SETTINGS, plan)

    assert found == expected
    assert found.answer_owed is (expected.then == "give_up")


@pytest.mark.parametrize("mode", ["sync", "async", "auto"])
def test_request_that_joins_with_the_flag_is_told_to_poll(mode):
    assert joining(mode, True, SETTINGS) == Patience(0, "accept")


@pytest.mark.parametrize("mode", ["sync", "auto"])
def test_request_that_joins_without_the_flag_waits_and_is_busy_then(mode):
    assert joining(mode, False, SETTINGS) == Patience(40, "busy")


def test_request_that_joins_an_async_plan_needs_the_flag():
    with pytest.raises(AsyncRequired):
        joining("async", False, SETTINGS)


# --- what the answer is ---------------------------------------------------------------


def failed(**fields: Any) -> Operation:
    """An operation that ended badly."""
    given: dict[str, Any] = {
        "state": OperationState.FAILED,
        "status": 500,
        "description": "No.",
    }
    return an_operation(**given | fields)


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        pytest.param({}, OperationFailed, "No.", id="failed"),
        pytest.param({"description": None}, OperationFailed, "failed", id="no words"),
        pytest.param({"status": 400}, Malformed, "No.", id="refused"),
        pytest.param({"status": 422}, UpdateRefused, "No.", id="update refused"),
        pytest.param({"status": 503}, Unavailable, "No.", id="passing"),
        pytest.param({"stop_asked": True}, Unavailable, "deletion", id="halted"),
        pytest.param({"status": None}, Unavailable, "deletion", id="halted elsewhere"),
    ],
)
def test_failure_is_told_by_its_status(fields, error, said):
    found = failure_of(failed(**fields))

    assert type(found) is error
    assert said in found.description


def test_failure_tells_what_is_left_of_the_instance():
    found = failure_of(failed(instance_usable=False, update_repeatable=True))

    assert (found.instance_usable, found.update_repeatable) == (False, True)


# --- waiting itself -------------------------------------------------------------------


class Engine:
    """Answers each wait with the next record it was given."""

    def __init__(self, *records: Operation) -> None:
        self.records = list(records)
        self.waited: list[float] = []
        self.heard: list[Operation] = []

    async def wait(self, operation: Operation, seconds: float) -> Operation:
        self.waited.append(seconds)
        await asyncio.sleep(0)
        return self.records.pop(0)

    def turned(self, operation: Operation) -> None:
        self.heard.append(operation)


class Store:
    """Answers a write with what turning it would give."""

    def __init__(self, turned: Operation | None = None) -> None:
        self.result = turned
        self.units: list[Any] = []

    async def write(self, unit: Any, committed: Callable[[Any], None]) -> Any:
        self.units.append(unit)
        committed(self.result)
        return self.result


LIVE = an_operation(answer_owed=True)
DONE = replace(LIVE, state=OperationState.SUCCEEDED)


async def seen(
    engine: Engine, then: Any, seconds: float = 2.0, store: Store | None = None
) -> Any:
    """What becomes of waiting: the record, or the refusal."""
    waiting = Waiting(cast(Any, store or Store()), cast(Any, engine))
    try:
        return await waiting.see(LIVE, Patience(seconds, then))
    except RequestRejected as refused:
        return refused


async def test_request_on_an_async_plan_waits_for_nothing():
    engine = Engine()

    assert await seen(engine, "accept", seconds=0) is LIVE
    assert engine.waited == []


@pytest.mark.parametrize("then", ["accept", "busy", "give_up", "async_required"])
async def test_operation_that_ends_in_time_is_the_answer(then):
    engine = Engine(DONE)

    assert await seen(engine, then) is DONE
    assert engine.waited == [2.0]


@pytest.mark.parametrize("then", ["accept", "busy", "give_up", "async_required"])
async def test_operation_that_fails_in_time_is_raised(then):
    assert isinstance(await seen(Engine(failed()), then), OperationFailed)


@pytest.mark.parametrize(
    ("then", "expected"),
    [("busy", OperationInProgress), ("async_required", AsyncRequired)],
)
async def test_time_that_is_over_is_told_as_it_was_agreed(then, expected):
    assert isinstance(await seen(Engine(LIVE), then), expected)


async def test_operation_that_goes_on_is_polled():
    assert await seen(Engine(LIVE), "accept") is LIVE


async def test_request_that_gives_up_turns_the_operation_and_waits_for_its_end():
    turned = replace(LIVE, fence=2)
    engine = Engine(LIVE, failed(status=503, description=LATE))
    store = Store(turned)

    found = await seen(engine, "give_up", store=store)

    assert (type(found), found.description) == (Unavailable, LATE)
    assert engine.heard == [turned]
    assert engine.waited == [2.0, ROLLBACK_WAIT]
    assert store.units[0].keywords["owed"] is True


async def test_request_that_gives_up_is_answered_though_the_roll_back_goes_on():
    found = await seen(Engine(LIVE, LIVE), "give_up", store=Store(LIVE))

    assert (type(found), found.description) == (Unavailable, LATE)


async def test_request_that_gives_up_too_late_gets_what_was_done():
    engine = Engine(LIVE, DONE)

    assert await seen(engine, "give_up", store=Store(None)) is DONE
    assert engine.heard == []


@pytest.mark.parametrize("kind", [OperationKind.DEPROVISION, OperationKind.UNBIND])
async def test_removal_goes_on_without_the_request(kind):
    removal, store = replace(LIVE, kind=kind), Store()

    found = await seen(Engine(removal), "give_up", store=store)

    assert (found.description, found.retry_after) == (REMOVING, 10)
    assert store.units == []
