"""Backends written as plain functions, each call in a thread of its own.

    class DiskBackend(BlockingBackend[DiskParameters, NoParameters]):
        def provision(self, request, run): ...      # may block as long as it likes

    Broker(backends={"disk": threaded(DiskBackend())}, …)

A thread cannot be cancelled. When a call is to return (a DELETE halts it, its time
is over, the process stops), `run.cancelled` becomes true, and the call counts as
ended only when its thread has really returned: nothing is removed, and no other
call begins, while it may still be making something. What it returns then counts
for nothing: the broker rolls back, or calls again.

Threads are daemons, so one that never returns does not keep the process alive; the
operation is taken up at the next start.
"""

import abc
import asyncio
import contextlib
import contextvars
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from osbkit.backends.contract import (
    B,
    BindRequest,
    Bound,
    BrokerInfo,
    DeprovisionRequest,
    Description,
    Facts,
    Found,
    InstanceView,
    P,
    ProvisionRequest,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)
from osbkit.errors import OsbkitError

T = TypeVar("T")
THREADS = 8


class Cancelled(OsbkitError):
    """From `progress` and `step`: the call is to return. Let it pass."""


class BlockingRun:
    """One attempt at an operation, as a thread sees it. See `Run`.

    Attributes:
        id: the operation's id, the same for every attempt.
        attempt: 1 for the first call, one more for each further.
        deadline: when the broker gives the call up.
        log: a structlog logger that already carries the operation's id.
    """

    def __init__(self, run: Run, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._loop = loop
        self._stop = threading.Event()
        self.id: str = run.id
        self.attempt: int = run.attempt
        self.deadline: datetime = run.deadline
        self.log: Any = run.log

    @property
    def cancelled(self) -> bool:
        """Whether the call is to return as soon as it can, however far it is."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but not on when the call is to return.

        Returns:
            `cancelled`.
        """
        return self._stop.wait(seconds)

    def cancel(self) -> None:
        """Ask the call to return. For the broker."""
        self._stop.set()

    def progress(
        self, text: str, *, percent: int | None = None, poll_after: int | None = None
    ) -> None:
        """See `Run.progress`. Raises Cancelled."""
        self._go_on()
        said = self._run.progress(text, percent=percent, poll_after=poll_after)
        self._in_loop(said).result()

    def step(self, name: str, call: Callable[..., T], *args: Any) -> T:
        """See `Run.step`; `call` is a plain function and runs in this thread.

        Raises:
            Cancelled: before anything is done.
        """
        self._go_on()
        turn: Future[asyncio.Future[T] | None] = Future()

        async def ask() -> T:
            answer: asyncio.Future[T] = self._loop.create_future()
            turn.set_result(answer)
            return await answer

        def over(_: Future[Any]) -> None:
            if not turn.done():
                turn.set_result(None)  # done by an earlier attempt, or failed

        whole = self._in_loop(self._run.step(name, ask))
        whole.add_done_callback(over)
        answer = turn.result()
        if answer is not None:
            settle(self._loop, answer, call, *args)
        result: T = whole.result()
        return result

    def secret(self, name: str, *, length: int = 32) -> str:
        """See `Run.secret`."""
        return self._run.secret(name, length=length)

    def _go_on(self) -> None:
        if self.cancelled:
            raise Cancelled("the call is to return")

    def _in_loop(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the process has left without this thread
            work.close()
            raise


class BlockingBackend(abc.ABC, Generic[P, B]):
    """One kind of service, by calls that block. Subclass it, hand it to `threaded`.

    The methods, what they may raise and what they must bear are those of
    `ServiceBackend`, as plain functions. Several run at once, each in its thread:
    what they share must be safe to share.

    Attributes:
        plan_parameters, parallel_binds, requires_app, lists_bindings, steps_version,
            broker: as there.
    """

    plan_parameters: ClassVar[Mapping[str, type[BaseModel]]] = {}
    parallel_binds: bool = True
    requires_app: bool = False
    lists_bindings: bool = False
    steps_version: str = ""
    broker: BrokerInfo

    def open(self) -> None:
        """Open clients and pools; once per process."""
        return

    def close(self) -> None:
        """Undo `open()`."""
        return

    def check(
        self,
        request: ProvisionRequest[P] | UpdateRequest[P] | BindRequest[P, B],
    ) -> None:
        """Raise Refused for what cannot be, before anything is recorded."""
        return

    def describe(self, instance: InstanceView[P]) -> Description:
        """Say what a platform shows of an instance. Pure: the event loop calls it."""
        return Description()

    @abc.abstractmethod
    def provision(self, request: ProvisionRequest[P], run: BlockingRun) -> Facts | None:
        """Make the instance; returns what later calls should know of it."""

    def update(self, request: UpdateRequest[P], run: BlockingRun) -> Facts | None:
        """Bring the instance to the new values; None keeps the facts."""
        raise NotImplementedError

    def bind(self, request: BindRequest[P, B], run: BlockingRun) -> Bound:
        """Make a principal of its own for this binding and say how to connect."""
        raise NotImplementedError

    def unbind(self, request: UnbindRequest, run: BlockingRun) -> None:
        """Remove the binding's principal and cut its connections."""
        raise NotImplementedError

    @abc.abstractmethod
    def deprovision(self, request: DeprovisionRequest, run: BlockingRun) -> None:
        """Remove everything of the instance, however far it got."""

    def inventory(self) -> Iterable[Found]:
        """List what exists on the service under this broker's mark.

        See ServiceBackend; a list is returned as well as a generator.
        """
        raise NotImplementedError

    def ping(self) -> None:
        """Raise if the service cannot be reached with the broker's own account."""
        return


PLAIN = tuple(
    name for name, part in vars(BlockingBackend).items() if inspect.isfunction(part)
)
"""The methods of a backend."""


def threaded(
    backend: BlockingBackend[P, B], *, threads: int = THREADS
) -> ServiceBackend[P, B]:
    """A backend of blocking calls as one that the broker can use.

    Args:
        threads: calls of provision, update, bind, unbind and deprovision that run
            at once; further ones wait their turn.

    Raises:
        TypeError: a method is `async def`.
        ValueError: no thread at all.
    """
    if threads < 1:
        raise ValueError("threaded: threads must be at least 1")
    for name in PLAIN:
        method = getattr(type(backend), name)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise TypeError(
                f"{type(backend).__name__}.{name} is async: write it as plain `def`,"
                " or subclass ServiceBackend instead of BlockingBackend"
            )
    return ThreadedBackend(backend, threads)


class ThreadedBackend(ServiceBackend[P, B]):
    """What `threaded` returns.

    Attributes:
        author: the backend it stands for: its class says which models and which
            verbs there are.
    """

    def __init__(self, author: BlockingBackend[P, B], threads: int) -> None:
        self.author = author
        self.parallel_binds = author.parallel_binds
        self.requires_app = author.requires_app
        self.lists_bindings = author.lists_bindings
        self._room = asyncio.Semaphore(threads)
        self._quick_room = asyncio.Semaphore(threads)
        self._left = asyncio.Event()

    # --- the verbs ------------------------------------------------------------------

    async def provision(self, request: ProvisionRequest[P], run: Run) -> Facts | None:
        """See ServiceBackend."""
        return await self._call(self.author.provision, request, run)

    async def update(self, request: UpdateRequest[P], run: Run) -> Facts | None:
        """See ServiceBackend."""
        return await self._call(self.author.update, request, run)

    async def bind(self, request: BindRequest[P, B], run: Run) -> Bound:
        """See ServiceBackend."""
        return await self._call(self.author.bind, request, run)

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self._call(self.author.unbind, request, run)

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self._call(self.author.deprovision, request, run)

    async def _call(
        self, verb: Callable[[Any, BlockingRun], T], request: Any, run: Run
    ) -> T:
        """Run a verb in a thread; cancelled, end when the thread has returned."""
        async with self._room:
            blocking = BlockingRun(run, asyncio.get_running_loop())
            returned = in_thread(verb, request, blocking)
            try:
                return await asyncio.shield(returned)
            except asyncio.CancelledError:
                blocking.cancel()
                await self._until(returned)
                raise

    async def _until(self, returned: "asyncio.Future[Any]") -> None:
        """Wait for a thread, however often we are cancelled, unless all is over."""
        returned.add_done_callback(_forgotten)
        left = asyncio.ensure_future(self._left.wait())
        while not returned.done() and not left.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({returned, left}, return_when="FIRST_COMPLETED")
        left.cancel()

    # --- the rest: short, and nobody waits for a thread that is not needed ----------

    async def open(self) -> None:
        """See ServiceBackend."""
        self._left = asyncio.Event()
        self.author.broker = self.broker
        await in_thread(self.author.open)

    async def close(self) -> None:
        """See ServiceBackend."""
        self._left.set()
        await in_thread(self.author.close)

    async def check(
        self,
        request: ProvisionRequest[P] | UpdateRequest[P] | BindRequest[P, B],
    ) -> None:
        """See ServiceBackend."""
        await self._quick(self.author.check, request)

    def describe(self, instance: InstanceView[P]) -> Description:
        """See ServiceBackend."""
        return self.author.describe(instance)

    async def inventory(self) -> AsyncIterator[Found]:
        """See ServiceBackend."""
        for found in await in_thread(lambda: list(self.author.inventory())):
            yield found

    async def ping(self) -> None:
        """See ServiceBackend."""
        await self._quick(self.author.ping)

    async def _quick(self, call: Callable[..., None], *args: Any) -> None:
        """Make a call that may be given up; its thread keeps its room until it has
        returned, so that calls that hang do not gather."""
        await self._quick_room.acquire()
        returned = in_thread(call, *args)
        returned.add_done_callback(lambda _: self._quick_room.release())
        returned.add_done_callback(_forgotten)
        await asyncio.shield(returned)


def in_thread(call: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
    """Start a thread that makes a call; resolved in this loop when it has returned."""
    loop = asyncio.get_running_loop()
    returned: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()
    threading.Thread(
        target=context.run,
        args=(settle, loop, returned, call, *args),
        name=f"osbkit-{getattr(call, '__name__', 'call')}",
        daemon=True,
    ).start()
    return returned


def settle(
    loop: asyncio.AbstractEventLoop,
    future: "asyncio.Future[T]",
    call: Callable[..., T],
    *args: Any,
) -> None:
    """Make a call in this thread, and tell its end to a future of the loop."""
    result: T | None = None
    trouble: BaseException | None = None
    try:
        result = call(*args)
    except BaseException as error:  # noqa: BLE001 (an author's code; told to who waits)
        trouble = error
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(_end, future, result, trouble)


def _forgotten(returned: "asyncio.Future[Any]") -> None:
    """What a cancelled call ended with counts for nothing."""
    if not returned.cancelled():
        returned.exception()


def _end(
    future: "asyncio.Future[Any]", result: Any, error: BaseException | None
) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        future.set_exception(error)
    else:  # would end the event loop, or hang it
        name = type(error).__name__
        future.set_exception(RuntimeError(f"a backend raised {name}"))
