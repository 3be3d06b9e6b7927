"""A database server as the store: transactions, races, and a server that is away.

Every test has a database of its own on the servers of the run (`tests.servers`).
"""

import asyncio
import base64
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from osbkit.domain import Operation, OperationState
from osbkit.errors import DatabaseUnusable, LeaseLost, SettingsInvalid, Unavailable
from osbkit.lifecycle.instances import Recorded, record_provision
from osbkit.operations.claiming import take_up
from osbkit.store import instances, migrate, operations, rows
from osbkit.store import server as module
from osbkit.store.address import Server, server_of
from osbkit.store.server import ServerStore
from osbkit.store.tables import operations as table
from tests import servers
from tests.migrations.made_up import NEWER, future
from tests.store.records import LEASE, NOON, an_instance, an_operation, wanted_by

KEYS = "test:" + base64.b64encode(bytes(range(32))).decode()
kinds = pytest.mark.parametrize("kind", servers.KINDS)


def server_at(url: str) -> Server:
    found = server_of(url)
    assert found is not None
    return found


@asynccontextmanager
async def opened(url: str, keys: str = KEYS) -> AsyncIterator[ServerStore]:
    """A store that is closed with the block."""
    store = ServerStore(server_at(url), keys)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=servers.KINDS)
def url(request: pytest.FixtureRequest) -> str:
    """A database with the tables."""
    made = servers.fresh(request.param)
    migrate.upgrade(made)
    return made


@pytest.fixture
async def store(url: str) -> AsyncIterator[ServerStore]:
    """A store on it."""
    async with opened(url) as made:
        yield made


@pytest.fixture
async def two(url: str) -> AsyncIterator[tuple[ServerStore, ServerStore]]:
    """Two of them, as two replicas have."""
    async with opened(url) as one, opened(url) as other:
        yield one, other


# --- the start ----------------------------------------------------------------------


@kinds
async def test_start_on_an_empty_database_names_the_command_to_run(kind):
    url = servers.fresh(kind)

    with pytest.raises(DatabaseUnusable, match="run `osbkit db upgrade`") as refused:
        await ServerStore(server_at(url), KEYS).open()

    assert "a-password" not in str(refused.value)


async def test_start_on_a_schema_of_a_newer_version_is_refused(url):
    def age(db: sa.Connection) -> None:
        db.execute(sa.text("UPDATE alembic_version SET version_num = '0099'"))
        db.execute(sa.text("DELETE FROM meta"))

    await asyncio.to_thread(server_at(url).run, age)

    with pytest.raises(DatabaseUnusable, match=r"schema 0099.*a newer one"):
        await ServerStore(server_at(url), KEYS).open()
    with pytest.raises(DatabaseUnusable, match=r"schema 0099.*a newer one"):
        await asyncio.to_thread(migrate.upgrade, url)


@kinds
@pytest.mark.parametrize("oldest", [migrate.head(), NEWER])
async def test_newer_schema_is_served_as_long_as_it_says_so(kind, oldest, tmp_path):
    url = servers.fresh(kind)
    with future(tmp_path / "newer", oldest):
        await asyncio.to_thread(migrate.upgrade, url)

    if oldest == NEWER:
        with pytest.raises(DatabaseUnusable, match=f"schema {NEWER}.*a newer one"):
            await ServerStore(server_at(url), KEYS).open()
        return
    async with opened(url) as store:
        await store.ping()

    assert await asyncio.to_thread(migrate.current, url) == NEWER


def test_keys_must_be_given():
    with pytest.raises(SettingsInvalid, match="OSBKIT_ENCRYPTION_KEYS is not set"):
        ServerStore(Server(sa.make_url("postgresql://host/name")))


async def test_start_with_other_keys_is_refused(url):
    async with opened(url):
        pass
    wrong = base64.b64encode(os.urandom(32)).decode()

    with pytest.raises(DatabaseUnusable, match="does not open"):
        await ServerStore(server_at(url), f"test:{wrong}").open()


async def test_replicas_that_start_together_are_one_broker(url):
    async with contextlib.AsyncExitStack() as stack:
        stores = await asyncio.gather(
            *(stack.enter_async_context(opened(url)) for _ in range(4))
        )

        assert len({one.broker_id for one in stores}) == 1
        assert len(stores[0].broker_id) == 32


async def test_start_without_a_server_names_the_setting_and_no_password():
    servers.require("postgresql")
    port = servers.free_port()
    url = f"postgresql://osbkit:hunter2@127.0.0.1:{port}/name"

    with pytest.raises(DatabaseUnusable, match="check OSBKIT_DATABASE_URL") as refused:
        await ServerStore(server_at(url), KEYS).open()
    with pytest.raises(DatabaseUnusable, match="check OSBKIT_DATABASE_URL"):
        await asyncio.to_thread(migrate.current, url)

    assert "hunter2" not in str(refused.value)


async def test_moments_are_those_of_the_database(store, monkeypatch):
    before = rows.now()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3600 * 10**9)
    try:
        assert rows.now() < before - 3_500_000_000
        await store._look_at_the_clock()

        assert abs(rows.now() - before) < 60_000_000
    finally:
        rows.follow_clock(0)


# --- units of work ------------------------------------------------------------------


async def test_what_a_unit_has_written_is_there_when_the_caller_is_told(two):
    one, other = two
    told: list[bool] = []

    added = await one.write(
        partial(instances.add, instance=an_instance()), committed=told.append
    )

    assert added
    assert told == [True]
    assert await other.read(partial(instances.find, instance_id="i-1")) == an_instance()


async def test_unit_that_raises_leaves_nothing(store):
    def unit(db: sa.Connection) -> None:
        instances.add(db, an_instance())
        raise LeaseLost("another's")

    with pytest.raises(LeaseLost):
        await store.write(unit)

    assert await store.read(partial(instances.find, instance_id="i-1")) is None


async def test_commit_is_told_even_if_the_caller_has_left(store):
    told = asyncio.Event()
    caller = asyncio.ensure_future(
        store.write(
            partial(instances.add, instance=an_instance()),
            committed=lambda _: told.set(),
        )
    )
    await asyncio.sleep(0)
    caller.cancel()

    await asyncio.wait_for(told.wait(), 20)
    assert await store.read(partial(instances.find, instance_id="i-1"))


async def test_deadlock_is_tried_again(two):
    """Two units lock two rows in opposite order: one is rolled back, both succeed."""
    for number in (1, 2):
        await two[0].write(partial(instances.add, instance=an_instance(number)))
    loop = asyncio.get_running_loop()
    both = asyncio.Barrier(2)
    runs = 0

    def unit(db: sa.Connection, first: str, second: str) -> None:
        nonlocal runs
        runs += 1
        instances.lock(db, first)
        if runs <= 2:  # the first run of each: wait until both hold a row
            sa.util.await_only(both.wait())
        instances.lock(db, second)

    await asyncio.wait_for(
        asyncio.gather(
            two[0].write(partial(unit, first="i-1", second="i-2")),
            two[1].write(partial(unit, first="i-2", second="i-1")),
        ),
        60,
    )

    assert loop is asyncio.get_running_loop()
    assert runs >= 3


async def test_more_writes_than_can_wait_are_refused_at_once(store, monkeypatch):
    monkeypatch.setattr(module, "QUEUE", 2)
    running = [asyncio.ensure_future(store.ping()) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable, match="more changes waiting"):
        await store.ping()
    await asyncio.gather(*running)


async def test_connections_that_died_in_the_pool_are_not_noticed(store):
    """A server that was restarted, or a firewall that forgets."""
    await asyncio.gather(*(store.ping() for _ in range(4)))
    await store.read(partial(instances.find, instance_id="i-1"))

    await asyncio.to_thread(server_at(_url_of(store)).run, end_the_others)

    await asyncio.gather(*(store.ping() for _ in range(4)))
    assert await store.read(partial(instances.find, instance_id="i-1")) is None


def _url_of(store: ServerStore) -> str:
    return store._server.url.render_as_string(hide_password=False)


def end_the_others(db: sa.Connection) -> None:
    """End every other connection to this database."""
    if db.dialect.name == "postgresql":
        db.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                " datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        return
    others = db.execute(
        sa.text(
            "SELECT id FROM information_schema.processlist WHERE db = database()"
            " AND id <> connection_id()"
        )
    )
    for (number,) in others.all():
        db.execute(sa.text(f"KILL {int(number)}"))


@pytest.mark.parametrize("kept", [True, False], ids=["committed", "not committed"])
async def test_commit_that_nobody_knows_the_end_of_is_not_run_again(
    store, kept, monkeypatch
):
    real = sa.Connection.commit
    runs: list[int] = []

    def commit(connection: Any) -> None:
        if kept:
            real(connection)
        raise ConnectionResetError("the cable was pulled")

    def unit(db: sa.Connection) -> bool:
        runs.append(1)
        return instances.add(db, an_instance())

    with monkeypatch.context() as patched:
        patched.setattr(sa.Connection, "commit", commit)
        with pytest.raises(Unavailable):
            await store.write(unit, committed=pytest.fail)

    assert len(runs) == 1
    found = await store.read(partial(instances.find, instance_id="i-1"))
    assert (found is not None) is kept


@pytest.mark.slow
@kinds
async def test_server_that_is_away_is_503_and_comes_back_by_itself(kind):
    server = servers.own(kind)
    try:
        url = server.fresh()
        migrate.upgrade(url)
        async with opened(url) as store:
            await store.write(partial(instances.add, instance=an_instance()))
            server.stop()

            for call in (store.ping, partial(store.read, rows_of)):
                with pytest.raises(Unavailable) as away:
                    await call()
                assert away.value.retry_after
            server.start()

            await store.ping()
            assert await store.read(rows_of) == 1
    finally:
        server.remove()


def rows_of(db: sa.Connection) -> int:
    return int(db.execute(sa.text("SELECT count(*) FROM instances")).scalar_one())


# --- races --------------------------------------------------------------------------


async def test_fifty_requests_for_one_id_make_one_operation(two):
    """CONC-01: whoever is second sees the first one's operation."""

    async def put(number: int) -> Recorded:
        fresh = an_instance(number, instance_id="i-1", latest=f"op-{number}")
        unit = partial(
            record_provision,
            fresh=fresh,
            operation=an_operation(number, instance_id="i-1"),
            wanted=wanted_by(fresh),
            refusal=None,
            polls=True,
        )
        recorded: Recorded = await two[number % 2].write(unit)
        return recorded

    recorded = await asyncio.gather(*(put(number) for number in range(1, 51)))

    begun = [one.work.operation.id for one in recorded if one.work is not None]
    assert len(begun) == 1
    joined = [one.running.id for one in recorded if one.running is not None]
    assert joined == begun * 49
    ids = await two[0].read(lambda db: db.execute(sa.select(table.c.id)).all())
    assert [row.id for row in ids] == begun


async def test_what_is_due_is_claimed_by_one(two):
    """Twenty operations, two replicas that both want every one of them."""
    for number in range(1, 21):
        add = partial(an_instance, number)
        await two[0].write(partial(instances.add, instance=add()))
        due = an_operation(number, instance_id=f"i-{number}", run_at=NOON)
        await two[0].write(partial(operations.add, operation=due))
    seen = await two[0].read(operations.all_open)

    async def claim(replica: int, operation: Operation) -> str | None:
        try:
            work = await two[replica].write(
                partial(
                    take_up,
                    operation_id=operation.id,
                    owner=str(replica),
                    alone=False,
                )
            )
        except LeaseLost:
            return None
        assert work is not None
        return str(work.operation.id)

    claims = await asyncio.gather(
        *(claim(replica, one) for one in seen for replica in (0, 1, 0, 1))
    )

    granted = [one for one in claims if one is not None]
    assert sorted(granted) == sorted(one.id for one in seen)


async def test_stale_fence_changes_nothing(two):
    await two[0].write(partial(operations.add, operation=an_operation()))
    claim = partial(operations.claim, until=NOON + LEASE)
    slow = await two[0].write(partial(claim, operation=an_operation(), owner="a"))
    fast = await two[1].write(partial(claim, operation=slow, owner="b"))
    end = partial(operations.finish, state=OperationState.FAILED, now=NOON)

    with pytest.raises(LeaseLost):
        await two[0].write(partial(end, operation=slow))

    found = await two[0].read(partial(operations.find, operation_id="op-1"))
    assert found == fast


async def test_lease_that_has_not_run_out_is_left_to_its_holder(two):
    await two[0].write(partial(instances.add, instance=an_instance()))
    held = replace(an_operation(), owner="a", fence=1, run_at=rows.now() + LEASE)
    await two[0].write(partial(operations.add, operation=held))
    take = partial(take_up, operation_id=held.id, alone=False)

    with pytest.raises(LeaseLost):
        await two[1].write(partial(take, owner="b"))
    assert await two[0].write(partial(take, owner="a", again=True))


# --- the schema ---------------------------------------------------------------------


@kinds
async def test_upgrades_at_the_same_time_are_one(kind):
    url = servers.fresh(kind)

    await asyncio.gather(*(asyncio.to_thread(migrate.upgrade, url) for _ in range(3)))

    assert await asyncio.to_thread(migrate.current, url) == migrate.head()


async def test_tables_are_those_of_the_code(url):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from osbkit.store.tables import metadata, ours

    def differences(db: sa.Connection) -> list[Any]:
        opts = {"compare_type": True, "include_name": ours}
        context = MigrationContext.configure(db, opts=opts)
        return list(compare_metadata(context, metadata))

    assert await asyncio.to_thread(server_at(url).run, differences) == []
