"""PostgreSQL, MariaDB and MySQL as the store: many processes, one database.

A unit of work runs by `AsyncConnection.run_sync` in a READ COMMITTED transaction, with
what waits beside it (`together`) or by itself; the rows it locks and the unique keys
keep processes apart. Reads run on a pool of their own in AUTOCOMMIT, so none of them
waits for a writer.

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
from sqlalchemy.ext.asyncio import AsyncEngine

from osbkit.domain import MICROSECONDS
from osbkit.errors import OsbkitError, SettingsInvalid, Unavailable
from osbkit.store import identity, migrate, rows
from osbkit.store.address import Server
from osbkit.store.sealing import KeyRing
from osbkit.store.statements import count_core
from osbkit.store.together import Job, Lanes
from osbkit.store.transactions import Again, connect, give_back, judged, transact
from osbkit.store.writer import AWAY, FULL, Unit
from osbkit.tasks import end
from osbkit.telemetry import log, trouble

T = TypeVar("T")
QUEUE = 1024
WRITERS = 10
READERS = 6
LANES = 2
LOCKS = 0.2
"""Seconds that a batch waits for a lock (a whole one on MariaDB, which counts so)."""
POOL_WAIT = 5.0
"""Seconds to wait for a connection of the pool."""
RECYCLE = 1800
ATTEMPTS = 5
CLOCK = 30.0
"""Seconds between two looks at the database's clock."""

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
        self._jobs: set[asyncio.Future[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._grouped: AsyncEngine | None = None
        self._lanes: Lanes
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
            self._grouped = self._engine(LANES, locks=LOCKS)
            count_core(self._grouped.sync_engine)
            self._lanes = Lanes(self._grouped, LANES, self._start_alone)
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

    def _engine(self, size: int, **how: Any) -> AsyncEngine:
        engine = self._server.engine(
            **how,
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
        await end(self._clock)
        self._clock = None
        while self._jobs:
            await asyncio.wait(self._jobs)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._dispose()

    async def _dispose(self) -> None:
        engines = (self._writer, self._grouped, self._reader)
        self._writer = self._grouped = self._reader = None
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
        """Run a unit of work, and return once it is durable.

        Args:
            unit: synchronous, without effects outside the database; may run again.
            committed: called in the event loop with the result once it is
                durable, even if the caller was cancelled meanwhile.
            long: it may touch many rows; nobody is to wait with it.

        Raises:
            Unavailable: the server is away or too much is asked of it; nothing
                changed, unless the connection broke inside the COMMIT.
        """
        if self._writer is None:
            raise Unavailable(AWAY)
        if len(self._jobs) >= QUEUE:
            raise Unavailable(FULL, retry_after=1)
        loop = asyncio.get_running_loop()
        job = Job(unit, committed, loop.create_future())
        self._jobs.add(job.future)
        job.future.add_done_callback(self._told)
        if long:
            self._start_alone(job)
        else:
            self._lanes.take(job)
        result: T = await asyncio.shield(job.future)
        return result

    def _told(self, job: "asyncio.Future[Any]") -> None:
        self._jobs.discard(job)
        job.exception()  # heard, even if the caller was cancelled

    def _start_alone(self, job: Job) -> None:
        task = asyncio.create_task(self._alone(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _alone(self, job: Job) -> None:
        """Run a unit in a transaction of its own, and tell it."""
        assert self._writer is not None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                result = await transact(self._writer, job.unit)
            except Again as again:
                cause = again.__cause__ or again
                if attempt >= ATTEMPTS:
                    log.error("store.gave_up", attempts=attempt, **trouble(cause))
                    away = Unavailable(AWAY)
                    away.__cause__ = cause
                    job.tell(None, away)
                    return
                log.info("store.again", attempt=attempt, **trouble(cause))
                await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311
            except Exception as error:  # noqa: BLE001 (told to who waits)
                job.tell(None, error)
                return
            else:
                job.tell(result)
                return

    # --- reading ------------------------------------------------------------------

    async def read(self, unit: Unit[T]) -> T:
        """Run a unit that only reads; each of its statements sees what is
        committed by then."""
        if self._reader is None:
            raise Unavailable(AWAY)
        for attempt in (1, 2):
            connection = await connect(self._reader)
            try:
                return await connection.run_sync(unit)
            except Exception as error:
                meant = judged(error)
                if isinstance(meant, Again) and attempt == 1:
                    continue  # a connection that had died in the pool
                if meant is error:
                    raise
                log.error("store.read_failed", **trouble(error))
                raise Unavailable(AWAY) from error
            finally:
                await give_back(connection)
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
