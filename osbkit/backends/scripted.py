"""A backend that answers as told: for tests of platforms, and of brokers.

    backend = ScriptedBackend()
    backend.next("provision", fail(RuntimeError("away"), times=2), succeed())
    hold = Hold()
    backend.always("unbind", succeed(hold=hold))
    …
    await hold.entered.wait()       # a call is inside, as long as the test wants
    hold.release()
    assert backend.left == set()    # nothing is left behind on the service

Nothing is made but entries of a ledger, by the names a real service would use, and
every call is written down. Nothing here looks at a clock.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from osbkit.backends.contract import (
    B,
    BindRequest,
    Bound,
    DeprovisionRequest,
    Description,
    Facts,
    Found,
    InstanceView,
    P,
    ProvisionRequest,
    Request,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
)

Verb = Literal[
    "check", "provision", "update", "bind", "unbind", "deprovision", "inventory"
]
Ending = Literal["", "returned", "raised", "cancelled"]
VERBS: tuple[Verb, ...] = get_args(Verb)


class Hold:
    """A place where a call waits until the test lets it go on.

    One hold may keep any number of calls; once released it keeps none.

    Args:
        deaf: a call that is cancelled in here waits on all the same, and then
            goes on to its end, as blocking code does.

    Attributes:
        entered: set as soon as a call is inside.
        cancelled: set as soon as a call was asked to return.
    """

    def __init__(self, *, deaf: bool = False) -> None:
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._deaf = deaf
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let every call go on, those to come included."""
        self._released.set()

    async def stay(self) -> None:
        """Wait for `release`. Raises CancelledError unless deaf."""
        self.entered.set()
        while not self._released.is_set():
            try:
                await self._released.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                if not self._deaf:
                    raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a call says of how far it is; see `Run.progress`."""

    text: str
    percent: int | None = None
    poll_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What one call does: says its progress, waits, and ends.

    Attributes:
        returns: facts of provision and update, a Bound of bind.
        raises: raised instead.
        works: when the ledger changes: `first` (before it waits: what is there is
            left behind if it then fails), `last`, or `never`.
        hold: where it waits.
        progress: told before it waits.
        times: how many calls in a row do this.
    """

    returns: Any = field(default=None, repr=False)
    raises: BaseException | None = None
    works: Literal["first", "last", "never"] = "last"
    hold: Hold | None = None
    progress: tuple[Progress, ...] = ()
    times: int = 1


def succeed(
    returns: Facts | Bound | None = None,
    *,
    works: Literal["first", "last"] = "last",
    hold: Hold | None = None,
    progress: tuple[Progress, ...] = (),
    times: int = 1,
) -> Behaviour:
    """Do the work, and return what is given."""
    return Behaviour(
        returns=returns, works=works, hold=hold, progress=progress, times=times
    )


def fail(
    error: BaseException,
    *,
    leaves: bool = False,
    hold: Hold | None = None,
    progress: tuple[Progress, ...] = (),
    times: int = 1,
) -> Behaviour:
    """Raise an error.

    Args:
        error: Refused, Failed, UpdateFailed, or anything else for passing trouble.
        leaves: the work is done all the same, so something is left behind.
    """
    return Behaviour(
        raises=error,
        works="first" if leaves else "never",
        hold=hold,
        progress=progress,
        times=times,
    )


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of the backend.

    Attributes:
        name: of what it is about (`Request.name`); empty for `inventory`.
        attempt: `Run.attempt`; 0 for `check` and `inventory`.
        operation: `Run.id`; empty for `check` and `inventory`.
        request: None for `inventory`.
        ended: empty while it is inside.
    """

    verb: Verb
    name: str
    attempt: int
    operation: str
    request: Any = field(repr=False)
    ended: Ending = ""


BOUND = Bound(credentials={"user": "scripted", "password": "only-for-tests"})
"""What a bind gives when its script does not say."""


class ScriptedBackend(ServiceBackend[P, B]):
    """Does what its script says, verb by verb; without a script it succeeds.

    Parameters are any JSON object; a subclass names models as of every backend:
    `class Queues(ScriptedBackend[QueueParameters, NoParameters])`.

    Attributes:
        instances, bindings: the ledger. Name → the request that made it last; None
            for what a test puts there, which is listed without ids.
        calls: every call, in the order in which they came in.
        shown: what `describe` says of each instance; None for nothing.
    """

    lists_bindings = True

    def __init__(self, *, shown: Description | None = None) -> None:
        self.instances: dict[str, Any] = {}
        self.bindings: dict[str, Any] = {}
        self.calls: list[Call] = []
        self.shown = shown
        self._next: Mapping[Verb, deque[Behaviour]] = {verb: deque() for verb in VERBS}
        self._always: dict[Verb, Behaviour] = {}

    # --- the script ---------------------------------------------------------------

    def next(self, verb: Verb, *behaviours: Behaviour) -> None:
        """Say what the next calls of a verb do, one after the other."""
        for behaviour in behaviours:
            self._next[verb].extend([behaviour] * behaviour.times)

    def always(self, verb: Verb, behaviour: Behaviour) -> None:
        """Say what every call of a verb does that `next` says nothing of."""
        self._always[verb] = behaviour

    # --- what happened --------------------------------------------------------------

    @property
    def left(self) -> set[str]:
        """The names of everything that exists."""
        return {*self.instances, *self.bindings}

    @property
    def inside(self) -> list[Call]:
        """The calls that have not returned."""
        return [call for call in self.calls if not call.ended]

    def made(self, verb: Verb) -> list[Call]:
        """The calls of one verb."""
        return [call for call in self.calls if call.verb == verb]

    # --- the verbs ------------------------------------------------------------------

    async def check(
        self,
        request: ProvisionRequest[P] | UpdateRequest[P] | BindRequest[P, B],
    ) -> None:
        """See ServiceBackend."""
        await self._play("check", request, None)

    def describe(self, instance: InstanceView[P]) -> Description:
        """See ServiceBackend: the URL of `shown`, with the instance's name after it."""
        shown = self.shown or Description()
        if shown.dashboard_url is None:
            return shown
        return replace(shown, dashboard_url=f"{shown.dashboard_url}/{instance.name}")

    async def provision(self, request: ProvisionRequest[P], run: Run) -> Facts | None:
        """See ServiceBackend."""
        facts: Facts | None = await self._play("provision", request, run)
        return facts

    async def update(self, request: UpdateRequest[P], run: Run) -> Facts | None:
        """See ServiceBackend."""
        facts: Facts | None = await self._play("update", request, run)
        return facts

    async def bind(self, request: BindRequest[P, B], run: Run) -> Bound:
        """See ServiceBackend."""
        bound: Bound | None = await self._play("bind", request, run)
        return BOUND if bound is None else bound

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self._play("unbind", request, run)

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """See ServiceBackend."""
        await self._play("deprovision", request, run)

    async def inventory(self) -> AsyncIterator[Found]:
        """See ServiceBackend: the ledger as it stood when the call came in."""
        listed = [
            *(listing(name, each) for name, each in self.instances.items()),
            *(listing_binding(name, each) for name, each in self.bindings.items()),
        ]
        await self._play("inventory", None, None)
        for found in listed:
            yield found

    async def _play(self, verb: Verb, request: Request | None, run: Run | None) -> Any:
        call = Call(
            verb=verb,
            name=request.name if request else "",
            attempt=run.attempt if run else 0,
            operation=run.id if run else "",
            request=request,
        )
        self.calls.append(call)
        behaviour = self._behaviour(verb)
        try:
            result = await self._act(call, behaviour, run)
        except asyncio.CancelledError:
            call.ended = "cancelled"
            raise
        except BaseException:
            call.ended = "raised"
            raise
        call.ended = "returned"
        return result

    async def _act(self, call: Call, behaviour: Behaviour, run: Run | None) -> Any:
        if behaviour.works == "first":
            self._work(call)
        for said in behaviour.progress if run else ():
            assert run is not None
            await run.progress(
                said.text, percent=said.percent, poll_after=said.poll_after
            )
        if behaviour.hold is not None:
            await behaviour.hold.stay()
        if behaviour.raises is not None:
            raise behaviour.raises
        if behaviour.works == "last":
            self._work(call)
        return behaviour.returns

    def _behaviour(self, verb: Verb) -> Behaviour:
        if self._next[verb]:
            return self._next[verb].popleft()
        return self._always.get(verb, Behaviour())

    def _work(self, call: Call) -> None:
        match call.verb:
            case "provision" | "update":
                self.instances[call.name] = call.request
            case "deprovision":
                self.instances.pop(call.name, None)
            case "bind":
                self.bindings[call.name] = call.request
            case "unbind":
                self.bindings.pop(call.name, None)
            case "check" | "inventory":
                pass


def listing(name: str, request: Any) -> Found:
    """An instance of the ledger."""
    if request is None:
        return Found(name=name)
    return Found(name=name, instance_id=request.instance_id)


def listing_binding(name: str, request: Any) -> Found:
    """A binding of the ledger."""
    if request is None:
        return Found(name=name, kind="binding")
    return Found(
        name=name,
        kind="binding",
        instance_name=request.instance.name,
        instance_id=request.instance_id,
        binding_id=request.binding_id,
    )
