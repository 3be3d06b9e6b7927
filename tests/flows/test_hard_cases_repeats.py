"""Hard cases: the same request again, other attributes, another platform.

Rows of the design: "same id, same attributes, done", "the same while it runs",
"other attributes", "an id that another platform owns".
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from osbkit.api.credentials import new_credential
from osbkit.backends.scripted import Hold, ScriptedBackend, succeed
from tests.flows.conftest import Serve
from tests.flows.serving import (
    ASYNC,
    AUTO,
    ELSEWHERE,
    FIXED,
    OTHER,
    SYNC,
    Served,
    a_catalog,
    body_of,
    is_error,
    other,
    plan,
    queue,
    soon,
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


# --- same id, same attributes, done ------------------------------------------------


@MODES
@FLAGS
async def test_a_put_that_was_done_is_answered_from_the_record(
    broker: Served, backend: ScriptedBackend, mode: str, flag: bool | None
) -> None:
    """PROV-06, PROV-07, PROV-38, ASYNC-09."""
    await CHANGES["bind"].prepare(broker, mode)
    before = await broker.everything()

    again = await CHANGES["provision"].ask(broker, mode, flag)

    assert (again.status_code, body_of(again)) == (200, {})
    assert await broker.everything() == before
    assert len(backend.made("provision")) == 1


@MODES
@FLAGS
async def test_a_bind_that_was_done_gives_the_stored_credentials(
    broker: Served, backend: ScriptedBackend, mode: str, flag: bool | None
) -> None:
    """BIND-06, BIND-07."""
    await CHANGES["unbind"].prepare(broker, mode)
    before = await broker.everything()

    again = await CHANGES["bind"].ask(broker, mode, flag)

    assert again.status_code == 200
    assert body_of(again) == {
        "credentials": {"user": "scripted", "password": "only-for-tests"}
    }
    assert await broker.everything() == before
    assert len(backend.made("bind")) == 1


@changes("unbind", "deprovision")
@MODES
@FLAGS
async def test_a_delete_that_was_done_is_gone(
    broker: Served,
    backend: ScriptedBackend,
    change: Change,
    mode: str,
    flag: bool | None,
) -> None:
    """UNBIND-08, DEPROV-08, ORPH-04."""
    await change.prepare(broker, mode)
    await change.ask(broker, mode, True)
    await broker.quiet()
    before = await broker.everything()

    again = await change.ask(broker, mode, flag)

    assert (again.status_code, body_of(again)) == (410, {})
    assert await broker.everything() == before
    assert len(backend.made(change.verb)) == 1


# --- the same while it runs -----------------------------------------------------------


@changes()
@MODES
async def test_a_repeat_with_the_flag_gets_the_operation_that_runs(
    broker: Served, backend: ScriptedBackend, change: Change, mode: str
) -> None:
    """PROV-04, PROV-05, UPD-04, UPD-05, BIND-04, BIND-05, UNBIND-04, UNBIND-05,
    DEPROV-04, DEPROV-05; on a synchronous plan too."""
    await change.prepare(broker, mode)
    broker.allow(sync_budget=0.0)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold))
    first = asyncio.create_task(change.ask(broker, mode, True))
    await soon(hold.entered.wait())
    before = await broker.kinds()

    repeats = [await change.ask(broker, mode, True) for _ in range(2)]

    assert [answer.status_code for answer in repeats] == [202, 202]
    running = body_of(repeats[0])["operation"]
    assert body_of(repeats[1])["operation"] == running
    assert body_of(await change.poll(broker, running)) == {"state": "in progress"}
    hold.release()
    answered = await soon(first)
    if mode == SYNC:
        assert answered.status_code == change.done
    else:
        assert body_of(answered)["operation"] == running
    await broker.quiet()
    assert body_of(await change.poll(broker, running)) == {"state": "succeeded"}
    assert await broker.kinds() == before
    assert len(backend.made(change.verb)) == 1


@changes()
@pytest.mark.parametrize(
    "mode", [pytest.param(SYNC, id="sync"), pytest.param(AUTO, id="auto")]
)
async def test_a_repeat_without_the_flag_joins_what_runs_and_sees_its_end(
    broker: Served, backend: ScriptedBackend, change: Change, mode: str
) -> None:
    """PROV-07, BIND-07, CONC-05, CONC-07, CONC-10: one operation, one call."""
    await change.prepare(broker, mode)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold))
    first = asyncio.create_task(change.ask(broker, mode))
    await soon(hold.entered.wait())
    before = await broker.kinds()

    repeat = asyncio.create_task(change.ask(broker, mode))
    await asyncio.sleep(0.01)
    assert not repeat.done()
    hold.release()

    assert (await soon(first)).status_code == change.done
    assert (await soon(repeat)).status_code == change.joined
    assert await broker.kinds() == before
    assert len(backend.made(change.verb)) == 1


@changes()
@pytest.mark.parametrize(
    "mode", [pytest.param(SYNC, id="sync"), pytest.param(AUTO, id="auto")]
)
async def test_a_repeat_without_the_flag_that_waited_in_vain_is_busy(
    broker: Served, backend: ScriptedBackend, change: Change, mode: str
) -> None:
    """CONC-02, CONC-08, ERR-09."""
    await change.prepare(broker, mode)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold))
    first = asyncio.create_task(change.ask(broker, mode))
    await soon(hold.entered.wait())
    before = await broker.everything()
    broker.allow(sync_budget_required=0.02)

    repeat = await soon(change.ask(broker, mode))

    is_error(repeat, 422, "ConcurrencyError")
    assert await broker.everything() == before
    hold.release()
    assert (await soon(first)).status_code == change.done
    assert len(backend.made(change.verb)) == 1


async def test_a_change_to_an_async_plan_is_repeated_with_the_flag_only(
    broker: Served, backend: ScriptedBackend
) -> None:
    """ASYNC-06. The plan that it leads to counts, as it did at first."""
    await broker.put(plan=SYNC)
    hold = Hold()
    backend.next("update", succeed(hold=hold))
    running = body_of(await broker.patch(plan_id=ASYNC, flag=True))["operation"]
    await soon(hold.entered.wait())

    repeat = await soon(broker.patch(plan_id=ASYNC))
    again = await broker.patch(plan_id=ASYNC, flag=True)
    hold.release()
    await broker.quiet()

    is_error(repeat, 422, "AsyncRequired")
    assert body_of(again)["operation"] == running


@changes()
async def test_a_repeat_without_the_flag_on_an_async_plan_is_refused_at_once(
    broker: Served, backend: ScriptedBackend, change: Change
) -> None:
    """ASYNC-06, ASYNC-11, ERR-08."""
    await change.prepare(broker, ASYNC)
    hold = Hold()
    backend.next(change.verb, succeed(hold=hold))
    running = body_of(await change.ask(broker, ASYNC, True))["operation"]
    await soon(hold.entered.wait())
    before = await broker.everything()

    repeat = await soon(change.ask(broker, ASYNC))

    is_error(repeat, 422, "AsyncRequired")
    assert await broker.everything() == before
    hold.release()
    await broker.quiet()
    assert body_of(await change.poll(broker, running)) == {"state": "succeeded"}


async def test_a_caller_who_owes_nobody_an_answer_is_not_taken_back(
    broker: Served, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat with the flag polls from now on: the first caller's time being over
    ends nothing."""
    monkeypatch.setattr("osbkit.lifecycle.waiting.ROLLBACK_WAIT", 0.02)
    broker.allow(sync_budget_required=0.02)
    polls, wait = asyncio.Event(), broker.engine.wait

    async def wait_until_somebody_polls(*args: Any) -> Any:
        await polls.wait()
        return await wait(*args)

    monkeypatch.setattr(broker.engine, "wait", wait_until_somebody_polls)
    hold = Hold()
    backend.next("provision", succeed(hold=hold))
    first = asyncio.create_task(broker.put(plan=SYNC))
    await soon(hold.entered.wait())

    joined = await broker.put(plan=SYNC, flag=True)
    assert joined.status_code == 202
    polls.set()
    is_error(await soon(first), 503)

    assert not hold.cancelled.is_set()
    hold.release()
    await broker.quiet()
    assert (await broker.row()).state == "ready"
    assert backend.left == {backend.calls[-1].name}


# --- recognised before it is judged ------------------------------------------------


def maintained(version: str, **schema: Any) -> Any:
    """A catalog of one plan at a maintenance version, with a schema."""
    create: dict[str, Any] = {
        "parameters": {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            **schema,
        }
    }
    kept = plan(
        AUTO,
        "auto",
        maintenance_info={"version": version},
        schemas={
            "service_instance": {"create": create},
            "service_binding": {"create": create},
        },
        binding_rotatable=True,
    )
    return a_catalog(queue(plans=[kept]))


async def test_a_repeat_is_recognised_before_version_and_schema_are_judged(
    serve: Serve,
) -> None:
    """MAINT-10, PROV-06, BIND-06."""
    catalogs = [maintained("1.0.0")]
    broker = await serve(catalog=lambda: catalogs[-1])
    first: dict[str, Any] = {
        "parameters": {"size": 1},
        "maintenance_info": {"version": "1.0.0"},
    }
    assert (await broker.put(**first)).status_code == 201
    assert (await broker.bind(parameters={"size": 1})).status_code == 201

    catalogs.append(maintained("2.0.0", additionalProperties=False))
    await broker.broker.reload_catalog()

    assert (await broker.put(**first)).status_code == 200
    assert (await broker.bind(parameters={"size": 1})).status_code == 200
    is_error(await broker.put("i-2", **first), 422, "MaintenanceInfoConflict")
    is_error(await broker.put("i-2", parameters={"size": 1}), 400)
    is_error(await broker.bind("b-2", parameters={"size": 1}), 400)


async def test_a_rotation_is_recognised_when_its_predecessor_is_gone(
    broker: Served,
) -> None:
    """ROT-05."""
    await broker.put()
    await broker.bind("b-1")
    rotated = await broker.rotate("b-2", "b-1")
    await broker.unbind("b-1")

    again = await broker.rotate("b-2", "b-1")

    assert (rotated.status_code, again.status_code) == (201, 200)
    assert body_of(again) == body_of(rotated)


# --- other attributes -----------------------------------------------------------------

FIRST: dict[str, Any] = {"parameters": {"size": 1, "colour": "red"}}
OTHERS = [
    pytest.param({"plan": FIXED}, id="plan: PROV-09"),
    pytest.param({"service_id": OTHER, "plan": ELSEWHERE}, id="service: PROV-10"),
    pytest.param({"parameters": {"size": 2, "colour": "red"}}, id="value: PROV-11"),
    pytest.param({"parameters": {"size": 1}}, id="key left out: PROV-11"),
    pytest.param(
        {"parameters": {**FIRST["parameters"], "more": None}}, id="key added: PROV-11"
    ),
    pytest.param(
        {"parameters": {"size": True, "colour": "red"}}, id="true for 1: PROV-11"
    ),
    pytest.param({"parameters": None}, id="no parameters: PROV-11"),
    pytest.param({"organization_guid": "other"}, id="organization: PROV-12"),
    pytest.param({"space_guid": "other"}, id="space: PROV-12"),
]


@pytest.mark.parametrize("attributes", OTHERS)
@FLAGS
async def test_a_put_with_other_attributes_conflicts_when_it_is_done(
    serve: Serve, backend: ScriptedBackend, attributes: Any, flag: bool | None
) -> None:
    """PROV-09 to PROV-12, PROV-15, CONC-06."""
    broker = await two_offerings(serve, backend)
    await broker.put(**FIRST)
    before = await broker.everything()

    answer = await broker.put(flag=flag, **(FIRST | attributes))

    is_error(answer, 409)
    assert await broker.everything() == before
    assert (await broker.put(**FIRST)).status_code == 200


@pytest.mark.parametrize("attributes", OTHERS)
@FLAGS
async def test_a_put_with_other_attributes_conflicts_while_it_runs(
    serve: Serve, backend: ScriptedBackend, attributes: Any, flag: bool | None
) -> None:
    """PROV-14, PROV-15."""
    broker = await two_offerings(serve, backend, sync_budget=0.0)
    hold = Hold()
    backend.next("provision", succeed(hold=hold))
    running = body_of(await broker.put(flag=True, **FIRST))["operation"]
    await soon(hold.entered.wait())
    before = await broker.everything()

    answer = await broker.put(flag=flag, **(FIRST | attributes))

    is_error(answer, 409)
    assert await broker.everything() == before
    hold.release()
    await broker.quiet()
    assert body_of(await broker.poll(operation=running)) == {"state": "succeeded"}


async def two_offerings(
    serve: Serve, backend: ScriptedBackend, **settings: Any
) -> Served:
    """A broker with both offerings on one backend."""
    return await serve(
        catalog=a_catalog(queue(), other()),
        backends={"queue": backend, "other": backend},
        **settings,
    )


async def test_a_put_is_compared_with_the_current_attributes(broker: Served) -> None:
    """PROV-11, UPD-26: after an update its values count, not those of the start."""
    await broker.put(parameters={"size": 1})
    await broker.patch(parameters={"size": 2}, plan_id=SYNC)

    is_error(await broker.put(parameters={"size": 1}), 409)
    assert (await broker.put(plan=SYNC, parameters={"size": 2})).status_code == 200


@pytest.mark.parametrize(
    "same",
    [
        pytest.param({"parameters": {"colour": "red", "size": 1}}, id="key order"),
        pytest.param({"parameters": {"size": 1.0, "colour": "red"}}, id="1.0 is 1"),
        pytest.param({"context": {"instance_name": "renamed"}}, id="context"),
        pytest.param({"x-vendor": True}, id="unknown field"),
    ],
)
async def test_a_put_with_the_same_values_is_a_repeat(
    broker: Served, same: dict[str, Any]
) -> None:
    """PROV-13, PROV-39, EXT-01: names in `context` change by themselves."""
    context = {"platform": "cloudfoundry", "instance_name": "first"}
    await broker.put(context=context, **FIRST)

    again = await broker.put(**({"context": context} | FIRST | same))

    assert again.status_code == 200


BIND: dict[str, Any] = {
    "parameters": {"role": "reader"},
    "bind_resource": {"app_guid": "app", "route": "a.example"},
}
OTHER_BINDS = [
    pytest.param({"parameters": {"role": "writer"}}, id="parameters: BIND-08"),
    pytest.param({"parameters": {}}, id="no parameters: BIND-08"),
    pytest.param(
        {"bind_resource": {"app_guid": "other", "route": "a.example"}},
        id="application: BIND-09",
    ),
    pytest.param(
        {"bind_resource": {"app_guid": "app", "route": "b.example"}},
        id="route: BIND-09",
    ),
    pytest.param({"predecessor_binding_id": "b-0"}, id="a rotation"),
]


@pytest.mark.parametrize("attributes", OTHER_BINDS)
async def test_a_bind_with_other_attributes_conflicts_done_and_running(
    broker: Served, backend: ScriptedBackend, attributes: dict[str, Any]
) -> None:
    """BIND-08 to BIND-11."""
    broker.allow(sync_budget=0.0)
    await broker.put()
    hold = Hold()
    backend.next("bind", succeed(hold=hold))
    assert (await broker.bind(flag=True, **BIND)).status_code == 202
    await soon(hold.entered.wait())
    before = await broker.everything()

    is_error(await broker.bind(flag=True, **(BIND | attributes)), 409)
    assert await broker.everything() == before
    hold.release()
    await broker.quiet()
    before = await broker.everything()
    is_error(await broker.bind(**(BIND | attributes)), 409)
    assert await broker.everything() == before
    assert (await broker.bind(**BIND)).status_code == 200


# --- an id that another platform owns -------------------------------------------------


async def two_platforms(serve: Serve, folder: Path) -> tuple[Served, Served]:
    """One broker, as two platforms see it."""
    made = [new_credential(name, name, "basic") for name in ("first", "second")]
    file = folder / "credentials.yaml"
    entries = "".join(one.snippet for one in made)
    file.write_text(f"credentials:\n{entries}")
    broker = await serve(credentials_file=file)
    return broker.of("first", made[0].secret), broker.of("second", made[1].secret)


async def test_what_another_platform_owns_is_not_there(
    serve: Serve, tmp_path: Path, backend: ScriptedBackend
) -> None:
    """409 for a PUT, 404 for GET, PATCH, bind and polls, 410 for DELETEs."""
    mine, theirs = await two_platforms(serve, tmp_path)
    await mine.put()
    await mine.bind()
    latest = (await mine.operations())[0].id
    before = await mine.everything()

    is_error(await theirs.put(), 409)
    is_error(await theirs.put(plan=SYNC, parameters={"size": 9}), 409)
    for answer in (
        await theirs.get(),
        await theirs.patch(parameters={"size": 2}),
        await theirs.poll(),
        await theirs.poll(operation=latest),
        await theirs.bind("b-2"),
        await theirs.get_binding(),
        await theirs.poll_binding(),
    ):
        is_error(answer, 404)
    for answer in (await theirs.delete(), await theirs.unbind()):
        assert (answer.status_code, body_of(answer)) == (410, {})

    assert await mine.everything() == before
    assert len(backend.left) == 2
    assert (await mine.get()).status_code == 200


async def test_an_id_is_free_for_all_platforms_once_it_is_deleted(
    serve: Serve, tmp_path: Path, backend: ScriptedBackend
) -> None:
    mine, theirs = await two_platforms(serve, tmp_path)
    await mine.put()
    await mine.delete()

    assert (await theirs.put()).status_code == 201

    assert (await mine.get()).status_code == 404
    assert (await mine.delete()).status_code == 410
    assert (await theirs.row()).generation == 2
    names = [call.name for call in backend.made("provision")]
    assert names[0] != names[1]


async def test_what_an_id_was_to_its_last_platform_is_not_told_to_the_next(
    serve: Serve, tmp_path: Path
) -> None:
    mine, theirs = await two_platforms(serve, tmp_path)
    await mine.put()
    await mine.bind()
    await mine.delete()
    await theirs.put()

    is_error(await theirs.poll_binding(), 404)
    assert body_of(await mine.poll_binding()) == {"state": "succeeded"}


async def test_a_binding_id_is_unique_within_its_instance_only(
    broker: Served, backend: ScriptedBackend
) -> None:
    """BIND-12, BFETCH-09, UNBIND-08, BLOP-04."""
    for instance in ("i-1", "i-2", "i-3"):
        await broker.put(instance)
    for instance, role in (("i-1", "reader"), ("i-2", "writer")):
        made = await broker.bind("b-1", instance, parameters={"role": role})
        assert made.status_code == 201

    assert len(backend.bindings) == 2
    first = await broker.get_binding("b-1", "i-1")
    second = await broker.get_binding("b-1", "i-2")
    assert body_of(first)["parameters"] == {"role": "reader"}
    assert body_of(second)["parameters"] == {"role": "writer"}
    is_error(await broker.get_binding("b-1", "i-3"), 404)
    is_error(await broker.poll_binding("b-1", "i-3"), 404)
    assert (await broker.unbind("b-1", "i-3")).status_code == 410
    assert len(backend.bindings) == 2
