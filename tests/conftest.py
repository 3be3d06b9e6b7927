"""What holds for every test: no setting of the machine, no limit by the clock.

asyncio mode, strict markers and warnings as errors are set in pyproject.toml.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "osbkit", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci", parent=settings.get_profile("osbkit"), derandomize=True, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "osbkit")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every OSBKIT_* and QUEUE_BROKER_* of the machine out of sight."""
    for name in list(os.environ):
        if name.startswith(("OSBKIT_", "QUEUE_BROKER_")):
            monkeypatch.delenv(name)
