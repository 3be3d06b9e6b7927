"""Time in this run: what takes minutes in production takes seconds here.

Nothing that must hold depends on how short a lease is; a slow machine only sees more
time-outs, and so more of what platforms do about them.

Units: seconds.
"""

import importlib
import os
import sys
from typing import Any

TIMEOUT = 8.0
"""A platform waits so long for an answer (60 in production)."""
LEASE = 3.0
DEADLINE = 9.0
LONGEST = 2.0
"""Between two attempts (60, and 600 of a clean-up, in production)."""
POLLS = 25.0
"""Cloud Foundry polls so long, then calls it a failure."""

CONSTANTS: dict[str, Any] = {
    "LEASE": LEASE,
    "MARGIN": 1.0,
    "RENEW": 0.8,
    "WATCH": 0.2,
    "POLL": 0.1,
    "SUSPICION": 2.0,
    "MAX_CLAIMS": 1_000,  # an operation meets more kills here than in a lifetime
    "FORSAKEN": 8.0,
    "HOUSEKEEPING": 2.0,
    "GRACE": 600_000,
    "PATIENCE": 5_000_000,
    "TICK": 0.1,
    "ROLLBACK_WAIT": 1.0,
    "LONGEST_CLEANUP": LONGEST,
}
"""Module constants of osbkit, by name; those of microseconds are integers."""

SETTINGS = {
    "OSBKIT_SYNC_BUDGET": "0.3",
    "OSBKIT_SYNC_BUDGET_REQUIRED": "5.5",
    "OSBKIT_OPERATION_DEADLINE": str(DEADLINE),
}


def shrink() -> None:
    """Put the constants into every module of osbkit that has them.

    Raises:
        LookupError: no module has one of them any more.
    """

    importlib.import_module("osbkit.broker")
    missing = set(CONSTANTS)
    for name, module in tuple(sys.modules.items()):
        if not name.startswith(("osbkit.operations", "osbkit.lifecycle")):
            continue
        for constant in CONSTANTS.keys() & vars(module).keys():
            setattr(module, constant, CONSTANTS[constant])
            missing.discard(constant)
    backoff: Any = importlib.import_module("osbkit.operations.backoff")
    backoff.delay = delay
    if missing:
        raise LookupError(f"osbkit has no {', '.join(sorted(missing))}")


def delay(attempt: int, longest: float = LONGEST) -> float:
    """Takes the place of `osbkit.operations.backoff.delay`: a tenth of it."""
    return min(longest, LONGEST, 0.1 * float(2 ** min(attempt - 1, 30)))


def settings() -> dict[str, str]:
    """The environment of every process of the broker."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | SETTINGS
