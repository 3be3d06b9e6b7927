"""QUEUE_BROKER_*: where the queues lie and which backends serve.

Read by the backend's `open()`, never at import. The broker's own settings are
OSBKIT_* and are osbkit's business.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from osbkit.errors import SettingsInvalid

BACKENDS = ("embedded",)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueBrokerSettings:
    """What the operator of the example decides.

    Attributes:
        directory: QUEUE_BROKER_DIR, `./queues`; made if it is missing.
        slow_seconds: QUEUE_BROKER_SLOW_SECONDS, 3; what each verb of the plan
            `slow` takes, 0 to 3600.
        backends: QUEUE_BROKER_BACKENDS, `embedded`; names parted by commas.
    """

    directory: Path = Path("queues")
    slow_seconds: float = 3.0
    backends: tuple[str, ...] = BACKENDS

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read them; an empty variable counts as unset.

        Raises:
            SettingsInvalid: one sentence that names the variable and the fix.
        """
        given = os.environ if environ is None else environ
        return cls(
            directory=Path(given.get("QUEUE_BROKER_DIR") or "queues"),
            slow_seconds=_seconds(given.get("QUEUE_BROKER_SLOW_SECONDS") or "3"),
            backends=_backends(given.get("QUEUE_BROKER_BACKENDS") or "embedded"),
        )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:
        raise SettingsInvalid(
            "QUEUE_BROKER_SLOW_SECONDS must be a number of seconds from 0 to 3600."
        )
    return seconds


def _backends(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or not set(names) <= set(BACKENDS):
        raise SettingsInvalid(
            "QUEUE_BROKER_BACKENDS must name backends that exist, parted by commas:"
            f" {', '.join(BACKENDS)}."
        )
    return names
