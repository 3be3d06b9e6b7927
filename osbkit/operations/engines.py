"""Who calls `execute`, and when.

The operations table is the only truth; the engine is told of new rows, claims what
is due, and hands out results to those who wait. Operations are asyncio tasks of its
process: of one that serves, or of `osbkit worker`.

    embedded      it claims what its own requests recorded, and what is due
    distributed   the same, and procrastinate brings the ids of rows that nobody
                  holds (`delivery`); on PostgreSQL
    works=False   it claims nothing: OSBKIT_WORKER=none

On a store that other processes share (`store.alone` is false) leases decide. A look
at the table every `WATCH` seconds finds

    due, held by nobody          claimed, by the one process that comes first
    held by us, and stop asked   its call is to return
    held by us, and turned       its call is to return, and is rolled back
    ours no longer               its call is to return: another runs it
    held by us, but not running  claimed again: a COMMIT's answer was lost

and a call whose lease could not be renewed is to return before another may begin.

Units: spans are seconds; moments in records are microseconds.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from osbkit.backends.registry import Registry
from osbkit.domain import (
    MICROSECONDS,
    OWN_ACCOUNT,
    Operation,
    OperationKind,
    OperationState,
    Phase,
)
from osbkit.errors import DatabaseUnusable, LeaseLost, RecordUnknown, Unavailable
from osbkit.operations import leases
from osbkit.operations.claiming import lease_from_now, let_go, settle_halted, take_up
from osbkit.operations.execute import (
    Executor,
    Handle,
    Interrupted,
    Postponed,
    Reason,
)
from osbkit.operations.work import Requests, Work
from osbkit.store import operations
from osbkit.store.operations import Glance, Held
from osbkit.store.protocol import Store
from osbkit.store.rows import now
from osbkit.telemetry import log, trouble

POLL = 0.5
"""Longest time between two looks at what another process runs."""
SOON = 0.02
"""The first of these times; each is twice the one before."""


class Engine:
    """Operations as tasks of this process.

    A request only waits for a task; it never owns one, so it may be cancelled at
    any moment.

    Args:
        works: whether operations run here; else they are only recorded, and
            waited for.
        concurrency: calls of backends at the same time; also what is claimed from
            a shared table at most.
        deadline: seconds for what has no deadline of its own.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        requests: Requests,
        *,
        works: bool = True,
        concurrency: int = 64,
        deadline: float = 3600.0,
    ) -> None:
        self.owner = secrets.token_hex(16)
        self.works = works
        self._store = store
        self._concurrency = concurrency
        self._handles: dict[str, Handle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._claiming: set[str] = set()
        self._suspects: set[str] = set()
        self._odd: set[str] = set()
        self._looking = False
        self._stopping = asyncio.Event()
        self._waiting: set[Callable[[], None]] = set()
        self._executor = Executor(
            store,
            registry,
            requests,
            concurrency=concurrency,
            span=deadline,
            returned=self._returned,
        )

    # --- what requests use ------------------------------------------------------

    def claimed(self) -> dict[str, Any]:
        """The columns of a new operation: claimed by us already, or by nobody."""
        if not self.works:
            return {"run_at": now()}
        return {
            "fence": 1,
            "owner": self.owner,
            "attempt": 1,
            "claims": 1,
            "run_at": lease_from_now(),
        }

    def take(self, work: Work) -> None:
        """Start what was just recorded, already claimed. Called after the COMMIT."""
        if self._stopping.is_set() or not self.works:
            return  # it is in the table: the next start, or a worker, takes it up
        loop = asyncio.get_running_loop()
        handle = Handle(work, self._store, loop)
        if not self._store.alone and self._is_over(handle):
            return  # the COMMIT took so long that another may have it; see _watch
        self._handles[work.operation.id] = handle
        self._spawn(self._drive(handle))

    def halt(self, halted: Iterable[Operation]) -> None:
        """Answer who waits for halted operations; ask their calls to return.

        The answer does not wait for the call, which may be deaf for long.
        """
        for operation in halted:
            handle = self._handles.get(operation.id)
            if handle is not None:
                failed = OperationState.FAILED
                handle.end(replace(operation, state=failed, stop_asked=True))
                handle.interrupt(Reason.HALTED)
            timer = self._timers.pop(operation.id, None)
            if timer is not None:
                timer.cancel()

    def turned(self, operation: Operation) -> None:
        """An operation was turned towards its roll-back. Called after the COMMIT."""
        handle = self._handles.get(operation.id)
        if handle is not None:
            handle.operation = operation
            handle.interrupt(Reason.ABANDONED)

    async def wait(self, operation: Operation, seconds: float) -> Operation:
        """The operation once it has ended, or as it is after `seconds`.

        May be cancelled; the operation goes on. Returns early when the process
        is stopping.
        """
        handle = self._handles.get(operation.id)
        if handle is not None:
            await self._until_done(handle, seconds)
            done = handle.done
            if done.done() and not done.cancelled():
                return done.result()
            return handle.operation
        return await self._poll(operation, seconds)

    async def _poll(self, operation: Operation, seconds: float) -> Operation:
        """The same for what another process runs, or nobody at the moment."""
        give_up = now() + int(seconds * MICROSECONDS)
        pause = SOON
        while True:
            found = await self._store.read(
                partial(operations.show, operation_id=operation.id)
            )
            operation = found or operation
            left = (give_up - now()) / MICROSECONDS
            if not operation.live or left <= 0 or self._stopping.is_set():
                return operation
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, POLL)

    async def _until_done(self, handle: Handle, seconds: float) -> None:
        """Wait for a handle, a time, or the end of the process; owns none of them."""
        if self._stopping.is_set():
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake(_: Any = None) -> None:
            if not waiter.done():
                waiter.set_result(None)

        timer = loop.call_later(seconds, wake)
        handle.done.add_done_callback(wake)
        self._waiting.add(wake)
        try:
            await waiter
        finally:
            timer.cancel()
            handle.done.remove_done_callback(wake)
            self._waiting.discard(wake)

    @property
    def stopping(self) -> bool:
        """Whether the process is about to leave."""
        return self._stopping.is_set()

    @property
    def running(self) -> int:
        """Operations this process works on."""
        return len(self._handles)

    # --- its own life -------------------------------------------------------------

    async def open(self) -> None:
        """Take up what a former process left, and keep leases alive.

        Holding the lock file of a SQLite database proves that no other process
        runs its operations, so nothing has to wait for a lease.
        """
        if not self.works:
            return
        if not self._store.alone:
            self._spawn(self._watch())
            self._spawn(self._heart())
            return
        await self._store.write(settle_halted, long=True)
        live = await self._store.read(operations.all_open)
        for operation in live:
            if operation.owner is None and (operation.run_at or 0) > now():
                self._later(operation)
        due = [one for one in live if one.id not in self._timers]
        suspects = [one.id for one in due if one.claims >= leases.SUSPECT]
        await asyncio.gather(
            *(self._claim(one.id) for one in due if one.claims < leases.SUSPECT)
        )
        self._spawn(self._one_by_one(suspects))
        self._spawn(self._heart())

    async def _one_by_one(self, suspects: list[str]) -> None:
        """Take up what was running when the process died, more than once.

        One of them may have killed it; side by side the others would be counted,
        and parked, with it.
        """
        for operation_id in suspects:
            if self._stopping.is_set():
                return
            await self._claim(operation_id)
            handle = self._handles.get(operation_id)
            if handle is not None:
                await self._until_done(handle, leases.SUSPICION)
            self._suspects.discard(operation_id)

    def leave(self) -> None:
        """The process was told to stop: nobody waits any longer."""
        self._stopping.set()
        for wake in tuple(self._waiting):
            wake()

    async def close(self, grace: float = 8.0) -> None:
        """Ask every call to return, and leave what does not to the next start."""
        self.leave()
        self._store.closing = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for handle in self._handles.values():
            handle.interrupt(Reason.STOPPING)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                log.warning("engine.left_running", calls=len(late))
                await asyncio.wait(late, timeout=1.0)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self, operation: Operation) -> None:
        """Claim a row that nobody holds once it is due; its job does so elsewhere."""
        if self._store.delivers or not self.works:
            return
        wait = ((operation.run_at or 0) - now()) / MICROSECONDS
        self._claim_in(max(0.0, wait), operation.id)

    def _due(self, operation_id: str, again: bool = False) -> None:
        self._timers.pop(operation_id, None)
        if not self._stopping.is_set():
            self._spawn(self._claim(operation_id, again=again))

    async def deliver(self, operation_id: str) -> None:
        """See an operation through that a job has named, if it is to be done.

        Its call may be cancelled; then the row is let go, or taken over later.
        """
        if self._stopping.is_set() or self._knows(operation_id):
            return
        await self._claim(operation_id)
        handle = self._handles.get(operation_id)
        if handle is not None:
            await handle.returned.wait()

    async def _claim(self, operation_id: str, *, again: bool = False) -> None:
        """Claim a row if it is live; `again` if we hold it and do not run it."""
        if operation_id in self._handles or operation_id in self._claiming:
            return
        self._claiming.add(operation_id)
        try:
            got = await self._store.write(
                partial(
                    take_up,
                    operation_id=operation_id,
                    owner=self.owner,
                    alone=self._store.alone,
                    again=again,
                )
            )
        except LeaseLost:
            return
        except DatabaseUnusable as damaged:
            log.error(
                "operation.unreadable", operation=operation_id, problem=str(damaged)
            )
            self._claim_in(leases.FORSAKEN, operation_id)  # a key may come back
        except RecordUnknown:
            operations.leave_unknown([operation_id])
        except Unavailable:
            self._claim_in(leases.RENEW, operation_id, again=again)
        else:
            self._claimed(got)
        finally:
            self._claiming.discard(operation_id)

    def _claimed(self, got: Work | Operation) -> None:
        """Go on with what was claimed, or say that it was parked."""
        if isinstance(got, Operation):
            log.error(
                "operation.parked",
                operation=got.id,
                kind=got.kind.value,
                instance_id=got.instance_id,
                claims=got.claims,
                fix="it ended its process every time; mend the cause, then repeat"
                " the platform's request",
            )
            return
        if got.operation.attempt > 1:
            log.info(
                "operation.resumed",
                operation=got.operation.id,
                kind=got.operation.kind.value,
                instance_id=got.operation.instance_id,
                attempt=got.operation.attempt,
            )
        self.take(got)

    def _claim_in(
        self, seconds: float, operation_id: str, *, again: bool = False
    ) -> None:
        loop = asyncio.get_running_loop()
        self._timers[operation_id] = loop.call_later(
            seconds, self._due, operation_id, again
        )

    async def _drive(self, handle: Handle) -> None:
        operation = handle.operation
        try:
            ended = await self._executor.execute(handle)
            handle.end(ended)
            await self._follow(ended)
        except Postponed as postponed:
            handle.done.cancel()
            self._handles.pop(operation.id, None)
            if not self._stopping.is_set():
                self._later(replace(operation, run_at=postponed.run_at))
        except (Interrupted, LeaseLost):
            await self._tell_as_stored(handle)
        except Unavailable:
            self._try_later(handle)
        except Exception as error:  # noqa: BLE001 (one fault must not stop the others)
            log.error("engine.fault", operation=operation.id, **trouble(error))
            self._try_later(handle)
        finally:
            self._handles.pop(operation.id, None)

    def _try_later(self, handle: Handle) -> None:
        """Nothing could be recorded: the row is still live, so claim it again."""
        handle.done.cancel()
        self._handles.pop(handle.operation.id, None)
        if not self._stopping.is_set():
            self._claim_in(leases.RENEW, handle.operation.id, again=True)

    async def _tell_as_stored(self, handle: Handle) -> None:
        """Another ended it: those who wait get what the row says."""
        self.look_after(handle.operation.instance_id)
        if self._store.closing:
            handle.done.cancel()
            return
        try:
            found = await self._store.read(
                partial(operations.show, operation_id=handle.operation.id)
            )
        except Unavailable:
            handle.done.cancel()
            return
        if found is not None:
            handle.end(found)

    async def _follow(self, ended: Operation) -> None:
        """Schedule the clean-up that a failed roll-back recorded."""
        if ended.state == "succeeded" and ended.kind is not OperationKind.SWEEP:
            return
        if not self._store.delivers:
            await self._own_account(ended.instance_id)

    def look_after(self, instance_id: str) -> None:
        """Something was recorded on the broker's own account."""
        if self.works and not self._store.delivers and not self._stopping.is_set():
            self._spawn(self._own_account(instance_id))

    async def _own_account(self, instance_id: str) -> None:
        """Give every clean-up and sweep of an instance its timer."""
        try:
            opened = await self._store.read(
                partial(operations.known_of, instance_id=instance_id)
            )
        except Unavailable:
            return  # the next start finds it
        for other in opened:
            known = other.id in self._timers or other.id in self._handles
            if other.kind in OWN_ACCOUNT and other.live and not known:
                self._later(other)

    async def _returned(self, operation_id: str, seconds: float) -> None:
        """Wait until a call of this process has returned, at most `seconds`."""
        handle = self._handles.get(operation_id)
        if handle is None:
            await asyncio.sleep(min(seconds, 0.05 if self._store.alone else seconds))
            return
        waiting = asyncio.ensure_future(handle.returned.wait())
        try:
            await asyncio.wait({waiting}, timeout=seconds)
        finally:
            waiting.cancel()

    async def _heart(self) -> None:
        """Renew the leases of what runs here; hear what is to be stopped."""
        while not await self._pause(leases.RENEW):
            if not self._handles:
                continue
            held = tuple(self._handles.values())
            until = lease_from_now()
            try:
                async with asyncio.timeout(None if self._store.alone else leases.RENEW):
                    stop = await self._store.write(
                        partial(operations.renew, owner=self.owner, until=until),
                        long=True,
                    )
            except (Unavailable, TimeoutError):
                continue
            for renewed in held:
                renewed.until = until
            for operation_id in stop:
                handle = self._handles.get(operation_id)
                if handle is not None:
                    handle.interrupt(Reason.HALTED)

    # --- a table that others share --------------------------------------------------

    async def _watch(self) -> None:
        """Let go in time, whether or not the database answers; and look around."""
        while not await self._pause(leases.WATCH):
            for handle in tuple(self._handles.values()):
                if self._is_over(handle):
                    handle.interrupt(Reason.LOST)
            if not self._looking:
                self._spawn(self._look_around())

    def _is_over(self, handle: Handle) -> bool:
        """Whether a lease is so near its end that another may soon claim it."""
        return handle.until - now() < leases.MARGIN * MICROSECONDS

    async def _look_around(self) -> None:
        """Compare the table with what runs here."""
        self._looking = True
        late = int(leases.OVERDUE * MICROSECONDS) if self._store.delivers else 0
        try:
            before = frozenset(self._handles)
            seen = await self._store.read(
                partial(operations.glance, owner=self.owner, now=now() - late)
            )
            self._compare(before, seen)
        except Unavailable:
            return
        finally:
            self._looking = False

    def _compare(self, before: frozenset[str], seen: Glance) -> None:
        """What differs twice in a row is no COMMIT that we are about to hear of."""
        odd: set[str] = set()
        for operation_id in before & self._handles.keys():
            handle = self._handles[operation_id]
            held = seen.held.get(operation_id)
            fence = None if held is None else held.fence
            if held is not None and held.stop_asked:
                handle.interrupt(Reason.HALTED)
            elif held is not None and _turned(handle.operation, held):
                back = Phase.ROLLBACK
                self.turned(replace(handle.operation, fence=held.fence, phase=back))
            elif fence != handle.operation.fence:
                odd.add(operation_id)
                if operation_id in self._odd:
                    handle.interrupt(Reason.LOST)
        for operation_id, held in seen.held.items():
            if self._knows(operation_id):
                continue
            odd.add(operation_id)
            if operation_id in self._odd and held.stop_asked:
                self._spawn(self._let_go(operation_id))
            elif operation_id in self._odd:
                self._spawn(self._claim(operation_id, again=True))
        self._odd = odd
        self._take_due(seen)

    def _knows(self, operation_id: str) -> bool:
        return (
            operation_id in self._handles
            or operation_id in self._claiming
            or operation_id in self._timers
            or operation_id in self._suspects
        )

    def _take_due(self, seen: Glance) -> None:
        """Claim what nobody runs; what may have killed its process, one by one."""
        due = {
            one: claims
            for one, claims in seen.due.items()
            if one not in seen.held and not self._knows(one)
        }
        fresh = [one for one, claims in due.items() if claims < leases.SUSPECT]
        for operation_id in fresh[: max(0, self._concurrency - len(self._handles))]:
            self._spawn(self._claim(operation_id))
        suspects = [one for one, claims in due.items() if claims >= leases.SUSPECT]
        if suspects and not self._suspects:
            self._suspects |= set(suspects)
            self._spawn(self._one_by_one(suspects))

    async def _let_go(self, operation_id: str) -> None:
        """What was halted does not run here: say so."""
        with contextlib.suppress(Unavailable):
            await self._store.write(partial(let_go, operation_id=operation_id))

    async def _pause(self, seconds: float) -> bool:
        """Sleep; True when the process is to stop."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _turned(mine: Operation, held: Held) -> bool:
    """Whether another process has given up waiting, so that ours is rolled back."""
    return (
        mine.phase is Phase.FORWARD
        and held.phase is Phase.ROLLBACK
        and held.fence == mine.fence + 1
    )
