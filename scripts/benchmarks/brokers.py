"""The brokers that are measured: backends that do nothing, on osbkit as it is.

    small   one offering: plan `inline` (201), `background` (202, then done),
            `held` (202, and its operations wait for ever)
    stamping  the same, and its backend writes down when it was called
    large   100 offerings of 10 plans: 1.2 MB of catalog

`osbkit serve scripts.benchmarks.brokers:small`
"""

import asyncio
import os
import time
from typing import Literal

from pydantic import BaseModel, Field

from osbkit import (
    BindRequest,
    Bound,
    Broker,
    Catalog,
    DeprovisionRequest,
    NoParameters,
    ProvisionRequest,
    Run,
    ServiceBackend,
    UnbindRequest,
)
from scripts.benchmarks import workload


class Parameters(BaseModel, extra="forbid"):
    """What may be said of an instance: enough to validate."""

    size: int = Field(1, ge=1, le=1_000, description="In units that nobody counts")
    region: Literal["north", "south"] = Field("north", description="Where it would be")


class WideParameters(Parameters):
    """A schema of the usual length, for the large catalog."""

    replicas: int = Field(1, ge=1, le=9, description="How many copies are kept")
    retention_days: int = Field(7, ge=1, le=365, description="How long back-ups stay")
    maintenance_window: str = Field(
        "sun-03:00", max_length=16, description="When changes may be made"
    )


class NothingBackend(ServiceBackend[Parameters, NoParameters]):
    """Every verb is done as soon as it is called."""

    async def provision(self, request: ProvisionRequest[Parameters], run: Run) -> None:
        """Make nothing."""

    async def deprovision(self, request: DeprovisionRequest, run: Run) -> None:
        """Remove nothing."""

    async def bind(
        self, request: BindRequest[Parameters, NoParameters], run: Run
    ) -> Bound:
        """Give credentials of the usual size."""
        return Bound(
            credentials={
                "uri": f"amqp://service.invalid/{request.name}",
                "username": request.name,
                "password": "p" * 32,
            }
        )

    async def unbind(self, request: UnbindRequest, run: Run) -> None:
        """Remove nothing."""


class HeldBackend(NothingBackend):
    """Provision never ends: what is measured is the answer alone."""

    async def provision(self, request: ProvisionRequest[Parameters], run: Run) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()


class StampingBackend(NothingBackend):
    """Writes when it was called into the file that BENCH_STAMPS names."""

    async def provision(self, request: ProvisionRequest[Parameters], run: Run) -> None:
        """Say when; a line is short enough to be written whole."""
        line = f"{request.instance_id} {time.time_ns()}\n"
        with open(os.environ["BENCH_STAMPS"], "a") as stamps:  # noqa: ASYNC230
            stamps.write(line)


class WideBackend(NothingBackend):
    """Serves the plans of the large catalog."""

    plan_parameters = {f"plan-{number}": WideParameters for number in range(10)}  # noqa: RUF012


small = Broker(
    catalog=lambda: Catalog.from_dict(workload.catalog()),
    backends={
        workload.OFFERING: NothingBackend(),
        f"{workload.OFFERING}/held": HeldBackend(),
    },
)
stamping = Broker(
    catalog=lambda: Catalog.from_dict(workload.catalog()),
    backends={workload.OFFERING: StampingBackend()},
)
large = Broker(
    catalog=lambda: Catalog.from_dict(workload.large_catalog()),
    backends={
        offering["name"]: WideBackend()
        for offering in workload.large_catalog()["services"]
    },
)
