"""Whether something is gone, and what a DELETE does to what is being made.

For the checks of deprovisioning and unbinding, and of whatever must leave nothing
behind. An instance and a binding are judged by the same functions.

Units: seconds.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect, expect_status, skip
from osbkit.conformance.fields import OMIT
from osbkit.conformance.judging import began, operation_of
from osbkit.conformance.resources import Binding, Flag, Instance

LONGEST = 30.0  # to wait for what may come late

R = TypeVar("R", Instance, Binding)


# --- gone, or still there ------------------------------------------------------------


def can_be_fetched(one: Instance | Binding) -> bool:
    """Whether the catalog says so, and the API version knows of it."""
    offering = one.plan.offering
    announced = (
        offering.bindings_retrievable
        if isinstance(one, Binding)
        else offering.instances_retrievable
    )
    return announced and one.target.knows("2.14")


async def expect_gone(one: Instance | Binding) -> None:
    """It cannot be fetched, and there is nothing to delete.

    Raises:
        Broken: something is left.
    """
    if can_be_fetched(one):
        seen = await one.fetch()
        expect(not seen.good, f"it can still be fetched ({seen.status})", seen)
    again = await one.delete()
    expect(
        not again.good,
        f"there is still something to delete ({again.status})",
        again,
    )


async def expect_there(one: Instance | Binding, said: str) -> None:
    """It can be fetched, or else deleted (then it is gone).

    Raises:
        Broken: it is not there; `said` begins the sentence.
    """
    if can_be_fetched(one) and (await one.fetch()).status == 200:
        return
    answer = await one.delete()
    expect(answer.good, f"{said}: its DELETE is answered {answer.status}", answer)


async def expect_needed(one: Instance | Binding, name: str) -> None:
    """A DELETE without this field of its query is answered 400, and removes nothing."""
    answer = await one.delete(**{name: OMIT})
    expect_status(answer, 400)
    await expect_there(one, "refused, and yet gone")


# --- what a refusal leaves ------------------------------------------------------------


async def settled(
    one: Instance | Binding, asked: Coroutine[Any, Any, Exchange]
) -> Exchange:
    """The answer to a request about it; if it was taken, it has ended."""
    answer = await asked
    await one.ended(answer)
    return answer


async def unchanged(
    one: Instance | Binding, ask: Callable[[], Coroutine[Any, Any, Exchange]]
) -> Exchange:
    """The answer to a request that, if refused, has left it as it was.

    A fetch tells the same as before, and nothing runs.

    Raises:
        Broken: something has changed, though the request was refused.
    """
    busy = (await one.poll()).state == "in progress"  # made as if it were ready
    before = await one.fetch() if can_be_fetched(one) else None
    refused = await settled(one, ask())
    if not refused.rejected:
        return refused
    if before is not None and before.good:
        after = await one.fetch()
        expect(
            _as_it_is(before) == _as_it_is(after),
            f"{refused.verb} was refused, and yet a fetch tells something else",
            refused,
            after,
        )
    poll = await one.poll()
    expect(
        busy or poll.state != "in progress",
        f"{refused.verb} was refused, and yet something is in progress",
        refused,
        poll,
    )
    return refused


async def expect_unremoved(one: Instance | Binding, **how: Any) -> Exchange:
    """The answer to a DELETE that, if refused, has left it there.

    Args:
        how: the DELETE is sent.

    Raises:
        Broken: it was refused, and yet it is gone, or going.
    """
    refused = await unchanged(one, partial(one.delete, **how))
    if refused.rejected:
        await expect_there(one, f"{refused.verb} was refused, and yet it is gone")
    return refused


def _as_it_is(fetched: Exchange) -> list[object]:
    """What an update or a removal would change."""
    return [fetched.status, fetched.get("plan_id"), fetched.get("parameters")]


# --- during its creation -------------------------------------------------------------


async def being_made(one: R) -> R:
    """It, while its creation is in progress.

    Raises:
        Skip: that was not answered 202.
    """
    began(await one.put())
    return one


async def halted(one: Instance | Binding, flag: Flag = True) -> Exchange:
    """The answer of a DELETE that was accepted while it was being made.

    Raises:
        Skip: the DELETE was refused, or the creation ended too soon.
    """
    await one.still_running(_operation_of_creation(one))
    answer = await one.delete(flag=flag)
    if not answer.good:
        skip(f"{answer.verb.capitalize()} was refused during the creation.")
    return answer


async def expect_halted_for_good(one: Instance | Binding, usual: float) -> None:
    """A DELETE during its creation leaves nothing, also when that would be over.

    Args:
        usual: how long a creation takes.
    """
    answer = await halted(one)
    if not (await one.ended(answer)).succeeded:
        await one.removed()
    assert one.first is not None
    await one.ended(one.first)
    await asyncio.sleep(min(usual, LONGEST))
    await expect_gone(one)


async def expect_polls_of_removal(one: Instance | Binding) -> None:
    """After a 202 to a DELETE during its creation, polls tell of the removal."""
    answer = await halted(one)
    if not answer.running:
        skip(f"{answer.verb.capitalize()} was done within its request.")
    ended = await one.ended(answer)
    expect(ended.succeeded, f"polls ended as {ended.how}", answer, ended.last)


async def expect_polls_of_failure(one: Instance | Binding) -> None:
    """After a 200 to a DELETE during its creation, polls tell that this failed."""
    answer = await halted(one, flag=None)
    if answer.running:
        skip(f"{answer.verb.capitalize()} was not done within its request.")
    poll = await one.poll(_operation_of_creation(one))
    expect_status(poll, 200, said="the poll")
    expect(poll.state == "failed", f"the state is {poll.state!r}", answer, poll)


def _operation_of_creation(one: Instance | Binding) -> str | None:
    return None if one.first is None else operation_of(one.first)
