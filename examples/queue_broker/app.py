"""The example as a FastAPI application: `uvicorn examples.queue_broker.app:app`.

    /v2/…          the broker, for platforms
    /v1/queues/…   the queues, for applications with a binding's token

Importing this opens nothing but the catalog and reads no environment.
"""

from pathlib import Path

from examples.queue_broker.backend import MOUNTED_AT, EmbeddedQueueBackend
from examples.queue_broker.messages import MessagesApp
from examples.queue_broker.queue_store import QueueStore
from osbkit import Broker, Catalog

store = QueueStore()
broker = Broker(
    catalog=Catalog.from_yaml(Path(__file__).with_name("catalog.yaml")),
    backends={"osbkit-queue": EmbeddedQueueBackend(store)},
    mounts={MOUNTED_AT: MessagesApp(store)},
)
app = broker.app
