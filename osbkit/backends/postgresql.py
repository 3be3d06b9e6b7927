"""PostgreSQL: a database of one's own, or a queue, on one server for all tenants.

    PostgresDatabases   an empty database; a binding is `readwrite` or `readonly`
    PostgresQueues      a database that holds one queue, reached by three functions;
                        a binding is `readwrite`, `producer` or `consumer`

What is on the server for the instance `osb-x` (here `_` stands for `-`):

    role      osb_x        no login; owns what tenants make. Its comment is the mark:
                           made first and removed last, so nothing is ever unlisted
    roles     osb_x_…      no login; one for each narrower set of rights
    database  osb_x        owned by the broker, so that no tenant can drop it
    role      osb_y        login of one binding; member of some of the above

A step is one message to the server, and all of its statements or none come into
effect; only CREATE DATABASE and DROP DATABASE stand by themselves. The clear text of
a password never reaches the server: it gets the SCRAM verifier.

The broker's account needs LOGIN, CREATEDB and CREATEROLE, and is no superuser: see
docs/backends/postgresql.md. PostgreSQL 15 or newer. Units: spans are seconds.
"""

import abc
import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Composed, Identifier
from psycopg.sql import Literal as Quoted
from pydantic import BaseModel, Field

from osbkit.backends.contract import (
    B,
    BindRequest,
    Bound,
    Endpoint,
    Found,
    NoParameters,
    P,
    ProvisionRequest,
    UpdateRequest,
)
from osbkit.backends.converging import ConvergingBackend, QueueAccess, credentials
from osbkit.errors import Failed, Refused, SettingsInvalid

Session: TypeAlias = AsyncConnection[tuple[Any, ...]]
Statements: TypeAlias = Sequence[SQL | Composed]
OLDEST = 150000
"""The oldest server, as `server_version` counts: before 15 everybody may create in
`public`, and it cannot be given away."""
CONNECT = 10
WAIT = "30s"
"""For the lost call before, or any other lock; then it is passing trouble."""
CUT = 5_000
"""Milliseconds that the server waits for a session that it was told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """The server, and how the broker and its applications reach it.

    Attributes:
        url: `postgresql://account:password@host:port/database`, the broker's own
            account and a database that it may connect to, the same for every
            process: there they wait for each other. What the URL leaves out
            (password, certificates) libpq finds by its own means.
        host, port: what applications are told; where empty, those of the URL.
        sslmode: what applications are told.
        connections: sessions that a process has open on it at once, and as many in
            the databases that it made.
    """

    url: str = field(repr=False)
    host: str = ""
    port: int = 0
    sslmode: Literal["disable", "prefer", "require", "verify-full"] = "prefer"
    connections: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLimits:
    """What a plan allows.

    Attributes:
        connections: of all bindings together. The server holds it.
        statement_seconds: how long a statement may take, and how long a transaction
            may be idle. A default: an application can lift it for its own session.
    """

    connections: int = 20
    statement_seconds: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits(DatabaseLimits):
    """What a plan allows.

    Attributes:
        messages: stored at once, those in work included; senders that come at the
            same moment may exceed it by their number.
        body_bytes: of one message.
    """

    messages: int = 10_000
    body_bytes: int = 262_144


class DatabaseAccess(BaseModel, extra="forbid"):
    """What a user may say of a binding to a database."""

    role: Literal["readwrite", "readonly"] = Field(
        "readwrite", description="Whether the application may change what is stored"
    )


class QueueParameters(BaseModel, extra="forbid"):
    """What a user may say of a queue."""

    lease_seconds: int = Field(
        30, ge=1, le=43_200, description="How long a receiver holds a message"
    )


class PostgresBackend(ConvergingBackend[P, B], abc.ABC):
    """What both kinds of instance share: a database, its roles, the logins.

    Args:
        server: how to reach it, or a function that says so when the backend opens.
        plans: plan name → limits.
    """

    kind: str
    """Stands in the mark: two backends on one server list their own."""
    rights: tuple[str, ...]
    """The narrower sets of rights, as the roles' suffixes."""

    def __init__(
        self,
        server: PostgresServer | Callable[[], PostgresServer],
        plans: Mapping[str, Any],
    ) -> None:
        self._server = server
        self._plans = dict(plans)

    # --- what each kind says for itself ---------------------------------------------

    @abc.abstractmethod
    def _inside(
        self, name: str, limits: Any, parameters: P, before: frozenset[str]
    ) -> Statements:
        """What is done inside the database, each time, in this order."""

    @abc.abstractmethod
    def _groups(self, name: str, parameters: B) -> tuple[str, ...]:
        """The roles a binding is a member of; as the first of them it works."""

    @abc.abstractmethod
    def _also(self) -> Mapping[str, Any]:
        """Credentials of this kind besides the common ones."""

    # --- opening ----------------------------------------------------------------------

    async def open(self) -> None:
        """Read the settings; the server is not asked.

        Raises:
            SettingsInvalid: there is no host or no port for applications.
        """
        server = self._server() if callable(self._server) else self._server
        try:
            said = conninfo_to_dict(server.url)
            port = int(said.get("port") or 5432)
        except (errors.Error, ValueError):
            raise SettingsInvalid(
                "The PostgreSQL backend needs the URL of one server:"
                " postgresql://account:password@host:5432/postgres."
            ) from None
        self._url, self._sslmode = server.url, server.sslmode
        self._host = server.host or str(said.get("host") or "")
        self._port = server.port or port
        if not self._host or self._host.startswith("/") or "," in self._host:
            raise SettingsInvalid(
                "Applications need one host of the PostgreSQL server: give"
                " PostgresServer(host=…, port=…)."
            )
        self._room = asyncio.Semaphore(server.connections)
        self._inner_room = asyncio.Semaphore(server.connections)

    async def ping(self) -> None:
        """Raise if the server is away, too old, or the account lacks a right."""
        async with self._session() as db:
            if db.info.server_version < OLDEST:
                raise RuntimeError("PostgreSQL must be 15 or newer")
            allowed = "SELECT rolcreatedb AND rolcreaterole FROM pg_roles"
            mine = await db.execute(f"{allowed} WHERE rolname = current_user")
            if await mine.fetchone() != (True,):
                raise RuntimeError("the broker's account needs CREATEDB and CREATEROLE")

    @asynccontextmanager
    async def _session(self, database: str | None = None) -> AsyncIterator[Session]:
        """A session as the broker; in the database of its URL, or in another.

        One of the first kind may hold one of the second, never the other way round:
        then operations would wait for each other's room.
        """
        said = (
            self._url if database is None else make_conninfo(self._url, dbname=database)
        )
        async with (
            self._room if database is None else self._inner_room,
            await AsyncConnection.connect(
                said,
                autocommit=True,
                connect_timeout=CONNECT,
                application_name="osbkit",
            ) as db,
        ):
            yield db

    @asynccontextmanager
    async def _working(self, name: str) -> AsyncIterator[Session]:
        """A session as the broker that has an instance for itself.

        A server goes on with a statement whose caller has left. Its session keeps
        the lock until then, so what takes the call back comes after it, and finds
        what it made.
        """
        async with self._session() as db:
            await db.execute(
                "SELECT set_config('lock_timeout', %s, false),"
                " pg_advisory_lock(hashtextextended(%s, 0))",
                [WAIT, name],
            )
            yield db

    # --- the instance -----------------------------------------------------------------

    async def check(self, request: Any) -> None:
        """Refuse a plan of another kind before anything is begun."""
        self._limits(request.plan)

    def _limits(self, plan: str) -> Any:
        try:
            return self._plans[plan]
        except KeyError:
            raise Refused(
                "A database cannot become a queue, nor the other way round: make a new"
                " service instance."
            ) from None

    async def converge(self, wanted: ProvisionRequest[P] | UpdateRequest[P]) -> None:
        """Roles, database, its limits, what is inside. See ConvergingBackend."""
        name, limits = on_server(wanted.name), self._limits(wanted.plan)
        mark = self._mark(wanted.name, instance=wanted.instance_id)
        roles = [name, *(f"{name}_{right}" for right in self.rights)]
        async with self._working(wanted.name) as db:
            there = await existing(db, roles)
            if len(there) < len(roles):
                await step(db, self._roles(roles, there, mark))
            if not await has_database(db, name):
                await make_database(db, name)
            await step(db, limiting(name, roles, limits))
        async with self._session(name) as db:
            found = await db.execute("SELECT nspname FROM pg_namespace")
            schemas = frozenset([row[0] for row in await found.fetchall()])
            await step(db, self._inside(name, limits, wanted.parameters, schemas))

    def _roles(self, roles: Sequence[str], there: set[str], mark: str) -> Statements:
        """The roles that are missing, the mark with the first of them."""
        made: list[SQL | Composed] = []
        for role in roles:
            if role not in there:
                made.append(SQL("CREATE ROLE {} NOLOGIN").format(Identifier(role)))
                made.append(SQL("GRANT {} TO CURRENT_USER").format(Identifier(role)))
        if roles[0] not in there:
            made.append(
                SQL("COMMENT ON ROLE {} IS {}").format(
                    Identifier(roles[0]), Quoted(mark)
                )
            )
        return made

    async def destroy(self, name: str) -> None:
        """Logins closed, database dropped over their heads, roles dropped."""
        database = on_server(name)
        groups = [f"{database}_{right}" for right in self.rights]
        async with self._working(name) as db:
            logins = [
                role
                for role, mark in await marks(db)
                if mark.get("of") == name and role != database
            ]
            roles = [*logins, *groups, database]
            await step(db, [no_login(role) for role in logins])
            if await has_database(db, database):
                await db.execute(
                    SQL("DROP DATABASE IF EXISTS {name} WITH (FORCE)").format(
                        name=Identifier(database)
                    )
                )
            await cut(db, roles)
            await self._drop(db, roles)

    # --- the binding ------------------------------------------------------------------

    async def grant(self, request: BindRequest[P, B], password: str) -> Bound:
        """A login with this password, in the groups of its role."""
        name, login = on_server(request.instance.name), on_server(request.name)
        groups = self._groups(name, request.parameters)
        mark = self._mark(
            request.name,
            instance=request.instance_id,
            binding=request.binding_id,
            of=request.instance.name,
        )
        async with self._working(request.instance.name) as db:
            if not await has_database(db, name):
                raise Failed(
                    "The database of this instance is lost: delete the instance and"
                    " make another."
                )
            there = await existing(db, [login])
            verifier = db.pgconn.encrypt_password(
                password.encode(), login.encode(), b"scram-sha-256"
            ).decode()
            role = Identifier(login)
            made = [] if there else [SQL("CREATE ROLE {}").format(role)]
            await step(
                db,
                [
                    *made,
                    SQL("GRANT {} TO CURRENT_USER").format(role),
                    SQL("COMMENT ON ROLE {} IS {}").format(role, Quoted(mark)),
                    *(
                        SQL("GRANT {} TO {}").format(Identifier(group), role)
                        for group in groups
                    ),
                    SQL("ALTER ROLE {} IN DATABASE {} SET role TO {}").format(
                        role, Identifier(name), Identifier(groups[0])
                    ),
                    SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                        role, Quoted(verifier)
                    ),
                ],
            )
        role_name = request.parameters.model_dump()["role"]
        return self._bound(name, login, password, role_name)

    def _bound(self, name: str, login: str, password: str, role: str) -> Bound:
        host = f"[{self._host}]" if ":" in self._host else self._host
        place = f"{host}:{self._port}/{name}"
        tls = f"sslmode={self._sslmode}"
        given = credentials(
            "postgresql",
            host=self._host,
            port=self._port,
            username=login,
            password=password,
            uri=f"postgresql://{login}:{password}@{place}?{tls}",
            own={
                "name": name,
                "database": name,
                "sslmode": self._sslmode,
                "jdbcUrl": f"jdbc:postgresql://{place}?user={login}"
                f"&password={password}&{tls}",
                "role": role,
                **self._also(),
            },
        )
        return Bound(
            credentials=given,
            endpoints=[Endpoint(host=self._host, ports=[self._port])],
        )

    async def revoke(self, name: str, instance_name: str) -> None:
        """No login, sessions ended, what it owns given to the instance, dropped."""
        login = on_server(name)
        async with self._working(instance_name) as db:
            if not await existing(db, [login]):
                return
            await step(db, [no_login(login)])
            await cut(db, [login])
            await self._drop(db, [login], heir=on_server(instance_name))

    async def _drop(
        self, db: Session, roles: Sequence[str], heir: str | None = None
    ) -> None:
        """Drop roles, after what hangs on them in any database.

        Mostly nothing does. But an application that says SET ROLE NONE makes things
        of its login's own, and one that could connect elsewhere has perhaps done so.
        """
        for database, role in await dependents(db, roles):
            names = {"role": Identifier(role), "heir": Identifier(heir or "")}
            leaving = ["SET statement_timeout TO 0"]
            if database == heir:
                leaving.append("REASSIGN OWNED BY {role} TO {heir}")
            leaving.append("DROP OWNED BY {role}")
            async with self._session(database) as inside:
                await step(inside, [SQL(text).format(**names) for text in leaving])
        await step(
            db,
            [SQL("DROP ROLE IF EXISTS {}").format(Identifier(role)) for role in roles],
        )

    # --- what is there ----------------------------------------------------------------

    async def inventory(self) -> AsyncIterator[Found]:
        """Every role that carries the mark of this broker and this kind."""
        async with self._session() as db:
            listed = await marks(db)
        for _, mark in listed:
            if (mark["osbkit"], mark.get("kind")) != (self.broker.id, self.kind):
                continue
            yield Found(
                name=mark["name"],
                kind="binding" if mark.get("binding") else "instance",
                instance_name=mark.get("of"),
                instance_id=mark.get("instance"),
                binding_id=mark.get("binding"),
                created_at=datetime.fromisoformat(mark["made"]),
            )

    def _mark(self, name: str, **ids: str) -> str:
        made = datetime.now(UTC).isoformat(timespec="seconds")
        who = {"osbkit": self.broker.id, "kind": self.kind, "name": name}
        return json.dumps({**who, **ids, "made": made})


class PostgresDatabases(PostgresBackend[NoParameters, DatabaseAccess]):
    """An empty database per instance.

    Everything that a readwrite binding makes belongs to the instance's role, so the
    other bindings can change it, and unbind loses nothing. A readonly binding reads
    whatever is made there, later too.
    """

    kind = "database"
    rights = ("readonly",)

    def _inside(
        self, name: str, limits: Any, parameters: NoParameters, before: frozenset[str]
    ) -> Statements:
        names = {"owner": Identifier(name), "reader": Identifier(f"{name}_readonly")}
        # gone only if a tenant dropped it; then it stays gone
        public = [
            "ALTER SCHEMA public OWNER TO {owner}",
            "GRANT USAGE ON SCHEMA public TO {reader}",
        ]
        future = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT"
        return [
            SQL(text).format(**names)
            for text in (
                *(public if "public" in before else []),
                f"{future} USAGE ON SCHEMAS TO {{reader}}",
                f"{future} SELECT ON TABLES TO {{reader}}",
                f"{future} SELECT ON SEQUENCES TO {{reader}}",
            )
        ]

    def _groups(self, name: str, parameters: DatabaseAccess) -> tuple[str, ...]:
        reads = parameters.role == "readonly"
        return (f"{name}_readonly" if reads else name,)

    def _also(self) -> Mapping[str, Any]:
        return {"schema": "public"}


class PostgresQueues(PostgresBackend[QueueParameters, QueueAccess]):
    """One queue per instance, reached by functions; nobody sees its table.

    At least once: a message that is not acknowledged within its lease is handed out
    again. `LISTEN queue` is woken by each send.
    """

    kind = "queue"
    rights = ("readwrite", "producer", "consumer")

    def _inside(
        self,
        name: str,
        limits: QueueLimits,
        parameters: QueueParameters,
        before: frozenset[str],
    ) -> Statements:
        groups = {right: Identifier(f"{name}_{right}") for right in self.rights}
        return [
            SQL("CREATE SCHEMA IF NOT EXISTS queue AUTHORIZATION {}").format(
                Identifier(name)
            ),
            SQL("SET LOCAL ROLE {}").format(Identifier(name)),
            SQL(QUEUE).format(
                messages=Quoted(limits.messages),
                body_bytes=Quoted(limits.body_bytes),
                lease=Quoted(parameters.lease_seconds),
                **groups,
            ),
        ]

    def _groups(self, name: str, parameters: QueueAccess) -> tuple[str, ...]:
        return (f"{name}_{parameters.role}",)

    def _also(self) -> Mapping[str, Any]:
        return {
            "schema": "queue",
            "send_sql": "SELECT queue.send($1)",
            "receive_sql": "SELECT id, body, receipt, receives FROM queue.receive()",
            "ack_sql": "SELECT queue.ack($1, $2)",
        }


QUEUE = """\
CREATE TABLE IF NOT EXISTS queue.messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body text NOT NULL,
    due timestamptz NOT NULL DEFAULT clock_timestamp(),
    receives integer NOT NULL DEFAULT 0,
    receipt uuid
);
CREATE INDEX IF NOT EXISTS messages_due ON queue.messages (due, id);

CREATE OR REPLACE FUNCTION queue.send(body text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $queue$
DECLARE
    span bigint;
    made bigint;
BEGIN
    IF octet_length(body) > {body_bytes} THEN
        RAISE 'a message may have % bytes', {body_bytes}
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    -- as many as there are numbers from the first to the last, at most
    SELECT max(id) - min(id) + 1 INTO span FROM queue.messages;
    IF span >= {messages} AND {messages} <= (
        SELECT count(*) FROM (SELECT FROM queue.messages LIMIT {messages}) AS stored
    ) THEN
        RAISE 'the queue is full, it holds % messages', {messages}
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    INSERT INTO queue.messages AS m (body) VALUES (send.body) RETURNING m.id INTO made;
    PERFORM pg_notify('queue', '');
    RETURN made;
END $queue$;

CREATE OR REPLACE FUNCTION queue.receive(lease_seconds integer DEFAULT NULL)
RETURNS TABLE (id bigint, body text, receipt uuid, receives integer)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $queue$
    UPDATE queue.messages AS m
    SET due = clock_timestamp()
            + make_interval(secs => greatest(coalesce(lease_seconds, {lease}), 1)),
        receives = m.receives + 1,
        receipt = gen_random_uuid()
    WHERE m.id = (
        SELECT waiting.id FROM queue.messages AS waiting
        WHERE waiting.due <= clock_timestamp()
        ORDER BY waiting.due, waiting.id
        LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING m.id, m.body, m.receipt, m.receives
$queue$;

CREATE OR REPLACE FUNCTION queue.ack(id bigint, receipt uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $queue$
BEGIN
    DELETE FROM queue.messages AS m WHERE m.id = ack.id AND m.receipt = ack.receipt;
    RETURN FOUND;
END $queue$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA queue FROM PUBLIC;
GRANT USAGE ON SCHEMA queue TO {readwrite}, {producer}, {consumer};
GRANT EXECUTE ON FUNCTION queue.send(text) TO {readwrite}, {producer};
GRANT EXECUTE ON FUNCTION queue.receive(integer), queue.ack(bigint, uuid)
    TO {readwrite}, {consumer}
"""
"""The queue, made by the instance's role. Its limits are written into the functions,
where a tenant can see them and not change them."""


# --- statements -----------------------------------------------------------------------


def on_server(name: str) -> str:
    """A name as SQL writes it without quotes; ours are quoted all the same."""
    return name.replace("-", "_")


async def step(db: Session, statements: Statements) -> None:
    """Several statements in one message: all of them, or none."""
    if statements:
        await db.execute(SQL(";\n").join(statements))


async def existing(db: Session, roles: Sequence[str]) -> set[str]:
    """Which of these roles there are."""
    found = await db.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(roles)]
    )
    return {row[0] for row in await found.fetchall()}


async def has_database(db: Session, name: str) -> bool:
    """Whether there is a database of this name."""
    found = await db.execute("SELECT FROM pg_database WHERE datname = %s", [name])
    return await found.fetchone() is not None


async def make_database(db: Session, name: str) -> None:
    """Make a database that lets nobody in yet: at first PUBLIC may connect to it."""
    made = SQL("CREATE DATABASE {name} TEMPLATE template0 ALLOW_CONNECTIONS false")
    try:
        await db.execute(made.format(name=Identifier(name)))
    except errors.DuplicateDatabase:
        return  # an earlier call of ours, late


def limiting(name: str, roles: Sequence[str], limits: DatabaseLimits) -> Statements:
    """Who may connect to a database, how often, how long; then it is opened."""
    owner, *groups = map(Identifier, roles)
    timeout = Quoted(f"{limits.statement_seconds}s")
    names: dict[str, Any] = {
        "name": Identifier(name),
        "owner": owner,
        "groups": SQL(", ").join(groups),
        "connections": Quoted(limits.connections),
        "timeout": timeout,
    }
    return [
        SQL(text).format(**names)
        for text in (
            "REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            "GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {owner}",
            "GRANT CONNECT ON DATABASE {name} TO {groups}",
            "ALTER DATABASE {name} SET statement_timeout TO {timeout}",
            "ALTER DATABASE {name} SET idle_in_transaction_session_timeout"
            " TO {timeout}",
            "ALTER DATABASE {name} ALLOW_CONNECTIONS true"
            " CONNECTION LIMIT {connections}",
        )
    ]


def no_login(role: str) -> Composed:
    """Let nobody in by this role any more."""
    return SQL("ALTER ROLE {role} NOLOGIN").format(role=Identifier(role))


async def cut(db: Session, roles: Sequence[str]) -> None:
    """End the sessions of roles, and wait until they are over."""
    await db.execute(
        "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
        " WHERE usename = ANY(%s)",
        [CUT, list(roles)],
    )


async def dependents(db: Session, roles: Sequence[str]) -> list[tuple[str, str]]:
    """In which databases something belongs to, or was granted to, which role."""
    found = await db.execute(
        "SELECT DISTINCT d.datname, r.rolname FROM pg_shdepend s"
        " JOIN pg_roles r ON r.oid = s.refobjid JOIN pg_database d ON d.oid = s.dbid"
        " WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = ANY(%s)",
        [list(roles)],
    )
    return [(row[0], row[1]) for row in await found.fetchall()]


async def marks(db: Session) -> list[tuple[str, dict[str, Any]]]:
    """Every role with a mark of ours, whichever broker's."""
    found = await db.execute(
        "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles"
        " WHERE rolname LIKE %s",
        [r"osb\_%"],
    )
    listed = []
    for role, comment in await found.fetchall():
        try:
            mark = json.loads(comment or "")
        except ValueError:
            continue
        if isinstance(mark, dict) and {"osbkit", "name", "made"} <= mark.keys():
            listed.append((role, mark))
    return listed
