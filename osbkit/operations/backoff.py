"""How long to wait before trying again. Pure; spans are seconds."""

ATTEMPTS = 6
LONGEST = 60.0
LONGEST_CLEANUP = 600.0


def delay(attempt: int, longest: float = LONGEST) -> float:
    """Seconds between attempt `attempt` and the next: 1, 2, 4 … `longest`."""
    return min(longest, float(2 ** min(attempt - 1, 30)))


def may_retry(attempt: int, now: int, deadline: int) -> bool:
    """Whether a further attempt fits: at most six, and before the deadline.

    Args:
        attempt: the one that just failed, from 1.
        now, deadline: microseconds.
    """
    return attempt < ATTEMPTS and now + delay(attempt) * 1_000_000 < deadline
