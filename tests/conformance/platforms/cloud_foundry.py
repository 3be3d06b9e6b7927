"""Cloud Foundry's Cloud Controller, API version 2.15.

Judges bodies by JSON schemas: an object always, and a null where a value is
expected is malformed. An answer it cannot place is followed by a DELETE.
"""

from tests.conformance.platforms.rules import (
    ANY,
    CLEAN_UP,
    DONE,
    FAIL,
    FETCHES,
    FLAG,
    MAP,
    NUMBER,
    POLLS,
    POLLS_OF_REMOVALS,
    REFUSALS,
    REMOVALS,
    TEXT,
    UNREAD,
    WAIT,
    Platform,
    Rule,
    Schema,
    exact,
    many,
    nullable,
    polls,
)

SENTENCE: Schema = {"type": "string", "pattern": r"\S", "maxLength": 10_000}
NAME: Schema = {"type": "string", "pattern": r"\S"}
PERMISSION: Schema = {"enum": ["syslog_drain", "route_forwarding", "volume_mount"]}
MAINTENANCE = {
    **exact(
        ("version",),
        version={"type": "string", "pattern": r"^\d+\.\d+\.\d+([-+].*)?$"},
        description=TEXT,
    ),
    "additionalProperties": False,
}
DRAFT_04: Schema = {"const": "http://json-schema.org/draft-04/schema#"}
PARAMETERS = exact(
    parameters={
        "type": "object",
        "required": ["$schema"],
        "properties": {
            "$schema": DRAFT_04,
            "exclusiveMinimum": FLAG,
            "required": many(TEXT, 1),
        },
    }
)
PLAN = exact(
    ("id", "name", "description"),
    id=NAME,
    name=NAME,
    description=SENTENCE,
    free=nullable(FLAG),
    bindable=nullable(FLAG),
    plan_updateable=nullable(FLAG),
    metadata=nullable(MAP),
    maximum_polling_duration=nullable(NUMBER),
    maintenance_info=nullable(MAINTENANCE),
    schemas=nullable(
        exact(
            service_instance=exact(create=PARAMETERS, update=PARAMETERS),
            service_binding=exact(create=PARAMETERS),
        )
    ),
)
OFFERING = exact(
    ("id", "name", "description", "bindable", "plans"),
    id=NAME,
    name=NAME,
    description=SENTENCE,
    bindable=FLAG,
    tags=many(TEXT),
    requires=many(PERMISSION),
    metadata=nullable(MAP),
    plan_updateable=nullable(FLAG),
    dashboard_client=nullable(
        exact(
            ("id", "secret", "redirect_uri"),
            id=NAME,
            secret=NAME,
            redirect_uri=NAME,
        )
    ),
    plans=many(PLAN, 1),
)
CATALOG = exact(("services",), services=many(OFFERING, 1))
TOKEN: Schema = {"type": "string", "maxLength": 10_000}
ANSWER = exact(
    dashboard_url=nullable(TEXT),
    metadata=exact(labels=MAP, attributes=MAP),
    operation=TOKEN,
)
REMOVED = exact(operation=TOKEN)
MOUNT = exact(
    ("driver", "container_dir", "mode", "device_type", "device"),
    driver=NAME,
    container_dir=NAME,
    mode={"enum": ["r", "rw"]},
    device_type=NAME,
    device=exact(("volume_id",), volume_id=NAME, mount_config=MAP),
)
HTTPS: Schema = {"type": "string", "pattern": "^https://[^/?#]+"}
BOUND = exact(
    operation=TOKEN,
    credentials=nullable(MAP),
    syslog_drain_url=nullable(TEXT),
    route_service_url=nullable(HTTPS),
    volume_mounts=nullable(many(MOUNT)),
)
FETCHED_INSTANCE = exact(dashboard_url=TEXT, parameters=MAP)
FETCHED_BINDING = exact(
    credentials=MAP,
    parameters=MAP,
    syslog_drain_url=TEXT,
    route_service_url=HTTPS,
    volume_mounts=many(MOUNT),
)


def named(*errors: str) -> Schema:
    """An error body with one of the codes that count."""
    return exact(("error",), error={"enum": list(errors)})


NAMED = named("AsyncRequired", "ConcurrencyError", "MaintenanceInfoConflict")
NAMED_AT_BIND = named("AsyncRequired", "ConcurrencyError", "RequiresApp")

CLOUD_FOUNDRY = Platform(
    name="Cloud Foundry",
    version=(2, 15),
    rules=(
        Rule("catalog", {200}, CATALOG, DONE),
        Rule("catalog", ANY, UNREAD, FAIL),
        #
        Rule("provision", {200, 201}, ANSWER, DONE),
        Rule("provision", {202}, ANSWER, WAIT),
        Rule("provision", {200}, UNREAD, FAIL),
        Rule("provision", {422}, NAMED, FAIL),
        Rule("provision", {422}, UNREAD, CLEAN_UP),
        Rule("provision", REFUSALS, UNREAD, FAIL),
        Rule("provision", ANY, UNREAD, CLEAN_UP),
        #
        Rule("update", {200}, ANSWER, DONE),
        Rule("update", {202}, ANSWER, WAIT),
        Rule("update", ANY, UNREAD, FAIL),
        #
        Rule("bind", {200, 201}, BOUND, DONE),
        Rule("bind", {202}, BOUND, WAIT),
        Rule("bind", {422}, NAMED_AT_BIND, FAIL),
        Rule("bind", {422}, UNREAD, CLEAN_UP),
        Rule("bind", REFUSALS, UNREAD, FAIL),
        Rule("bind", ANY, UNREAD, CLEAN_UP),
        #
        Rule(REMOVALS, {410}, UNREAD, DONE),
        Rule(REMOVALS, {200}, REMOVED, DONE),
        Rule(REMOVALS, {202}, REMOVED, WAIT),
        Rule(REMOVALS, ANY, UNREAD, FAIL),
        #
        Rule("fetch instance", {200}, FETCHED_INSTANCE, DONE),
        Rule("fetch binding", {200}, FETCHED_BINDING, DONE),
        Rule(FETCHES, ANY, UNREAD, FAIL),
        #
        *polls(
            Rule(POLLS_OF_REMOVALS, {410}, UNREAD, DONE),
            Rule(POLLS, {400}, UNREAD, FAIL),
            shape=exact(description=nullable(TEXT)),
        ),
    ),
)
