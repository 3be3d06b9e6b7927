"""The offering of these tests: one plan for each way to answer."""

from typing import Any

from osbkit import Catalog

SERVICE = "crash-cloud-id"


def plan(name: str, mode: str, bind_mode: str) -> dict[str, Any]:
    """A plan whose id is its name and `-id`."""
    return {
        "id": f"{name}-id",
        "name": name,
        "description": f"Answers in mode {mode}",
        "free": True,
        "bindable": True,
        "plan_updateable": True,
        "x-osbkit": {"mode": mode, "bind_mode": bind_mode},
    }


CATALOG = Catalog.from_dict(
    {
        "services": [
            {
                "id": SERVICE,
                "name": "cloud",
                "description": "Things with a ledger",
                "bindable": True,
                "plan_updateable": True,
                "instances_retrievable": True,
                "bindings_retrievable": True,
                "plans": [
                    plan("slow", "async", "async"),
                    plan("auto", "auto", "auto"),
                    plan("quick", "sync", "sync"),
                    plan("poison", "async", "sync"),
                ],
            }
        ]
    }
)
"""`slow` asynchronous only, `quick` synchronous only, `auto` both."""


def instance_body(plan_name: str, **parameters: Any) -> dict[str, Any]:
    """The body of a PUT of an instance."""
    return {
        "service_id": SERVICE,
        "plan_id": f"{plan_name}-id",
        "organization_guid": "an-organisation",
        "space_guid": "a-space",
        "parameters": parameters,
    }


def binding_body(plan_name: str, **parameters: Any) -> dict[str, Any]:
    """The body of a PUT of a binding."""
    return {
        "service_id": SERVICE,
        "plan_id": f"{plan_name}-id",
        "parameters": parameters,
    }


def deletion(plan_name: str) -> dict[str, Any]:
    """The query of a DELETE."""
    return {"service_id": SERVICE, "plan_id": f"{plan_name}-id"}
