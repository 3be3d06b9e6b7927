"""Which field of the catalog came with which version of the specification.

A client that says an older version does not get the field: some check answers
against the closed shape of their version. Fields that are in no table are the
vendor's own and go to everybody ("Vendor Extension Fields").
Source: release notes of the specification, and its tags where they are silent.
"""

from typing import Final

Version = tuple[int, int]
"""An API version as two numbers: 2.14 is (2, 14)."""

SETTINGS_KEY: Final = "x-osbkit"
"""osbkit's own settings of a plan; never on the wire."""

CATALOG_FIELDS: Final[dict[str, Version]] = {"services": (2, 0)}

OFFERING_FIELDS: Final[dict[str, Version]] = {
    "id": (2, 0),
    "name": (2, 0),
    "description": (2, 0),
    "tags": (2, 0),
    "requires": (2, 0),
    "bindable": (2, 0),
    "instances_retrievable": (2, 14),
    "bindings_retrievable": (2, 14),
    "allow_context_updates": (2, 15),
    "metadata": (2, 0),
    "dashboard_client": (2, 3),
    "plan_updateable": (2, 4),
    "plans": (2, 0),
}

PLAN_FIELDS: Final[dict[str, Version]] = {
    "id": (2, 0),
    "name": (2, 0),
    "description": (2, 0),
    "metadata": (2, 0),
    "free": (2, 2),
    "bindable": (2, 11),
    "binding_rotatable": (2, 17),
    "plan_updateable": (2, 15),
    "schemas": (2, 13),
    "maximum_polling_duration": (2, 15),
    "maintenance_info": (2, 15),
}

STEPS: Final[tuple[Version, ...]] = tuple(
    sorted({*OFFERING_FIELDS.values(), *PLAN_FIELDS.values()})
)
"""The versions at which the catalog changes, oldest first."""
