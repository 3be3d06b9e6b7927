"""A broker for the conformance tests: every plan, an agreeable backend."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from osbkit import Description
from osbkit.backends.scripted import ScriptedBackend
from tests.flows.serving import Served, serving


@pytest.fixture
def backend() -> ScriptedBackend:
    """A backend with a dashboard, which succeeds."""
    return ScriptedBackend(
        shown=Description(
            dashboard_url="https://dashboard.example",
            labels={"app": "queue"},
            attributes={"colour": "green"},
        )
    )


@pytest.fixture
async def broker(tmp_path: Path, backend: ScriptedBackend) -> AsyncIterator[Served]:
    """A broker with the offering `queue` on it."""
    async with serving(tmp_path, {"queue": backend}) as served:
        yield served
