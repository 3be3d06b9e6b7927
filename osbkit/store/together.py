"""Group commit on a server: units of work that wait together share a transaction.

    write() ─► pending ─(a lane is free)─► BEGIN, unit, unit, unit …, COMMIT ─► all told
                                             │ anything before the COMMIT
                                             └─► ROLLBACK, and each runs by itself

A lane is one transaction at a time. What is asked for meanwhile is the next batch: one
lane makes the largest batches, and those cost least. Another is taken only when a batch
takes so long that it must be waiting for something. Nobody is told before the COMMIT,
refusals included: they may rest on what a neighbour in the batch wrote.

A unit that raises before it has written is told so with the others. Whatever else
happens before the COMMIT (a unit raised after it had written, a deadlock, a lock that
another process holds, a lost connection) rolls the batch back, and its units run
again, each in a transaction of its own, so that none can hurt a neighbour twice. A
savepoint for each unit would cost as much as two statements, and be nearly never gone
back to. A lane waits for a lock a moment only, because all of its batch waits with
it; a unit by itself waits as long as a statement may take.

Where there is no connection, all hear Unavailable; and where the answer of a COMMIT is
lost, which leaves open what was written.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from osbkit.errors import OsbkitError
from osbkit.store.statements import has_written, watch
from osbkit.store.transactions import Away, Unclear, transact
from osbkit.telemetry import log, trouble

BATCH = 64
"""Units at most in one transaction."""

SLOW = 0.05
"""Seconds that a job waits for a lane before it is given another."""

Unit = Callable[[sa.Connection], Any]
Outcome = tuple[Any, Exception | None]


@dataclass(slots=True, eq=False)
class Job:
    """A unit of work that somebody waits for."""

    unit: Unit
    committed: Callable[[Any], None] | None
    future: "asyncio.Future[Any]"

    def tell(self, result: Any, error: BaseException | None = None) -> None:
        """Say how it ended, after the COMMIT."""
        if error is None and self.committed is not None:
            try:
                self.committed(result)
            except Exception as fault:  # noqa: BLE001 (told to who waits)
                error = fault  # the rest of the batch is to be told all the same
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Apart(Exception):
    """The units of a batch cannot share a transaction."""


class Lanes:
    """Takes jobs, and runs what waits together.

    Args:
        engine: of as many connections as there are lanes.
        alone: sees that a job runs in a transaction of its own, and is told; returns
            at once, for the lane is needed.
    """

    def __init__(
        self, engine: AsyncEngine, lanes: int, alone: Callable[[Job], None]
    ) -> None:
        self._engine = engine
        self._free = lanes
        self._alone = alone
        self._pending: list[Job] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, job: Job) -> None:
        """Run a job with the next batch."""
        self._pending.append(job)
        if len(self._pending) > 1:
            return
        if self._tasks:
            self._watch(job)
        else:
            asyncio.get_running_loop().call_soon(self._begin)

    def _watch(self, job: Job) -> None:
        asyncio.get_running_loop().call_later(SLOW, self._late, job)

    def _late(self, job: Job) -> None:
        """What waits since then needs a lane of its own."""
        if self._pending and self._pending[0] is job:
            self._begin()

    def _begin(self) -> None:
        """Run what waits, if a lane is free."""
        if not self._free or not self._pending:
            return
        self._free -= 1
        batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
        task = asyncio.create_task(self._run(batch))
        self._tasks.add(task)
        task.add_done_callback(self._over)
        if self._pending:
            self._watch(self._pending[0])

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._free += 1
        self._begin()

    async def _run(self, batch: list[Job]) -> None:
        try:
            outcomes = await transact(self._engine, partial(together, batch=batch))
        except (Away, Unclear) as away:
            for job in batch:
                job.tell(None, away)
        except Exception as error:  # noqa: BLE001 (each hears of its own)
            cause = error.__cause__ or error
            log.info("store.apart", units=len(batch), **trouble(cause))
            for job in batch:
                self._alone(job)
        else:
            for job, (result, refused) in zip(batch, outcomes, strict=True):
                job.tell(result, refused)


def together(db: sa.Connection, batch: list[Job]) -> list[Outcome]:
    """Run units one after the other; what each returned, or how it refused.

    Raises:
        Apart: one raised after it had written, or a fault.
    """
    outcomes: list[Outcome] = []
    for job in batch:
        watch(db)
        try:
            outcomes.append((job.unit(db), None))
        except Exception as error:
            if has_written(db) or not isinstance(error, OsbkitError):
                raise Apart from error
            outcomes.append((None, error))
    return outcomes
