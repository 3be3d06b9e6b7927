"""What the broker of this run offers, as data: platforms read it, too."""

from typing import Any

OFFERING = "things"
SERVICE = "chaos-things"
PLANS = {
    "inline": ("sync", "sync"),
    "either": ("auto", "auto"),
    "background": ("async", "async"),
}
"""Plan → its modes of instances and of bindings."""


def plan_id(plan: str) -> str:
    """The id of a plan."""
    return f"chaos-{plan}"


def _plan(name: str, mode: str, bind_mode: str) -> dict[str, Any]:
    return {
        "id": plan_id(name),
        "name": name,
        "description": f"Answers in mode {mode}",
        "free": True,
        "bindable": True,
        "x-osbkit": {"mode": mode, "bind_mode": bind_mode},
    }


CATALOG: dict[str, Any] = {
    "services": [
        {
            "id": SERVICE,
            "name": OFFERING,
            "description": "Things with a ledger",
            "bindable": True,
            "plan_updateable": True,
            "instances_retrievable": True,
            "bindings_retrievable": True,
            "plans": [_plan(name, *modes) for name, modes in PLANS.items()],
        }
    ]
}
