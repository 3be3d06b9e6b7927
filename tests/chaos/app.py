"""The broker that chaos is made around, in processes of its own.

    CHAOS_CLOUD   port of the cloud
    CHAOS_SKEW    seconds that this process's clock goes ahead
    CHAOS_PLANT   a fault of `plants`, to show that it is found

Plans: `inline` only synchronous, `either`, and `background` only asynchronous.
"""

import os
import time

if _skew := float(os.environ.get("CHAOS_SKEW", "0")):
    _time, _time_ns, _ahead = time.time, time.time_ns, int(_skew * 1e9)
    time.time = lambda: _time() + _skew
    time.time_ns = lambda: _time_ns() + _ahead

from osbkit import Broker, Catalog
from tests.chaos import plants, scale
from tests.chaos.backend import CloudBackend
from tests.chaos.offers import CATALOG, OFFERING

scale.shrink()
plants.plant(os.environ.get("CHAOS_PLANT", ""))

broker = Broker(
    catalog=Catalog.from_dict(CATALOG),
    backends={OFFERING: CloudBackend(int(os.environ["CHAOS_CLOUD"]))},
)
app = broker.app
