"""A trivial in-memory broker on openbrokerapi, run by gunicorn in `.bench`.

`gunicorn scripts.benchmarks.peer:app`
"""

import logging
from typing import Any

from flask import Flask
from openbrokerapi import api
from openbrokerapi.catalog import ServicePlan
from openbrokerapi.service_broker import (
    ProvisionDetails,
    ProvisionedServiceSpec,
    Service,
    ServiceBroker,
)

from scripts.benchmarks import workload


class InMemoryBroker(ServiceBroker):  # type: ignore[misc]
    """Keeps what it is told in a dict."""

    def __init__(self) -> None:
        self.instances: dict[str, ProvisionDetails] = {}

    def catalog(self) -> Service:
        """The small catalog."""
        (offering,) = workload.catalog()["services"]
        return Service(
            id=offering["id"],
            name=offering["name"],
            description=offering["description"],
            bindable=True,
            plans=[
                ServicePlan(
                    id=plan["id"], name=plan["name"], description=plan["description"]
                )
                for plan in offering["plans"]
            ],
        )

    def provision(
        self,
        instance_id: str,
        details: ProvisionDetails,
        async_allowed: bool,
        **kwargs: Any,
    ) -> ProvisionedServiceSpec:
        """Keep it."""
        self.instances[instance_id] = details
        return ProvisionedServiceSpec()


app = Flask(__name__)
app.register_blueprint(
    api.get_blueprint(
        InMemoryBroker(),
        api.BrokerCredentials(workload.USER, workload.PASSWORD),
        logging.getLogger("peer"),
    )
)
