"""FastAPI alone, in memory: how much of a figure is the framework's.

No authentication, no database, nothing checked but the body's types.
`uvicorn scripts.benchmarks.bare:app`
"""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from scripts.benchmarks import workload

CATALOG = workload.catalog()
instances: dict[str, "Body"] = {}
app = FastAPI()


class Body(BaseModel):
    """Spec: "Provisioning", Body."""

    service_id: str
    plan_id: str
    organization_guid: str
    space_guid: str
    context: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None


@app.get("/v2/catalog")
async def catalog() -> dict[str, Any]:
    """The same small catalog, serialised at every request."""
    return CATALOG


@app.put("/v2/service_instances/{instance_id}", status_code=201)
async def provision(instance_id: str, body: Body) -> dict[str, Any]:
    """Keep the body in memory."""
    instances[instance_id] = body
    return {}
