"""The service against the rows, with a broker at work beside it."""

import asyncio
import base64
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from osbkit import Failed, Found
from osbkit.backends.contract import ServiceBackend
from osbkit.backends.scripted import Behaviour, Hold, ScriptedBackend, fail, succeed
from osbkit.domain import DAY, ResourceState, resource_name
from osbkit.lifecycle import reconcile as reconcile_module
from osbkit.lifecycle.reconcile import Adoption, CannotReconcile, Reconciler
from osbkit.store import bindings, instances, migrate, standings
from osbkit.store.rows import now
from osbkit.store.tables import bindings as bindings_table
from osbkit.store.tables import instances as instances_table
from osbkit.store.tables import operations as operations_table
from tests import servers
from tests.flows.serving import (
    ASYNC,
    AUTO,
    Served,
    a_catalog,
    other,
    queue,
    serving,
    soon,
    states,
)

KEYS = SecretStr("test:" + base64.b64encode(bytes(32)).decode())


class Log:
    """Keeps events instead of printing them."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def _keep(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    info = error = _keep

    def bind(self, **_: Any) -> "Log":
        return self


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    kept = Log()
    monkeypatch.setattr(reconcile_module, "log", kept)
    return kept


def reconciler(broker: Served) -> Reconciler:
    house = broker.running.house
    return Reconciler(house.store, house.registry, seconds=20)


async def look(broker: Served, keys: Any = None) -> Any:
    return await reconciler(broker).look(keys, 0.0)


async def told(broker: Served) -> dict[str, list[Any]]:
    """What a look finds, as short as can be compared."""
    report = await look(broker)
    return {
        "orphans": sorted((one.kind, one.why) for one in report.orphans),
        "lost": sorted(one.life.kind for one in report.lost),
        "busy": sorted((one.kind, one.why) for one in report.busy),
        "matched": [report.matched],
    }


def outcome(orphans: Any = (), lost: Any = (), busy: Any = (), matched: int = 0) -> Any:
    return {
        "orphans": sorted(orphans),
        "lost": sorted(lost),
        "busy": sorted(busy),
        "matched": [matched],
    }


async def past(broker: Served) -> None:
    """Let every operation that has ended be long ago."""
    ended = operations_table.c.ended_at
    await broker.set(operations_table, ended.is_not(None), ended_at=now() - 7 * DAY)


async def one_of_each(broker: Served) -> None:
    assert (await broker.put("i-1", plan=AUTO)).status_code == 201
    assert (await broker.bind("b-1", "i-1")).status_code == 201
    await broker.quiet()
    await past(broker)


# --- every class of finding -----------------------------------------------------------


async def test_what_the_rows_say_and_the_service_has_is_matched(broker, backend):
    await one_of_each(broker)

    assert await told(broker) == outcome(matched=2)


async def test_what_has_vanished_from_the_service_is_lost(broker, backend):
    await one_of_each(broker)
    backend.instances.clear()
    backend.bindings.clear()

    assert await told(broker) == outcome(lost=["instance", "binding"])


async def test_what_outlived_its_deletion_is_an_orphan(broker, backend):
    await one_of_each(broker)
    instance, binding = dict(backend.instances), dict(backend.bindings)
    assert (await broker.delete("i-1")).status_code == 200
    await past(broker)
    backend.instances |= instance
    backend.bindings |= binding

    assert await told(broker) == outcome(
        [("instance", "deleted"), ("binding", "deleted")]
    )


async def test_what_a_former_life_left_is_an_orphan_beside_the_present(broker, backend):
    await one_of_each(broker)
    [(name, request)] = backend.instances.items()
    assert (await broker.delete("i-1")).status_code == 200
    assert (await broker.put("i-1", plan=AUTO)).status_code == 201
    await past(broker)
    backend.instances[name] = request

    report = await look(broker)

    [orphan] = report.orphans
    assert (orphan.name, orphan.why, orphan.life.generation) == (name, "replaced", 1)
    assert report.matched == 1


async def test_what_nobody_knows_is_an_unknown_orphan(broker, backend):
    backend.instances["osb-stranger"] = None

    assert await told(broker) == outcome([("instance", "unknown")])


async def test_a_failed_creation_that_left_nothing_is_no_finding(
    broker, backend, impatient
):
    backend.next("provision", fail(Failed("No room.")))
    assert (await broker.put("i-1", plan=AUTO)).status_code == 500
    await past(broker)

    assert await told(broker) == outcome()


async def test_a_failed_roll_back_is_busy_until_it_succeeds(broker, backend, impatient):
    """A clean-up is recorded, and repeated with pauses: nothing to do by hand."""
    backend.next("provision", fail(Failed("No room."), leaves=True))
    backend.next("deprovision", fail(RuntimeError("away"), times=3))
    assert (await broker.put("i-1", plan=AUTO)).status_code == 500
    await past(broker)

    for _ in range(3):
        assert await told(broker) == outcome(busy=[("instance", "operation")])
        assert len(backend.left) == 1
        await broker.hurry()
    await past(broker)

    assert await told(broker) == outcome()
    assert backend.left == set()
    assert (await broker.row("i-1")).residue is False


async def test_what_a_parked_creation_left_is_an_orphan(broker, backend, impatient):
    """Nobody tries again by itself what ended its process every time."""
    await one_of_each(broker)
    await left_by_a_parked_creation(broker)

    report = await look(broker)

    assert [(one.kind, one.why) for one in report.orphans] == [("instance", "failed")]


async def left_by_a_parked_creation(broker: Served) -> None:
    row = await broker.row("i-1")

    def unit(db: Any) -> None:
        bindings.end_all(db, "i-1", 1, now())
        found = instances.lock(db, "i-1")
        assert found is not None
        failed = replace(found, state=ResourceState.FAILED, residue=True)
        instances.save(db, failed)

    await broker.running.house.store.write(unit)
    backend: Any = broker.running.house.registry.backend(row.backend)
    backend.bindings.clear()


async def test_what_an_operation_works_on_is_busy(broker, backend):
    await one_of_each(broker)
    hold = Hold()
    backend.next("update", succeed(hold=hold))
    answer = await broker.patch("i-1", parameters={"a": 1}, flag=True, plan_id=ASYNC)
    assert answer.status_code == 202
    await soon(hold.entered.wait())

    assert await told(broker) == outcome(
        busy=[("instance", "operation"), ("binding", "operation")]
    )

    hold.release()
    await broker.quiet()
    assert await told(broker) == outcome(matched=2)


async def test_what_ended_a_moment_ago_is_left_alone(broker, backend):
    await one_of_each(broker)
    things = dict(backend.instances)
    assert (await broker.delete("i-1")).status_code == 200
    backend.instances |= things

    report = await reconciler(broker).look()

    assert report.orphans == ()
    assert [one.why for one in report.busy] == ["operation"]


async def test_every_page_of_rows_is_read(broker, backend, monkeypatch):
    monkeypatch.setattr(standings, "PAGE", 2)
    for name in ("INSTANCES", "BINDINGS"):
        statement = getattr(standings, name).limit(None).limit(2)
        monkeypatch.setattr(standings, name, statement)
    for number in range(5):
        await broker.put(f"i-{number}", plan=AUTO)
        await broker.bind(f"b-{number}", f"i-{number}")
    await broker.bind("b-x", "i-4")
    await broker.quiet()
    await past(broker)

    assert await told(broker) == outcome(matched=11)


async def test_the_outcome_is_an_event_with_figures(broker, backend, log):
    await one_of_each(broker)
    backend.instances["osb-stranger"] = None
    backend.bindings.clear()

    await look(broker)

    figures = {"orphans": 1, "lost": 1, "matched": 1, "busy": 0}
    assert log.events == [("reconcile.finished", figures)]


# --- the order of reading -------------------------------------------------------------


class Watched(ScriptedBackend):
    """Lets something happen before it is listed, and something after."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Any = None
        self.after: Any = None

    async def inventory(self) -> Any:
        if self.before is not None:
            await self.before()
        listed = [found async for found in super().inventory()]
        if self.after is not None:
            await self.after()
        for found in listed:
            yield found


@pytest.fixture
def backend() -> ScriptedBackend:
    return Watched()


async def make_and_end(broker: Served) -> None:
    assert (await broker.put("i-1", plan=AUTO)).status_code == 201


async def end(broker: Served) -> None:
    assert (await broker.delete("i-1")).status_code == 200


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_what_is_made_while_one_looks_is_no_finding(broker, backend, moment):
    setattr(backend, moment, partial(make_and_end, broker))

    report = await look(broker)

    assert report.clean


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_what_is_deleted_while_one_looks_is_no_finding(broker, backend, moment):
    await one_of_each(broker)
    setattr(backend, moment, partial(end, broker))

    report = await look(broker)

    assert report.clean
    assert len(report.busy) == (0 if moment == "before" else 2)


async def test_what_is_made_and_deleted_while_rows_are_read_is_no_finding(
    broker, backend, monkeypatch
):
    await one_of_each(broker)
    page = standings.of_bindings

    async def now_and_then() -> None:
        await broker.put("i-2", plan=AUTO)
        await broker.delete("i-1")

    store = broker.running.house.store
    read = store.read

    async def reads(unit: Any) -> Any:
        if getattr(unit, "func", None) is page:
            store.read = read
            await now_and_then()
        return await read(unit)

    monkeypatch.setattr(store, "read", reads)

    assert (await look(broker)).clean


@pytest.mark.parametrize("kind", servers.KINDS)
async def test_beside_a_broker_at_work_nothing_is_found(
    tmp_path, backend, monkeypatch, kind
):
    """A toolbox of its own looks again and again, while a broker makes and deletes."""
    monkeypatch.setattr(reconcile_module, "SKEW", 0.0)
    url = await asyncio.to_thread(servers.fresh, kind)
    await asyncio.to_thread(migrate.upgrade, url)
    settings: Any = {"database_url": SecretStr(url), "encryption_keys": KEYS}
    backend.before = backend.after = partial(asyncio.sleep, 0.005)
    async with serving(tmp_path, {"queue": backend}, **settings) as broker:

        async def live(number: int) -> None:
            instance = f"i-{number % 8}"
            assert (await broker.put(instance, plan=AUTO)).status_code == 201
            assert (await broker.bind("b", instance)).status_code == 201
            assert (await broker.delete(instance)).status_code == 200

        async def lives(number: int) -> None:
            for _ in range(6):
                await live(number)

        at_work = asyncio.gather(*map(lives, range(8)))
        looks = []
        async with broker.broker.toolbox() as box:
            beside = Reconciler(box.store, box.registry, seconds=20)
            while not at_work.done():
                looks.append(await beside.look(None, 0.0))
            await at_work

            assert [one for one in looks if not one.clean] == []
            assert len(looks) > 3
            assert any(one.matched or one.busy for one in looks)

            backend.instances["osb-stranger"] = None
            assert len((await beside.look(None, 0.0)).orphans) == 1


async def test_a_serving_process_does_what_was_recorded_beside_it(tmp_path, backend):
    url = await asyncio.to_thread(servers.fresh, "postgresql")
    await asyncio.to_thread(migrate.upgrade, url)
    settings: Any = {"database_url": SecretStr(url), "encryption_keys": KEYS}
    async with serving(tmp_path, {"queue": backend}, **settings) as broker:
        await one_of_each(broker)
        things = dict(backend.instances)
        assert (await broker.delete("i-1")).status_code == 200
        backend.instances |= things

        async with broker.broker.toolbox() as box:
            beside = Reconciler(box.store, box.registry, seconds=20)
            just_now = await beside.look(None, 0.0)
            assert [one.why for one in just_now.busy] == ["operation"], "clocks differ"
            await past(broker)
            [orphan] = (await beside.look(None, 0.0)).orphans
            removal = await beside.remove(orphan)
            assert await beside.wait([removal], 20) == {removal.operation}

        assert backend.left == set()


async def test_a_listing_that_breaks_off_is_no_basis(broker, backend, log):
    await one_of_each(broker)
    backend.next("inventory", fail(RuntimeError("secret")))

    with pytest.raises(CannotReconcile) as refused:
        await look(broker)

    assert "could not list" in str(refused.value)
    assert "secret" not in str(refused.value) + str(log.events)
    assert [event for event, _ in log.events] == ["reconcile.not_listed"]


async def test_a_listing_that_hangs_is_given_up(broker, backend):
    house = broker.running.house
    backend.next("inventory", Behaviour(hold=Hold()))

    with pytest.raises(CannotReconcile, match="TimeoutError"):
        await soon(Reconciler(house.store, house.registry, seconds=0.01).look())


# --- which backends -------------------------------------------------------------------


class Silent(ServiceBackend):
    """Does not say what exists."""

    parallel_binds = True

    async def provision(self, request: Any, run: Any) -> None:
        pass

    async def update(self, request: Any, run: Any) -> None:
        pass

    async def deprovision(self, request: Any, run: Any) -> None:
        pass

    async def bind(self, request: Any, run: Any) -> Any:
        raise NotImplementedError

    async def unbind(self, request: Any, run: Any) -> None:
        pass


class Mistaken(Silent):
    async def inventory(self) -> Any:  # type: ignore[override]
        return [Found(name="osb-x")]


class Wrong(Silent):
    async def inventory(self) -> Any:
        yield "osb-x"


class Naive(Silent):
    async def inventory(self) -> Any:
        from datetime import datetime

        yield Found(name="osb-x", created_at=datetime(2030, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        pytest.param(Mistaken, "`async def` with `yield`", id="no generator"),
        pytest.param(Wrong, "must yield Found", id="no Found"),
        pytest.param(Naive, "time zone", id="a moment without a time zone"),
    ],
)
async def test_a_listing_of_something_else_names_the_fix(tmp_path, kind, sentence):
    async with serving(tmp_path, {"queue": kind()}) as broker:
        with pytest.raises(CannotReconcile, match=sentence):
            await look(broker)


async def test_without_any_listing_there_is_nothing_to_compare(tmp_path):
    async with serving(tmp_path, {"queue": Silent()}) as broker:
        with pytest.raises(CannotReconcile, match="No backend of this broker"):
            await look(broker)
        with pytest.raises(CannotReconcile, match=r"Silent \(backend 'queue'\)"):
            await look(broker, ["queue"])


async def test_rows_of_a_backend_that_does_not_list_are_told_by_their_number(
    tmp_path, backend
):
    catalog = a_catalog(queue(), other())
    backends = {"queue": backend, "other": Silent()}
    async with serving(tmp_path, backends, catalog) as broker:
        await one_of_each(broker)
        elsewhere = "9a9a9a9a-0000-4000-8000-000000000005"
        assert (await broker.put("i-2", plan=elsewhere)).status_code == 201

        report = await look(broker)

        assert (report.matched, report.clean) == (2, True)
        assert report.unjudged == {"other": 1}


async def test_a_backend_under_two_keys_is_asked_once(tmp_path, backend):
    backends = {"queue": backend, "queue/sync": backend}
    async with serving(tmp_path, backends) as broker:
        await one_of_each(broker)
        await broker.put("i-2", plan="9a9a9a9a-0000-4000-8000-000000000001")
        await past(broker)

        assert await told(broker) == outcome(matched=3)
        assert len(backend.made("inventory")) == 1


# --- remove ---------------------------------------------------------------------------


async def removed(broker: Served) -> Any:
    """Remove the only orphan, and let the broker do what was recorded."""
    [orphan] = (await look(broker)).orphans
    removal = await reconciler(broker).remove(orphan)
    if orphan.life is not None:
        broker.engine.look_after(orphan.life.instance_id)
        await broker.hurry()
    return removal


async def test_an_orphan_of_a_tombstone_is_swept(broker, backend):
    await one_of_each(broker)
    things = dict(backend.instances)
    await broker.delete("i-1")
    await past(broker)
    backend.instances |= things

    removal = await removed(broker)

    assert removal.how == "recorded"
    assert backend.left == set()
    last = (await broker.operations("i-1"))[-1]
    assert (last.id, last.kind) == (removal.operation, "sweep")
    assert await reconciler(broker).wait([removal], 0) == {removal.operation}
    await past(broker)
    assert await told(broker) == outcome()


async def test_an_orphan_binding_of_a_live_instance_is_swept(broker, backend):
    await one_of_each(broker)
    things = dict(backend.bindings)
    await broker.unbind("b-1", "i-1")
    await broker.quiet()
    await past(broker)
    backend.bindings |= things

    await removed(broker)

    assert backend.bindings == {}
    assert len(backend.instances) == 1
    assert backend.made("unbind")[-1].request.instance_name in backend.instances


async def test_the_present_life_is_not_touched_when_a_former_one_is_swept(
    broker, backend
):
    await one_of_each(broker)
    things = dict(backend.instances)
    await broker.delete("i-1")
    await broker.put("i-1", plan=AUTO)
    await past(broker)
    present = set(backend.instances)
    backend.instances |= things

    await removed(broker)

    assert backend.left == present
    assert (await broker.get("i-1")).status_code == 200


async def test_a_binding_of_a_former_instance_is_swept_by_both_its_names(
    broker, backend
):
    await one_of_each(broker)
    [(name, request)] = backend.bindings.items()
    await broker.delete("i-1")
    await broker.put("i-1", plan=AUTO)
    assert (await broker.bind("b-1", "i-1")).status_code == 201
    await past(broker)
    backend.bindings[name] = request

    await removed(broker)

    call = backend.made("unbind")[-1].request
    assert (call.name, call.instance_name) == (name, request.instance.name)
    assert (len(backend.instances), len(backend.bindings)) == (1, 1)
    assert (await broker.get_binding("b-1", "i-1")).status_code == 200


async def test_what_a_parked_bind_left_is_cleaned_up(broker, backend, impatient):
    await one_of_each(broker)

    def unit(db: Any) -> None:
        found = bindings.lock(db, "i-1", "b-1")
        assert found is not None
        failed = replace(found, state=ResourceState.FAILED, residue=True)
        bindings.save(db, failed)

    await broker.running.house.store.write(unit)

    await removed(broker)

    assert backend.bindings == {}
    assert states(await broker.operations("i-1"))[-1] == ("cleanup", "succeeded")
    assert (await broker.binding_row("b-1", "i-1")).residue is False


async def test_a_removal_that_fails_is_repeated(broker, backend, impatient):
    await one_of_each(broker)
    things = dict(backend.instances)
    await broker.delete("i-1")
    await past(broker)
    backend.instances |= things
    backend.next("deprovision", fail(RuntimeError("away"), times=2))

    removal = await removed(broker)

    assert backend.left
    assert await told(broker) == outcome(busy=[("instance", "operation")])
    assert await reconciler(broker).wait([removal], 0) == set()
    await broker.hurry()
    assert backend.left == set()


async def test_what_a_parked_creation_left_is_cleaned_up(broker, backend, impatient):
    await one_of_each(broker)
    await left_by_a_parked_creation(broker)

    await removed(broker)

    assert backend.left == set()
    assert states(await broker.operations("i-1"))[-1] == ("cleanup", "succeeded")
    assert (await broker.row("i-1")).residue is False


async def test_what_nobody_knows_is_removed_by_one_call(broker, backend):
    backend.instances["osb-stranger"] = None
    before = await broker.everything()

    removal = await removed(broker)

    assert (removal.how, removal.operation) == ("removed", None)
    assert backend.left == set()
    [call] = backend.made("deprovision")
    request = call.request
    assert (request.name, request.instance_id) == ("osb-stranger", "")
    assert (request.offering, request.plan, request.platform) == ("queue", "", "")
    assert (request.facts, request.context) == (None, None)
    assert await broker.everything() == before


class Marked(ScriptedBackend):
    """Says of which instance a binding is."""

    async def inventory(self) -> Any:
        for name in self.bindings:
            yield Found(name=name, kind="binding", instance_name="osb-its-instance")


async def test_a_binding_that_nobody_knows_is_removed_with_its_instances_name(tmp_path):
    backend = Marked()
    backend.bindings["osb-stranger"] = None
    async with serving(tmp_path, {"queue": backend}) as broker:
        await removed(broker)

    [call] = backend.made("unbind")
    assert call.request.instance_name == "osb-its-instance"
    assert (call.request.binding_id, call.request.binding_facts) == ("", None)


async def test_without_its_instances_name_it_stays(broker, backend):
    backend.bindings["osb-stranger"] = None

    with pytest.raises(CannotReconcile, match="of which instance"):
        await removed(broker)

    assert backend.made("unbind") == []


async def test_a_call_that_fails_says_so_without_its_text(broker, backend):
    backend.instances["osb-stranger"] = None
    backend.next("deprovision", fail(RuntimeError("secret")))

    with pytest.raises(CannotReconcile) as refused:
        await removed(broker)

    assert str(refused.value) == "osb-stranger could not be removed (RuntimeError)."


async def test_what_is_no_orphan_any_more_is_not_removed(broker, backend):
    """Between the look and the deed the platform may have come back."""
    name = resource_name(broker.running.house.store.broker_id, "i-1", 1)
    backend.instances[name] = None
    [orphan] = (await look(broker)).orphans
    assert orphan.life is None

    await broker.put("i-1", plan=AUTO)

    with pytest.raises(CannotReconcile, match="no orphan any more"):
        await reconciler(broker).remove(orphan)
    assert backend.left == {name}


async def test_a_clean_up_begun_meanwhile_is_not_doubled(broker, backend):
    await one_of_each(broker)
    things = dict(backend.instances)
    await broker.delete("i-1")
    await past(broker)
    backend.instances |= things
    [orphan] = (await look(broker)).orphans
    await reconciler(broker).remove(orphan)

    before = await broker.everything()

    with pytest.raises(CannotReconcile, match="works on it"):
        await reconciler(broker).remove(orphan)

    assert await broker.everything() == before


# --- after the database was restored from an older copy -------------------------------


async def forgotten(broker: Served, *tables: Any) -> None:
    """The copy is from before: it knows nothing of this."""

    def unit(db: Any) -> None:
        for table in tables:
            db.execute(table.delete())

    await broker.running.house.store.write(unit)


TABLES = (operations_table, bindings_table, instances_table)


async def test_an_instance_without_a_row_is_swept_and_its_name_spent(broker, backend):
    await one_of_each(broker)
    backend.bindings.clear()
    await forgotten(broker, *TABLES)
    [orphan] = (await look(broker)).orphans
    assert (orphan.why, orphan.life.instance_id) == ("no row", "i-1")

    # the platform comes back before the removal does
    await reconciler(broker).remove(orphan)
    assert (await broker.put("i-1", plan=AUTO)).status_code == 201
    broker.engine.look_after("i-1")
    await broker.hurry()

    [name] = backend.left
    assert name != orphan.name
    assert (await broker.row("i-1")).generation == 2


async def test_a_binding_without_a_row_is_swept_and_its_name_spent(broker, backend):
    await one_of_each(broker)
    await forgotten(broker, operations_table, bindings_table)
    report = await look(broker)
    [orphan] = report.orphans
    assert (orphan.kind, orphan.why, report.matched) == ("binding", "no row", 1)

    await reconciler(broker).remove(orphan)
    assert (await broker.bind("b-1", "i-1")).status_code == 201
    broker.engine.look_after("i-1")
    await broker.hurry()

    assert orphan.name not in backend.left
    assert len(backend.bindings) == 1
    assert (await broker.binding_row("b-1", "i-1")).generation == 2


async def test_a_later_life_than_a_tombstones_is_swept_and_its_name_spent(
    broker, backend
):
    await one_of_each(broker)
    await broker.delete("i-1")
    await broker.put("i-1", plan=AUTO)
    later = dict(backend.instances)
    await broker.delete("i-1")
    await past(broker)
    backend.instances |= later
    row = await broker.row("i-1")
    before = replace(row, generation=1)
    await broker.running.house.store.write(partial(instances.save, instance=before))

    await removed(broker)

    assert backend.left == set()
    assert (await broker.row("i-1")).generation == 2
    await broker.put("i-1", plan=AUTO)
    assert (await broker.row("i-1")).generation == 3


async def test_a_later_life_than_a_ready_rows_stays_until_that_is_deleted(
    broker, backend
):
    await one_of_each(broker)
    later = resource_name(broker.running.house.store.broker_id, "i-1", 2)
    backend.instances[later] = next(iter(backend.instances.values()))

    before = await broker.everything()

    with pytest.raises(CannotReconcile, match="lives on as generation 1"):
        await removed(broker)

    assert later in backend.left
    assert await broker.everything() == before


# --- adopt ----------------------------------------------------------------------------

ADOPTION = Adoption(
    offering="queue",
    plan="auto",
    platform="default",
    organization_guid="org",
    space_guid="space",
)


async def adopt(broker: Served, adoption: Adoption = ADOPTION) -> Any:
    house = broker.running.house
    [orphan] = (await look(broker)).orphans
    return await reconciler(broker).adopt(orphan, adoption, house.catalog, house.rules)


async def test_an_adopted_instance_is_its_platforms_again(broker, backend):
    await broker.put("i-1", plan=AUTO, parameters={"a": 1})
    await forgotten(broker, *TABLES)
    assert (await broker.get("i-1")).status_code == 404
    facts = {"server": "one"}

    adopted = await adopt(
        broker,
        replace(ADOPTION, parameters={"a": 1}, facts=facts),
    )

    assert (adopted.instance_id, adopted.generation) == ("i-1", 1)
    assert await told(broker) == outcome(matched=1)
    assert (await broker.get("i-1")).status_code == 200
    assert (await broker.poll("i-1")).json()["state"] == "succeeded"
    again = await broker.put("i-1", plan=AUTO, parameters={"a": 1})
    assert again.status_code == 200
    assert len(backend.made("provision")) == 1
    assert (await broker.bind("b-1", "i-1")).status_code == 201
    assert backend.made("bind")[0].request.facts == facts
    assert (await broker.delete("i-1")).status_code == 200
    assert backend.left == set()


async def test_an_id_that_the_service_does_not_know_is_proven_by_the_name(
    broker, backend
):
    name = resource_name(broker.running.house.store.broker_id, "i-1", 7)
    backend.instances[name] = None

    with pytest.raises(CannotReconcile, match="say which"):
        await adopt(broker)
    with pytest.raises(CannotReconcile, match="not the name of this instance"):
        await adopt(broker, replace(ADOPTION, instance_id="i-2"))
    adopted = await adopt(broker, replace(ADOPTION, instance_id="i-1"))

    assert adopted.generation == 7
    assert await told(broker) == outcome(matched=1)


async def test_a_tombstone_is_woken_by_an_adoption(broker, backend):
    await one_of_each(broker)
    things = dict(backend.instances)
    await broker.delete("i-1")
    await past(broker)
    backend.instances |= things

    await adopt(broker)

    assert (await broker.get("i-1")).status_code == 200
    assert await told(broker) == outcome(matched=1)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        pytest.param({"plan": "none"}, "no plan queue/none", id="no such plan"),
        pytest.param({"offering": "none"}, "no plan none/auto", id="no such offering"),
        pytest.param({"instance_id": "i-2"}, "another instance", id="another id"),
    ],
)
async def test_what_does_not_fit_is_not_adopted(broker, backend, fields, sentence):
    await broker.put("i-1", plan=AUTO)
    await forgotten(broker, *TABLES)

    with pytest.raises(CannotReconcile, match=sentence):
        await adopt(broker, replace(ADOPTION, **fields))

    assert (await broker.get("i-1")).status_code == 404


async def test_a_plan_of_another_backend_is_not_taken_for_it(tmp_path, backend):
    catalog = a_catalog(queue(), other())
    backends = {"queue": backend, "other": ScriptedBackend()}
    async with serving(tmp_path, backends, catalog) as broker:
        await broker.put("i-1", plan=AUTO)
        await forgotten(broker, *TABLES)
        elsewhere = replace(ADOPTION, offering="other", plan="elsewhere")

        with pytest.raises(CannotReconcile, match="is on the backend 'queue'"):
            await adopt(broker, elsewhere)


async def test_a_former_life_is_not_adopted(broker, backend):
    await one_of_each(broker)
    things = dict(backend.instances)
    for _ in range(2):
        await broker.delete("i-1")
        await broker.put("i-1", plan=AUTO)
    await broker.delete("i-1")
    await past(broker)
    backend.instances |= things

    with pytest.raises(CannotReconcile, match="used again since"):
        await adopt(broker)


async def test_an_instance_that_lives_is_not_replaced_by_an_adoption(broker, backend):
    await one_of_each(broker)
    later = resource_name(broker.running.house.store.broker_id, "i-1", 2)
    backend.instances[later] = next(iter(backend.instances.values()))

    with pytest.raises(CannotReconcile, match=r"has a row \(generation 1, ready\)"):
        await adopt(broker)


async def test_a_binding_is_not_adopted(broker, backend):
    await one_of_each(broker)
    await forgotten(broker, bindings_table)

    with pytest.raises(CannotReconcile, match="credentials"):
        await adopt(broker)
