"""What only PostgreSQL gets wrong: what tenants own, limits, the broker's account."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from osbkit.backends.contract import BrokerInfo
from osbkit.backends.postgresql import (
    PostgresDatabases,
    PostgresQueues,
    PostgresServer,
    QueueLimits,
)
from osbkit.errors import Failed, Refused, SettingsInvalid
from osbkit.testing.driving import Drive, Instance
from tests import servers
from tests.backends.contract import test_postgresql as suites
from tests.backends.contract.test_postgresql import ACCOUNT, everything, prepared


@pytest.fixture(autouse=True)
def a_server() -> None:
    servers.require("postgresql")


@asynccontextmanager
async def driving(suite: Any, plan: str) -> AsyncIterator[Drive]:
    """The suite's backend, open, and everything removed afterwards."""
    suite.server = prepared()
    backend = suite.backend(*suite.address)
    backend.broker = BrokerInfo(id="rights", public_url="http://broker.example")
    drive = Drive(backend, offering="postgresql", plan=plan, parameters={})
    await backend.open()
    try:
        yield drive
    finally:
        await drive.clear()
        await backend.close()


def databases() -> Any:
    return driving(suites.TestDatabases(), "database")


def queues() -> Any:
    return driving(suites.TestQueues(), "queue")


async def connected(binding: Any) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(
        str(binding.credentials["uri"]), autocommit=True
    )


async def rows(db: psycopg.AsyncConnection[Any], query: str) -> list[Any]:
    return await (await db.execute(query.encode())).fetchall()


async def test_what_a_login_made_for_itself_stays_when_it_is_unbound():
    async with databases() as drive:
        one = await drive.provision()
        first, second = await drive.bind(one), await drive.bind(one)
        async with await connected(first) as db:
            await db.execute("SET ROLE NONE")
            await db.execute("CREATE TABLE own AS SELECT 7 AS n")
            await db.execute("SELECT lo_create(0)")
        await drive.unbind(one, first)
        async with await connected(second) as db:
            found = await rows(db, "SELECT n FROM own")
            await db.execute("ALTER TABLE own ADD more text")

    assert found == [(7,)]


@pytest.mark.parametrize("database", ["postgres", "template1"])
async def test_a_tenant_cannot_connect_to_what_is_nobody_s(database: str):
    async with databases() as drive:
        one = await drive.provision()
        binding = await drive.bind(one)
        uri = str(binding.credentials["uri"]).replace(one_of(one), database)
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            await psycopg.AsyncConnection.connect(uri)


async def test_a_tenant_can_do_what_the_page_says_it_can_all_the_same():
    async with queues() as drive:
        one, other = await drive.provision(), await drive.provision()
        binding = await drive.bind(one, {"role": "producer"})
        async with await connected(binding) as db:
            names = await rows(db, "SELECT datname FROM pg_database")
            marks = await rows(
                db, "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles"
            )
            await db.execute("SET statement_timeout TO 0")
            await db.execute("SET ROLE NONE")
            await db.execute("ALTER ROLE SESSION_USER PASSWORD 'another'")
            await db.execute("SELECT lo_create(0)")
        with pytest.raises(psycopg.OperationalError, match="password"):
            await connected(binding)

    assert (one_of(other),) in names
    assert any(other.id in str(mark) for (mark,) in marks)


async def test_a_binding_changes_what_another_made():
    async with databases() as drive:
        one = await drive.provision()
        first, second = await drive.bind(one), await drive.bind(one)
        async with await connected(first) as db:
            await db.execute("CREATE SCHEMA shop CREATE TABLE goods (n integer)")
        async with await connected(second) as db:
            await db.execute("ALTER TABLE shop.goods ADD price integer")
            await db.execute("DROP SCHEMA shop CASCADE")


async def test_a_readonly_binding_reads_what_is_made_later():
    async with databases() as drive:
        one = await drive.provision()
        reader = await drive.bind(one, {"role": "readonly"})
        writer = await drive.bind(one)
        async with await connected(writer) as db:
            await db.execute("CREATE SCHEMA shop CREATE TABLE goods (n serial)")
            await db.execute("INSERT INTO shop.goods DEFAULT VALUES")
        async with await connected(reader) as db:
            found = await rows(db, "SELECT n FROM shop.goods")

    assert found == [(1,)]


async def test_an_instance_is_removed_whose_tenants_left_things_elsewhere():
    """A database that PUBLIC may connect to is no hiding place."""
    server = prepared()
    server.sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC")
    try:
        async with databases() as drive:
            one = await drive.provision()
            binding = await drive.bind(one)
            uri = str(binding.credentials["uri"]).replace(one_of(one), "postgres")
            async with await psycopg.AsyncConnection.connect(uri) as db:
                await db.execute("SELECT lo_create(0)")
                await db.execute(f"SET ROLE {one_of(one)}".encode())
                await db.execute("SELECT lo_create(0)")
            await drive.unbind(one, binding)
            await drive.deprovision(one)

            assert await drive.listed() == []
            assert everything(server, one_of(one)) == everything(server, "osb_none")
    finally:
        server.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")


def one_of(one: Instance) -> str:
    return one.name.replace("-", "_")


async def test_what_a_lost_call_is_still_making_is_removed_as_well():
    """Its caller has left, the server goes on; it ends after the roll-back began."""
    async with databases() as drive:
        one = drive.instance()
        backend: Any = drive.backend
        async with backend._working(one.name) as lost:
            removal = asyncio.create_task(drive.deprovision(one))
            await waiting(1)
            await lost.execute(f"CREATE ROLE {one_of(one)}".encode())
            await lost.execute(f"CREATE DATABASE {one_of(one)}".encode())
        await removal

    assert everything(prepared(), one_of(one)) == everything(prepared(), "osb_none")


async def waiting(number: int) -> None:
    """Until so many sessions wait for an advisory lock."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with (
        asyncio.timeout(20),
        await psycopg.AsyncConnection.connect(prepared().url("postgres")) as db,
    ):
        while (await rows(db, query))[0][0] < number:  # noqa: ASYNC110 (the server's)
            await asyncio.sleep(0.01)


async def test_an_upgrade_mends_what_differs_from_what_is_wanted():
    server = prepared()
    async with databases() as drive:
        one = await drive.provision()
        wanted = everything(server, one_of(one))
        server.sql(f"ALTER DATABASE {one_of(one)} CONNECTION LIMIT 1")
        server.sql(f"GRANT CONNECT ON DATABASE {one_of(one)} TO PUBLIC")
        await drive.update(one, "database")

        assert everything(server, one_of(one)) == wanted


async def test_a_full_database_can_be_unbound_and_removed():
    async with databases() as drive:
        one = await drive.provision()
        binding = await drive.bind(one)
        several = [await connected(binding) for _ in range(5)]
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            await connected(binding)
        await drive.unbind(one, binding)
        await drive.deprovision(one)
        for db in several:
            await db.close()

        assert await drive.listed() == []


async def test_a_queue_holds_no_more_than_its_plan_allows():
    limits = {"queue": QueueLimits(messages=3, body_bytes=10)}
    suite = suites.TestQueues()
    suite.backend = lambda host, port: PostgresQueues(  # type: ignore[method-assign]
        suite.reached(host, port), limits
    )
    async with driving(suite, "queue") as drive:
        one = await drive.provision()
        binding = await drive.bind(one)
        async with await connected(binding) as db:
            for _ in range(3):
                await db.execute("SELECT queue.send('0123456789')")
            with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="full"):
                await db.execute("SELECT queue.send('x')")
            with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="10 bytes"):
                await db.execute("SELECT queue.send('0123456789+')")
            [(id_, receipt)] = await rows(db, "SELECT id, receipt FROM queue.receive()")
            await db.execute("SELECT queue.ack(%s, %s)", [id_, receipt])
            await db.execute("SELECT queue.send('x')")


async def test_a_message_that_is_not_acknowledged_comes_again():
    async with queues() as drive:
        one = await drive.provision()
        binding = await drive.bind(one)
        async with await connected(binding) as db:
            await db.execute("SELECT queue.send('once more')")
            [first] = await rows(db, "SELECT * FROM queue.receive(3600)")
            nothing = await rows(db, "SELECT * FROM queue.receive()")
            expire(one)
            [second] = await rows(db, "SELECT * FROM queue.receive()")
            late = await db.execute("SELECT queue.ack(%s, %s)", [first[0], first[2]])

            assert nothing == []
            assert (first[1], first[3]) == ("once more", 1)
            assert (second[1], second[3]) == ("once more", 2)
            assert await late.fetchone() == (False,)


def expire(one: Instance) -> None:
    """Let every lease of a queue run out."""
    with psycopg.connect(prepared().url(one_of(one)), autocommit=True) as db:
        db.execute("UPDATE queue.messages SET due = due - interval '1 day'")


async def test_the_clear_text_of_a_password_never_reaches_the_server():
    server = prepared()
    server.sql("ALTER SYSTEM SET log_statement = 'all'")
    server.sql("SELECT pg_reload_conf()")
    try:
        async with queues() as drive:
            binding = await drive.bind(await drive.provision())
            async with await connected(binding) as db:
                await db.execute("SELECT 1")
    finally:
        server.sql("ALTER SYSTEM RESET log_statement")
        server.sql("SELECT pg_reload_conf()")
    told = (server.folder / "log").read_text(errors="replace")

    assert "SCRAM-SHA-256" in told
    assert str(binding.credentials["password"]) not in told


async def test_a_database_cannot_become_a_queue():
    async with databases() as drive:
        one = await drive.provision()
        with pytest.raises(Refused, match="cannot become a queue"):
            await drive.update(one, "queue")


async def test_a_binding_to_what_is_lost_says_so():
    async with databases() as drive:
        with pytest.raises(Failed, match="lost"):
            await drive.bind(drive.instance())


async def test_ping_says_what_the_account_lacks():
    server = prepared()
    async with databases() as drive:
        server.sql(f"ALTER ROLE {ACCOUNT} NOCREATEDB")
        try:
            with pytest.raises(RuntimeError, match="CREATEDB"):
                await drive.backend.ping()
        finally:
            server.sql(f"ALTER ROLE {ACCOUNT} CREATEDB")
        await drive.backend.ping()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("no url", id="no URL"),
        pytest.param("postgresql:///postgres", id="no host"),
        pytest.param("postgresql://a,b/postgres", id="two hosts"),
        pytest.param("host=/run/postgresql", id="a socket"),
    ],
)
async def test_a_server_that_applications_cannot_reach_stops_the_start(url: str):
    with pytest.raises(SettingsInvalid) as refused:
        await PostgresDatabases(PostgresServer(url=url), {}).open()

    assert url not in str(refused.value)


def test_a_url_is_not_shown():
    assert "secret" not in repr(PostgresServer(url="postgresql://a:secret@b/c"))
