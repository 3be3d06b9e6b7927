"""Time in this run: what takes minutes in production takes seconds here.

Nothing that must hold depends on how short a lease is; a slow machine only sees more
time-outs, and so more of what platforms do about them.

Units: seconds.
"""

import importlib
import os
from typing import Any

TIMEOUT = 8.0
"""A platform waits so long for an answer (60 in production)."""
LEASE = 3.0
DEADLINE = 9.0
LONGEST = 2.0
"""Between two attempts (60, and 600 of a clean-up, in production)."""
POLLS = 25.0
"""Cloud Foundry polls so long, then calls it a failure."""

CONSTANTS: dict[str, dict[str, Any]] = {
    "operations.leases": {
        "LEASE": LEASE,
        "MARGIN": 1.0,
        "RENEW": 0.8,
        "WATCH": 0.2,
        "OVERDUE": 0.5,
        "SUSPICION": 2.0,
        "MAX_CLAIMS": 1_000,  # an operation meets more kills here than in a lifetime
        "FORSAKEN": 8.0,
    },
    "operations.engines": {"POLL": 0.1},
    "operations.delivery": {"AGAIN": 0.5},
    "operations.halting": {"GRACE": 600_000, "PATIENCE": 5_000_000, "TICK": 0.1},
    "operations.backoff": {"LONGEST_CLEANUP": LONGEST},
    "lifecycle.waiting": {"ROLLBACK_WAIT": 1.0},
    "lifecycle.housekeeping": {"TICK": 1.0, "TERM": 4.0, "MINUTE": 3.0, "HOUR": 3.0},
}
"""Constants by module of osbkit; those of `halting` are partly microseconds."""

SETTINGS = {
    "OSBKIT_SYNC_BUDGET": "0.3",
    "OSBKIT_SYNC_BUDGET_REQUIRED": "5.5",
    "OSBKIT_OPERATION_DEADLINE": str(DEADLINE),
}


def shrink() -> None:
    """Put the constants into osbkit, before a broker is made.

    Raises:
        AttributeError: a module has one of them no more.
    """
    for name, constants in CONSTANTS.items():
        module = importlib.import_module(f"osbkit.{name}")
        for constant, value in constants.items():
            getattr(module, constant)
            setattr(module, constant, value)
    backoff: Any = importlib.import_module("osbkit.operations.backoff")
    backoff.delay = delay


def delay(attempt: int, longest: float = LONGEST) -> float:
    """Takes the place of `osbkit.operations.backoff.delay`: a tenth of it."""
    return min(longest, LONGEST, 0.1 * float(2 ** min(attempt - 1, 30)))


def settings() -> dict[str, str]:
    """The environment of every process of the broker."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | SETTINGS
