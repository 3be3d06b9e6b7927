"""Queues in a temporary directory, a clock that the test moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.queue_broker.queue_file import QueueSettings, Role
from examples.queue_broker.queue_store import QueueStore

QUEUE = "osb-aaaaaaaaaaaaaaaaaaaa"
BINDING = "osb-bbbbbbbbbbbbbbbbbbbb"
TOKEN = "T" * 32
SMALL = QueueSettings(max_messages=3, max_bytes=1_000_000, max_receives=2)


class Clock:
    """Seconds since 1970, as long as nobody moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[QueueStore]:
    opened = QueueStore(clock=clock)
    await opened.open(tmp_path / "queues")
    yield opened
    await opened.close()


@pytest.fixture
async def queue(store: QueueStore) -> str:
    """A small queue with one readwrite token."""
    await store.converge(QUEUE, SMALL)
    await store.grant(QUEUE, BINDING, TOKEN, Role.READWRITE)
    return QUEUE
