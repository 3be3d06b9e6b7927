"""A broker in process around one backend, asked as a platform asks.

State is in a temporary directory; nothing listens on a port.
"""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from osbkit.backends.contract import ServiceBackend
from osbkit.broker import Broker
from osbkit.catalog import Catalog
from osbkit.domain import Json
from osbkit.settings import Settings

USER, PASSWORD = "platform", "of the contract suite"
SERVICE_ID = "f30ad35b-7f32-44c1-a4f3-0f8a0a1f0c51"
INSTANCE = "/v2/service_instances/contract"
BINDING = f"{INSTANCE}/service_bindings/contract"


def plan_id(plan: str) -> str:
    """The id of a plan in the catalog that is served."""
    return f"plan-{plan}"


def catalog_of(offering: str, plans: list[str]) -> Catalog:
    """An offering with these plans, each changed within the request."""
    return Catalog.from_dict(
        {
            "services": [
                {
                    "id": SERVICE_ID,
                    "name": offering,
                    "description": "What the contract suite asks for",
                    "bindable": True,
                    "plan_updateable": len(plans) > 1,
                    "instances_retrievable": True,
                    "bindings_retrievable": True,
                    "plans": [
                        {
                            "id": plan_id(plan),
                            "name": plan,
                            "description": f"The plan {plan}",
                            "x-osbkit": {"mode": "sync", "bind_mode": "sync"},
                        }
                        for plan in plans
                    ],
                }
            ]
        }
    )


@asynccontextmanager
async def serving(
    backend: ServiceBackend[Any, Any], offering: str, plans: list[str]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a broker that serves these plans from one backend."""
    with tempfile.TemporaryDirectory(prefix="osbkit-contract-") as directory:
        broker = Broker(
            catalog=catalog_of(offering, plans),
            backends={f"{offering}/{plan}": backend for plan in plans},
            settings=Settings(
                database_url=SecretStr(f"sqlite:///{Path(directory) / 'osbkit.db'}"),
                basic_user=USER,
                basic_password=SecretStr(PASSWORD),
                log_level="ERROR",
            ),
        )
        async with (
            broker.lifespan(),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app=broker.app),
                base_url="http://broker.example",
                auth=(USER, PASSWORD),
                headers={"X-Broker-API-Version": "2.17"},
                timeout=60,
            ) as client,
        ):
            yield client


def ids(plan: str) -> Json:
    """What every body names."""
    return {"service_id": SERVICE_ID, "plan_id": plan_id(plan)}


def body(plan: str, parameters: Json) -> Json:
    """The body that asks for an instance."""
    return {
        **ids(plan),
        "organization_guid": "org",
        "space_guid": "space",
        "parameters": parameters,
    }
