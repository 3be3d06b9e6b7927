"""osbkit: the broker side of the Open Service Broker API, state included."""

from importlib.metadata import PackageNotFoundError, version

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
from osbkit.errors import Failed, Refused, UpdateFailed

try:
    __version__ = version("osbkit")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0"

__all__ = [
    "AnyParameters",
    "BindRequest",
    "Bound",
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
    "UnbindRequest",
    "UpdateFailed",
    "UpdateRequest",
    "VolumeMount",
]
