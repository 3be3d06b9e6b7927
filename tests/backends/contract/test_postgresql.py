"""PostgreSQL keeps the contract, as an account without superuser's rights."""

import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, ClassVar

import psycopg
import pytest

from osbkit.backends.postgresql import (
    DatabaseLimits,
    PostgresDatabases,
    PostgresQueues,
    PostgresServer,
    QueueLimits,
)
from osbkit.domain import Json
from osbkit.testing import BackendContract, Roles
from tests import servers
from tests.docs.pages import ROOT, Page

ACCOUNT = "osbkit_service"
PAGE = Page(ROOT / "docs" / "backends" / "postgresql.md")
PASSWORD = secrets.token_urlsafe(18)


@cache
def prepared() -> servers.PostgresServer:
    """A server that only these tests use, and stop and start: prepared as
    docs/backends/postgresql.md says."""
    server = servers.PostgresServer()
    (statements,) = PAGE.blocks("sql")
    server.sql(statements.replace("one of your own", PASSWORD))
    return server


class Application:
    """One connection of the client library."""

    def __init__(self, db: psycopg.AsyncConnection[Any], credentials: Json) -> None:
        self.db = db
        self.credentials = credentials

    async def touch(self) -> None:
        await self.db.execute("SELECT 1")

    async def one(self, query: str, *values: Any) -> Any:
        """The first value of the first row."""
        row = await (await self.db.execute(query.encode(), values)).fetchone()
        return None if row is None else row[0]


class Tables(Application):
    """Stores texts in a table."""

    async def put(self, text: str) -> None:
        await self.db.execute(
            "CREATE TABLE IF NOT EXISTS texts"
            " (id bigint GENERATED ALWAYS AS IDENTITY, body text)"
        )
        await self.db.execute("INSERT INTO texts (body) VALUES (%s)", [text])

    async def get(self) -> str | None:
        found: str | None = await self.one(
            "SELECT body FROM texts ORDER BY id DESC LIMIT 1"
        )
        return found


class Messages(Application):
    """Sends and receives by the statements of the credentials."""

    async def put(self, text: str) -> None:
        await self.one(str(self.credentials["send_sql"]).replace("$1", "%s"), text)

    async def get(self) -> str | None:
        found = await self.db.execute(str(self.credentials["receive_sql"]).encode())
        row = await found.fetchone()
        if row is None:
            return None
        acknowledge = str(self.credentials["ack_sql"])
        acknowledge = acknowledge.replace("$1", "%s").replace("$2", "%s")
        assert await self.one(acknowledge, row[0], row[2]) is True
        return str(row[1])


NEVER = (
    "CREATE DATABASE mine",
    "CREATE ROLE mine",
    "DROP DATABASE {database}",
    "ALTER DATABASE {database} CONNECTION LIMIT -1",
    "ALTER ROLE {username} CONNECTION LIMIT -1",
    "ALTER ROLE {username} CREATEDB",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT rolpassword FROM pg_authid",
    "SET ROLE osbkit",
    f"SET ROLE {ACCOUNT}",
    "CREATE EXTENSION dblink",
)
NEVER_OF_A_QUEUE = (
    *NEVER,
    "SELECT * FROM queue.messages",
    "INSERT INTO queue.messages (body) VALUES ('x')",
    "DELETE FROM queue.messages",
    "CREATE TABLE public.mine (id integer)",
    "CREATE TABLE queue.mine (id integer)",
    "CREATE TEMPORARY TABLE mine (id integer)",
    "DROP FUNCTION queue.send(text)",
    "CREATE SCHEMA mine",
    "SET ROLE {database}",
)


class OnPostgres(BackendContract):
    """What both kinds share."""

    offering = "postgresql"
    refusals = (psycopg.errors.InsufficientPrivilege, psycopg.OperationalError)
    application: ClassVar[type[Application]]
    never: ClassVar[Collection[str]] = NEVER

    @pytest.fixture(autouse=True)
    def a_server(self) -> None:
        servers.require("postgresql")
        self.server = prepared()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port

    def reached(self, host: str, port: int) -> PostgresServer:
        account = f"{ACCOUNT}:{PASSWORD}"
        own_host, own_port = self.address
        url = f"postgresql://{account}@{host}:{port}/postgres?sslmode=disable"
        return PostgresServer(url=url, host=own_host, port=own_port)

    @asynccontextmanager
    async def client(self, credentials: Json) -> AsyncIterator[Any]:
        async with await psycopg.AsyncConnection.connect(
            str(credentials["uri"]), autocommit=True, prepare_threshold=None
        ) as db:
            yield self.application(db, credentials)

    def trespassing(self, credentials: Json, other: Json) -> Json:
        uri = str(credentials["uri"])
        uri = uri.replace(str(credentials["database"]), str(other["database"]))
        return {**credentials, "uri": uri}

    def forbidden(self, client: Application) -> dict[str, Any]:
        def attempt(statement: str) -> Any:
            named = statement.format(**client.credentials)
            return lambda: client.db.execute(named.encode())

        return {statement: attempt(statement) for statement in self.never}

    async def restart(self) -> None:
        self.server.stop()
        self.server.start()

    async def state(self, name: str) -> object:
        return everything(self.server, name.replace("-", "_"))


def everything(server: servers.DatabaseServer, name: str) -> object:
    """What the server has of an instance, read as its superuser."""
    whole = (
        "SELECT datname, datdba::regrole::text, datallowconn, datconnlimit,"
        " datacl::text, (SELECT setconfig FROM pg_db_role_setting s"
        "  WHERE s.setdatabase = d.oid AND s.setrole = 0)"
        " FROM pg_database d WHERE datname = %(name)s",
        "SELECT rolname, rolcanlogin, rolconnlimit, rolsuper, rolcreatedb,"
        " rolcreaterole, rolinherit, ARRAY(SELECT m.roleid::regrole::text"
        "  FROM pg_auth_members m WHERE m.member = r.oid ORDER BY 1),"
        " shobj_description(oid, 'pg_authid') IS NOT NULL"
        " FROM pg_roles r WHERE rolname LIKE %(like)s ORDER BY 1",
        "SELECT r.rolname, s.setconfig FROM pg_db_role_setting s"
        " JOIN pg_roles r ON r.oid = s.setrole JOIN pg_database d"
        " ON d.oid = s.setdatabase WHERE d.datname = %(name)s ORDER BY 1",
    )
    inside = (
        "SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace"
        " WHERE nspname !~ '^pg_' ORDER BY 1",
        "SELECT p.proname, p.proowner::regrole::text, p.proacl::text, p.prosecdef,"
        " p.proconfig, p.prosrc FROM pg_proc p JOIN pg_namespace n"
        " ON n.oid = p.pronamespace WHERE n.nspname = 'queue' ORDER BY 1",
        "SELECT c.relname, c.relowner::regrole::text, c.relacl::text FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'queue'"
        " ORDER BY 1",
        "SELECT defaclrole::regrole::text, defaclobjtype, defaclacl::text"
        " FROM pg_default_acl ORDER BY 2",
        "SELECT lomowner::regrole::text FROM pg_largeobject_metadata",
    )
    values = {"name": name, "like": f"{name}%"}
    with psycopg.connect(server.url("postgres"), autocommit=True) as db:
        found: list[Any] = [db.execute(query, values).fetchall() for query in whole]
    if found[0] and found[0][0][2]:
        with psycopg.connect(server.url(name), autocommit=True) as db:
            found += [db.execute(query).fetchall() for query in inside]
    return found


class TestDatabases(OnPostgres):
    plan, larger_plan = "database", "database-large"
    roles: ClassVar[Roles] = {None: [], "readwrite": [], "readonly": ["put"]}
    application = Tables

    def backend(self, host: str, port: int) -> PostgresDatabases:
        return PostgresDatabases(
            self.reached(host, port),
            {
                "database": DatabaseLimits(connections=5, statement_seconds=10),
                "database-large": DatabaseLimits(connections=50),
            },
        )


class TestQueues(OnPostgres):
    plan, larger_plan = "queue", "queue-large"
    other_parameters: ClassVar[Json] = {"lease_seconds": 60}
    roles: ClassVar[Roles] = {
        None: [],
        "readwrite": [],
        "producer": ["get"],
        "consumer": ["put"],
    }
    application = Messages
    never = NEVER_OF_A_QUEUE

    def backend(self, host: str, port: int) -> PostgresQueues:
        return PostgresQueues(
            self.reached(host, port),
            {
                "queue": QueueLimits(connections=5, messages=100),
                "queue-large": QueueLimits(connections=50, messages=100_000),
            },
        )
