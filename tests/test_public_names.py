"""What authors may rely on: a name that leaves is announced first."""

import osbkit

NAMES = [
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


def test_public_names_are_these():
    assert osbkit.__all__ == NAMES == sorted(NAMES)


def test_every_public_name_is_there():
    assert [name for name in NAMES if not hasattr(osbkit, name)] == []
