"""Fixtures of the flows: brokers of one test, started when asked for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from osbkit.backends.scripted import ScriptedBackend
from osbkit.operations import backoff
from tests.flows.serving import Served, serving

Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two attempts no time passes; a clean-up waits for `Served.hurry`."""

    def delay(attempt: int, longest: float = backoff.LONGEST) -> float:
        return 0.0 if longest == backoff.LONGEST else longest

    monkeypatch.setattr(backoff, "delay", delay)


@pytest.fixture
def backend() -> ScriptedBackend:
    """The backend of the offering `queue`."""
    return ScriptedBackend()


@pytest.fixture
async def serve(tmp_path: Path, backend: ScriptedBackend) -> AsyncIterator[Serve]:
    """Start a broker that stops with the test; see `serving`."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Served:
            backends = settings.pop("backends", {"queue": backend})
            return await stack.enter_async_context(
                serving(tmp_path, backends, **settings)
            )

        yield start


@pytest.fixture
async def broker(serve: Serve) -> Served:
    """A broker with the offering `queue` on the scripted backend."""
    return await serve()
