"""What the checks of several verbs judge alike; each check keeps its own sentence.

    first, again = await repeated(instance, instance.provision)
    expect_same_operation(first, again)

An instance and a binding are judged by the same functions. How a check says what must
hold is `osbkit.conformance.expecting`, what a DELETE does `osbkit.conformance.removal`;
what is judged for one verb alone stands beside its checks.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from osbkit.conformance.catalog import Json, Plan
from osbkit.conformance.exchange import Exchange, Verb
from osbkit.conformance.expecting import (
    expect,
    expect_error,
    expect_none,
    skip,
)
from osbkit.conformance.facts import Way
from osbkit.conformance.resources import Binding, Flag, Instance
from osbkit.conformance.target import Target
from osbkit.conformance.wants import Want

BUSY = "ConcurrencyError"
SPACE = frozenset({"organization_guid", "space_guid", "context"})
LONGEST_OPERATION = 10_000  # characters

Ask = Callable[[], Awaitable[Exchange]]


class AskWithFlag(Protocol):
    """A request of a resource, such as `instance.provision`."""

    def __call__(self, *, flag: Flag = True) -> Awaitable[Exchange]: ...


# --- which plans, and where ----------------------------------------------------------


def quick_and_slow(
    target: Target, quick: Iterable[Want], slow: Iterable[Want]
) -> list[Plan]:
    """The plan that suits best, and one that answers 202, if there is one.

    Raises:
        Skip: there is no quick one.
    """
    found = [target.plan(*quick), *target.plans(*slow)[:1]]
    return list(dict.fromkeys(found))


def same_space(instance: Instance) -> Json:
    """The fields of a PUT that say where the instance is: the same for another one."""
    return {name: each for name, each in instance.sent.items() if name in SPACE}


# --- within the request, or later ----------------------------------------------------


async def within_the_request(ask: AskWithFlag) -> Exchange:
    """The answer without the flag; the one with it where that is refused as 422."""
    answer = await ask(flag=None)
    return await ask() if answer.status == 422 else answer


def likely_to_go_on(plans: Iterable[Plan], way: Callable[[Plan], Way]) -> list[Plan]:
    """The plans, those first that need the flag and yet do not answer 202 with it."""
    return sorted(plans, key=lambda plan: not _needs_the_flag(way(plan)))


def _needs_the_flag(way: Way) -> bool:
    """Refused without `accepts_incomplete`, and not answered 202 with it."""
    return bool(way.without_flag and way.without_flag.rejected) and not way.begins


async def expect_no_more_to_come(one: Instance | Binding, answer: Exchange) -> None:
    """What is answered as done is done: no poll says that it is in progress."""
    if answer.running or not answer.good:
        return
    poll = await one.poll(operation_of(answer))
    expect(
        poll.state != "in progress",
        f"{one.plan.label} was answered {answer.status}, and is still in progress",
        answer,
        poll,
    )


# --- operations ----------------------------------------------------------------------


def operation_of(answer: Exchange) -> str | None:
    """The operation that an answer names, if it is a text."""
    operation = answer.get("operation")
    return operation if isinstance(operation, str) else None


def names_operation(verb: Verb) -> Callable[[Exchange], bool]:
    """The 202 to this verb that have the field `operation`, for an observer."""
    return lambda seen: (
        seen.verb == verb and seen.running and "operation" in seen.object
    )


def expect_text(seen: Exchange, name: str, *, null: bool = False) -> None:
    """A field is a string; null as well where that is said."""
    value = seen.get(name)
    allowed = isinstance(value, str) or (null and value is None)
    expect(allowed, f"`{name}` is not a string", seen)


def expect_short_operation(seen: Exchange) -> None:
    """An operation, if it is a text, has at most 10,000 characters."""
    length = len(operation_of(seen) or "")
    expect(length <= LONGEST_OPERATION, f"`operation` has {length} characters", seen)


# --- repeats -------------------------------------------------------------------------


async def repeated(one: Instance | Binding, ask: Ask) -> tuple[Exchange, Exchange]:
    """The answers to a request and to its repeat, both from before it ended.

    Raises:
        Skip: it was not answered 202, or it ended too soon.
    """
    first, again = await ask(), await ask()
    await one.still_running(operation_of(began(first)))
    return first, again


def began(answer: Exchange) -> Exchange:
    """The answer, if it is 202.

    Raises:
        Skip: it is not.
    """
    if not answer.running:
        skip(f"{answer.verb.capitalize()} was not answered 202 this time.")
    return answer


def expect_same_operation(first: Exchange, again: Exchange) -> None:
    """A repeat that is answered 202 names the operation of the first request.

    Raises:
        Skip: it is not answered 202.
    """
    if not again.running:
        skip("The repeat was not answered 202.")
    expect(
        first.get("operation") == again.get("operation"),
        f"first {first.get('operation')!r}, then {again.get('operation')!r}",
        first,
        again,
    )


def last_conflict(answers: Iterable[Exchange]) -> Exchange:
    """The last 409 to PUTs of an id in use.

    Raises:
        Skip: there is none.
    """
    refused = [each for each in answers if each.status == 409]
    if not refused:
        skip("No PUT of the id was answered 409.")
    return refused[-1]


# --- while something runs ------------------------------------------------------------


def is_busy(answer: Exchange) -> bool:
    """422 ConcurrencyError."""
    return answer.status == 422 and answer.error == BUSY


async def expect_accepted_or_busy(
    one: Instance | Binding, running: Exchange, answer: Exchange
) -> None:
    """A request while something runs is accepted, or refused with ConcurrencyError.

    Args:
        running: the 202 to what runs.
        answer: to the request.
    """
    if answer.good or is_busy(answer):
        return
    await one.still_running(operation_of(running))
    expect_error(answer, 422, BUSY)


# --- what was refused ----------------------------------------------------------------


async def expect_nothing_made(
    new: Callable[[], Instance | Binding], wrong: Iterable[Json]
) -> None:
    """After a PUT that is answered 4xx its id is as unknown as one never used.

    Args:
        new: gives an instance or binding with a new id.
        wrong: changes of a PUT, each of which should be refused.

    Raises:
        Skip: none was refused.
        Broken: something was made by one that was.
    """
    never = {each.verb for each in await _looks(new()) if each.good}
    refused = 0
    for changes in wrong:
        one = new()
        answer = await one.put(**changes)
        if not answer.rejected:
            continue
        refused += 1
        looks = [each for each in await _looks(one) if each.good]
        traces = [each for each in looks if each.verb not in never]
        expect_none(
            (f"{each.verb} is answered {each.status}" for each in traces),
            answer,
            *traces,
        )
    if not refused:
        skip("No such PUT was refused.")


async def _looks(one: Instance | Binding) -> list[Exchange]:
    """All that may tell whether something is there; at last it is deleted."""
    return [await one.poll(), await one.fetch(), await one.delete()]
