"""SQLite's one writer thread: queued units of work, one COMMIT for a batch.

    write() ─► queue ─► thread: BEGIN IMMEDIATE
                                  SAVEPOINT, unit, RELEASE     (for each)
                                COMMIT ─► every caller is told

Nobody is told before the COMMIT, refusals included: they may rest on what a
neighbour in the batch wrote. When the COMMIT fails, every unit of the batch gets
Unavailable. Beyond `QUEUE` waiting units a caller is refused at once.
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

_Answer = tuple["asyncio.Future[Any]", Committed | None, Any, BaseException | None]


class Writer:
    """The thread and its queue. One per SQLite file."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._queue: queue.Queue[_Job | None] = queue.Queue(maxsize=QUEUE)
        self._thread = threading.Thread(
            target=self._run, name="osbkit-writer", daemon=True
        )
        self._ready: Future[None] = Future()
        self._closed = False
        self._door = threading.Lock()  # nothing is queued behind the end

    def start(self) -> None:
        """Start the thread and wait until its connection is open."""
        self._thread.start()
        self._ready.result()

    async def write(
        self, unit: Unit[T], committed: Callable[[T], None] | None = None
    ) -> T:
        """Run a unit in the next batch; returns after its COMMIT.

        Args:
            unit: synchronous, without effects outside the database.
            committed: called in the event loop with the result, even if the
                caller was cancelled: what must follow the COMMIT stands here.

        Raises:
            Unavailable: the queue is full, or the batch could not be committed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._door:
            if self._closed:
                raise Unavailable(AWAY)
            try:
                self._queue.put_nowait((unit, loop, future, committed))
            except queue.Full:
                raise Unavailable(FULL, retry_after=1) from None
        return await future

    def close(self) -> None:
        """Finish what is queued, then close the connection."""
        with self._door:
            first, self._closed = not self._closed, True
        if first:
            self._queue.put(None)
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
                self._serve(connection, batch)

    def _take(self) -> list[_Job] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._queue.put(None)
                break
            batch.append(job)
        return batch

    def _serve(self, connection: sa.Connection, batch: list[_Job]) -> None:
        raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        results: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            raw.execute("BEGIN IMMEDIATE")
            results.extend(_attempt(connection, raw, job) for job in batch)
            raw.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (told to who waits)
            log.error("store.batch_failed", units=len(batch), **trouble(error))
            _roll_back(raw)
            results = [(job, None, Unavailable(AWAY)) for job in batch]
        _tell(results)


def _attempt(
    connection: sa.Connection, raw: sqlite3.Connection, job: _Job
) -> tuple[_Job, Any, BaseException | None]:
    raw.execute("SAVEPOINT unit")
    try:
        result = job[0](connection)
    except sqlite3.OperationalError:
        raise
    except sa.exc.OperationalError:
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


def _tell(results: list[tuple[_Job, Any, BaseException | None]]) -> None:
    """Resolve the futures of a batch in one wake-up per loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Answer]] = {}
    for (_, loop, future, committed), result, error in results:
        loops.setdefault(loop, []).append((future, committed, result, error))
    for loop, answers in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, answers)
        except RuntimeError:  # the loop was closed while we wrote
            log.warning("store.nobody_waits", units=len(answers))


def _resolve(answers: list[_Answer]) -> None:
    for future, committed, result, error in answers:
        if error is None and committed is not None:
            try:
                committed(result)
            except Exception as fault:  # noqa: BLE001 (the neighbours must be told)
                log.error("store.committed_failed", **trouble(fault))
        if future.cancelled():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
