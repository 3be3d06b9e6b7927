"""The broker that the crash tests serve in a process of its own.

    CRASH_CLOUD   the file of the cloud
    CRASH_PAUSE   seconds between two effects (0.03)
    CRASH_LEASE   seconds that a claim lasts, instead of the usual ones

Plans: `slow` and `poison` only asynchronous, `quick` only synchronous. A provision
of `poison` kills the process that runs it.
"""

import asyncio
import contextlib
import os
import signal

from osbkit import Broker, Facts, ProvisionRequest, Run
from osbkit.operations import halting, leases
from tests.flows.crash.backend import CloudBackend
from tests.flows.crash.catalog import CATALOG
from tests.flows.crash.cloud import Cloud

PAUSE = float(os.environ.get("CRASH_PAUSE", "0.03"))
LEASE = float(os.environ.get("CRASH_LEASE", "0"))
if LEASE:
    leases.LEASE = LEASE
    leases.RENEW, leases.MARGIN = LEASE / 5, LEASE / 3
    leases.WATCH = leases.OVERDUE = LEASE / 10
    halting.GRACE = int(LEASE / 3 * 1_000_000)
cloud = Cloud(os.environ["CRASH_CLOUD"])


async def pause(place: str) -> None:
    """A moment in which a process can be killed; longer while the place is held.

    While `deaf` is held, nothing ends it before its time.
    """
    while cloud.held("deaf"):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    await asyncio.sleep(PAUSE)
    while cloud.held(place):  # noqa: ASYNC110 (another process lets go)
        await asyncio.sleep(0.01)


class Poison(CloudBackend):
    """Kills its process whenever it makes an instance."""

    async def provision(self, request: ProvisionRequest, run: Run) -> Facts | None:
        self._begin("provision", request.name, run)
        if cloud.held("poison.waits"):
            await self.pause("poison.waits")
        os.kill(os.getpid(), signal.SIGKILL)
        return None


broker = Broker(
    catalog=CATALOG,
    backends={
        "cloud": CloudBackend(cloud, pause),
        "cloud/poison": Poison(cloud, pause),
    },
)
app = broker.app
