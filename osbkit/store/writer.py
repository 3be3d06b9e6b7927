"""SQLite's one writer: queued units of work, one COMMIT for a batch.

    write() ─► pending ─(end of the loop's round)─► loop:   BEGIN IMMEDIATE
                                                            unit, unit, unit …
                                                    thread: COMMIT
                                                    loop:   all are told

Units take microseconds, so they run in the event loop: a thread of their own would
hand the interpreter to and fro at every statement. Only what waits for the disk or
for another program is done in a thread: the COMMIT, a BEGIN that finds the file
taken, and a batch with a unit that says it is long. One batch at a time; what is
asked for meanwhile is the next one.

Nobody is told before the COMMIT, refusals included: they may rest on what a
neighbour in the batch wrote. When the COMMIT fails, every unit of the batch gets
Unavailable. Beyond `QUEUE` waiting units a caller is refused at once.

A unit that raises after it has written must not leave its half in a neighbour's
COMMIT: then the batch is rolled back and run again, each unit in a savepoint. Units
may run again, and nearly none of them raises, so savepoints, which cost as much
as a statement each, are not taken on the way that is gone nearly always.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa

from osbkit.errors import Unavailable
from osbkit.telemetry import log, trouble

T = TypeVar("T")
BATCH = 64
"""Units at most in one go of the event loop: some three milliseconds."""
QUEUE = 4096
BUSY = 10.0
"""Seconds to wait for a stranger's transaction on the file."""
AWAY = "The broker's database does not answer at the moment. Try again shortly."
FULL = "The broker has more changes waiting than it can write. Try again shortly."

Unit = Callable[[sa.Connection], T]
Committed = Callable[[Any], None]


@dataclass(slots=True)
class _Job:
    unit: Unit[Any]
    future: "asyncio.Future[Any]"
    committed: Committed | None
    long: bool


_Result = tuple[_Job, Any, BaseException | None]


class Writer:
    """The connection that writes, and its thread. One per SQLite file.

    Used by one event loop at a time.
    """

    def __init__(self, engine: sa.Engine, *, busy: float = BUSY) -> None:
        self._engine = engine
        self._busy = busy
        self._pending: list[_Job] = []
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._serve, name="osbkit-writer", daemon=True
        )

    def start(self) -> None:
        """Open the connection and start the thread."""
        self._connection = self._engine.connect()
        self._raw: sqlite3.Connection = self._connection.connection.driver_connection  # type: ignore[assignment]
        _wait_for_others(self._raw, 0)
        self._thread.start()

    async def write(
        self,
        unit: Unit[T],
        committed: Callable[[T], None] | None = None,
        *,
        long: bool = False,
    ) -> T:
        """Run a unit in the next batch; returns after its COMMIT.

        Args:
            unit: synchronous, without effects outside the database; may run again.
            committed: called in the event loop with the result, even if the
                caller was cancelled: what must follow the COMMIT stands here.
            long: the unit may take more than a millisecond; it is kept out of
                the event loop, with the batch that it is in.

        Raises:
            Unavailable: the queue is full, or the batch could not be committed.
        """
        if self._closed:
            raise Unavailable(AWAY)
        if self._waiting >= QUEUE:
            raise Unavailable(FULL, retry_after=1)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting += 1
        self._pending.append(_Job(unit, future, committed, long))
        if self._idle.is_set():
            self._idle.clear()
            loop.call_soon(self._begin, loop)
        return await future

    async def finish(self) -> None:
        """Take no more units, and wait until those that were taken are told."""
        self._closed = True
        await self._idle.wait()

    def close(self) -> None:
        """End the thread and close the connection."""
        self._closed = True
        if self._thread.is_alive():
            self._calls.put(None)
            self._thread.join()
            self._connection.close()

    # --- a batch, in the event loop -----------------------------------------------

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run what one round of the loop, or one COMMIT's time, has asked for."""
        batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
        raw = self._raw
        if any(job.long for job in batch):
            self._calls.put(partial(self._whole, loop, batch))
            return
        changes = raw.total_changes
        try:
            results = self._run(batch)
            if raw.total_changes == changes:  # nothing for the disk to keep
                raw.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (told to who waits)
            if _is_taken(error):
                self._calls.put(partial(self._whole, loop, batch))
            else:
                self._told(loop, self._failed(batch, error))
            return
        if raw.in_transaction:
            self._calls.put(partial(self._commit, loop, batch, results))
        else:
            self._told(loop, results)

    def _told(self, loop: asyncio.AbstractEventLoop, results: list[_Result]) -> None:
        """Resolve the futures of a batch, and begin the next."""
        self._waiting -= len(results)
        for job, result, error in results:
            if error is None and job.committed is not None:
                try:
                    job.committed(result)
                except Exception as fault:  # noqa: BLE001 (told to who waits)
                    error = fault  # the rest of the batch is to be told all the same
            if job.future.cancelled():
                continue
            if error is not None:
                job.future.set_exception(error)
            else:
                job.future.set_result(result)
        if self._pending:
            loop.call_soon(self._begin, loop)
        else:
            self._idle.set()

    # --- what waits, in the thread --------------------------------------------------

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _commit(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[_Job],
        results: list[_Result],
    ) -> None:
        try:
            self._raw.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (told to who waits)
            results = self._failed(batch, error)
        self._tell(loop, results)

    def _whole(self, loop: asyncio.AbstractEventLoop, batch: list[_Job]) -> None:
        """A batch that may take its time, or must wait for another program."""
        try:
            _wait_for_others(self._raw, self._busy)
            results = self._run(batch)
            self._raw.execute("COMMIT")
            _wait_for_others(self._raw, 0)
        except Exception as error:  # noqa: BLE001 (told to who waits)
            results = self._failed(batch, error)
        self._tell(loop, results)

    def _tell(self, loop: asyncio.AbstractEventLoop, results: list[_Result]) -> None:
        try:
            loop.call_soon_threadsafe(self._told, loop, results)
        except RuntimeError:  # the loop was closed while we wrote
            log.warning("store.nobody_waits", units=len(results))
            self._waiting, self._pending = 0, []
            self._idle.set()

    # --- both -----------------------------------------------------------------------

    def _run(self, batch: list[_Job]) -> list[_Result]:
        """All but the COMMIT."""
        raw = self._raw
        raw.execute("BEGIN IMMEDIATE")
        results = self._together(batch)
        if results is None:
            raw.execute("ROLLBACK")
            raw.execute("BEGIN IMMEDIATE")
            results = [self._apart(job) for job in batch]
        return results

    def _together(self, batch: list[_Job]) -> list[_Result] | None:
        """Run units one after the other; None when one raised after it had written."""
        raw = self._raw
        results: list[_Result] = []
        for job in batch:
            changes = raw.total_changes
            try:
                results.append((job, job.unit(self._connection), None))
            except (sqlite3.OperationalError, sa.exc.OperationalError):
                raise
            except BaseException as error:  # noqa: BLE001 (told to who waits)
                if raw.total_changes != changes:
                    return None
                results.append((job, None, error))
        return results

    def _apart(self, job: _Job) -> _Result:
        """Run one unit in a savepoint: what it wrote goes if it raises."""
        raw = self._raw
        raw.execute("SAVEPOINT unit")
        try:
            result = job.unit(self._connection)
        except (sqlite3.OperationalError, sa.exc.OperationalError):
            raise
        except BaseException as error:  # noqa: BLE001 (told to who waits)
            raw.execute("ROLLBACK TO unit")
            raw.execute("RELEASE unit")
            return job, None, error
        raw.execute("RELEASE unit")
        return job, result, None

    def _failed(self, batch: list[_Job], error: Exception) -> list[_Result]:
        """Nothing of the batch is kept, and everybody is told so."""
        log.error("store.batch_failed", units=len(batch), **trouble(error))
        try:
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            _wait_for_others(self._raw, 0)
        except sqlite3.Error as worse:
            log.error("store.rollback_failed", **trouble(worse))
        return [(job, None, Unavailable(AWAY)) for job in batch]


def _wait_for_others(raw: sqlite3.Connection, seconds: float) -> None:
    """How long a BEGIN waits for another program's transaction."""
    raw.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def _is_taken(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY
