"""All queues of a directory, for the event loop: files, threads, waiting.

    caller ─ unit ─► pending of its queue ─► drain ─ thread: one transaction ─► answer
                                                └─ wakes those who wait for a message

One drain per queue takes everything that is pending into one commit. Blocking work
runs in a few threads, a queue is never in two of them, and at most `max_open` files
are open; the one used longest ago is closed first. What a queue is made of is in
`queue_file`; HTTP is in `messages`.

Other processes may work on the same directory; they only wake nobody here, so a
waiting receiver looks again every `RECHECK_SECONDS`.

Units: spans in seconds; `clock` gives seconds since 1970.
"""

import asyncio
import contextlib
import functools
import os
import re
import sqlite3
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from examples.queue_broker import queue_file
from examples.queue_broker.queue_file import (
    MICROSECONDS,
    DeadLetter,
    Mark,
    Message,
    NotAuthorized,
    QueueFile,
    QueueMissing,
    QueueSettings,
    QueueState,
    Right,
    Role,
    StoreUnavailable,
    Unit,
)

SUFFIX = ".db"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
BATCH = 128  # units in one transaction
PENDING = 1_000  # units that may wait for one queue
RECHECK_SECONDS = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    unit: Unit
    answer: asyncio.Future[Any]
    wakes: bool  # those who wait should look again once it is committed


class _Queue:
    """What this process knows of one queue, beside its file."""

    def __init__(self, path: Path) -> None:
        self.file = QueueFile(path)
        self.lock = asyncio.Lock()  # around every use of the file
        self.pending: deque[_Job] = deque()
        self.draining = False
        self.changed = asyncio.Event()
        self.users = 0

    def wake(self) -> None:
        """Let everybody who waits for a change look again."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class QueueStore:
    """Queues in a directory, one file each.

    Nothing is touched before `open`; until then, and after `close`, every call
    raises StoreUnavailable. Calls that change a queue's existence, settings or
    tokens may be repeated and end in the same state.

    Args:
        clock: now, in seconds since 1970.
        max_open: files open at once; more queues than that may be in use.
        threads: how many queues are on the disk at the same moment.

    Attributes:
        waiting: how many receivers wait for a message now.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        max_open: int = 64,
        threads: int = 4,
    ) -> None:
        self._clock = clock
        self._max_open = max_open
        self._thread_count = threads
        self._directory: Path | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._queues: OrderedDict[str, _Queue] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._slots = asyncio.Semaphore(threads)
        self.waiting = 0

    # -- the store itself

    async def open(self, directory: Path) -> None:
        """Use this directory, made if it is missing, readable by its owner only.

        Raises:
            OSError: the directory cannot be made or written.
        """
        self._threads = ThreadPoolExecutor(self._thread_count, "queue-store")
        self._slots = asyncio.Semaphore(self._thread_count)
        try:
            self._directory = await self._in_thread(_prepare, directory)
        except BaseException:
            self._threads.shutdown()
            self._threads = None
            raise

    async def close(self) -> None:
        """Let what runs end, send away who waits, close every file."""
        self._directory = None
        for queue in self._queues.values():
            queue.wake()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for queue in self._queues.values():
            await self._in_thread(queue.file.close)
        self._queues.clear()
        if self._threads is not None:
            self._threads.shutdown()
        self._threads = None

    async def ping(self) -> None:
        """Pass if the directory can be written.

        Raises:
            StoreUnavailable: it cannot.
        """
        if self._directory is None or not await self._in_thread(
            os.access, self._directory, os.W_OK | os.X_OK
        ):
            raise StoreUnavailable("the directory of the queues cannot be written")

    async def names(self) -> list[str]:
        """The queues of which anything is left in the directory, sorted."""
        return await self._in_thread(_names, self._opened())

    @property
    def open_files(self) -> int:
        """How many files are open now."""
        return sum(queue.file.opened for queue in self._queues.values())

    # -- queues and their tokens

    async def converge(self, name: str, settings: QueueSettings, id_: str = "") -> None:
        """Make the queue, or bring it to these settings; messages stay.

        Args:
            id_: whose it is, for `marks`.

        Raises:
            TooManyStored: it holds more than the new limit; nothing changed.
            StoreUnavailable: nothing is known to have changed.
        """
        await self._alone(name, lambda file: file.create(settings, id_, self._now()))

    async def destroy(self, name: str) -> None:
        """Remove the queue, its messages and its tokens; missing is done."""
        await self._alone(name, QueueFile.remove)

    async def grant(
        self, name: str, binding: str, token: str, role: Role, id_: str = ""
    ) -> None:
        """Let a token in; the binding's earlier token is out.

        Args:
            id_: whose it is, for `marks`.

        Raises:
            QueueMissing: there is no such queue.
        """

        def granted(db: sqlite3.Connection) -> None:
            queue_file.grant(db, binding, token, role)
            if id_:
                queue_file.mark(db, binding, id_, self._now())

        await self._run(name, granted)

    async def revoke(self, name: str, binding: str) -> None:
        """Let the binding's token in no more, and send its waiting receivers away.

        A queue or a binding that is missing is done.
        """
        with contextlib.suppress(QueueMissing):
            await self._run(name, lambda db: queue_file.revoke(db, binding))

    async def state(self, name: str) -> QueueState:
        """The settings and the number of stored messages.

        Raises:
            QueueMissing: there is no such queue.
        """
        return await self._run(name, queue_file.state, wakes=False)

    async def marks(self, name: str) -> list[Mark]:
        """Whose the queue is, then whose each of its tokens.

        Raises:
            QueueMissing: there is no such queue.
        """
        return await self._run(name, queue_file.marks, wakes=False)

    # -- messages; every call raises NotAuthorized or RoleMissing first

    async def authorize(self, name: str, token: str, right: Right) -> None:
        """Pass if the queue would take this token for this."""
        await self._run_as(name, token, right, lambda _db: None, wakes=False)

    async def send(
        self, name: str, token: str, body: bytes, *, delay: float = 0
    ) -> int:
        """Store a message, handed out after `delay` seconds; return its id.

        Raises:
            QueueFull: a limit of the plan is reached.
        """
        return await self._run_as(
            name,
            token,
            Right.SEND,
            lambda db: queue_file.send(
                db, body, self._now() + int(delay * MICROSECONDS)
            ),
        )

    async def receive(
        self, name: str, token: str, *, wait: float = 0, lease: float | None = None
    ) -> Message | None:
        """Lease the message that waits longest, or wait for one up to `wait` seconds.

        The token is looked at again on every change, so that a revoked one is sent
        away at once and not when its wait is over.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        with _missing_is_not_authorized(), self._using(name) as queue:
            while True:
                changed = queue.changed
                found = await self._run_as(
                    name,
                    token,
                    Right.RECEIVE,
                    lambda db: queue_file.receive(db, self._now(), lease),
                    wakes=False,
                )
                if isinstance(found, Message):
                    return found
                left = until - loop.time()
                if left <= 0:
                    return None
                await self._wait(changed, min(left, self._until(found.due)))

    async def acknowledge(
        self, name: str, token: str, message_id: int, receipt: str
    ) -> None:
        """Remove a received message.

        Raises:
            LeaseLost: the receipt does not hold it any more.
        """
        await self._run_as(
            name,
            token,
            Right.RECEIVE,
            lambda db: queue_file.acknowledge(db, message_id, receipt, self._now()),
            wakes=False,
        )

    async def dead_letters(
        self, name: str, token: str, *, limit: int
    ) -> list[DeadLetter]:
        """The oldest messages that nobody acknowledged."""
        return await self._run_as(
            name,
            token,
            Right.RECEIVE,
            lambda db: queue_file.dead_letters(db, limit),
            wakes=False,
        )

    async def delete_dead_letter(self, name: str, token: str, message_id: int) -> None:
        """Remove one of them; missing is done."""
        await self._run_as(
            name,
            token,
            Right.RECEIVE,
            lambda db: queue_file.delete_dead_letter(db, message_id),
            wakes=False,
        )

    # -- how units get to their file

    async def _wait(self, changed: asyncio.Event, seconds: float) -> None:
        self.waiting += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()
        finally:
            self.waiting -= 1

    def _now(self) -> int:
        return int(self._clock() * MICROSECONDS)

    def _until(self, due: int | None) -> float:
        if due is None:
            return RECHECK_SECONDS
        return min(RECHECK_SECONDS, max(0.0, (due - self._now()) / MICROSECONDS))

    def _opened(self) -> Path:
        if self._directory is None:
            raise StoreUnavailable("the queues are not open")
        return self._directory

    async def _run_as(
        self,
        name: str,
        token: str,
        right: Right,
        unit: Callable[[sqlite3.Connection], T],
        *,
        wakes: bool = True,
    ) -> T:
        def authorized(db: sqlite3.Connection) -> T:
            queue_file.authorize(db, token, right)
            return unit(db)

        with _missing_is_not_authorized():
            return await self._run(name, authorized, wakes=wakes)

    async def _run(
        self,
        name: str,
        unit: Callable[[sqlite3.Connection], T],
        *,
        wakes: bool = True,
    ) -> T:
        """Commit one unit with those that wait beside it, and return its answer."""
        with self._using(name) as queue:
            if len(queue.pending) >= PENDING:
                raise StoreUnavailable("too many requests wait for this queue")
            answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            queue.pending.append(_Job(unit, answer, wakes))
            if not queue.draining:
                queue.draining = True
                _ = self._start(self._drain(name, queue))
            return await answer

    async def _drain(self, name: str, queue: _Queue) -> None:
        queue.users += 1
        while queue.pending:
            async with self._alone_at(queue) as file:
                count = min(BATCH, len(queue.pending))
                taken = [queue.pending.popleft() for _ in range(count)]
                # for a caller who has gone before it began nothing is done
                jobs = [job for job in taken if not job.answer.done()]
                await self._commit(file, jobs)
            if any(job.wakes for job in jobs):
                queue.wake()
        queue.draining = False
        self._release(name, queue)

    async def _commit(self, file: QueueFile, jobs: list[_Job]) -> None:
        try:
            outcomes = await self._in_thread(file.run, [j.unit for j in jobs])
        except Exception as failure:  # noqa: BLE001 - every caller gets it
            outcomes = [failure] * len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.answer.done():
                continue
            if isinstance(outcome, Exception):
                job.answer.set_exception(outcome)
            else:
                job.answer.set_result(outcome)

    async def _alone(self, name: str, work: Callable[[QueueFile], None]) -> None:
        """Work on the file with nobody beside, to the end even if cancelled.

        A thread cannot be stopped: the call returns when its effect is over, so
        that whoever cancelled it knows that nothing comes after.
        """

        async def locked() -> None:
            with self._using(name) as queue:
                async with self._alone_at(queue) as file:
                    await self._in_thread(work, file)
                queue.wake()

        task = self._start(locked())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        if self._threads is None:
            raise StoreUnavailable("the queues are not open")
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, functools.partial(work, *arguments)
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller got it, or has been cancelled

    @contextlib.contextmanager
    def _using(self, name: str) -> Iterator[_Queue]:
        """The one record of a queue, kept while anybody uses it."""
        directory = self._opened()
        if NAME.fullmatch(name) is None:
            raise QueueMissing
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(directory / (name + SUFFIX))
        self._queues.move_to_end(name)
        queue.users += 1
        try:
            yield queue
        finally:
            self._release(name, queue)

    def _release(self, name: str, queue: _Queue) -> None:
        queue.users -= 1
        if not queue.users and not queue.file.opened:
            self._queues.pop(name, None)

    @contextlib.asynccontextmanager
    async def _alone_at(self, queue: _Queue) -> AsyncIterator[QueueFile]:
        """Nobody else at this file, few at any file, and room for one more."""
        async with self._slots, queue.lock:
            while not queue.file.opened and self._in_use() > self._max_open:
                if not await self._close_the_oldest():
                    break
            yield queue.file

    def _in_use(self) -> int:
        return sum(q.file.opened or q.lock.locked() for q in self._queues.values())

    async def _close_the_oldest(self) -> bool:
        """Close one file at which nobody works just now, if there is one."""
        for name, queue in self._queues.items():
            if queue.file.opened and not queue.lock.locked():
                queue.users += 1
                async with queue.lock:
                    await self._in_thread(queue.file.close)
                self._release(name, queue)
                return True
        return False


@contextlib.contextmanager
def _missing_is_not_authorized() -> Iterator[None]:
    """A name that is free tells nobody so."""
    try:
        yield
    except QueueMissing:
        raise NotAuthorized from None


def _prepare(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(f"{directory} cannot be written")
    return directory.resolve()


def _names(directory: Path) -> list[str]:
    found = {path.name.partition(SUFFIX)[0] for path in directory.glob(f"*{SUFFIX}*")}
    return sorted(name for name in found if NAME.fullmatch(name))
