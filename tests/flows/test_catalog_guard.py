"""A broker started again with another catalog, and what lives on the plans.

Each `serving` on the same folder is the same broker after a restart.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from osbkit import Broker, Catalog, Failed
from osbkit.backends.scripted import ScriptedBackend, fail
from osbkit.catalog.guard import ServedPlan
from osbkit.errors import BackendsInvalid, CatalogUnsafe
from osbkit.store import served
from osbkit.store.tables import meta
from tests.flows.conftest import Serve
from tests.flows.serving import (
    ASYNC,
    AUTO,
    ELSEWHERE,
    FIXED,
    OTHER,
    QUEUE,
    SYNC,
    Json,
    Served,
    a_catalog,
    body_of,
    is_error,
    offering,
    other,
    plan,
    queue,
    serving,
)

ANYTHING = frozenset({"all"})
Start = Callable[..., Any]


def plans(*ids: str, **fields: Any) -> list[Json]:
    """Plans of the offering `queue`, named after their id's end."""
    return [plan(id_, f"plan-{id_[-1]}", **fields) for id_ in ids]


def queues(*ids: str, **fields: Any) -> Catalog:
    """A catalog of the offering `queue` alone."""
    return a_catalog(queue(plans=plans(*ids, **fields)))


@pytest.fixture
def start(tmp_path: Path, backend: ScriptedBackend) -> Start:
    """Start the broker of this folder with a catalog; an async context."""

    def start(catalog: Any, **settings: Any) -> Any:
        backends = settings.pop("backends", {"queue": backend})
        return serving(tmp_path, backends, catalog, **settings)

    return start


class Told:
    """Stands in for the log, and keeps the findings of each warning."""

    def __init__(self) -> None:
        self.findings: dict[str, list[str]] = {}

    def warning(self, event: str, **fields: Any) -> None:
        self.findings.setdefault(event, []).append(fields["finding"])

    def info(self, event: str, **fields: Any) -> None: ...

    def since(self) -> dict[str, list[str]]:
        """What was told since the last call."""
        found, self.findings = self.findings, {}
        return found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the broker tells the operator of its catalog."""
    log = Told()
    monkeypatch.setattr("osbkit.broker.log", log)
    return log


async def refusal(start: Start, catalog: Catalog, **settings: Any) -> CatalogUnsafe:
    """What a start says that is refused."""
    with pytest.raises(CatalogUnsafe) as refused:
        async with start(catalog, **settings):
            pass
    return refused.value


# --- a plan that left ---------------------------------------------------------------


async def test_a_start_without_a_plan_that_has_instances_is_refused(
    start: Start, backend: ScriptedBackend
) -> None:
    """CAT-03: with the names, the ids, how many live and what to do."""
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put("i-1")
        await broker.put("i-2")
        await broker.put("i-3", plan=SYNC)

    refused = await refusal(start, queues(SYNC))

    assert len(refused.findings) == 1
    assert f"plan queue/plan-2 ({AUTO})" in str(refused)
    assert "2 service instances live" in str(refused)
    assert f"OSBKIT_ALLOW_CATALOG_CHANGES={AUTO}" in str(refused)


async def test_every_finding_is_told_at_once(start: Start) -> None:
    async with start(queues(SYNC, AUTO, FIXED)) as broker:
        await broker.put("i-1", plan=SYNC)
        await broker.put("i-2", plan=AUTO)

    refused = await refusal(start, queues(FIXED))

    assert [SYNC in str(refused), AUTO in str(refused)] == [True, True]
    assert len(refused.findings) == 2


async def test_a_refused_start_opens_no_backend_and_forgets_nothing(
    start: Start,
) -> None:
    class Opened(ScriptedBackend[Any, Any]):
        opened = 0

        async def open(self) -> None:
            self.opened += 1

    opened = Opened()
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put()
        before = await broker.everything()

    await refusal(start, queues(SYNC), backends={"queue": opened})
    await refusal(start, queues(SYNC), backends={"queue": opened})

    assert opened.opened == 0
    async with start(queues(SYNC, AUTO)) as broker:
        assert await broker.everything() == before


async def test_a_plan_without_instances_may_leave(start: Start) -> None:
    """CAT-36: neither tombstones nor creations that left nothing count."""
    catalog = queues(SYNC, AUTO)
    backend = ScriptedBackend[Any, Any]()
    backend.next("provision", fail(Failed("There is no room.")))
    async with start(catalog, backends={"queue": backend}) as broker:
        assert (await broker.put("i-1")).status_code == 500
        await broker.put("i-2")
        assert (await broker.delete("i-2")).status_code == 200

    async with start(queues(SYNC)) as broker:
        is_error(await broker.put("i-3"), 400)


async def test_a_creation_that_may_have_left_something_counts(
    start: Start, backend: ScriptedBackend
) -> None:
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put()
        await broker.set(
            sa.table("instances", sa.column("state")), True, state="failed"
        )

    assert AUTO in str(await refusal(start, queues(SYNC)))


async def test_an_instance_lives_where_an_update_has_brought_it(start: Start) -> None:
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put("i-1", plan=SYNC)
        moved = await broker.patch("i-1", plan_id=AUTO)
        assert moved.status_code == 200

    async with start(queues(AUTO)) as broker:
        assert body_of(await broker.get("i-1"))["plan_id"] == AUTO
    assert AUTO in str(await refusal(start, queues(SYNC)))


# --- allowed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "allowed", [pytest.param({AUTO}, id="its id"), pytest.param({"all"}, id="all")]
)
async def test_an_allowed_change_starts_and_every_verb_but_put_works(
    start: Start, allowed: set[str]
) -> None:
    """ "an offering or plan gone from the catalog": PUT of a new id 400."""
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put(parameters={"size": 1})
        await broker.bind("b-1")

    async with start(queues(SYNC), allow_catalog_changes=frozenset(allowed)) as broker:
        is_error(await broker.put("i-2"), 400)
        assert (await broker.put(parameters={"size": 1})).status_code == 200
        assert (await broker.get()).status_code == 200
        assert (await broker.get_binding("b-1")).status_code == 200
        assert (await broker.bind("b-2")).status_code == 201
        assert (await broker.patch(parameters={"size": 2})).status_code == 200
        assert (await broker.unbind("b-1")).status_code == 200
        assert (await broker.delete()).status_code == 200

    async with start(queues(SYNC)) as broker:  # nothing lives: nothing to allow
        assert (await broker.poll()).status_code == 200


async def test_an_allowed_change_is_asked_for_again_while_instances_live(
    start: Start,
) -> None:
    """The word stands in the deployment, where the next reader finds it."""
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put()
    async with start(queues(SYNC), allow_catalog_changes=ANYTHING):
        pass

    assert AUTO in str(await refusal(start, queues(SYNC)))


async def test_another_id_that_was_allowed_lets_nothing_through(start: Start) -> None:
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put()

    allowed = frozenset({SYNC, QUEUE})

    assert AUTO in str(
        await refusal(start, queues(SYNC), allow_catalog_changes=allowed)
    )


async def test_what_was_allowed_is_logged(start: Start, told: Told) -> None:
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put()
    told.since()

    async with start(queues(SYNC), allow_catalog_changes=ANYTHING):
        pass

    [finding] = told.since()["catalog.change_allowed"]
    assert AUTO in finding


# --- ids ----------------------------------------------------------------------------


async def test_an_id_that_moved_to_another_offering_is_refused_though_nothing_lives(
    start: Start, backend: ScriptedBackend
) -> None:
    """CAT-03, CAT-07."""
    both = {"queue": backend, "other": backend}
    before = a_catalog(queue(plans=plans(SYNC, AUTO)), other())
    after = a_catalog(queue(plans=plans(SYNC)), other(plans=plans(AUTO, ELSEWHERE)))
    async with start(before, backends=both):
        pass

    refused = await refusal(start, after, backends=both)

    assert f"({AUTO})" in str(refused)
    assert f"other ({OTHER})" in str(refused)
    async with start(after, backends=both, allow_catalog_changes=frozenset({AUTO})):
        pass
    async with start(after, backends=both):  # it is the catalog last served now
        pass


async def test_an_offerings_id_is_not_taken_for_a_plan(start: Start) -> None:
    """CAT-07."""
    async with start(queues(SYNC)):
        pass
    after = a_catalog(offering(OTHER, "queue", [*plans(SYNC), plan(QUEUE, "new")]))

    refused = await refusal(start, after)

    assert f"offering queue ({QUEUE}) has lost its id to the plan" in str(refused)


async def test_names_may_change_and_the_operator_is_told_once(
    start: Start, told: Told
) -> None:
    """PLAT-07: the id counts; instances go on."""
    renamed = a_catalog(queue(plans=[plan(AUTO, "another-name")]))
    async with start(queues(AUTO)) as broker:
        await broker.put()
    told.since()

    async with start(renamed) as broker:
        assert (await broker.put()).status_code == 200
        assert (await broker.patch(parameters={"a": 1})).status_code == 200

    [finding] = told.since()["catalog.changed"]
    assert "is named another-name now" in finding
    async with start(renamed):
        pass
    assert told.since() == {}


async def test_a_plan_whose_bindings_cannot_be_renewed_is_told_until_they_are_gone(
    start: Start, told: Told
) -> None:
    unbindable = queues(AUTO, bindable=False)
    async with start(queues(AUTO)) as broker:
        await broker.put()
        await broker.bind("b-1")
    told.since()

    async with start(unbindable) as broker:
        is_error(await broker.bind("b-2"), 400)
        assert (await broker.get_binding("b-1")).status_code == 200
        assert (await broker.unbind("b-1")).status_code == 200

    [finding] = told.since()["catalog.changed"]
    assert "is not bindable, and has 1 binding" in finding
    async with start(unbindable):
        pass
    assert "catalog.changed" not in told.since()


# --- backends -----------------------------------------------------------------------


async def test_a_backend_without_a_plan_stays_while_its_instances_live(
    start: Start, backend: ScriptedBackend
) -> None:
    """The offering left, its backend serves what it made; then it must leave."""
    both = {"queue": backend, "other": ScriptedBackend[Any, Any]()}
    async with start(a_catalog(queue(), other()), backends=both) as broker:
        await broker.put("i-1", plan=ELSEWHERE)

    async with start(
        a_catalog(queue()),
        backends=both,
        allow_catalog_changes=frozenset({ELSEWHERE}),
    ) as broker:
        gone = await broker.delete("i-1", service_id=OTHER, plan_id=ELSEWHERE)
        assert gone.status_code == 200
    assert both["other"].left == set()

    with pytest.raises(BackendsInvalid, match="'other' serves no plan"):
        async with start(a_catalog(queue()), backends=both):
            pass


async def test_a_backend_without_a_plan_and_without_instances_is_refused(
    start: Start, backend: ScriptedBackend
) -> None:
    with pytest.raises(BackendsInvalid, match="'other' serves no plan"):
        async with start(
            a_catalog(queue()), backends={"queue": backend, "other": backend}
        ):
            pass


async def test_instances_whose_backend_has_another_key_now_stop_the_start(
    start: Start, backend: ScriptedBackend
) -> None:
    """Renaming an offering alone would leave its instances without a backend."""
    renamed = a_catalog(offering(QUEUE, "messages", plans(AUTO)))
    async with start(queues(AUTO)) as broker:
        await broker.put()

    refused = await refusal(start, renamed, backends={"messages": backend})

    assert "made by the backend 'queue'" in str(refused)
    async with start(
        renamed, backends={"messages": backend, "queue": backend}
    ) as broker:
        assert (await broker.delete()).status_code == 200


async def test_instances_without_their_backend_wait_for_it_when_that_is_allowed(
    start: Start, backend: ScriptedBackend
) -> None:
    renamed = a_catalog(offering(QUEUE, "messages", plans(AUTO)))
    async with start(queues(AUTO)) as broker:
        await broker.put()

    async with start(
        renamed,
        backends={"messages": backend},
        allow_catalog_changes=frozenset({AUTO}),
    ) as broker:
        assert (await broker.put("i-2")).status_code == 201
        is_error(await broker.bind("b-1", "i-1"), 503)


# --- what is remembered -------------------------------------------------------------


async def remembered(broker: Served) -> tuple[ServedPlan, ...] | None:
    return await broker.read(served.last)


async def test_the_catalog_that_is_served_is_remembered(start: Start) -> None:
    async with start(queues(SYNC, AUTO)) as broker:
        assert await remembered(broker) == (
            ServedPlan(QUEUE, "queue", SYNC, "plan-1"),
            ServedPlan(QUEUE, "queue", AUTO, "plan-2"),
        )
    async with start(queues(SYNC)) as broker:
        assert await remembered(broker) == (ServedPlan(QUEUE, "queue", SYNC, "plan-1"),)


async def test_an_empty_catalog_is_remembered_too(start: Start) -> None:
    async with start(Catalog(services=[]), backends={}) as broker:
        assert await remembered(broker) == ()


async def test_a_start_that_fails_later_is_no_catalog_served(start: Start) -> None:
    class Broken(ScriptedBackend[Any, Any]):
        async def open(self) -> None:
            raise OSError

    async with start(queues(SYNC)):
        pass

    with pytest.raises(OSError):  # noqa: PT011 (it has no text)
        async with start(queues(SYNC, AUTO), backends={"queue": Broken()}):
            pass

    async with start(queues(SYNC)) as broker:
        assert await remembered(broker) == (ServedPlan(QUEUE, "queue", SYNC, "plan-1"),)


async def test_a_database_that_remembers_no_catalog_is_judged_by_its_instances(
    start: Start,
) -> None:
    """One that 0.1.0 made."""
    async with start(queues(SYNC, AUTO)) as broker:
        await broker.put()
        drop = sa.delete(meta).where(meta.c.name.startswith("catalog."))
        store = broker.running.house.store
        await store.write(lambda db: db.execute(drop).rowcount)

    assert AUTO in str(await refusal(start, queues(SYNC)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="no JSON"),
        pytest.param('{"format": 2, "plans": []}', id="another format"),
        pytest.param('{"format": 1, "plans": [["a"]]}', id="too short"),
        pytest.param("[]", id="no object"),
    ],
)
async def test_what_another_version_remembered_counts_as_nothing(
    start: Start, text: str
) -> None:
    async with start(queues(SYNC)) as broker:
        await broker.set(meta, meta.c.name == "catalog.0", value=text)

    async with start(queues(AUTO)) as broker:
        assert await remembered(broker) == (ServedPlan(QUEUE, "queue", AUTO, "plan-2"),)


async def test_a_large_catalog_is_remembered_in_parts_that_fit_every_database(
    start: Start,
) -> None:
    """A text of MariaDB and MySQL holds 65,535 bytes."""
    many = tuple(
        ServedPlan(f"service-{n}", "ünïcode" * 5, f"plan-{n:058}", "name" * 15)
        for n in range(2000)
    )
    async with start(queues(SYNC)) as broker:
        store = broker.running.house.store
        await store.write(lambda db: served.keep(db, many))
        found = await remembered(broker)
        rows = (await broker.everything())["meta"]

    parts = [row for row in rows if row[0].startswith("catalog.")]
    assert found == many
    assert len(parts) == 8
    assert all(len(row[1].encode()) < 65_536 for row in parts)
    async with start(queues(SYNC)) as broker:
        rows = (await broker.everything())["meta"]
    assert [row[0] for row in rows if row[0].startswith("catalog.")] == ["catalog.0"]


# --- reload -------------------------------------------------------------------------


async def test_a_reload_that_would_be_refused_leaves_the_old_catalog(
    serve: Serve, backend: ScriptedBackend
) -> None:
    catalogs = [queues(SYNC, AUTO)]
    broker = await serve(catalog=lambda: catalogs[-1])
    await broker.put()
    served_before = (await broker.ask("GET", "/catalog")).content
    rows = await broker.everything()
    catalogs.append(queues(SYNC))

    with pytest.raises(CatalogUnsafe, match=AUTO):
        await broker.broker.reload_catalog()

    assert (await broker.ask("GET", "/catalog")).content == served_before
    assert await broker.everything() == rows
    assert (await broker.put("i-2")).status_code == 201


async def test_a_reload_is_allowed_as_a_start_is(serve: Serve) -> None:
    catalogs = [queues(SYNC, AUTO)]
    broker = await serve(
        catalog=lambda: catalogs[-1], allow_catalog_changes=frozenset({AUTO})
    )
    await broker.put()
    catalogs.append(queues(SYNC))

    await broker.broker.reload_catalog()

    is_error(await broker.put("i-2"), 400)
    assert (await broker.delete()).status_code == 200


async def test_a_reloaded_catalog_is_the_one_that_was_last_served(
    start: Start, serve: Serve, backend: ScriptedBackend
) -> None:
    catalogs = [queues(SYNC)]
    async with start(lambda: catalogs[-1]) as broker:
        catalogs.append(queues(SYNC, ASYNC))
        await broker.broker.reload_catalog()
        assert len(await remembered(broker) or ()) == 2
        await broker.put(plan=ASYNC, flag=True)
        await broker.quiet()

    assert ASYNC in str(await refusal(start, queues(SYNC)))


async def test_a_reload_before_the_start_only_checks(backend: ScriptedBackend) -> None:
    catalogs = [queues(SYNC), queues(SYNC, AUTO)]
    broker = Broker(catalog=catalogs.pop, backends={"queue": backend})

    await broker.reload_catalog()

    assert len(catalogs) == 1
    assert broker.running is None
