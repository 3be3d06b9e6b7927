"""Hard cases: what a backend raises, and what then becomes of it.

Rows of the design: "Refused on PUT", "Failed", "any other exception", "a roll-back
that fails", "deadline".
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from osbkit import Bound, Description, Failed, Refused, telemetry
from osbkit.backends.scripted import Behaviour, Hold, ScriptedBackend, fail, succeed
from osbkit.domain import MICROSECONDS
from osbkit.operations import backoff
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
    until,
)
from tests.flows.verbs import CHANGES, Change, changes

pytestmark = pytest.mark.usefixtures("impatient")

SECRET = "password=hunter2"
UNDO = {"provision": "deprovision", "update": "update", "bind": "unbind"}


@dataclass(frozen=True)
class Trouble:
    """Something a backend raises, and what its caller hears of it.

    Attributes:
        status: of the answer to a caller that waits; an update's is 422 if 400.
        sentence: None for the fixed one.
    """

    error: Exception
    status: int
    sentence: str | None = None
    calls: int = 1


TROUBLES = {
    "Refused": Trouble(Refused("Not in this region."), 400, "Not in this region."),
    "Failed": Trouble(Failed("No room left."), 500, "No room left."),
    "another": Trouble(RuntimeError(SECRET), 500, calls=backoff.ATTEMPTS),
}
ERRORS = pytest.mark.parametrize(
    "trouble", [pytest.param(one, id=name) for name, one in TROUBLES.items()]
)
MODES = pytest.mark.parametrize(
    "mode",
    [
        pytest.param(SYNC, id="sync"),
        pytest.param(AUTO, id="auto"),
        pytest.param(ASYNC, id="async"),
    ],
)
WAITED = pytest.mark.parametrize(
    "mode", [pytest.param(SYNC, id="sync"), pytest.param(AUTO, id="auto")]
)


def is_told(body: dict[str, Any], trouble: Trouble, operation: str) -> None:
    """The author's sentence, or a fixed one that names the operation."""
    if trouble.sentence is not None:
        assert body["description"] == trouble.sentence
    else:
        assert operation in body["description"]
        assert "hunter2" not in str(body)


# --- refused before anything is recorded --------------------------------------------


@pytest.mark.parametrize("verb", ["provision", "bind"])
@MODES
async def test_what_check_refuses_is_a_bad_request_and_leaves_no_trace(
    broker: Served, backend: ScriptedBackend, mode: str, verb: Any
) -> None:
    """PROV-20, PROV-35, BIND-20, BIND-31, ERR-12, PLAT-35."""
    await CHANGES[verb].prepare(broker, mode)
    backend.next("check", fail(Refused("Not in this region.")))
    before = await broker.everything()

    answer = await CHANGES[verb].ask(broker, mode, True)

    assert is_error(answer, 400) == {"description": "Not in this region."}
    assert await broker.everything() == before
    assert backend.made(verb) == []
    assert (await CHANGES[verb].poll(broker)).status_code == 404


async def test_a_check_with_a_fault_of_its_own_records_nothing(
    broker: Served, backend: ScriptedBackend
) -> None:
    """ERR-13."""
    backend.next("check", fail(RuntimeError(SECRET)))
    before = await broker.everything()

    body = is_error(await broker.put(), 500)

    assert "hunter2" not in str(body)
    assert await broker.everything() == before


# --- what a verb raises, rolled back cleanly ----------------------------------------


@ERRORS
@changes("provision", "update", "bind")
@WAITED
async def test_an_error_is_rolled_back_and_answered(
    broker: Served,
    backend: ScriptedBackend,
    change: Change,
    mode: str,
    trouble: Trouble,
) -> None:
    """ERR-12, ERR-13, UPD-10, ORPH-01, ORPH-02, PLAT-35."""
    await change.prepare(broker, mode)
    stood = backend.left
    calls = len(backend.calls)
    backend.next(change.verb, *errors(trouble, leaves=True))

    answer = await change.ask(broker, mode)

    update = change.verb == "update"
    if trouble.status == 400 and update:
        body = is_error(answer, 422, "UpdateRefused")
    else:
        body = is_error(answer, trouble.status)
    operation = (await broker.operations())[-1]
    is_told(body, trouble, operation.id)
    assert (operation.kind, operation.state) == (change.verb, "failed")
    assert await broker.kinds() == [*change.before, change.verb]
    assert [one.verb for one in backend.calls[calls:] if one.verb != "check"] == [
        *[change.verb] * trouble.calls,
        UNDO[change.verb],
    ]
    assert backend.left == stood
    await is_as_before(broker, backend, change)
    polled = body_of(await change.poll(broker))
    assert polled.pop("state") == "failed"
    is_told(polled, trouble, operation.id)
    assert b"hunter2" not in repr(await broker.everything()).encode()


@ERRORS
@changes()
async def test_an_error_of_what_is_polled_is_told_by_the_poll(
    broker: Served, backend: ScriptedBackend, change: Change, trouble: Trouble
) -> None:
    """LOP-03, LOP-17, LOP-19, BLOP-03, BLOP-12."""
    await change.prepare(broker, ASYNC)
    stood = backend.left
    backend.next(change.verb, *errors(trouble, leaves=not change.removes))

    accepted = await change.ask(broker, ASYNC, True)
    assert accepted.status_code == 202
    operation = body_of(accepted)["operation"]
    await broker.quiet()

    for asked in (operation, None):
        polled = body_of(await change.poll(broker, asked))
        assert polled.pop("state") == "failed"
        is_told(polled, trouble, operation)
    assert backend.left == stood
    await is_as_before(broker, backend, change)


@ERRORS
@changes("unbind", "deprovision")
@WAITED
async def test_a_removal_that_fails_leaves_everything_where_it_is(
    broker: Served,
    backend: ScriptedBackend,
    change: Change,
    mode: str,
    trouble: Trouble,
) -> None:
    """UNBIND-01, DEPROV-01, PLAT-33: the platform asks again, and then it is done."""
    await change.prepare(broker, mode)
    stood = backend.left
    backend.next(change.verb, *errors(trouble, leaves=False))

    body = is_error(await change.ask(broker, mode), trouble.status)

    operation = (await broker.operations())[-1]
    is_told(body, trouble, operation.id)
    assert len(backend.made(change.verb)) == trouble.calls
    assert backend.left == stood
    await is_as_before(broker, backend, change)
    assert (await change.ask(broker, mode)).status_code == 200
    assert backend.left < stood
    assert (await change.ask(broker, mode)).status_code == 410


def errors(trouble: Trouble, *, leaves: bool) -> list[Behaviour]:
    """The script: once, or as often as it is tried."""
    return [fail(trouble.error, leaves=leaves, times=trouble.calls)]


async def is_as_before(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """What a failed change was about stands as it did, or is not there."""
    match change.verb:
        case "provision":
            row = await broker.row()
            assert (row.state, row.residue, row.parameters) == ("failed", False, {})
            is_error(await broker.get(), 404)
            assert (await broker.delete()).status_code == 410
        case "update":
            row = await broker.row()
            assert (row.state, row.usable) == ("ready", True)
            assert row.parameters == {"size": 1}
            last = backend.made("update")[-1].request
            assert last.parameters.model_dump() == {"size": 1}
            assert last.previous.parameters.model_dump() == {"size": 2}
        case "bind":
            found = await broker.binding_row()
            assert (found.state, found.residue, found.bound) == ("failed", False, None)
            is_error(await broker.get_binding(), 404)
            assert (await broker.unbind()).status_code == 410
        case "unbind":
            assert (await broker.binding_row()).state == "ready"
            assert (await broker.get_binding()).status_code == 200
        case _:
            assert (await broker.row()).state == "ready"
            assert (await broker.get()).status_code == 200


# --- any other exception: tried again -----------------------------------------------


@changes()
@MODES
async def test_passing_trouble_passes(
    broker: Served, backend: ScriptedBackend, change: Change, mode: str
) -> None:
    """ORPH-04: the caller of a synchronous request notices nothing."""
    await change.prepare(broker, mode)
    leaves = not change.removes
    trouble = fail(RuntimeError(SECRET), leaves=leaves, times=backoff.ATTEMPTS - 1)
    backend.next(change.verb, trouble)

    answer = await change.ask(broker, mode, True)
    await broker.quiet()

    assert answer.status_code == (202 if mode == ASYNC else change.done)
    calls = backend.made(change.verb)
    assert [call.attempt for call in calls] == [1, 2, 3, 4, 5, 6]
    assert len({call.name for call in calls}) == 1
    assert len({call.operation for call in calls}) == 1
    assert states(await broker.operations())[-1] == (change.verb, "succeeded")
    assert body_of(await change.poll(broker)) == {"state": "succeeded"}


async def test_a_plan_of_both_modes_answers_202_and_tries_on(
    broker: Served, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASYNC-02: trouble that outlasts the budget is polled like any other work."""
    broker.allow(sync_budget=0.02)
    monkeypatch.setattr(backoff, "delay", lambda *_: 600.0)
    backend.next("provision", fail(RuntimeError(SECRET)))

    accepted = await broker.put(flag=True)

    assert accepted.status_code == 202
    operation = body_of(accepted)["operation"]
    polled = await broker.poll(operation=operation)
    assert body_of(polled) == {"state": "in progress"}
    assert len(backend.made("provision")) == 1


async def test_without_the_flag_trouble_is_over_when_the_budget_is(
    broker: Served, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASYNC-09: nothing goes on that nobody knows of."""
    broker.allow(sync_budget_required=0.02)
    monkeypatch.setattr(backoff, "delay", lambda *_: 600.0)
    backend.next("provision", fail(RuntimeError(SECRET), leaves=True))

    body = is_error(await broker.put(), 503)

    assert "hunter2" not in str(body)
    assert len(backend.made("provision")) == 1
    assert backend.left == set()
    assert (await broker.row()).state == "failed"


@pytest.mark.parametrize(
    ("verb", "returns"),
    [
        pytest.param("provision", ["no object"], id="facts that are a list"),
        pytest.param("provision", {"a": object()}, id="facts that are not JSON"),
        pytest.param("update", "text", id="facts of an update"),
        pytest.param("bind", {"user": "u"}, id="a dict for a Bound"),
    ],
)
async def test_a_backend_that_returns_what_it_must_not_has_failed(
    broker: Served, backend: ScriptedBackend, verb: Any, returns: Any
) -> None:
    await CHANGES[verb].prepare(broker, AUTO)
    backend.next(verb, succeed(returns, times=backoff.ATTEMPTS))
    stood = backend.left

    is_error(await CHANGES[verb].ask(broker, AUTO), 500)

    assert backend.left == stood
    await is_as_before(broker, backend, CHANGES[verb])


# --- a roll-back that fails ---------------------------------------------------------


@ERRORS
@pytest.mark.parametrize("verb", ["provision", "bind"])
@MODES
async def test_a_roll_back_that_fails_is_repeated_until_it_is_done(
    broker: Served, backend: ScriptedBackend, mode: str, verb: Any, trouble: Trouble
) -> None:
    """ORPH-05, PLAT-35: and never a 4xx while something is left behind."""
    change, undo = CHANGES[verb], UNDO[verb]
    await change.prepare(broker, mode)
    stood = backend.left
    backend.next(verb, *errors(trouble, leaves=True))
    said = (RuntimeError(SECRET), Failed("It cannot."), Refused("It does not want."))
    backend.next(undo, *map(fail, said))  # type: ignore[arg-type]

    answer = await change.ask(broker, mode, True)
    await until(lambda: broker.waiting)

    if mode != ASYNC:
        body = is_error(answer, 500)
        is_told(body, trouble, (await broker.operations())[-2].id)
    name = backend.made(verb)[0].name
    assert backend.left == {*stood, name}
    cleanup = (await broker.operations())[-1]
    assert (cleanup.kind, cleanup.state) == ("cleanup", "in progress")
    assert body_of(await change.poll(broker))["state"] == "failed"
    assert await residue(broker, change) is True

    for _ in range(3):
        assert name in backend.left
        await broker.hurry()

    assert backend.left == stood
    assert broker.waiting == 0
    assert states(await broker.operations())[-1] == ("cleanup", "succeeded")
    attempts = [call.attempt for call in backend.made(undo)[1:]]  # type: ignore[arg-type]
    assert attempts == [1, 2, 3]
    assert await residue(broker, change) is False
    assert body_of(await change.poll(broker))["state"] == "failed"
    removal = CHANGES[undo]  # type: ignore[index]
    assert (await removal.ask(broker, mode)).status_code == 410


async def residue(broker: Served, change: Change) -> bool:
    """Whether a failed creation may have left something."""
    if change.of_binding:
        return (await broker.binding_row()).residue
    return (await broker.row()).residue


@pytest.mark.parametrize("verb", ["provision", "bind"])
@MODES
async def test_a_delete_takes_a_clean_up_over(
    broker: Served, backend: ScriptedBackend, mode: str, verb: Any
) -> None:
    """ORPH-01 to ORPH-04: at once, whenever the clean-up would have been due."""
    change, removal = CHANGES[verb], CHANGES[UNDO[verb]]  # type: ignore[index]
    await change.prepare(broker, mode)
    stood = backend.left
    backend.next(verb, fail(Failed("No."), leaves=True))
    backend.next(removal.verb, fail(RuntimeError(SECRET)))
    await change.ask(broker, mode, True)
    await until(lambda: broker.waiting)

    answer = await removal.ask(broker, mode, True)
    await broker.quiet()

    assert answer.status_code == (202 if mode == ASYNC else 200)
    assert backend.left == stood
    assert broker.waiting == 0
    assert body_of(await removal.poll(broker)) == {"state": "succeeded"}
    assert (await removal.ask(broker, mode, True)).status_code == 410


@pytest.mark.parametrize("verb", ["provision", "bind"])
async def test_a_delete_takes_a_clean_up_over_that_is_running(
    broker: Served, backend: ScriptedBackend, verb: Any
) -> None:
    change, removal = CHANGES[verb], CHANGES[UNDO[verb]]  # type: ignore[index]
    await change.prepare(broker, AUTO)
    stood = backend.left
    backend.next(verb, fail(Failed("No."), leaves=True))
    hold = Hold(deaf=True)
    backend.next(removal.verb, fail(RuntimeError(SECRET)), succeed(hold=hold))
    await change.ask(broker, AUTO)
    hurried = asyncio.create_task(broker.hurry())
    await soon(hold.entered.wait())

    answer = asyncio.create_task(removal.ask(broker, AUTO))
    await soon(hold.cancelled.wait())
    assert len(backend.inside) == 1
    hold.release()

    assert (await soon(answer)).status_code == 200
    await soon(hurried)
    assert backend.left == stood
    assert all(one.ended_at for one in await broker.operations())


async def test_a_delete_that_fails_on_a_failed_creation_is_cleaned_up_as_well(
    broker: Served, backend: ScriptedBackend
) -> None:
    backend.next("provision", fail(Failed("No."), leaves=True))
    backend.next("deprovision", fail(RuntimeError(SECRET)), fail(Failed("Still no.")))
    await broker.put()

    is_error(await broker.delete(), 500)

    assert len(backend.left) == 1
    assert broker.waiting == 1
    await broker.hurry()
    assert backend.left == set()
    assert (await broker.delete()).status_code == 410


async def test_an_update_whose_roll_back_failed_is_taken_back_later(
    broker: Served, backend: ScriptedBackend
) -> None:
    """UPD-10, UPD-25, CONC-02: until then nothing else changes the instance."""
    await broker.put(parameters={"size": 1})
    backend.next("update", fail(Failed("Half.")), fail(RuntimeError(SECRET)))
    told = is_error(await broker.patch(parameters={"size": 2}), 500)
    assert told == {"description": "Half.", "instance_usable": False}
    assert body_of(await broker.poll()) == {"state": "failed", **told}
    assert (await broker.row()).usable is False

    for answer in (await broker.patch(parameters={"size": 3}), await broker.bind()):
        is_error(answer, 422, "ConcurrencyError")
    await broker.hurry()

    last = backend.made("update")[-1].request
    assert last.parameters.model_dump() == {"size": 1}
    row = await broker.row()
    assert (row.usable, row.parameters) == (True, {"size": 1})
    assert states(await broker.operations())[-1] == ("cleanup", "succeeded")
    assert (await broker.patch(parameters={"size": 3})).status_code == 200


async def test_a_clean_up_uses_names_and_facts_of_its_own_generation(
    broker: Served, backend: ScriptedBackend
) -> None:
    backend.next("provision", fail(Failed("No."), leaves=True))
    backend.next("deprovision", fail(RuntimeError(SECRET)))
    await broker.put(plan=AUTO)
    backend.next("provision", succeed({"of": "the new one"}))
    assert (await broker.put(plan=SYNC)).status_code == 201

    await broker.hurry()

    request = backend.made("deprovision")[-1].request
    assert request.name == backend.made("provision")[0].name
    assert (request.plan, request.facts) == ("auto", None)
    assert backend.left == {backend.made("provision")[1].name}


# --- deadline -----------------------------------------------------------------------


def with_deadline(seconds: float | None, mode: str = "async", **fields: Any) -> Any:
    """One plan whose operations are given up after some seconds."""
    settings = {} if seconds is None else {"deadline": seconds}
    return a_catalog(
        queue(plans=[plan(AUTO, "auto", mode, settings=settings, **fields)])
    )


async def with_little_time(serve: Serve, change: Change, mode: str) -> Served:
    """A broker where everything before a change is done, and the time is short."""
    catalogs = [with_deadline(3600, mode)]
    broker = await serve(catalog=lambda: catalogs[-1])
    for name in change.before:
        await CHANGES[name].ask(broker, AUTO, True)
        await broker.quiet()
    catalogs.append(with_deadline(0.02, mode))
    await broker.broker.reload_catalog()
    return broker


@changes("provision", "update", "bind")
@pytest.mark.parametrize("mode", ["async", "auto", "sync"])
async def test_what_is_not_done_by_its_deadline_is_taken_back(
    serve: Serve, backend: ScriptedBackend, change: Change, mode: str
) -> None:
    """LOP-17, POLL-01: with a sentence that names the operation."""
    broker = await with_little_time(serve, change, mode)
    stood = backend.left
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold, works="first"))

    answer = await soon(change.ask(broker, AUTO, True))
    await broker.quiet()

    operation = (await broker.operations())[-1]
    assert hold.cancelled.is_set()
    assert (operation.kind, operation.state) == (change.verb, "failed")
    told = body_of(await change.poll(broker))
    assert told.pop("state") == "failed"
    assert operation.id in told["description"]
    if mode == "async":
        assert answer.status_code == 202
    else:
        assert is_error(answer, 503)["description"] == told["description"]
        assert answer.headers["retry-after"].isdigit()
    assert backend.left == stood
    await is_as_before(broker, backend, change)


@changes("unbind", "deprovision")
async def test_a_removal_that_is_not_done_by_its_deadline_is_asked_for_again(
    serve: Serve, backend: ScriptedBackend, change: Change
) -> None:
    """LOP-17, PLAT-33."""
    broker = await with_little_time(serve, change, "async")
    stood = backend.left
    backend.next(change.verb, succeed(hold=Hold()))

    await change.ask(broker, AUTO, True)
    await broker.quiet()

    told = body_of(await change.poll(broker))
    assert told["state"] == "failed"
    assert (await broker.operations())[-1].id in told["description"]
    assert backend.left == stood
    await is_as_before(broker, backend, change)
    assert (await change.ask(broker, AUTO, True)).status_code == 202
    await broker.quiet()
    assert backend.left < stood


async def test_what_is_done_late_counts_when_it_could_not_be_stopped(
    serve: Serve, backend: ScriptedBackend
) -> None:
    broker = await with_little_time(serve, CHANGES["provision"], "async")
    hold = Hold(deaf=True)
    backend.next("provision", succeed(hold=hold))
    await broker.put(flag=True)
    await soon(hold.cancelled.wait())

    hold.release()
    await broker.quiet()

    assert body_of(await broker.poll()) == {"state": "succeeded"}
    assert len(backend.left) == 1


async def test_no_attempt_begins_that_would_end_after_the_deadline(
    serve: Serve, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "delay", lambda *_: 3600.0)
    broker = await serve(catalog=with_deadline(1800))
    backend.next("provision", fail(RuntimeError(SECRET), leaves=True))

    await broker.put(flag=True)
    await broker.quiet()

    assert body_of(await broker.poll())["state"] == "failed"
    assert len(backend.made("provision")) == 1
    assert backend.left == set()


@pytest.mark.parametrize(
    ("catalog", "settings", "seconds"),
    [
        pytest.param(with_deadline(None), {}, 3600, id="an hour"),
        pytest.param(
            with_deadline(None), {"operation_deadline": 60.0}, 60, id="the setting"
        ),
        pytest.param(
            with_deadline(None, maximum_polling_duration=1000),
            {},
            900,
            id="a tenth before the platform stops polling: CAT-32, POLL-01",
        ),
        pytest.param(
            with_deadline(30, maximum_polling_duration=1000),
            {},
            30,
            id="the plan's own",
        ),
    ],
)
async def test_the_deadline_follows_from_plan_and_settings(
    serve: Serve, catalog: Any, settings: dict[str, Any], seconds: int
) -> None:
    broker = await serve(catalog=catalog, **settings)
    await broker.put(flag=True)
    await broker.bind(flag=True)

    operation = (await broker.operations())[0]

    left = (operation.deadline - operation.created_at) / MICROSECONDS
    assert left == pytest.approx(seconds, abs=1)


# --- an author's mistakes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("mistake", "fix"),
    [
        pytest.param({"password": "x"}, "bind must return a Bound", id="no Bound"),
        pytest.param(Bound(credentials={"at": object()}), "must be JSON", id="no JSON"),
        pytest.param(
            Bound(route_service_url="http://plain.example"), "https://", id="no TLS"
        ),
    ],
)
async def test_mistake_of_an_author_is_named_in_the_log_and_not_tried_again(
    broker: Served,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    mistake: Any,
    fix: str,
) -> None:
    """Trying again changes nothing; the text is ours and holds no value."""
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        telemetry.log, "error", lambda event, **more: said.append((event, more))
    )
    backend.next("bind", succeed(mistake))
    await broker.put()
    answer = await broker.bind()

    assert is_error(answer, 500)
    assert len(backend.made("bind")) == len(backend.made("unbind")) == 1
    assert said[0][0] == "backend.fault"
    assert fix in said[0][1]["fix"]


async def test_check_that_hangs_is_given_up_and_records_nothing(
    serve: Serve, backend: ScriptedBackend
) -> None:
    broker = await serve(sync_budget_required=0.001)
    backend.next("check", succeed(hold=Hold()))
    before = await broker.everything()

    assert is_error(await broker.put(), 503)
    assert await broker.everything() == before


@pytest.mark.parametrize(
    "shown",
    [
        Description(labels={"a": 1}),  # type: ignore[dict-item]
        Description(attributes=[1]),  # type: ignore[arg-type]
    ],
    ids=lambda shown: str(shown),
)
async def test_description_that_is_no_text_is_left_out(
    serve: Serve, shown: Description
) -> None:
    broker = await serve(backends={"queue": ScriptedBackend(shown=shown)})
    answer = await broker.put()

    assert answer.status_code == 201
    assert body_of(answer) == {}
