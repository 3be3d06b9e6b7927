"""The broker that each version serves here: public names that every version has.

    CRASH_CLOUD   the file of the cloud

`tests.flows.crash.app` without what it needs of today's engine.
"""

import asyncio
import os

from osbkit import Broker
from tests.flows.crash.backend import CloudBackend
from tests.flows.crash.catalog import CATALOG
from tests.flows.crash.cloud import Cloud

cloud = Cloud(os.environ["CRASH_CLOUD"])


async def pause(place: str) -> None:
    """Wait while the place is held."""
    while cloud.held(place):  # noqa: ASYNC110 (another process lets go)
        await asyncio.sleep(0.01)


broker = Broker(catalog=CATALOG, backends={"cloud": CloudBackend(cloud, pause)})
app = broker.app
