"""A broker that runs, for tests that need nothing else of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.brokers import Served, serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A started broker with a client that is let in."""
    async with serving(tmp_path) as running:
        yield running
