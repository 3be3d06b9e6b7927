"""What OSBKIT_DATABASE_URL names: a SQLite file, or a database server.

    sqlite:///osbkit.db                   `sqlite`
    postgresql://user@host/database       `server`; asyncpg, psycopg for the schema
    mariadb://user@host/database          `server`; asyncmy
    mysql://user@host/database

The drivers are ours to choose, so what a URL says of one (`postgresql+psycopg`) is
left out. The query of a PostgreSQL URL goes to the driver as libpq names it
(`sslmode`, `sslrootcert`, several hosts), that of a MariaDB URL as SQLAlchemy does.

Units: spans are seconds.
"""

import asyncio
import importlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from osbkit.errors import DatabaseUnusable, SettingsInvalid

T = TypeVar("T")
CONNECT = 5.0
STATEMENT = 20.0
"""How long the server may work on a statement, waiting for locks included."""
COMMAND = 25.0
"""How long we wait for its answer: longer, so that the server speaks first."""
SERVERS = frozenset({"postgresql", "mariadb", "mysql"})
EXTRA = {"postgresql": "postgresql", "mariadb": "mariadb", "mysql": "mariadb"}
DRIVERS = {
    "postgresql": ("asyncpg", "psycopg", "procrastinate"),
    "mariadb": ("asyncmy",),
}
READ_COMMITTED = "READ COMMITTED"


def parsed(url: str) -> sa.URL:
    """A database URL, without the name of a driver.

    Raises:
        SettingsInvalid: not a URL of a database that this version can use; the
            URL, which may hold a password, is not part of the message.
    """
    try:
        found = sa.engine.make_url(url)
    except sa.exc.ArgumentError:
        raise SettingsInvalid(
            "OSBKIT_DATABASE_URL is not a database URL; write sqlite:///osbkit.db."
        ) from None
    kind = found.drivername.partition("+")[0]
    kind = "postgresql" if kind == "postgres" else kind
    if kind != "sqlite" and kind not in SERVERS:
        raise SettingsInvalid(
            f"OSBKIT_DATABASE_URL names {kind!r}; this version serves sqlite,"
            " postgresql, mariadb and mysql: write sqlite:///osbkit.db."
        )
    if kind in SERVERS and not found.database:
        raise SettingsInvalid(
            f"OSBKIT_DATABASE_URL must name a database: {kind}://user@host/database."
        )
    return found.set(drivername=kind)


def server_of(url: str) -> "Server | None":
    """The server that a URL names; None for a SQLite file.

    Raises:
        SettingsInvalid: not a URL of a database that this version can use, or its
            driver is not installed.
    """
    found = parsed(url)
    kind = found.drivername
    if kind == "sqlite":
        return None
    extra = EXTRA[kind]
    for driver in DRIVERS[extra]:
        try:
            importlib.import_module(driver)
        except ImportError:
            raise SettingsInvalid(
                f"OSBKIT_DATABASE_URL names {kind}, and its driver {driver} is not"
                f" installed: pip install 'osbkit[{extra}]'."
            ) from None
    return Server(found)


def file_of(url: str) -> Path:
    """The path in `sqlite:///relative.db` or `sqlite:////absolute.db`.

    Raises:
        SettingsInvalid: not a URL of a file.
    """
    found = parsed(url)
    if found.drivername != "sqlite":
        raise SettingsInvalid(
            f"OSBKIT_DATABASE_URL names {found.drivername!r}, which is no file; this"
            " needs one: write sqlite:///osbkit.db."
        )
    if not found.database or found.database == ":memory:":
        raise SettingsInvalid(
            "OSBKIT_DATABASE_URL must name a file (sqlite:///osbkit.db): operations"
            " survive a crash only there."
        )
    return Path(found.database)


@dataclass(frozen=True, slots=True)
class Server:
    """A database server, and how to talk to it.

    Attributes:
        url: without a driver's name; `repr` hides the password.
    """

    url: sa.URL

    @property
    def kind(self) -> str:
        """`postgresql`, `mariadb` or `mysql`."""
        return self.url.drivername

    def dsn(self) -> str:
        """The URL for libpq and asyncpg, password included."""
        return self.url.render_as_string(hide_password=False)

    def where(self) -> str:
        """For people: kind, host and database, never the password."""
        host = self.url.host or "localhost"
        return f"{self.kind}://{host}/{self.url.database}"

    def engine(
        self, *, reads: bool = False, locks: float = STATEMENT, **pool: Any
    ) -> AsyncEngine:
        """An engine for the event loop.

        Args:
            reads: every statement is a transaction of its own.
            locks: how long a statement waits for one.
            pool: of SQLAlchemy's pool.
        """
        level = "AUTOCOMMIT" if reads else READ_COMMITTED
        if self.kind == "postgresql":
            return create_async_engine(
                "postgresql+asyncpg://",
                async_creator=partial(self._asyncpg, locks),
                isolation_level=level,
                **pool,
            )
        return create_async_engine(
            self.url.set(drivername=f"{self.kind}+asyncmy"),
            connect_args=self._asyncmy(locks),
            isolation_level=level,
            **pool,
        )

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Do something in one transaction, without an event loop: schema work.

        Raises:
            DatabaseUnusable: the server cannot be reached, or refuses us.
        """
        do = self._psycopg if self.kind == "postgresql" else self._in_a_loop
        try:
            return do(work)
        except (sa.exc.OperationalError, sa.exc.InterfaceError, OSError) as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: BaseException) -> DatabaseUnusable:
        """What is said when there is no connection."""
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        if self.url.password:
            said = said.replace(str(self.url.password), "***")
        return DatabaseUnusable(
            f"The database {self.where()} cannot be used ({said or 'no answer'});"
            " check OSBKIT_DATABASE_URL and that the server runs."
        )

    def _psycopg(self, work: Callable[[sa.Connection], T]) -> T:
        psycopg = importlib.import_module("psycopg")
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=partial(psycopg.connect, self.dsn(), connect_timeout=int(CONNECT)),
            poolclass=sa.pool.NullPool,
        )
        try:
            with engine.begin() as db:
                return work(db)
        finally:
            engine.dispose()

    def _in_a_loop(self, work: Callable[[sa.Connection], T]) -> T:
        """The driver is asynchronous only: a loop in a thread of its own."""
        results: list[T] = []
        errors: list[BaseException] = []

        async def once() -> T:
            engine = self.engine(poolclass=sa.pool.NullPool)
            try:
                async with engine.begin() as db:
                    return await db.run_sync(work)
            finally:
                await engine.dispose()

        def serve() -> None:
            try:
                results.append(asyncio.run(once()))
            except BaseException as error:  # noqa: BLE001 (raised where it is wanted)
                errors.append(error)

        thread = threading.Thread(target=serve, name="osbkit-schema")
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    async def _asyncpg(self, locks: float, *_: Any, **__: Any) -> Any:
        asyncpg = importlib.import_module("asyncpg")
        milliseconds = str(int(STATEMENT * 1000))
        return await asyncpg.connect(
            self.dsn(),
            timeout=CONNECT,
            command_timeout=COMMAND,
            server_settings={
                "application_name": "osbkit",
                "statement_timeout": milliseconds,
                "lock_timeout": str(int(locks * 1000)),
                "idle_in_transaction_session_timeout": milliseconds,
            },
        )

    def _asyncmy(self, locks: float) -> dict[str, Any]:
        # it logs what the server notes of statements, as text
        logging.getLogger("asyncmy").setLevel(logging.ERROR)
        seconds = max(1, int(locks))
        return {
            "client_flag": 0,  # without FOUND_ROWS; see rows.insert_or_ignore
            "connect_timeout": int(CONNECT),
            "read_timeout": int(COMMAND),
            "init_command": f"SET SESSION innodb_lock_wait_timeout = {seconds}",
        }
