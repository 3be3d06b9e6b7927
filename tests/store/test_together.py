"""Units of work that share a transaction on a server, and what parts them.

`asked_together` asks for units in one round of the event loop while every lane is
kept busy, so that they are one batch.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from osbkit.errors import InstanceConflict, LeaseLost, OperationInProgress, Unavailable
from osbkit.store import instances, migrate, operations, together
from osbkit.store import server as module
from osbkit.store.server import ServerStore
from tests import servers
from tests.store.records import an_instance, an_operation
from tests.store.test_server import end_the_others, opened, server_at

NUMBER_OF_TRANSACTION = {
    "postgresql": "SELECT txid_current()",
    "mariadb": "SELECT trx_id FROM information_schema.innodb_trx"
    " WHERE trx_mysql_thread_id = connection_id()",
}


@pytest.fixture(params=servers.KINDS)
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with the tables, for stores with one lane."""
    monkeypatch.setattr(module, "LANES", 1)
    made = servers.fresh(request.param)
    migrate.upgrade(made)
    return made


@pytest.fixture
async def store(url: str) -> AsyncIterator[ServerStore]:
    async with opened(url) as made:
        yield made


@pytest.fixture
async def other(url: str) -> AsyncIterator[ServerStore]:
    """Another replica."""
    async with opened(url) as made:
        yield made


async def asked_together(
    store: ServerStore, *units: Callable[[sa.Connection], Any]
) -> list[Any]:
    """What became of units that are one batch."""
    gate = asyncio.Event()
    busy = asyncio.ensure_future(
        store.write(lambda db: sa.util.await_only(gate.wait()))
    )
    await asyncio.sleep(0.01)
    asked = [asyncio.ensure_future(store.write(unit)) for unit in units]
    await asyncio.sleep(0)
    gate.set()
    await busy
    return await asyncio.gather(*asked, return_exceptions=True)


def adding(number: int) -> Callable[[sa.Connection], bool]:
    return partial(instances.add, instance=an_instance(number))


async def ids_in(store: ServerStore) -> list[str]:
    query = sa.text("SELECT instance_id FROM instances ORDER BY instance_id")
    return list(await store.read(lambda db: db.execute(query).scalars().all()))


def transaction_of(db: sa.Connection, number: int) -> str:
    """The transaction that a row is added in."""
    instances.add(db, an_instance(number))
    query = NUMBER_OF_TRANSACTION[db.engine.dialect.name]
    return str(db.exec_driver_sql(query).scalar_one())


# --- together -----------------------------------------------------------------------


async def test_what_waits_together_shares_a_transaction(store):
    units = [partial(transaction_of, number=number) for number in (1, 2, 3)]

    numbers = await asked_together(store, *units)

    assert len(set(numbers)) == 1
    assert await ids_in(store) == ["i-1", "i-2", "i-3"]


async def test_long_unit_goes_alone(store):
    gate = asyncio.Event()

    def hold(db: sa.Connection) -> None:
        instances.add(db, an_instance())
        sa.util.await_only(gate.wait())

    long = asyncio.ensure_future(store.write(hold, long=True))
    await asyncio.sleep(0.01)

    assert await store.write(adding(2))  # the only lane is free
    gate.set()
    await long
    assert await ids_in(store) == ["i-1", "i-2"]


async def test_more_than_one_batch_takes_are_several(store):
    count = together.BATCH + 10

    added = await asked_together(store, *(adding(one) for one in range(1, count + 1)))

    assert added == [True] * count
    assert len(await ids_in(store)) == count


async def test_batch_that_takes_long_is_passed_by_another(url, monkeypatch):
    """One lane makes the largest batches; the second is for when it is stuck."""
    monkeypatch.setattr(module, "LANES", 2)
    gate = asyncio.Event()

    async with opened(url) as store:
        stuck = asyncio.ensure_future(
            store.write(lambda db: sa.util.await_only(gate.wait()))
        )
        await asyncio.sleep(0.01)

        assert await asyncio.gather(*(store.write(adding(one)) for one in (1, 2)))
        assert not stuck.done()
        gate.set()
        await stuck


async def test_unit_sees_what_its_neighbour_has_written(store):
    found = await asked_together(store, adding(1), adding(1))

    assert found == [True, False]


async def test_nobody_is_told_before_the_commit(store, monkeypatch):
    """A refusal may rest on what a neighbour wrote."""
    told: list[str] = []
    real = sa.Connection.commit

    def commit(connection: Any) -> None:
        told.append("commit")
        real(connection)

    def refuse(db: sa.Connection) -> None:
        told.append("unit")
        raise InstanceConflict

    async def ask() -> None:
        with pytest.raises(InstanceConflict):
            await store.write(refuse)
        told.append("refused")

    monkeypatch.setattr(sa.Connection, "commit", commit)
    await ask()

    assert told == ["unit", "commit", "refused"]


# --- apart --------------------------------------------------------------------------


async def test_refusal_leaves_its_neighbours_alone(store):
    runs: list[int] = []

    def count(db: sa.Connection) -> bool:
        runs.append(1)
        return instances.add(db, an_instance(1))

    def refuse(db: sa.Connection) -> None:
        instances.lock(db, "i-1")
        raise InstanceConflict

    added, refused, last = await asked_together(store, count, refuse, adding(2))

    assert (added, last) == (True, True)
    assert isinstance(refused, InstanceConflict)
    assert len(runs) == 1  # nothing was rolled back
    assert await ids_in(store) == ["i-1", "i-2"]


async def test_unit_that_raises_after_it_has_written_leaves_nothing(store):
    def half(db: sa.Connection) -> None:
        instances.add(db, an_instance(2))
        raise LeaseLost("another's")

    added, lost, last = await asked_together(store, adding(1), half, adding(3))

    assert (added, last) == (True, True)
    assert isinstance(lost, LeaseLost)
    assert await ids_in(store) == ["i-1", "i-3"]


async def test_statement_that_fails_hurts_its_own_unit_only(store):
    """On PostgreSQL it ends the transaction for all that are in it."""

    def wrong(db: sa.Connection) -> None:
        db.exec_driver_sql("SELECT nothing FROM nowhere")

    added, fault, last = await asked_together(store, adding(1), wrong, adding(2))

    assert (added, last) == (True, True)
    assert isinstance(fault, sa.exc.DBAPIError)
    assert await ids_in(store) == ["i-1", "i-2"]


async def test_failed_statement_that_a_unit_swallows_is_not_committed_as_if_done(store):
    """PostgreSQL answers such a COMMIT with a roll-back, and no error."""
    runs: list[int] = []

    def swallow(db: sa.Connection) -> bool:
        runs.append(1)
        added = instances.add(db, an_instance(2))
        if len(runs) < 3:
            same = an_operation(len(runs) + 1, live_key=an_operation().live_key)
            with pytest.raises(OperationInProgress):
                operations.add(db, same)
        return added

    await store.write(partial(operations.add, operation=an_operation()))
    added, second = await asked_together(store, adding(1), swallow)

    assert (added, second) == (True, True)
    assert await ids_in(store) == ["i-1", "i-2"]


async def test_taken_key_is_told_to_its_unit_only(store):
    """CONC-01: the last word on concurrency, also in company."""
    await store.write(partial(operations.add, operation=an_operation()))
    again = an_operation(2, live_key=an_operation().live_key)

    added, taken, last = await asked_together(
        store, adding(1), partial(operations.add, operation=again), adding(2)
    )

    assert (added, last) == (True, True)
    assert isinstance(taken, OperationInProgress)
    assert await ids_in(store) == ["i-1", "i-2"]


async def test_deadlock_of_two_replicas_batches_is_resolved(store, other):
    """Each locks one row first and the other's row second."""
    for number in (1, 2):
        await store.write(adding(number))
    both = asyncio.Barrier(2)
    runs = 0

    def unit(db: sa.Connection, first: str, second: str) -> str:
        nonlocal runs
        runs += 1
        instances.lock(db, first)
        if runs <= 2:  # in company: wait until both hold a row
            sa.util.await_only(both.wait())
        instances.lock(db, second)
        return first

    one, two = await asyncio.gather(
        asked_together(store, adding(3), partial(unit, first="i-1", second="i-2")),
        asked_together(other, adding(4), partial(unit, first="i-2", second="i-1")),
    )

    assert one == [True, "i-1"]
    assert two == [True, "i-2"]
    assert await ids_in(store) == ["i-1", "i-2", "i-3", "i-4"]


async def test_row_that_another_holds_delays_its_own_unit_only(store, other):
    """A replica may be frozen in the middle of a transaction."""
    await store.write(adding(1))
    gate, held = asyncio.Event(), asyncio.Event()

    def hold(db: sa.Connection) -> None:
        instances.lock(db, "i-1")
        held.set()
        sa.util.await_only(gate.wait())

    holder = asyncio.ensure_future(other.write(hold, long=True))
    await held.wait()
    waits = partial(instances.lock, instance_id="i-1")
    asked = asyncio.ensure_future(asked_together(store, waits, adding(2)))
    while await ids_in(store) != ["i-1", "i-2"]:  # noqa: ASYNC110 (the database's)
        await asyncio.sleep(0.02)

    assert not asked.done()
    assert await store.write(adding(3))
    gate.set()
    await holder
    found, added = await asked
    assert found == an_instance()
    assert added is True


async def test_connection_lost_before_the_commit_means_again(store, url):
    runs: list[int] = []

    def unit(db: sa.Connection) -> bool:
        runs.append(1)
        if len(runs) == 1:
            _in_a_thread(lambda: server_at(url).run(end_the_others))
        return instances.add(db, an_instance(2))

    assert await asked_together(store, adding(1), unit) == [True, True]
    assert await ids_in(store) == ["i-1", "i-2"]


def _in_a_thread(work: Callable[[], Any]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("kept", [True, False], ids=["committed", "not committed"])
async def test_commit_that_nobody_knows_the_end_of_is_unavailable_to_all(
    store, kept, monkeypatch
):
    real = sa.Connection.commit
    runs: list[int] = []

    def unit(db: sa.Connection, number: int) -> bool:
        runs.append(number)
        return instances.add(db, an_instance(number))

    def commit(connection: Any) -> None:
        if kept or not runs:
            real(connection)
        if runs:
            raise ConnectionResetError("the cable was pulled")

    with monkeypatch.context() as patched:
        patched.setattr(sa.Connection, "commit", commit)
        told = await asked_together(
            store, partial(unit, number=1), partial(unit, number=2)
        )

    assert [type(one).__base__ for one in told] == [Unavailable, Unavailable]
    assert runs == [1, 2]
    assert await ids_in(store) == (["i-1", "i-2"] if kept else [])


# --- who waits ----------------------------------------------------------------------


async def test_callers_that_have_left_change_nothing(store):
    told: list[bool] = []
    gone = asyncio.ensure_future(store.write(adding(1), committed=told.append))
    stays = asyncio.ensure_future(store.write(adding(2), committed=told.append))
    await asyncio.sleep(0)
    gone.cancel()

    assert await stays
    assert told == [True, True]
    assert await ids_in(store) == ["i-1", "i-2"]


async def test_what_follows_a_commit_may_fail_without_hurting_neighbours(store):
    def fail(_: bool) -> None:
        raise RuntimeError("an engine that is broken")

    broken = asyncio.ensure_future(store.write(adding(1), committed=fail))
    whole = asyncio.ensure_future(store.write(adding(2)))

    with pytest.raises(RuntimeError):
        await broken
    assert await whole


async def test_store_that_closes_finishes_what_waits(url):
    async with opened(url) as store:
        asked = [
            asyncio.ensure_future(store.write(adding(one))) for one in range(1, 100)
        ]
        await asyncio.sleep(0)

    assert all(one.done() and one.result() for one in asked)
