"""Running one recorded operation: the same function inline, resumed or in a worker.

    claim ─► wait for halted calls ─► backend ─┬─ done ───────────────► succeeded
                                               ├─ Refused, Failed ─► roll back ─► failed
                                               ├─ done, but knows not every step
                                               │    of an earlier attempt ─► parked
                                               ├─ passing trouble ─► wait, again
                                               └─ interrupted:
                                                    halted     return, write it, no more
                                                    abandoned  roll back
                                                    deadline   roll back
                                                    stopping   left for the next start
                                                    lost       return, and no more

No transaction is open while a backend runs. What a runner writes carries its
fence, so one that lost its claim changes nothing and never rolls back.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from osbkit.backends.contract import Bound
from osbkit.backends.registry import AnyBackend, Registry
from osbkit.domain import (
    MICROSECONDS,
    OWN_ACCOUNT,
    REMOVALS,
    Json,
    Operation,
    OperationKind,
    Phase,
    ResourceState,
)
from osbkit.errors import (
    BackendFault,
    BackendSays,
    Failed,
    LeaseLost,
    Refused,
    Unavailable,
    UpdateFailed,
)
from osbkit.operations import backoff, bound, endings, halting
from osbkit.operations.endings import Failure
from osbkit.operations.run import RecordedRun
from osbkit.operations.work import Requests, Work, load
from osbkit.store import operations
from osbkit.store.protocol import Store
from osbkit.store.rows import now
from osbkit.telemetry import log, trouble

T = TypeVar("T")


class Reason(StrEnum):
    """Why a call is to return before it is done."""

    HALTED = "halted"
    ABANDONED = "abandoned"
    DEADLINE = "deadline"
    STOPPING = "stopping"
    LOST = "lost"


class Interrupted(Exception):
    """The call returned because it was asked to."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class Unfinished(Exception):
    """What the broker does on its own account is not given up, whatever is said."""


class Postponed(Exception):
    """The claim was given back until a moment (microseconds)."""

    def __init__(self, run_at: int) -> None:
        super().__init__(run_at)
        self.run_at = run_at


class StepsUnknown(Exception):
    """A resumed call has returned and never asked for steps that were taken before it
    by another version of the backend: what they did, nobody knows."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.names = names


class Handle:
    """A claimed operation while this process works on it.

    Attributes:
        work: its rows; `work.operation` carries the newest fence.
        done: resolved with the ended record, for those who wait.
        returned: set when no call of the backend runs any more.
        until: when the lease runs out, as far as this process knows (microseconds).
    """

    def __init__(
        self, work: Work, store: Store, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.work = work
        self.store = store
        self.done: asyncio.Future[Operation] = loop.create_future()
        self.returned = asyncio.Event()
        self.until = work.operation.run_at or 0
        self.steps: Json | None = None
        self.reason: Reason | None = None
        self._call: asyncio.Task[Any] | None = None

    @property
    def operation(self) -> Operation:
        """The record with the newest fence."""
        return self.work.operation

    @operation.setter
    def operation(self, newer: Operation) -> None:
        self.work = replace(self.work, operation=newer)

    def interrupt(self, reason: Reason) -> None:
        """Ask the running call to return. The first reason counts, but a halt
        outweighs the others: then the rows are no longer ours. Asking twice for
        the same cancels once: a call may be cleaning up behind itself."""
        if self.reason is reason:
            return
        if self.reason is None or reason is Reason.HALTED:
            self.reason = reason
        if self._call is not None:
            self._call.cancel()

    def end(self, ended: Operation) -> None:
        """Tell those who wait how it ended; the first word counts."""
        if not self.done.done():
            self.done.set_result(ended)

    @property
    def asked(self) -> Any:
        """The reason as of now: it changes while a call is awaited."""
        return self.reason

    async def call(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Await something of the backend's; cancellable, never left behind.

        The call runs in the task that works on the operation, and nothing but
        `interrupt` cancels that: so a cancellation is delivered inside of `work`.

        Raises:
            Interrupted: it was asked to return, or the time is over, and it has
                returned.
        """
        if self.asked is not None:
            work.close()
            raise Interrupted(self.asked)
        task = asyncio.current_task()
        assert task is not None
        self._call = task
        timer = asyncio.get_running_loop().call_later(
            max(0.0, seconds), self.interrupt, Reason.DEADLINE
        )
        try:
            result = await work
        except asyncio.CancelledError:
            if self.asked is None:
                raise TimeoutError(
                    "the call was cancelled from within the backend"
                ) from None
            raise Interrupted(self.asked) from None
        except Exception as error:
            if self.asked in {Reason.HALTED, Reason.ABANDONED}:
                raise Interrupted(self.asked) from error
            raise
        finally:
            self._call = None
            timer.cancel()
            while task.cancelling():
                task.uncancel()
        if self.asked in {Reason.HALTED, Reason.ABANDONED}:
            raise Interrupted(self.asked)
        return result  # stopping or late, but done: it counts

    async def sleep(self, seconds: float) -> None:
        """Wait, unless interrupted. Raises Interrupted."""
        await self.call(asyncio.sleep(seconds), seconds + 60)


class Executor:
    """Runs operations that this process has claimed."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        requests: Requests,
        *,
        concurrency: int,
        span: float,
        returned: Callable[[str, float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._registry = registry
        self._requests = requests
        self._versions = registry.versions()
        self._room = asyncio.Semaphore(concurrency)
        self._span = span
        self._returned = returned
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def execute(self, handle: Handle) -> Operation:
        """Work on a claimed operation until it has ended.

        Raises:
            Postponed: tried again later.
            Interrupted: HALTED or LOST, and what had to be written is written;
                STOPPING.
            LeaseLost: another runner has it.
        """
        try:
            return await self._there_or_back(handle)
        except LeaseLost:
            await self._halted(handle)
            raise
        except Interrupted as interrupted:
            if interrupted.reason is Reason.STOPPING:
                await self._release(handle)
            else:
                await self._halted(handle)
            raise
        finally:
            handle.returned.set()

    async def _there_or_back(self, handle: Handle) -> Operation:
        try:
            return await self._through(handle)
        except LeaseLost:
            if handle.asked is not Reason.ABANDONED:
                raise
            return await self._back(handle, late())
        except Interrupted as interrupted:
            match interrupted.reason:
                case Reason.ABANDONED:
                    return await self._back(handle, late())
                case Reason.DEADLINE:
                    return await self._over_deadline(handle)
            raise

    async def _through(self, handle: Handle) -> Operation:
        if handle.work.waits:
            await self._wait_for_halted(handle)
        operation = handle.operation
        if operation.phase is Phase.ROLLBACK:
            handle.reason = None
            return await self._back(handle, interrupted_failure(operation))
        while True:
            try:
                result = await self._forward(handle)
                return await self._record(handle, endings.succeeded, result)
            except Refused as refused:
                failure = Failure(text=refused.description, status=400, refused=True)
                return await self._back(handle, failure)
            except StepsUnknown as steps:
                return await self._park(handle, steps.names)
            except UpdateFailed as failed:
                return await self._said(handle, failed)
            except Failed as failed:
                return await self._back(handle, Failure(text=failed.description))
            except (LeaseLost, Interrupted):
                raise
            except BackendFault as fault:
                return await self._faulty(handle, fault)
            except Exception as error:  # noqa: BLE001 (an author's code)
                if not await self._again(handle, error):
                    return await self._back(handle, gave_up(handle.operation))

    async def _again(self, handle: Handle, error: Exception) -> bool:
        """After passing trouble: wait and count; False when it was enough.

        Raises:
            Postponed: own account, tried again until it succeeds.
        """
        operation = handle.operation
        log.warning(
            "operation.trouble",
            operation=operation.id,
            kind=operation.kind.value,
            instance_id=operation.instance_id,
            attempt=operation.attempt,
            **trouble(error),
        )
        if operation.kind in OWN_ACCOUNT:
            await self._postpone(operation)
        if not backoff.may_retry(operation.attempt, now(), operation.deadline):
            return False
        await handle.sleep(backoff.delay(operation.attempt))
        attempt = operation.attempt + 1
        mine = handle.operation
        await self._write(partial(operations.retry, operation=mine, attempt=attempt))
        handle.operation = replace(mine, attempt=attempt)
        return True

    async def _faulty(self, handle: Handle, fault: BackendFault) -> Operation:
        """The backend's code is wrong: calling it again would change nothing.

        Raises:
            Postponed: own account; the next version of the backend may do it.
        """
        operation = handle.operation
        log.error(
            "backend.fault",
            operation=operation.id,
            kind=operation.kind.value,
            instance_id=operation.instance_id,
            backend=operation.backend,
            fix=str(fault),
        )
        if operation.kind in OWN_ACCOUNT:
            await self._postpone(operation)
        return await self._back(handle, gave_up(operation))

    async def _park(self, handle: Handle, steps: list[str]) -> Operation:
        """Leave what another version of the backend began to the operator."""
        operation = handle.operation
        log.error(
            "operation.step_unknown",
            operation=operation.id,
            kind=operation.kind.value,
            instance_id=operation.instance_id,
            backend=operation.backend,
            steps=steps,
            fix="this version of the backend does not know these steps; look on the"
            " service at what they made, then repeat the platform's request",
        )
        return await self._record(handle, endings.failed, endings.parked(operation))

    async def _postpone(self, operation: Operation) -> None:
        """Give the claim of own account back, until it is due again."""
        wait = backoff.delay(operation.attempt, backoff.LONGEST_CLEANUP)
        run_at = now() + int(wait * MICROSECONDS)
        await self._write(
            partial(operations.postpone, operation=operation, run_at=run_at)
        )
        raise Postponed(run_at)

    async def _wait_for_halted(self, handle: Handle) -> None:
        """Let halted calls return first, then say that we no longer wait."""
        operation = handle.operation
        await handle.call(
            halting.wait_until_stopped(self._store, operation, self._returned),
            self._left(operation),
        )
        await self._write(
            partial(operations.begin, operation=handle.operation, now=now())
        )
        if operation.asked.get("of") == OperationKind.UPDATE:
            fresh = await self._store.read(partial(load, operation=handle.operation))
            handle.work = fresh or handle.work

    def _left(self, operation: Operation) -> float:
        """Seconds until the deadline; own account has one per attempt."""
        if operation.kind in OWN_ACCOUNT:
            return self._span
        return (operation.deadline - now()) / MICROSECONDS

    def _from_now(self) -> int:
        """The deadline of a call that has a time of its own (microseconds)."""
        return now() + int(self._span * MICROSECONDS)

    # --- forward --------------------------------------------------------------

    async def _forward(self, handle: Handle) -> Any:
        work = handle.work
        backend = self._registry.backend(work.operation.backend)
        own = work.operation.kind in OWN_ACCOUNT
        run = RecordedRun(
            handle,
            deadline=self._from_now() if own else None,
            version=self._versions[work.operation.backend],
        )
        verb = self._verb(backend, work, run)
        try:
            result = await handle.call(verb, self._left(work.operation))
        except BackendSays as said:
            if own:
                raise Unfinished from said
            raise
        strangers = [] if own else await run.strangers()
        if strangers:
            raise StepsUnknown(strangers)
        return result

    async def _verb(self, backend: AnyBackend, work: Work, run: RecordedRun) -> Any:
        async with self._turn(backend, work), self._room:
            match work.operation.kind:
                case OperationKind.PROVISION:
                    request = self._requests.provision(work)
                    return facts_of(await backend.provision(request, run))
                case OperationKind.UPDATE:
                    change = self._requests.update(work)
                    return facts_of(await backend.update(change, run))
                case OperationKind.DEPROVISION:
                    return await self._remove(backend, work, run)
                case OperationKind.BIND:
                    return await self._bind(backend, work, run)
                case OperationKind.UNBIND:
                    return await backend.unbind(self._requests.unbind(work), run)
                case OperationKind.CLEANUP | OperationKind.SWEEP:
                    return await self._undo(backend, work, run)

    async def _remove(self, backend: AnyBackend, work: Work, run: RecordedRun) -> None:
        """Bindings first, then the instance: nobody keeps a live credential."""
        for binding in work.bindings:
            own = run.within(f"unbind/{binding.binding_id}/{binding.generation}/")
            await backend.unbind(self._requests.unbind(work, binding), own)
            if work.operation.kind is OperationKind.DEPROVISION:
                await self._write(
                    partial(endings.revoked, operation=work.operation, binding=binding)
                )
        await backend.deprovision(self._requests.deprovision(work), run)

    async def _bind(
        self, backend: AnyBackend, work: Work, run: RecordedRun
    ) -> bound.Answer:
        given = await backend.bind(self._requests.bind(work), run)
        if not isinstance(given, Bound):
            raise BackendFault(f"{type(backend).__name__}.bind must return a Bound")
        operation = work.operation
        return bound.answer(
            given,
            operation.asked.get("requires"),
            operation=operation.id,
            instance_id=operation.instance_id,
        )

    def _turn(self, backend: AnyBackend, work: Work) -> Any:
        """One after the other, for backends that cannot bind in parallel."""
        if backend.parallel_binds or work.binding is None:
            return NoTurn()
        return self._turns.setdefault(work.instance.uid, asyncio.Lock())

    async def _undo(self, backend: AnyBackend, work: Work, run: RecordedRun) -> None:
        """What takes back the operation that this one stands for."""
        of = work.operation.asked.get("of", work.operation.kind)
        if (
            of == OperationKind.UPDATE
            and work.operation.kind is not OperationKind.SWEEP
        ):
            if is_there(work):
                await backend.update(self._requests.restore(work), run)
        elif work.operation.binding_id is not None:
            await backend.unbind(self._requests.unbind(work), run)
        elif of != OperationKind.UPDATE:
            await self._remove(backend, work, run)

    # --- back -----------------------------------------------------------------

    async def _back(self, handle: Handle, failure: Failure) -> Operation:
        """Take back what was begun, then end the operation as failed."""
        handle.reason = None
        operation = handle.operation
        if operation.kind in REMOVALS:
            if failure.refused and handle.work.bindings:
                failure = replace(failure, refused=False, status=500)
            return await self._record(handle, endings.failed, failure)
        handle.operation = await self._write(
            partial(
                operations.turn_back,
                operation=operation,
                text=failure.text,
                status=failure.status,
                refused=failure.refused,
            )
        )
        clean = await self._take_back(handle)
        if not clean and failure.refused:
            failure = replace(failure, refused=False, status=500)
        if operation.kind is OperationKind.UPDATE and failure.refused:
            failure = replace(failure, status=422, repeatable=False)
        return await self._record(handle, endings.failed, replace(failure, clean=clean))

    async def _take_back(self, handle: Handle) -> bool:
        """Call what undoes; False if that failed as well."""
        work = handle.work
        backend = self._registry.backend(work.operation.backend)
        work = replace(
            work,
            operation=replace(
                work.operation,
                asked={**work.operation.asked, "of": work.operation.kind},
            ),
        )
        try:
            await handle.call(
                self._undo(
                    backend,
                    work,
                    RecordedRun(
                        handle,
                        "undo/",
                        self._from_now(),
                        self._versions[work.operation.backend],
                    ),
                ),
                self._span,
            )
        except Interrupted as interrupted:
            if interrupted.reason is not Reason.DEADLINE:
                raise
            return False
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 (an author's code)
            log.error(
                "operation.rollback_failed",
                operation=work.operation.id,
                kind=work.operation.kind.value,
                instance_id=work.operation.instance_id,
                **trouble(error),
            )
            return False
        return True

    async def _said(self, handle: Handle, failed: UpdateFailed) -> Operation:
        """The author says what is left: nothing is taken back on our guess."""
        kind = handle.operation.kind
        failure = Failure(
            text=failed.description,
            usable=failed.usable,
            repeatable=failed.repeatable if kind is OperationKind.UPDATE else None,
        )
        if kind in {OperationKind.UPDATE, OperationKind.DEPROVISION}:
            return await self._record(handle, endings.failed, failure)
        return await self._back(handle, Failure(text=failed.description))

    async def _over_deadline(self, handle: Handle) -> Operation:
        """The time is over: as if nobody waited any longer."""
        operation = handle.operation
        if operation.kind in OWN_ACCOUNT:
            await self._postpone(operation)
        text = (
            "The service did not finish in the time that the broker allows for it"
            f" (operation {operation.id})."
        )
        turned = await self._write(
            partial(operations.turn, operation_id=operation.id, text=text, owed=False)
        )
        if turned is not None:
            handle.operation = turned
        return await self._back(handle, Failure(text=text, status=503))

    async def _release(self, handle: Handle) -> None:
        """The process stops in peace: the next one need not suspect the operation."""
        operation = handle.operation
        with contextlib.suppress(LeaseLost, Unavailable):
            await self._store.write(
                partial(operations.postpone, operation=operation, run_at=now())
            )

    async def _halted(self, handle: Handle) -> None:
        """Our rows belong to what halted us; only say that the call returned."""
        if await self._write(partial(endings.stopped, operation=handle.operation)):
            log.warning(
                "operation.late_effect",
                operation=handle.operation.id,
                instance_id=handle.operation.instance_id,
                fix="a sweep was recorded",
            )

    # --- the store ------------------------------------------------------------

    async def _record(
        self, handle: Handle, ending: Callable[..., Operation], what: Any
    ) -> Operation:
        """Unit B; a database that is away does not lose what was done."""
        if handle.asked in {Reason.HALTED, Reason.ABANDONED}:
            raise Interrupted(handle.asked)
        work = handle.work  # with the fence of now: a later turn must make us fail
        ended = await self._write(lambda db: ending(db, work, what))
        log.info(
            "operation.finished",
            operation=ended.id,
            kind=ended.kind.value,
            state=ended.state.value,
            instance_id=ended.instance_id,
            binding_id=ended.binding_id,
            attempt=work.operation.attempt,
            seconds=round((now() - work.operation.created_at) / MICROSECONDS, 3),
        )
        return ended

    async def _write(self, unit: Callable[..., T]) -> T:
        attempt = 1
        while True:
            try:
                result: T = await self._store.write(unit)
            except Unavailable:
                if self._store.closing:
                    raise
                await asyncio.sleep(backoff.delay(attempt, 5.0))
                attempt += 1
            else:
                return result


def is_there(work: Work) -> bool:
    """Whether the instance of an operation is still to be had."""
    instance, operation = work.instance, work.operation
    ready = instance.state is ResourceState.READY
    return ready and instance.generation == operation.generation


class NoTurn:
    """Nobody has to wait for anybody."""

    async def __aenter__(self) -> None:
        """Nothing to wait for."""

    async def __aexit__(self, *_: object) -> None:
        """Nothing to let go."""


def facts_of(returned: Any) -> Any:
    """What provision or update returned, as a JSON object or None.

    Raises:
        BackendFault: it is something else.
    """
    if returned is None:
        return None
    if not isinstance(returned, dict):
        raise BackendFault("a backend's facts must be a JSON object or None")
    bound.require_json(returned, "a backend's facts")
    return returned


def late() -> Failure:
    """What a caller gets whose answer did not come in time."""
    return Failure(
        text="The service did not finish while the platform waited; what was begun is"
        " taken back.",
        status=503,
    )


def interrupted_failure(operation: Operation) -> Failure:
    """What is said of an operation whose roll-back a restart found unfinished."""
    return Failure(
        text=operation.description or endings.RESTARTED,
        status=operation.status or 503,
        refused=operation.refused,
    )


def gave_up(operation: Operation) -> Failure:
    """A fixed sentence for trouble that did not pass: never the exception's text."""
    return Failure(
        text="The service could not do this at the moment. If it happens again, give"
        f" your operator the number of this operation: {operation.id}."
    )
