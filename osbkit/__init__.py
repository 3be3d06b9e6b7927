"""osbkit: the broker side of the Open Service Broker API, state included."""

from typing import TYPE_CHECKING, Any

from osbkit.backends.contract import (
    AnyParameters,
    BindRequest,
    Bound,
    DeprovisionRequest,
    Description,
    Endpoint,
    Facts,
    Found,
    InstanceView,
    NoParameters,
    ProvisionRequest,
    Run,
    ServiceBackend,
    UnbindRequest,
    UpdateRequest,
    VolumeMount,
)
from osbkit.backends.threaded import BlockingBackend, BlockingRun, threaded
from osbkit.errors import Failed, Refused, UpdateFailed
from osbkit.version import VERSION as __version__

if TYPE_CHECKING:
    from osbkit.broker import Broker
    from osbkit.catalog import Catalog
    from osbkit.settings import Settings

_LATER = {
    "Broker": "osbkit.broker",
    "Catalog": "osbkit.catalog",
    "Settings": "osbkit.settings",
}
"""Imported when first asked for: `osbkit client` needs neither web nor database."""


def __getattr__(name: str) -> Any:
    """Import what is in `_LATER` on first use."""
    if name not in _LATER:
        raise AttributeError(f"module 'osbkit' has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(_LATER[name]), name)
    globals()[name] = found
    return found


__all__ = [
    "AnyParameters",
    "BindRequest",
    "BlockingBackend",
    "BlockingRun",
    "Bound",
    "Broker",
    "Catalog",
    "DeprovisionRequest",
    "Description",
    "Endpoint",
    "Facts",
    "Failed",
    "Found",
    "InstanceView",
    "NoParameters",
    "ProvisionRequest",
    "Refused",
    "Run",
    "ServiceBackend",
    "Settings",
    "UnbindRequest",
    "UpdateFailed",
    "UpdateRequest",
    "VolumeMount",
    "__version__",
    "threaded",
]
