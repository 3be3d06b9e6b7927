"""PostgreSQL, MariaDB and MySQL as the store: many processes, one database.

A unit of work runs by `AsyncConnection.run_sync` in one READ COMMITTED transaction;
the rows it locks and the unique keys keep processes apart. Reads run on a pool of
their own in AUTOCOMMIT, so none of them waits for a writer.

    what happened                               what we do
    deadlock, serialisation, lost before COMMIT the unit runs again, `ATTEMPTS` times
    no connection, time over, pool exhausted    Unavailable, nothing changed
    the connection broke inside COMMIT          Unavailable, and nobody knows

The last one is never run again here. What the unit wrote is there or is not, and
either is harmless: a row says who claimed it, so the engine finds what it holds and
does not run (`operations.engines`), and an ending that runs again finds its own.

The database's clock is followed (`rows.follow_clock`): leases are compared by it.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from osbkit.domain import MICROSECONDS
from osbkit.errors import OsbkitError, SettingsInvalid, Unavailable
from osbkit.store import identity, migrate, rows
from osbkit.store.address import Server
from osbkit.store.sealing import KeyRing
from osbkit.store.writer import AWAY, FULL, Unit
from osbkit.telemetry import log, trouble

T = TypeVar("T")
QUEUE = 1024
WRITERS = 12
READERS = 6
POOL_WAIT = 5.0
"""Seconds to wait for a connection of the pool."""
RECYCLE = 1800
ATTEMPTS = 5
CLOCK = 30.0
"""Seconds between two looks at the database's clock."""

AGAIN = frozenset({"40001", "40P01", 1213, 1020})
"""Serialisation fault and deadlock, as SQLSTATE or as MariaDB's number: the
transaction was rolled back, and would most likely succeed now."""
OURS = (sa.exc.ProgrammingError, sa.exc.DataError, sa.exc.NotSupportedError)
"""Faults of a statement, which no repetition mends."""
NO_KEYS = (
    "OSBKIT_ENCRYPTION_KEYS is not set: a database server is shared, so every process"
    " must be given the same keys. `osbkit keys new` prints one."
)
CLOCKS = {
    "postgresql": "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000"
    " AS BIGINT)",
    "mysql": "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)",
}
CLOCKS["mariadb"] = CLOCKS["mysql"]


class _Again(Exception):
    """The transaction is rolled back; it may run again."""


class ServerStore:
    """See the module. Open it in the event loop that uses it.

    Attributes:
        broker_id: random, made by the first process that served the database.
        alone: other processes may run operations of this database.
        delivers: rows that nobody holds have a job of procrastinate's.
        closing: nothing is to be tried again, the process is about to leave.
    """

    alone = False
    closing: bool

    def __init__(
        self, server: Server, keys: str | None = None, *, delivers: bool = False
    ) -> None:
        if not keys:
            raise SettingsInvalid(NO_KEYS)
        self.delivers = delivers
        self._server = server
        self._ring = KeyRing.from_text(keys)
        self._writer: AsyncEngine | None = None
        self._reader: AsyncEngine | None = None
        self._writes: set[asyncio.Task[Any]] = set()
        self._clock: asyncio.Task[None] | None = None
        self.broker_id = ""
        self.closing = False

    async def open(self) -> None:
        """Check schema and keys.

        Raises:
            DatabaseUnusable: the server is away, the schema is behind or ahead, or
                the keys are others; one sentence with the fix.
        """
        try:
            self._writer = self._engine(WRITERS)
            self._reader = self._engine(READERS, reads=True)
            async with self._writer.connect() as db:
                found = await db.run_sync(migrate.found_in)
            migrate.require_current(self._server, found)
            self.broker_id = await self.write(identity.of_database)
            await self._look_at_the_clock()
        except Unavailable as away:
            await self._dispose()
            raise self._server.unreachable(away.__cause__ or away) from away
        except OsbkitError:
            await self._dispose()
            raise
        except Exception as error:
            await self._dispose()
            log.error("store.open_failed", **trouble(error))
            raise self._server.unreachable(error) from error
        self._clock = asyncio.create_task(self._follow_the_clock())

    def _engine(self, size: int, *, reads: bool = False) -> AsyncEngine:
        engine = self._server.engine(
            reads=reads,
            pool_size=size,
            max_overflow=0,
            pool_timeout=POOL_WAIT,
            pool_recycle=RECYCLE,
        )
        ring, delivers = self._ring, self.delivers

        @sa.event.listens_for(engine.sync_engine, "connect")
        def _prepare(connection: Any, record: Any) -> None:
            record.info["osbkit_ring"] = ring
            record.info["osbkit_jobs"] = delivers

        return engine

    async def close(self) -> None:
        """Finish what is being written and close every connection."""
        self.closing = True
        if self._clock is not None:
            self._clock.cancel()
            await asyncio.wait({self._clock})
            self._clock = None
        while self._writes:
            await asyncio.wait(self._writes)
        await self._dispose()

    async def _dispose(self) -> None:
        engines = (self._writer, self._reader)
        self._writer = self._reader = None
        for engine in engines:
            if engine is not None:
                await engine.dispose()

    @property
    def ring(self) -> KeyRing:
        """The keys that open and seal."""
        return self._ring

    # --- writing ------------------------------------------------------------------

    async def write(
        self,
        unit: Unit[T],
        committed: Callable[[T], None] | None = None,
        *,
        long: bool = False,
    ) -> T:
        """Run a unit of work in one transaction.

        Args:
            unit: synchronous, without effects outside the database; may run again.
            committed: called in the event loop with the result once it is
                durable, even if the caller was cancelled meanwhile.
            long: it may touch many rows; here that makes no difference.

        Raises:
            Unavailable: the server is away or too much is asked of it; nothing
                changed, unless the connection broke inside the COMMIT.
        """
        if self._writer is None:
            raise Unavailable(AWAY)
        if len(self._writes) >= QUEUE:
            raise Unavailable(FULL, retry_after=1)
        task = asyncio.create_task(self._repeat(self._writer, unit, committed))
        self._writes.add(task)
        task.add_done_callback(self._written)
        return await asyncio.shield(task)

    def _written(self, task: "asyncio.Task[Any]") -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # heard, even if the caller was cancelled

    async def _repeat(
        self,
        engine: AsyncEngine,
        unit: Unit[T],
        committed: Callable[[T], None] | None,
    ) -> T:
        attempt = 1
        while True:
            try:
                result = await self._once(engine, unit)
                break
            except _Again as again:
                cause = again.__cause__ or again
                if attempt >= ATTEMPTS:
                    log.error("store.gave_up", attempts=attempt, **trouble(cause))
                    raise Unavailable(AWAY) from cause
                log.info("store.again", attempt=attempt, **trouble(cause))
                await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
                attempt += 1
        if committed is not None:
            committed(result)
        return result

    async def _once(self, engine: AsyncEngine, unit: Unit[T]) -> T:
        """One transaction.

        Raises:
            _Again: rolled back.
            Unavailable: rolled back, or broken inside COMMIT.
        """
        connection = await self._connect(engine)
        try:
            try:
                result = await connection.run_sync(unit)
            except Exception as error:
                await _roll_back(connection)
                raise _judged(error) from error
            try:
                await connection.commit()
            except Exception as error:
                if _code(error) in AGAIN:
                    raise _Again from error
                log.error("store.commit_unclear", **trouble(error))
                await _drop(connection)
                raise Unavailable(AWAY) from error
        finally:
            await _give_back(connection)
        return result

    async def _connect(self, engine: AsyncEngine) -> AsyncConnection:
        """A connection of the pool. Raises Unavailable."""
        try:
            return await engine.connect()
        except Exception as error:
            # the driver's own errors, the system's, the pool's: none is ours
            log.error("store.no_connection", **trouble(error))
            raise Unavailable(AWAY) from error

    # --- reading ------------------------------------------------------------------

    async def read(self, unit: Unit[T]) -> T:
        """Run a unit that only reads; each of its statements sees what is
        committed by then."""
        if self._reader is None:
            raise Unavailable(AWAY)
        for attempt in (1, 2):
            connection = await self._connect(self._reader)
            try:
                return await connection.run_sync(unit)
            except Exception as error:
                judged = _judged(error)
                if isinstance(judged, _Again) and attempt == 1:
                    continue  # a connection that had died in the pool
                if judged is error:
                    raise
                log.error("store.read_failed", **trouble(error))
                raise Unavailable(AWAY) from error
            finally:
                await _give_back(connection)
        raise Unavailable(AWAY)

    async def ping(self) -> None:
        """Raise Unavailable unless the database can be read and written."""
        await self.write(identity.touch)

    # --- the clock ----------------------------------------------------------------

    async def _follow_the_clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK)
            with contextlib.suppress(Unavailable):
                await self._look_at_the_clock()

    async def _look_at_the_clock(self) -> None:
        """Compare our clock with the database's; half the way there is off."""
        before = time.time_ns()
        theirs = await self.read(_clock_of)
        middle = (before + time.time_ns()) // 2
        rows.follow_clock(theirs - middle * MICROSECONDS // 1_000_000_000)


def _clock_of(db: sa.Connection) -> int:
    return int(db.exec_driver_sql(CLOCKS[db.dialect.name]).scalar_one())


def _judged(error: Exception) -> Exception:
    """What an error inside a unit means: itself, _Again, or Unavailable."""
    if isinstance(error, sa.exc.IntegrityError):
        return _Again()  # a neighbour was first; the unit will see its row
    if isinstance(error, OURS):
        return error
    if isinstance(error, sa.exc.DBAPIError):
        if error.connection_invalidated or _code(error) in AGAIN:
            return _Again()
        log.error("store.write_failed", **trouble(error))
        return Unavailable(AWAY)
    if isinstance(error, (TimeoutError, OSError, sa.exc.InvalidRequestError)):
        log.error("store.write_failed", **trouble(error))
        return Unavailable(AWAY)
    return error


def _code(error: BaseException) -> Any:
    """SQLSTATE, or MariaDB's number of an error."""
    orig = getattr(error, "orig", None)
    state = getattr(orig, "sqlstate", None)
    if state is not None:
        return state
    said = getattr(orig, "args", ())
    return said[0] if said else None


async def _roll_back(connection: AsyncConnection) -> None:
    try:
        await connection.rollback()
    except Exception as error:  # noqa: BLE001 (the server has rolled back, or will)
        log.warning("store.connection_lost", **trouble(error))
        await _drop(connection)


async def _drop(connection: AsyncConnection) -> None:
    """Never use a connection again of which nobody knows where it stands."""
    with contextlib.suppress(Exception):
        await connection.invalidate()


async def _give_back(connection: AsyncConnection) -> None:
    try:
        await connection.close()
    except Exception as error:  # noqa: BLE001 (the pool makes another)
        log.warning("store.connection_lost", **trouble(error))
