"""What a backend sees of its operation: progress, steps, secrets, deadline."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from osbkit.domain import Json, Operation
from osbkit.errors import BackendFault, LeaseLost
from osbkit.operations.run import RecordedRun
from osbkit.store import operations
from osbkit.store.sqlite import SqliteStore
from tests.store.records import LEASE, NOON, an_operation

SEED = "ab" * 32


@dataclass
class Holder:
    """Holds a claimed operation, as the runner of one does."""

    operation: Operation
    store: Any
    steps: Json | None = None

    @property
    def run(self) -> RecordedRun:
        return RecordedRun(self)

    async def stored(self) -> Operation:
        find = partial(operations.find, operation_id=self.operation.id)
        found: Operation | None = await self.store.read(find)
        assert found is not None
        return found


@pytest.fixture
async def holder(tmp_path: Path) -> AsyncIterator[Holder]:
    store = SqliteStore(tmp_path / "run.db")
    await store.open()
    fresh = an_operation(asked={"seed": SEED})
    await store.write(partial(operations.add, operation=fresh))
    mine = await store.write(
        partial(operations.claim, operation=fresh, owner="a", until=NOON + LEASE)
    )
    yield Holder(mine, store)
    await store.close()


def with_seed(seed: str, operation_id: str = "op-1") -> RecordedRun:
    """A run that needs no store."""
    return RecordedRun(
        Holder(an_operation(id=operation_id, asked={"seed": seed}), None)
    )


# --- what it is -----------------------------------------------------------------------


def test_run_knows_its_operation_its_attempt_and_its_deadline():
    mine = an_operation(asked={"seed": SEED}, attempt=3, deadline=NOON + 5)
    run = RecordedRun(Holder(mine, None))

    assert (run.id, run.attempt) == ("op-1", 3)
    assert run.deadline == datetime(2023, 11, 14, 22, 13, 20, 5, tzinfo=UTC)


def test_roll_back_has_a_deadline_of_its_own():
    mine = an_operation(asked={"seed": SEED}, deadline=NOON)
    run = RecordedRun(Holder(mine, None), deadline=NOON + 7)

    assert run.deadline.microsecond == 7
    assert run.within("a/").deadline == run.deadline


# --- progress -------------------------------------------------------------------------


async def test_progress_is_stored_for_those_who_poll(holder):
    await holder.run.progress("Copying", percent=40, poll_after=10)

    found = await holder.stored()
    assert (found.description, found.percent, found.poll_after) == ("Copying", 40, 10)


@pytest.mark.parametrize(
    ("percent", "poll_after", "expected"),
    [(-5, 0, (0, 1)), (101, -3, (100, 1)), (None, None, (None, None))],
)
async def test_numbers_of_progress_are_kept_within_their_bounds(
    holder, percent, poll_after, expected
):
    await holder.run.progress("Copying", percent=percent, poll_after=poll_after)

    found = await holder.stored()
    assert (found.percent, found.poll_after) == expected


async def test_run_that_lost_its_claim_tells_nothing_more(holder):
    run = holder.run
    await holder.store.write(
        partial(
            operations.claim, operation=holder.operation, owner="b", until=NOON + LEASE
        )
    )

    with pytest.raises(LeaseLost):
        await run.progress("Copying")
    with pytest.raises(LeaseLost):
        await run.step("make", called([]))

    assert (await holder.stored()).description is None


# --- steps ----------------------------------------------------------------------------


def called(calls: list[Any], result: Any = None) -> Any:
    """Something to do, which is written down."""

    async def do(*given: Any) -> Any:
        calls.append(given)
        return {"given": list(given)} if result is None else result

    return do


async def test_step_is_done_once_in_an_operation(holder):
    calls: list[Any] = []

    first = await holder.run.step("make", called(calls), 1, 2)
    again = await holder.run.step("make", called(calls), 3)

    assert first == again == {"given": [1, 2]}
    assert calls == [(1, 2)]


async def test_step_is_not_done_again_after_a_crash(holder):
    await holder.run.step("make", called([]), 1)
    again = await holder.store.write(
        partial(
            operations.claim, operation=holder.operation, owner="b", until=NOON + LEASE
        )
    )
    calls: list[Any] = []

    found = await Holder(again, holder.store).run.step("make", called(calls))

    assert (found, calls) == ({"given": [1]}, [])


async def test_steps_are_told_apart_by_name_and_by_call(holder):
    calls: list[Any] = []
    run = holder.run
    for one, name in (
        (run, "make"),
        (run, "grant"),
        (run.within("unbind/b-1/"), "make"),
        (run.within("unbind/b-2/"), "make"),
        (run.within("undo/").within("unbind/b-1/"), "make"),
    ):
        await one.step(name, called(calls), name)

    assert len(calls) == 5
    stored = await holder.store.read(partial(operations.steps, operation_id=run.id))
    assert set(stored) == {
        "grant",
        "make",
        "unbind/b-1/make",
        "unbind/b-2/make",
        "undo/unbind/b-1/make",
    }


async def test_step_that_fails_is_not_done(holder):
    calls: list[Any] = []

    async def fail() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await holder.run.step("make", fail)
    await holder.run.step("make", called(calls))

    assert len(calls) == 1


@pytest.mark.parametrize("result", [{1, 2}, float("nan"), object(), b"x"])
async def test_step_whose_result_is_no_json_is_never_taken_for_done(holder, result):
    for _ in range(2):
        with pytest.raises(BackendFault):
            await holder.run.step("make", called([], result))

    assert await holder.store.read(partial(operations.steps, operation_id="op-1")) == {}


async def test_result_of_a_step_is_the_same_now_and_after_a_crash(holder):
    now = await holder.run.step("make", called([], ("a", {1: (2, 3)})))
    later = await Holder(holder.operation, holder.store).run.step("make", called([]))

    assert now == later == ["a", {"1": [2, 3]}]


# --- secrets --------------------------------------------------------------------------


def test_secret_is_the_same_on_every_attempt():
    first, again = with_seed(SEED), with_seed(SEED)
    again.attempt = 5

    assert first.secret("password") == again.secret("password")
    assert first.within("undo/").secret("password") == first.secret("password")


def test_secrets_are_told_apart_by_name_and_seed():
    run = with_seed(SEED)
    made = [run.secret(name) for name in ("a", "b", "", "A", "1/a", "ü")]
    made.append(with_seed("cd" * 32).secret("a"))

    assert len(set(made)) == len(made)


@pytest.mark.parametrize("length", [16, 17, 32, 64, 128])
def test_secret_is_letters_and_digits_of_the_length_that_was_asked(length):
    secret = with_seed(SEED).secret("a", length=length)

    assert re.fullmatch(rf"[A-Za-z0-9]{{{length}}}", secret)


def test_longer_secret_begins_like_the_shorter_one():
    run = with_seed(SEED)

    assert run.secret("a", length=128).startswith(run.secret("a", length=16))


@pytest.mark.parametrize("length", [-1, 0, 15, 129])
def test_length_that_is_unsafe_or_unwise_is_refused(length):
    with pytest.raises(BackendFault, match="between 16 and 128"):
        with_seed(SEED).secret("a", length=length)


def test_no_letter_of_secrets_is_likelier_than_another():
    run = with_seed(SEED)
    text = "".join(run.secret(str(number), length=128) for number in range(1000))
    counts = [text.count(letter) for letter in set(text)]

    assert len(counts) == 62
    expected = len(text) / 62
    assert all(0.85 * expected < count < 1.15 * expected for count in counts)


def test_log_of_a_run_carries_its_operation():
    bound = with_seed(SEED).log

    assert bound._context["operation"] == "op-1"
    assert bound._context["kind"] == "provision"
