"""Hard cases: PATCH, GET and rotation.

Rows of the design: "PATCH parameters", "plan not updateable, or Refused", "PATCH,
bind, poll of an unknown", "GET instance", "GET binding", "rotation",
"dashboard_url, metadata", "a failed update or deprovision".
"""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field

from osbkit import (
    Bound,
    DeprovisionRequest,
    Description,
    Failed,
    NoParameters,
    Refused,
    ServiceBackend,
    UpdateFailed,
)
from osbkit.backends.scripted import Hold, ScriptedBackend, fail, succeed
from osbkit.store.tables import instances
from tests.flows.conftest import Serve
from tests.flows.serving import (
    ASYNC,
    AUTO,
    ELSEWHERE,
    FIXED,
    OTHER,
    QUEUE,
    SYNC,
    Served,
    a_catalog,
    body_of,
    is_error,
    plan,
    queue,
    soon,
)
from tests.flows.verbs import CHANGES

MODES = pytest.mark.parametrize(
    "mode",
    [
        pytest.param(SYNC, id="sync"),
        pytest.param(AUTO, id="auto"),
        pytest.param(ASYNC, id="async"),
    ],
)
STORED = {"size": 1, "colour": "red"}


# --- PATCH parameters ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "reached"),
    [
        pytest.param({"size": 2}, {"size": 2, "colour": "red"}, id="merged: UPD-09"),
        pytest.param({"colour": None}, {"size": 1}, id="null removes"),
        pytest.param({"more": {"a": 1}}, {**STORED, "more": {"a": 1}}, id="added"),
        pytest.param(
            {"colour": {"hue": 1}},
            {"size": 1, "colour": {"hue": 1}},
            id="top level only",
        ),
        pytest.param(
            {"size": 1.0, "colour": "blue"},
            {"size": 1, "colour": "blue"},
            id="two keys",
        ),
    ],
)
@MODES
async def test_a_patch_merges_parameters_at_the_top_level(
    broker: Served,
    backend: ScriptedBackend,
    mode: str,
    sent: dict[str, Any],
    reached: dict[str, Any],
) -> None:
    """UPD-01, UPD-03, UPD-09, PLAT-23."""
    await broker.put(plan=mode, flag=True, parameters=STORED)
    await broker.quiet()

    await broker.patch(flag=True, parameters=sent)
    await broker.quiet()

    assert body_of(await broker.get())["parameters"] == reached
    request = backend.made("update")[0].request
    assert request.parameters.model_dump() == reached
    assert request.previous.parameters.model_dump() == STORED
    assert request.changed == {"parameters"}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({}, id="absent: UPD-09"),
        pytest.param({"parameters": None}, id="null"),
        pytest.param({"parameters": {}}, id="empty, as Cloud Foundry sends"),
        pytest.param({"parameters": {"size": 1}}, id="the stored value"),
        pytest.param({"parameters": {"size": 1.0}}, id="the same number"),
        pytest.param({"parameters": {"unknown": None}}, id="null of what is not there"),
        pytest.param({"plan_id": AUTO}, id="the same plan: UPD-08"),
        pytest.param({"previous_values": {"plan_id": SYNC}}, id="previous: UPD-17"),
    ],
)
async def test_a_patch_that_changes_nothing_calls_nobody(
    broker: Served, backend: ScriptedBackend, sent: dict[str, Any]
) -> None:
    """UPD-01, UPD-18: 200, no operation, no call."""
    await broker.put(parameters=STORED)
    before = await broker.everything()

    answer = await broker.patch(**sent)

    assert (answer.status_code, body_of(answer)) == (200, {})
    assert await broker.everything() == before
    assert backend.made("update") == []


async def test_a_patch_that_changes_nothing_stores_its_context(
    broker: Served, backend: ScriptedBackend
) -> None:
    await broker.put(context={"platform": "cloudfoundry", "instance_name": "old"})
    renamed = {"platform": "cloudfoundry", "instance_name": "new"}

    assert (await broker.patch(context=renamed)).status_code == 200

    assert (await broker.row()).context == renamed
    assert backend.made("update") == []
    await broker.patch(parameters={"size": 2})
    assert backend.made("update")[0].request.context == renamed


async def test_a_context_update_reaches_the_backend_where_it_is_wanted(
    serve: Serve, backend: ScriptedBackend
) -> None:
    """UPD-15, CAT-40."""
    catalog = a_catalog(queue(allow_context_updates=True))
    broker = await serve(catalog=catalog)
    await broker.put(context={"platform": "kubernetes", "namespace": "old"})
    renamed = {"platform": "kubernetes", "namespace": "new"}

    assert (await broker.patch(context=renamed)).status_code == 200

    request = backend.made("update")[0].request
    assert (request.changed, request.context) == ({"context"}, renamed)
    assert (await broker.row()).context == renamed
    assert (await broker.patch(context=renamed)).status_code == 200
    assert len(backend.made("update")) == 1


async def test_what_an_update_reaches_is_stored_when_it_has_ended_and_not_before(
    broker: Served, backend: ScriptedBackend
) -> None:
    """FETCH-05, FETCH-12, UPD-26, LOP-16."""
    await broker.put(plan=ASYNC, flag=True, parameters=STORED)
    await broker.quiet()
    hold = Hold()
    backend.next("update", succeed({"version": 2}, hold=hold))

    broker.allow(sync_budget=0.0)
    changing: dict[str, Any] = {"plan_id": AUTO, "parameters": {"size": 2}}
    assert (await broker.patch(flag=True, **changing)).status_code == 202
    await soon(hold.entered.wait())

    row = await broker.row()
    assert (row.plan_id, row.parameters, row.facts) == (ASYNC, STORED, None)
    is_error(await broker.get(), 422, "ConcurrencyError")
    polled = await broker.poll(plan_id=ASYNC, service_id=QUEUE)
    assert body_of(polled) == {"state": "in progress"}
    hold.release()
    await broker.quiet()
    row = await broker.row()
    assert (row.plan_id, row.plan, row.facts) == (AUTO, "auto", {"version": 2})
    assert body_of(await broker.get()) == {
        "service_id": QUEUE,
        "plan_id": AUTO,
        "parameters": {"size": 2, "colour": "red"},
    }
    assert (await broker.bind(plan=AUTO)).status_code == 201
    is_error(await broker.bind("b-2", plan=ASYNC, flag=True), 400)


class Small(BaseModel, extra="forbid"):
    """Parameters of every plan."""

    size: int = Field(1, ge=1, le=100)
    colour: str | None = None
    owner: str


class Tiny(Small):
    """Narrower on the plan `sync`."""

    size: int = Field(1, ge=1, le=10)


class Modelled(ScriptedBackend[Small, NoParameters]):
    """A backend with models."""

    plan_parameters: ClassVar = {"sync": Tiny}


async def modelled(serve: Serve) -> tuple[Served, Modelled]:
    """A broker on it, with one instance."""
    backend = Modelled()
    broker = await serve(backends={"queue": backend})
    made = await broker.put(parameters={"owner": "me", "size": 50})
    assert made.status_code == 201
    return broker, backend


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"parameters": {"size": "5"}}, id="text for a number"),
        pytest.param({"parameters": {"size": True}}, id="true for a number"),
        pytest.param({"parameters": {"size": 101}}, id="too large"),
        pytest.param({"parameters": {"unknown": 1}}, id="unknown key"),
        pytest.param({"parameters": {"owner": None}}, id="removes what is required"),
        pytest.param({"plan_id": SYNC}, id="stored values do not fit the other plan"),
        pytest.param({"parameters": []}, id="no object: UPD-21"),
        pytest.param({"plan_id": 7}, id="plan_id a number: UPD-21"),
        pytest.param({"service_id": None}, id="no service_id: UPD-06"),
        pytest.param({"service_id": OTHER}, id="another offering: UPD-27"),
        pytest.param({"plan_id": "unknown"}, id="unknown plan: UPD-07"),
        pytest.param({"plan_id": ELSEWHERE}, id="plan of another offering: UPD-07"),
    ],
)
async def test_a_patch_that_cannot_be_is_malformed_and_changes_nothing(
    serve: Serve, sent: dict[str, Any]
) -> None:
    """UPD-10, UPD-20, ERR-12."""
    broker, backend = await modelled(serve)
    before = await broker.everything()

    is_error(await broker.patch(flag=True, **sent), 400)

    assert await broker.everything() == before
    assert backend.made("update") == []


async def test_a_patch_is_judged_by_the_model_of_the_plan_it_leads_to(
    serve: Serve,
) -> None:
    """UPD-20."""
    broker, backend = await modelled(serve)

    changed = await broker.patch(plan_id=SYNC, parameters={"size": 5})

    assert changed.status_code == 200
    request = backend.made("update")[0].request
    assert isinstance(request.parameters, Tiny)
    assert request.changed == {"plan", "parameters"}
    assert body_of(await broker.get())["parameters"] == {"owner": "me", "size": 5}


# --- PATCH: what is refused ---------------------------------------------------------


async def test_a_plan_that_cannot_be_left_refuses_the_change(
    broker: Served, backend: ScriptedBackend
) -> None:
    """UPD-11, UPD-12, UPD-14, CAT-39, ERR-15."""
    await broker.put(plan=FIXED)
    before = await broker.everything()

    refused = is_error(await broker.patch(plan_id=AUTO), 422, "UpdateRefused")

    assert refused["update_repeatable"] is False
    assert "instance_usable" not in refused
    assert await broker.everything() == before
    assert (await broker.patch(parameters={"size": 2})).status_code == 200  # PLAT-22


async def test_a_plan_on_another_backend_refuses_the_change(serve: Serve) -> None:
    """UPD-11: what one backend made another cannot change."""
    first, second = ScriptedBackend(), ScriptedBackend()
    broker = await serve(backends={"queue": first, "queue/sync": second})
    await broker.put()
    before = await broker.everything()

    refused = is_error(await broker.patch(plan_id=SYNC), 422, "UpdateRefused")

    assert refused["update_repeatable"] is False
    assert await broker.everything() == before
    assert first.made("update") == second.made("update") == []


class Rigid(ServiceBackend[NoParameters, NoParameters]):
    """A backend without `update`."""

    async def provision(self, request: Any, run: Any) -> None:
        """Nothing is made."""

    async def deprovision(self, request: DeprovisionRequest, run: Any) -> None:
        """Nothing is removed."""


async def test_a_backend_that_has_no_update_refuses_what_is_a_change(
    serve: Serve,
) -> None:
    """UPD-11."""
    plans = [
        plan(AUTO, "auto", plan_updateable=False, maintenance_info={"version": "2.0.0"})
    ]
    rigid = queue(bindable=False, plan_updateable=False, plans=plans)
    broker = await serve(catalog=a_catalog(rigid), backends={"queue": Rigid()})
    await broker.put()
    await broker.set(instances, instances.c.generation == 1, maintenance_version="1")
    before = await broker.everything()

    version = {"version": "2.0.0"}
    refused = await broker.patch(maintenance_info=version)

    is_error(refused, 422, "UpdateRefused")
    assert await broker.everything() == before
    assert (await broker.patch()).status_code == 200


@pytest.mark.parametrize("verb", ["check", "update"])
@MODES
async def test_a_refused_update_is_not_repeatable(
    broker: Served, backend: ScriptedBackend, mode: str, verb: Any
) -> None:
    """UPD-10, UPD-11, UPD-25: from `check` nothing is recorded."""
    await CHANGES["update"].prepare(broker, mode)
    backend.next(verb, fail(Refused("No smaller than it is.")))
    before = await broker.everything()

    answer = await CHANGES["update"].ask(broker, mode, True)
    await broker.quiet()

    if verb == "update" and mode == ASYNC:
        assert answer.status_code == 202
        failed = body_of(await broker.poll())
        assert failed.pop("state") == "failed"
    else:
        failed = is_error(answer, 422, "UpdateRefused")
        del failed["error"]
    assert failed == {
        "description": "No smaller than it is.",
        "update_repeatable": False,
    }
    if verb == "check":
        assert await broker.everything() == before
    row = await broker.row()
    assert (row.state, row.parameters, row.usable) == ("ready", {"size": 1}, True)
    assert (await CHANGES["update"].ask(broker, mode, True)).status_code in {200, 202}


# --- maintenance_info ---------------------------------------------------------------


async def test_a_maintenance_update_reaches_the_catalogs_version(
    serve: Serve, backend: ScriptedBackend
) -> None:
    """MAINT-03, MAINT-05, MAINT-06, MAINT-08, MAINT-09, UPD-16, UPD-18."""

    def versions(version: str) -> Any:
        kept = plan(AUTO, "auto", maintenance_info={"version": version})
        return a_catalog(queue(plans=[kept]))

    catalogs = [versions("1.0.0")]
    broker = await serve(catalog=lambda: catalogs[-1])
    assert (await broker.put()).status_code == 201
    catalogs.append(versions("2.0.0+build"))
    await broker.broker.reload_catalog()
    assert body_of(await broker.get())["maintenance_info"] == {"version": "1.0.0"}
    before = await broker.everything()
    for version in ("1.0.0", "2.0.0", "2.0.0+other", "999.0.0"):
        answer = await broker.patch(maintenance_info={"version": version})
        is_error(answer, 422, "MaintenanceInfoConflict")
    assert await broker.everything() == before
    assert (await broker.patch(maintenance_info={})).status_code == 200

    wanted = {"version": "2.0.0+build", "description": "ignored"}
    assert (await broker.patch(maintenance_info=wanted)).status_code == 200

    request = backend.made("update")[0].request
    assert request.changed == {"maintenance_info"}
    assert request.maintenance_version == "2.0.0+build"
    fetched = body_of(await broker.get())
    assert fetched["maintenance_info"] == {"version": "2.0.0+build"}
    assert (await broker.patch(maintenance_info=wanted)).status_code == 200
    assert len(backend.made("update")) == 1


@pytest.mark.parametrize(
    "info", [{}, {"maintenance_info": {"version": "3.0.0"}}], ids=["none", "its own"]
)
async def test_an_instance_on_another_plan_has_the_version_of_that_plan(
    serve: Serve, info: Any
) -> None:
    """MAINT-08: a version of the plan it left would be shown as outdated for ever."""
    left = plan(AUTO, "auto", maintenance_info={"version": "1.0.0"})
    plans = [left, plan(SYNC, "sync", **info)]
    broker = await serve(catalog=a_catalog(queue(plans=plans)))
    await broker.put()

    assert (await broker.patch(plan_id=SYNC)).status_code == 200

    fetched = body_of(await broker.get())
    assert fetched.get("maintenance_info") == info.get("maintenance_info")


async def test_a_version_for_a_plan_that_has_none_conflicts(broker: Served) -> None:
    """MAINT-04, MAINT-07, MAINT-09, PROV-26, PROV-35."""
    before = await broker.everything()

    answer = await broker.put(maintenance_info={"version": "1.0.0"})

    is_error(answer, 422, "MaintenanceInfoConflict")
    assert await broker.everything() == before
    assert (await broker.put(maintenance_info={})).status_code == 201


# --- a failed update or deprovision -------------------------------------------------


@MODES
@pytest.mark.parametrize("usable", [True, False])
@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_failed_update_says_what_is_left(
    broker: Served,
    backend: ScriptedBackend,
    mode: str,
    usable: bool,
    repeatable: bool,
) -> None:
    """UPD-10, UPD-25, UPD-28, ERR-06, ERR-07, LOP-04, LOP-05."""
    await CHANGES["update"].prepare(broker, mode)
    error = UpdateFailed("Half done.", usable=usable, repeatable=repeatable)
    backend.next("update", fail(error))

    answer = await CHANGES["update"].ask(broker, mode, True)
    await broker.quiet()

    told = {
        "description": "Half done.",
        "instance_usable": usable,
        "update_repeatable": repeatable,
    }
    if mode != ASYNC:
        assert is_error(answer, 500) == told
    assert body_of(await broker.poll()) == {"state": "failed", **told}
    row = await broker.row()
    assert (row.usable, row.parameters) == (usable, {"size": 1})
    assert len(backend.made("update")) == 1  # the author said it: no guess of ours
    bound = await broker.bind(plan=mode, flag=True)
    assert bound.status_code in {201, 202}
    await broker.quiet()
    assert backend.made("bind")[0].request.instance.usable is usable
    repaired = await CHANGES["update"].ask(broker, mode, True)
    assert repaired.status_code in {200, 202}
    await broker.quiet()
    assert (await broker.row()).usable is True


@MODES
async def test_a_failed_deprovision_says_whether_the_instance_is_usable(
    broker: Served, backend: ScriptedBackend, mode: str
) -> None:
    """DEPROV-17, ERR-06, ERR-07: and nothing of a repetition."""
    await CHANGES["deprovision"].prepare(broker, mode)
    error = UpdateFailed("Half gone.", usable=False, repeatable=False)
    backend.next("deprovision", fail(error))

    answer = await CHANGES["deprovision"].ask(broker, mode, True)
    await broker.quiet()

    told = {"description": "Half gone.", "instance_usable": False}
    if mode != ASYNC:
        assert is_error(answer, 500) == told
    assert body_of(await broker.poll()) == {"state": "failed", **told}
    assert (await broker.row()).usable is False
    await CHANGES["deprovision"].ask(broker, mode, True)
    await broker.quiet()
    assert backend.left == set()


@pytest.mark.parametrize("verb", ["provision", "bind", "unbind"])
@MODES
async def test_what_is_left_is_told_of_updates_and_deprovisions_only(
    broker: Served, backend: ScriptedBackend, mode: str, verb: Any
) -> None:
    """ERR-06, ERR-07, LOP-04, LOP-05, BLOP-12."""
    change = CHANGES[verb]
    await change.prepare(broker, mode)
    error = UpdateFailed("No.", usable=False, repeatable=False)
    backend.next(verb, fail(error))

    answer = await change.ask(broker, mode, True)
    await broker.quiet()

    if mode != ASYNC:
        assert is_error(answer, 500) == {"description": "No."}
    polled = await change.poll(broker)
    assert body_of(polled) == {"state": "failed", "description": "No."}


# --- unknown ------------------------------------------------------------------------


async def test_what_is_unknown_is_not_found(broker: Served) -> None:
    """LOP-08, LOP-09, BLOP-04, BLOP-05, UPD-19, BIND-27, FETCH-03, BFETCH-03."""
    await broker.put("i-1")
    await broker.put("i-2")
    await broker.bind("b-1", "i-1")
    before = await broker.everything()

    for answer in (
        await broker.get("unknown"),
        await broker.patch("unknown", parameters={"size": 2}),
        await broker.poll("unknown"),
        await broker.poll("unknown", operation="0" * 26),
        await broker.bind("b-1", "unknown"),
        await broker.bind("b-1", "unknown", flag=True),
        await broker.get_binding("b-1", "unknown"),
        await broker.get_binding("b-1", "i-2"),
        await broker.get_binding("unknown", "i-1"),
        await broker.poll_binding("b-1", "i-2"),
        await broker.poll_binding("b-1", "unknown"),
        await broker.poll_binding("unknown", "i-1"),
    ):
        is_error(answer, 404)

    assert await broker.everything() == before


# --- GET instance -------------------------------------------------------------------


async def test_an_instance_is_shown_when_it_is_ready_and_at_rest(
    broker: Served, backend: ScriptedBackend
) -> None:
    """FETCH-02 to FETCH-05, FETCH-10, FETCH-11: by its states, one after the other."""
    holds = {verb: Hold() for verb in ("provision", "update", "deprovision")}
    for verb, hold in holds.items():
        backend.next(verb, succeed(hold=hold))  # type: ignore[arg-type]

    await broker.put(plan=ASYNC, flag=True)
    await soon(holds["provision"].entered.wait())
    is_error(await broker.get(), 404)

    holds["provision"].release()
    await broker.quiet()
    shown = await broker.get()
    assert body_of(shown) == {"service_id": QUEUE, "plan_id": ASYNC}
    hint = {"service_id": "another", "plan_id": "another"}
    hinted = await broker.ask("GET", "/service_instances/i-1", params=hint)
    assert body_of(hinted) == body_of(shown)

    await broker.patch(flag=True, parameters={"size": 2})
    await soon(holds["update"].entered.wait())
    is_error(await broker.get(), 422, "ConcurrencyError")
    holds["update"].release()
    await broker.quiet()
    assert body_of(await broker.get())["parameters"] == {"size": 2}

    await broker.delete(flag=True)
    await soon(holds["deprovision"].entered.wait())
    is_error(await broker.get(), 422, "ConcurrencyError")
    holds["deprovision"].release()
    await broker.quiet()
    is_error(await broker.get(), 404)


async def test_an_instance_whose_creation_failed_is_not_shown(
    broker: Served, backend: ScriptedBackend
) -> None:
    """FETCH-03."""
    backend.next("provision", fail(Failed("No room.")))
    await broker.put()

    is_error(await broker.get(), 404)


async def test_what_is_not_retrievable_is_not_shown(serve: Serve) -> None:
    """FETCH-13, CAT-13, CAT-14."""
    hidden = queue(instances_retrievable=False, bindings_retrievable=False)
    for one in hidden["plans"]:
        one["x-osbkit"]["bind_mode"] = "auto"
    broker = await serve(catalog=a_catalog(hidden))
    assert (await broker.put()).status_code == 201
    assert (await broker.bind(flag=True)).status_code == 201  # inline: no GET follows

    is_error(await broker.get(), 404)
    is_error(await broker.get_binding(), 404)


# --- GET binding --------------------------------------------------------------------


async def test_a_binding_is_shown_when_it_is_made_and_not_being_removed(
    broker: Served, backend: ScriptedBackend
) -> None:
    """BFETCH-02 to BFETCH-04, BFETCH-06, BFETCH-10."""
    await broker.put(plan=ASYNC, flag=True)
    await broker.quiet()
    making, removing = Hold(), Hold()
    backend.next("bind", succeed(hold=making))
    backend.next("unbind", succeed(hold=removing))

    await broker.bind(plan=ASYNC, flag=True, parameters={"role": "reader"})
    await soon(making.entered.wait())
    is_error(await broker.get_binding(), 404)

    making.release()
    await broker.quiet()
    for _ in range(2):
        assert body_of(await broker.get_binding()) == {
            "credentials": {"user": "scripted", "password": "only-for-tests"},
            "parameters": {"role": "reader"},
        }

    await broker.unbind(flag=True)
    await soon(removing.entered.wait())
    is_error(await broker.get_binding(), 404)
    removing.release()
    await broker.quiet()
    is_error(await broker.get_binding(), 404)


async def test_an_expired_binding_is_not_shown(
    broker: Served, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BFETCH-03, BIND-33 to BIND-35, BIND-37."""
    expires = datetime.now(UTC) + timedelta(hours=2)
    renew = expires - timedelta(hours=1)
    bound = Bound(credentials={"k": 1}, expires_at=expires, renew_before=renew)
    backend.next("bind", succeed(bound))
    await broker.put()

    made = body_of(await broker.bind())

    assert made["metadata"] == {
        "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "renew_before": renew.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
    }
    assert body_of(await broker.get_binding()) == made
    then = int(expires.timestamp() * 1_000_000)
    for moment, status in ((then - 1, 200), (then + 1, 404)):
        monkeypatch.setattr("osbkit.lifecycle.bindings.now", lambda m=moment: m)
        assert (await broker.get_binding()).status_code == status
    assert (await broker.unbind()).status_code == 200
    assert backend.bindings == {}


# --- rotation -----------------------------------------------------------------------


async def test_a_successor_takes_over_what_its_predecessor_is_for(
    broker: Served, backend: ScriptedBackend
) -> None:
    """ROT-02, ROT-03, ROT-06, BIND-25."""
    await broker.put()
    first = {
        "parameters": {"role": "reader"},
        "bind_resource": {"app_guid": "app", "x-more": 1},
        "context": {"platform": "cloudfoundry"},
    }
    await broker.bind("b-1", **first)  # type: ignore[arg-type]

    rotated = await broker.rotate("b-2", "b-1")

    assert rotated.status_code == 201
    old, new = (call.request for call in backend.made("bind"))
    assert new.predecessor.binding_id == "b-1"
    assert new.predecessor.name == old.name != new.name
    for name in ("app_guid", "bind_resource", "context", "parameters"):
        assert getattr(new, name) == getattr(old, name)
    row = await broker.binding_row("b-2")
    assert (row.parameters, row.predecessor) == ({"role": "reader"}, "b-1")
    for binding in ("b-1", "b-2"):
        shown = body_of(await broker.get_binding(binding))
        assert shown["parameters"] == {"role": "reader"}
    assert (await broker.unbind("b-1")).status_code == 200
    assert set(backend.bindings) == {new.name}
    assert (await broker.rotate("b-3", "b-2")).status_code == 201


@MODES
async def test_a_rotation_answers_as_a_bind_does(
    broker: Served, backend: ScriptedBackend, mode: str
) -> None:
    """ROT-05."""
    await CHANGES["unbind"].prepare(broker, mode)

    rotated = await broker.rotate("b-2", "b-1", flag=True)
    await broker.quiet()

    assert rotated.status_code == (202 if mode == ASYNC else 201)
    assert len(backend.bindings) == 2
    assert (await broker.rotate("b-2", "b-1")).status_code == 200
    is_error(await broker.rotate("b-2", "b-0"), 409)
    is_error(await broker.bind("b-2", plan=mode), 409)


@pytest.mark.parametrize(
    "predecessor",
    ["unknown", "of another instance", "failed", "gone", "being removed", "expired"],
)
async def test_a_rotation_of_what_cannot_be_succeeded_is_refused(
    broker: Served, backend: ScriptedBackend, predecessor: str
) -> None:
    """ROT-04, BIND-31."""
    for instance in ("i-1", "i-2"):
        await broker.put(instance)
    await broker.bind("other", "i-2")
    hold = Hold()
    match predecessor:
        case "unknown":
            old = "unknown"
        case "of another instance":
            old = "other"
        case _:
            old = "b-1"
            long_ago = datetime(2020, 1, 1, tzinfo=UTC)
            if predecessor == "expired":
                backend.next("bind", succeed(Bound(expires_at=long_ago)))
            if predecessor == "failed":
                backend.next("bind", fail(Failed("No.")))
            await broker.bind("b-1")
            if predecessor == "gone":
                await broker.unbind("b-1")
            if predecessor == "being removed":
                backend.next("unbind", succeed(hold=hold))
                broker.allow(sync_budget=0.0)
                await broker.unbind("b-1", flag=True)
                await soon(hold.entered.wait())
    before = await broker.everything()

    is_error(await broker.rotate("b-2", old), 400)

    assert await broker.everything() == before
    hold.release()


async def test_a_rotation_on_a_plan_without_it_is_refused(
    broker: Served, backend: ScriptedBackend
) -> None:
    """ROT-07."""
    await broker.put(plan=FIXED)
    await broker.bind("b-1", plan=FIXED)

    is_error(await broker.rotate("b-2", "b-1"), 400)

    assert len(backend.bindings) == 1


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"parameters": {"role": "writer"}}, id="parameters"),
        pytest.param({"bind_resource": {"app_guid": "app"}}, id="bind_resource"),
        pytest.param({"app_guid": "app"}, id="app_guid"),
    ],
)
async def test_a_rotation_with_wishes_of_its_own_is_refused(
    broker: Served, backend: ScriptedBackend, more: dict[str, Any]
) -> None:
    await broker.put()
    await broker.bind("b-1")

    is_error(await broker.rotate("b-2", "b-1", **more), 400)

    assert len(backend.bindings) == 1


async def test_a_rotation_may_name_offering_and_plan(broker: Served) -> None:
    """ROT-02: together with the usual fields."""
    await broker.put()
    await broker.bind("b-1")

    named = await broker.rotate("b-2", "b-1", service_id=QUEUE, plan_id=AUTO)

    assert named.status_code == 201
    is_error(await broker.rotate("b-3", "b-1", service_id=OTHER), 400)
    is_error(await broker.rotate("b-3", "b-1", plan_id=SYNC), 400)


# --- dashboard_url and metadata -----------------------------------------------------


class Shown(ScriptedBackend):
    """Its dashboard and labels depend on plan and parameters."""

    def describe(self, instance: Any) -> Description:
        size = getattr(instance.parameters, "size", 0)
        return Description(
            dashboard_url=f"https://dashboard/{instance.name}/{instance.plan}",
            labels={"size": str(size)},
        )


@MODES
async def test_the_first_answer_has_dashboard_and_metadata(
    serve: Serve, mode: str
) -> None:
    """PROV-27 to PROV-29, PROV-32, PROV-38, UPD-22, UPD-24, META-01 to META-03."""
    backend = Shown()
    broker = await serve(backends={"queue": backend})
    hold = Hold()
    if mode == ASYNC:
        backend.next("provision", succeed(hold=hold))
        backend.next("update", succeed(hold=hold))

    made = body_of(await broker.put(plan=mode, flag=True, parameters={"size": 1}))
    hold.release()
    await broker.quiet()
    name = backend.made("provision")[0].name
    made.pop("operation", None)
    assert made == {
        "dashboard_url": f"https://dashboard/{name}/{(await broker.row()).plan}",
        "metadata": {"labels": {"size": "1"}},
    }
    again = await broker.put(plan=mode, flag=True, parameters={"size": 1})
    assert (again.status_code, body_of(again)) == (200, made)

    target = AUTO if mode == SYNC else mode
    changed = body_of(
        await broker.patch(flag=True, plan_id=target, parameters={"size": 2})
    )
    await broker.quiet()
    changed.pop("operation", None)
    assert changed == {
        "dashboard_url": f"https://dashboard/{name}/{(await broker.row()).plan}",
        "metadata": {"labels": {"size": "2"}},
    }
    fetched = body_of(await broker.get())
    assert fetched | changed == fetched
    repeated = body_of(await broker.patch(flag=True, parameters={}))
    assert repeated == changed


async def test_a_describe_that_fails_fails_no_request(serve: Serve) -> None:
    class Broken(ScriptedBackend):
        def describe(self, instance: Any) -> Description:
            raise KeyError("dashboard")

    broker = await serve(backends={"queue": Broken()})

    assert (await broker.put()).status_code == 201
    assert (await broker.get()).status_code == 200
