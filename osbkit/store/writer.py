"""SQLite's one writer thread: queued units of work, one COMMIT for a batch.

    write() ─► pending ─(end of the loop's round)─► thread: BEGIN IMMEDIATE
                                                              unit, unit, unit …
                                                            COMMIT ─► all are told

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
from concurrent.futures import Future
from typing import Any, TypeVar

import sqlalchemy as sa

from osbkit.errors import Unavailable
from osbkit.telemetry import log, trouble

T = TypeVar("T")
BATCH = 256
QUEUE = 4096
AWAY = "The broker's database does not answer at the moment. Try again shortly."
FULL = "The broker has more changes waiting than it can write. Try again shortly."

Unit = Callable[[sa.Connection], T]
Committed = Callable[[Any], None]
_Job = tuple[
    Unit[Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]", Committed | None
]

_Result = tuple[_Job, Any, BaseException | None]


class Writer:
    """The thread and its queue. One per SQLite file."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._pending: list[_Job] = []
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread = threading.Thread(
            target=self._run, name="osbkit-writer", daemon=True
        )
        self._ready: Future[None] = Future()
        self._closed = False

    def start(self) -> None:
        """Start the thread and wait until its connection is open."""
        self._thread.start()
        self._ready.result()

    async def write(
        self, unit: Unit[T], committed: Callable[[T], None] | None = None
    ) -> T:
        """Run a unit in the next batch; returns after its COMMIT.

        Args:
            unit: synchronous, without effects outside the database; may run again.
            committed: called in the event loop with the result, even if the
                caller was cancelled: what must follow the COMMIT stands here.

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
        if not self._pending:
            loop.call_soon(self._flush)
        self._pending.append((unit, loop, future, committed))
        return await future

    def _flush(self) -> None:
        """Hand over what one round of the loop has asked for: one wake-up for all."""
        batch, self._pending = self._pending, []
        if not batch:
            return
        if self._closed:
            self._resolve([(job, None, Unavailable(AWAY)) for job in batch])
        else:
            self._queue.put(batch)

    def end(self) -> None:
        """Take no more units. In the thread of the loop: no `write` is half done."""
        if not self._closed:
            self._closed = True
            batch, self._pending = self._pending, []
            self._queue.put(batch)
            self._queue.put(None)

    def close(self) -> None:
        """Finish what is queued, then close the connection.

        Not from the thread of the event loop while it must tell the last callers.
        """
        self.end()
        self._thread.join()

    def _run(self) -> None:
        try:
            connection = self._engine.connect()
        except Exception as error:  # noqa: BLE001 (told to who waits)
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        with connection:
            while (batch := self._take()) is not None:
                if batch:
                    self._serve(connection, batch)

    def _take(self) -> list[_Job] | None:
        batch = self._queue.get()
        while batch is not None and len(batch) < BATCH:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            batch += more
        return batch

    def _serve(self, connection: sa.Connection, batch: list[_Job]) -> None:
        raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            raw.execute("BEGIN IMMEDIATE")
            results = _together(connection, raw, batch)
            if results is None:
                raw.execute("ROLLBACK")
                raw.execute("BEGIN IMMEDIATE")
                results = [_apart(connection, raw, job) for job in batch]
            raw.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (told to who waits)
            log.error("store.batch_failed", units=len(batch), **trouble(error))
            _roll_back(raw)
            results = [(job, None, Unavailable(AWAY)) for job in batch]
        self._tell(results)

    def _tell(self, results: list[_Result]) -> None:
        """Resolve the futures of a batch in one wake-up per loop."""
        loops: dict[asyncio.AbstractEventLoop, list[_Result]] = {}
        for result in results:
            loops.setdefault(result[0][1], []).append(result)
        for loop, answers in loops.items():
            try:
                loop.call_soon_threadsafe(self._resolve, answers)
            except RuntimeError:  # the loop was closed while we wrote
                log.warning("store.nobody_waits", units=len(answers))

    def _resolve(self, answers: list[_Result]) -> None:
        self._waiting -= len(answers)
        for (_, _, future, committed), result, error in answers:
            if error is None and committed is not None:
                try:
                    committed(result)
                except Exception as fault:  # noqa: BLE001 (told to who waits)
                    error = fault  # the rest of the batch is to be told all the same
            if future.cancelled():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)


def _together(
    connection: sa.Connection, raw: sqlite3.Connection, batch: list[_Job]
) -> list[_Result] | None:
    """Run units one after the other; None when one raised after it had written."""
    results: list[_Result] = []
    for job in batch:
        changes = raw.total_changes
        try:
            results.append((job, job[0](connection), None))
        except (sqlite3.OperationalError, sa.exc.OperationalError):
            raise
        except BaseException as error:  # noqa: BLE001 (told to who waits)
            if raw.total_changes != changes:
                return None
            results.append((job, None, error))
    return results


def _apart(connection: sa.Connection, raw: sqlite3.Connection, job: _Job) -> _Result:
    """Run one unit in a savepoint: what it wrote goes if it raises."""
    raw.execute("SAVEPOINT unit")
    try:
        result = job[0](connection)
    except (sqlite3.OperationalError, sa.exc.OperationalError):
        raise
    except BaseException as error:  # noqa: BLE001 (told to who waits)
        raw.execute("ROLLBACK TO unit")
        raw.execute("RELEASE unit")
        return job, None, error
    raw.execute("RELEASE unit")
    return job, result, None


def _roll_back(raw: sqlite3.Connection) -> None:
    try:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
    except sqlite3.Error as error:
        log.error("store.rollback_failed", **trouble(error))
