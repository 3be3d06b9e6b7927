"""Following an operation until it ends.

    202 ─ pause ─► last_operation ─┬─ in progress ──────── pause, ask again
                                   ├─ no answer, 5xx ───── pause, ask again
                                   ├─ succeeded, failed ── the end
                                   ├─ 410 while deleting ─ the end: gone
                                   └─ 400, 401, 403, 404 ─ a problem

Units: seconds. Spec: "Polling Last Operation for Service Instances", "Polling
Interval and Duration".
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from osbkit.cli.client.hints import BrokerSaidNo
from osbkit.cli.client.remote import Answer, Remote, Unreachable
from osbkit.cli.terminal import Problem

SHORTEST, LONGEST = 1.0, 10.0  # seconds: what a Retry-After may ask of a person
HOPELESS = frozenset({400, 401, 403, 404})

State = Literal["in progress", "succeeded", "failed", "gone"]
STATES: dict[str, State] = {
    "in progress": "in progress",
    "succeeded": "succeeded",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How time passes; tests bring their own.

    Attributes:
        interval: seconds between two questions where the broker names none.
    """

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    interval: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What to ask about.

    Attributes:
        path: of the instance or the binding.
        hints: `service_id`, `plan_id` (before an update: the old one) and
            `operation`, as far as they are known.
        deleting: 410 means it is done.
    """

    path: str
    hints: dict[str, str]
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an operation is. `body` is last_operation's, empty when gone."""

    state: State
    body: dict[str, Any]

    @property
    def sentence(self) -> str:
        """For people: the state and what the broker says of it."""
        description = self.body.get("description")
        return f"{self.state}: {description}" if description else self.state


def ask_once(remote: Remote, operation: Operation) -> tuple[Standing | None, Answer]:
    """Ask how far it is; None for an answer that says nothing about it.

    Raises:
        BrokerSaidNo: asking again would not help.
        Unreachable: there is no answer.
    """
    answer = remote.ask(
        "GET", f"{operation.path}/last_operation", query=operation.hints
    )
    if answer.status == 410 and operation.deleting:
        return Standing("gone", {}), answer
    if answer.status in HOPELESS:
        raise BrokerSaidNo(answer, "tell how far the operation is", remote.target)
    state = STATES.get(answer.text("state") or "") if answer.status == 200 else None
    return (None if state is None else Standing(state, answer.body or {})), answer


def follow(
    remote: Remote,
    operation: Operation,
    *,
    accepted: Answer | None,
    clock: Clock,
    limit: float,
    show: Callable[[str], None],
) -> Standing:
    """Ask until the operation has ended.

    Args:
        accepted: the 202, whose Retry-After comes first; None asks at once.
        limit: seconds after which to give up.
        show: gets a line about every answer.

    Raises:
        Problem: still running after `limit`.
        BrokerSaidNo: the broker will not tell.
    """
    began = clock.now()
    pause = 0.0 if accepted is None else _pause(accepted, clock)
    while clock.now() + pause - began <= limit:
        if pause:
            clock.sleep(pause)
        try:
            standing, answer = ask_once(remote, operation)
        except Unreachable as trouble:
            show(f"{trouble.sentence} Asking again.")
            pause = clock.interval
            continue
        if standing is None:
            show(f"the broker answered {answer.phrase}. Asking again.")
        else:
            show(standing.sentence)
            if standing.state != "in progress":
                return standing
        pause = _pause(answer, clock)
    raise Problem(
        f"The operation has not ended within {limit:g} s.",
        hint="It goes on at the broker. Follow it with `osbkit client poll`, or raise"
        " --max-wait.",
        fields={"state": "in progress", "description": "still running"},
    )


def _pause(answer: Answer, clock: Clock) -> float:
    if answer.retry_after is None:
        return clock.interval
    return min(max(float(answer.retry_after), SHORTEST), LONGEST)
