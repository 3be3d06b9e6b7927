"""How long to wait before trying again."""

import pytest

from osbkit.operations.backoff import (
    ATTEMPTS,
    LONGEST,
    LONGEST_CLEANUP,
    delay,
    may_retry,
)

NOON = 1_700_000_000_000_000
SECOND = 1_000_000
LATE = NOON + 3600 * SECOND


def test_pauses_double_from_a_second_to_a_minute():
    assert [delay(attempt) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert LONGEST == 60


def test_clean_ups_pause_up_to_ten_minutes():
    pauses = [delay(attempt, LONGEST_CLEANUP) for attempt in (1, 9, 10, 11)]

    assert pauses == [1, 256, 512, 600]


def test_attempts_without_end_do_not_overflow():
    assert delay(10**9) == LONGEST


@pytest.mark.parametrize(
    ("attempt", "expected"), [(1, True), (5, True), (6, False), (7, False)]
)
def test_six_attempts_are_made(attempt, expected):
    assert ATTEMPTS == 6
    assert may_retry(attempt, NOON, LATE) is expected


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        pytest.param(4 * SECOND + 1, True, id="the pause fits"),
        pytest.param(4 * SECOND, False, id="the pause ends with the deadline"),
        pytest.param(0, False, id="it is over"),
        pytest.param(-SECOND, False, id="it was over"),
    ],
)
def test_no_attempt_is_made_past_the_deadline(left, expected):
    assert may_retry(3, NOON, NOON + left) is expected
