"""How long a request waits for its operation, and what it says when it stops.

A request never owns an operation; it waits for one, within its budget:

    mode    accepts_incomplete   waits                  and then
    async   true                 not at all             202
    async   absent               (422 AsyncRequired before anything is recorded)
    auto    true                 OSBKIT_SYNC_BUDGET     202, the same call goes on
    auto    absent               …_SYNC_BUDGET_REQUIRED gives up, 503
    sync    either               …_SYNC_BUDGET_REQUIRED gives up, 503

Giving up takes a provision, bind or update back; a deprovision or unbind goes on,
and the repeated DELETE joins it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

from osbkit.catalog import PlanSettings
from osbkit.domain import (
    REMOVALS,
    Operation,
    OperationState,
)
from osbkit.errors import (
    AsyncRequired,
    Malformed,
    OperationFailed,
    OperationInProgress,
    RequestRejected,
    Unavailable,
    UpdateRefused,
)
from osbkit.operations.engines import Engine
from osbkit.settings import Settings
from osbkit.store import operations
from osbkit.store.protocol import Store

ROLLBACK_WAIT = 10.0
LATE = (
    "The service did not finish while the platform waited; what was begun is taken"
    " back. Try again with accepts_incomplete=true."
)
REMOVING = "The service is still being removed. Repeat the request to see its end."
HALTED = "The request was ended by a deletion of the same resource."

Mode = Literal["sync", "async", "auto"]
Then = Literal["accept", "give_up", "busy", "async_required"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds, and what then."""

    seconds: float
    then: Then

    @property
    def answer_owed(self) -> bool:
        """Whether the caller gets an answer or an error, never a 202."""
        return self.then == "give_up"


def patience(
    mode: Mode,
    accepts_incomplete: bool,
    settings: Settings,
    plan: PlanSettings | None,
) -> Patience:
    """For the request that begins an operation; see the table above."""
    if mode == "async":
        return Patience(0.0, "accept")
    if mode == "auto" and accepts_incomplete:
        own = plan.sync_budget if plan is not None else None
        return Patience(settings.sync_budget if own is None else own, "accept")
    return Patience(settings.sync_budget_required, "give_up")


def joining(mode: Mode, accepts_incomplete: bool, settings: Settings) -> Patience:
    """For a request whose operation runs already.

    Raises:
        AsyncRequired: on an async plan without `accepts_incomplete`.
    """
    if accepts_incomplete:
        return Patience(0.0, "accept")
    if mode == "async":
        raise AsyncRequired
    return Patience(settings.sync_budget_required, "busy")


class Waiting:
    """Waits on behalf of requests."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store = store
        self._engine = engine

    async def see(self, operation: Operation, patience: Patience) -> Operation:
        """The operation succeeded, or still live when it may be polled.

        Raises:
            RequestRejected: it failed, or the time is over and no poll is coming.
        """
        if patience.seconds > 0:
            operation = await self._engine.wait(operation, patience.seconds)
        elif patience.then == "accept":
            return operation
        if operation.live:
            operation = await self._time_is_over(operation, patience.then)
        if operation.state is OperationState.FAILED:
            raise failure_of(operation)
        return operation

    async def _time_is_over(self, operation: Operation, then: Then) -> Operation:
        match then:
            case "accept":
                return operation
            case "busy":
                raise OperationInProgress
            case "async_required":
                raise AsyncRequired
            case "give_up" if operation.kind in REMOVALS:
                raise Unavailable(REMOVING, retry_after=10)
            case "give_up":
                return await self._give_up(operation)

    async def _give_up(self, operation: Operation) -> Operation:
        """Turn it towards its roll-back, unless somebody who polls has joined."""

        def tell(turned: Operation | None) -> None:
            if turned is not None:
                self._engine.turned(turned)

        await self._store.write(
            partial(operations.turn, operation_id=operation.id, text=LATE, owed=True),
            committed=tell,
        )
        operation = await self._engine.wait(operation, ROLLBACK_WAIT)
        if operation.live:
            raise Unavailable(LATE)
        return operation


def failure_of(operation: Operation) -> RequestRejected:
    """The error body of an operation that failed while its caller waited."""
    text = operation.description or "The operation failed."
    if operation.stop_asked or operation.status is None:
        return Unavailable(HALTED)
    match operation.status:
        case 400:
            return Malformed(text)
        case 422:
            return UpdateRefused(text)
        case 503:
            late = Unavailable(text)
            late.instance_usable = operation.instance_usable
            return late
        case _:
            return OperationFailed(
                text,
                instance_usable=operation.instance_usable,
                update_repeatable=operation.update_repeatable,
            )
