"""What is asked of every server: one offering, its plans, one body, one credential.

Standard library only, because the peers' environment imports it, too.
"""

import base64
import json
from typing import Any, Final

USER: Final = "bench"
PASSWORD: Final = "a-password-for-loopback-only"  # noqa: S105 (guards nothing)
KEYS: Final = "bench:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
"""For OSBKIT_ENCRYPTION_KEYS; guards nothing either."""
HEADERS: Final = {
    "Authorization": "Basic "
    + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    "X-Broker-API-Version": "2.17",
    "Content-Type": "application/json",
}

OFFERING: Final = "bench"
SERVICE_ID: Final = "5b1a2f0e-7c58-4b0a-9d63-3f3c3f0f9a01"
PLANS: Final = {
    "inline": "5b1a2f0e-7c58-4b0a-9d63-3f3c3f0f9a02",
    "background": "5b1a2f0e-7c58-4b0a-9d63-3f3c3f0f9a03",
    "held": "5b1a2f0e-7c58-4b0a-9d63-3f3c3f0f9a04",
}
MODES: Final = {"inline": "sync", "background": "async", "held": "async"}
"""How each plan is run; what `held` begins never ends."""

ORGANIZATION: Final = "c1b0b7f2-52a5-4d0c-8e41-52b1a2f1c001"
SPACE: Final = "c1b0b7f2-52a5-4d0c-8e41-52b1a2f1c002"
CONTEXT: Final[dict[str, Any]] = {
    "platform": "cloudfoundry",
    "organization_guid": ORGANIZATION,
    "organization_name": "bench",
    "space_guid": SPACE,
    "space_name": "bench",
    "instance_name": "a-queue",
}
PARAMETERS: Final[dict[str, Any]] = {"size": 10, "region": "north"}


def provision_body(plan: str) -> str:
    """The body of a PUT of an instance."""
    return json.dumps(
        {
            "service_id": SERVICE_ID,
            "plan_id": PLANS[plan],
            "organization_guid": ORGANIZATION,
            "space_guid": SPACE,
            "context": CONTEXT,
            "parameters": PARAMETERS,
        }
    )


def bind_body(plan: str) -> str:
    """The body of a PUT of a binding."""
    return json.dumps(
        {
            "service_id": SERVICE_ID,
            "plan_id": PLANS[plan],
            "bind_resource": {"app_guid": "c1b0b7f2-52a5-4d0c-8e41-52b1a2f1c003"},
            "context": CONTEXT,
        }
    )


def catalog() -> dict[str, Any]:
    """The small catalog, in the shape of the wire, with osbkit's own settings."""
    return {
        "services": [
            {
                "id": SERVICE_ID,
                "name": OFFERING,
                "description": "A service that makes nothing, at once",
                "bindable": True,
                "instances_retrievable": True,
                "bindings_retrievable": True,
                "plans": [
                    {
                        "id": PLANS[name],
                        "name": name,
                        "description": f"Its operations are {mode}",
                        "x-osbkit": {"mode": mode, "bind_mode": "sync"},
                    }
                    for name, mode in MODES.items()
                ],
            }
        ]
    }


def large_catalog(offerings: int = 100, plans: int = 10) -> dict[str, Any]:
    """About 1.2 MB once the backend's schemas are in."""
    return {
        "services": [
            {
                "id": f"00000000-0000-4000-8000-{one:012d}",
                "name": f"bench-{one}",
                "description": f"Offering {one} of a large catalog",
                "tags": ["bench", "large"],
                "bindable": True,
                "metadata": {
                    "displayName": f"Offering {one}",
                    "longDescription": "A text as marketplaces show it. " * 8,
                },
                "plans": [
                    {
                        "id": f"00000000-0000-4000-8001-{one * plans + two:012d}",
                        "name": f"plan-{two}",
                        "description": f"Plan {two} of offering {one}",
                        "metadata": {"bullets": [f"{two} GiB", "daily back-ups"]},
                    }
                    for two in range(plans)
                ],
            }
            for one in range(offerings)
        ]
    }
