"""What the reference broker offers: every feature once, under ids that never change.

everything   retrievable, updatable, context updates; schemas, maintenance_info
    sync           each verb within the request
    sync-large     the same, to change to; a newer maintenance version
    auto           within the request, or 202 with the flag
    async          asynchronously only, bindings too
    async-large    the same, to change to
    fails          asynchronously; the provisioning fails
    bind-fails     asynchronously; every binding fails
    update-fails   asynchronously; every update fails
    delete-fails   asynchronously; the first deprovisioning fails
    needs-app      no binding without an app
    fixed          cannot be left for another plan, has no maintenance_info
    unbound        not bindable
drain, route, volume   one permission each
plain        nothing is retrievable, nothing updatable, no schemas
overrides    neither bindable nor updatable
    own            both, by its own word
    none           as its offering
"""

from typing import Any

Json = dict[str, Any]

CREATE: Json = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "type": "object",
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "label": {"type": "string", "maxLength": 20},
    },
    "additionalProperties": False,
}
BIND: Json = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "type": "object",
    "properties": {"role": {"type": "string", "enum": ["reader", "writer"]}},
    "additionalProperties": False,
}
MAINTENANCE = {"version": "2.1.1+abcdef", "description": "A newer engine."}


def _id(kind: str, number: int) -> str:
    return f"{kind}a7c0de0-0000-4000-8000-{number:012d}"


def _plan(number: int, name: str, mode: str = "sync", **fields: Any) -> Json:
    return {
        "id": _id("b", number),
        "name": name,
        "description": f"The plan {name}",
        "free": True,
        "metadata": {
            "displayName": name.title(),
            "bullets": ["small", "quick"],
            "costs": [{"amount": {"usd": 1.5}, "unit": "MONTHLY"}],
        },
        "x-mode": mode,
        **fields,
    }


def _full(number: int, name: str, mode: str = "sync", **fields: Any) -> Json:
    schemas = {
        "service_instance": {
            "create": {"parameters": CREATE},
            "update": {"parameters": CREATE},
        },
        "service_binding": {"create": {"parameters": BIND}},
    }
    more = {
        "schemas": schemas,
        "maintenance_info": MAINTENANCE,
        "binding_rotatable": True,
        "maximum_polling_duration": 600,
        **fields,
    }
    return _plan(number, name, mode, **more)


def _offering(number: int, name: str, plans: list[Json], **fields: Any) -> Json:
    return {
        "id": _id("a", number),
        "name": name,
        "description": f"The offering {name}",
        "bindable": True,
        "plan_updateable": False,
        "instances_retrievable": True,
        "bindings_retrievable": True,
        "allow_context_updates": False,
        "tags": ["reference"],
        "metadata": {"displayName": name.title(), "shareable": True},
        "plans": plans,
        **fields,
    }


def catalog() -> Json:
    """A fresh copy of the whole catalog."""
    unbound = _full(12, "unbound", bindable=False, binding_rotatable=False)
    del unbound["schemas"]["service_binding"]
    everything = [
        _full(1, "sync"),
        _full(2, "sync-large", maintenance_info={"version": "2.2.0"}),
        _full(3, "auto", "auto"),
        _full(4, "async", "async"),
        _full(5, "async-large", "async"),
        _full(6, "fails", "async"),
        _full(7, "bind-fails", "async"),
        _full(8, "update-fails", "async"),
        _full(9, "delete-fails", "async"),
        _full(10, "needs-app"),
        _plan(11, "fixed", plan_updateable=False),
        unbound,
    ]
    return {
        "services": [
            _offering(
                1,
                "everything",
                everything,
                plan_updateable=True,
                allow_context_updates=True,
                dashboard_client={
                    "id": "reference-dashboard",
                    "secret": "only-for-tests",
                    "redirect_uri": "https://dashboard.example.com",
                },
            ),
            _offering(2, "drain", [_plan(21, "only")], requires=["syslog_drain"]),
            _offering(3, "route", [_plan(31, "only")], requires=["route_forwarding"]),
            _offering(4, "volume", [_plan(41, "only")], requires=["volume_mount"]),
            _offering(
                5,
                "plain",
                [_plan(51, "only"), _plan(52, "more")],
                instances_retrievable=False,
                bindings_retrievable=False,
            ),
            _offering(
                6,
                "overrides",
                [
                    _plan(61, "own", bindable=True, plan_updateable=True),
                    _plan(62, "none"),
                ],
                bindable=False,
            ),
        ]
    }
