"""The conformance broker, running, and its backends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.conformance.broker import Queues, backends, catalog
from tests.conformance.platforms.replay import TOKEN
from tests.flows.serving import PASSWORD, USER, Served, serving


@pytest.fixture
def services() -> dict[str, Queues]:
    """Its backends, by offering."""
    return backends(slow=0)


@pytest.fixture
def queue(services: dict[str, Queues]) -> Queues:
    """The backend of the offering `queue`."""
    return services["queue"]


@pytest.fixture
async def broker(tmp_path: Path, services: dict[str, Queues]) -> AsyncIterator[Served]:
    """It, for Basic and bearer at the same time."""
    async with serving(
        tmp_path,
        services,
        catalog(),
        basic_user=USER,
        basic_password=SecretStr(PASSWORD),
        bearer_token=SecretStr(TOKEN),
    ) as served:
        yield served
