"""Kubernetes Service Catalog 0.3.1, with asynchronous bindings and the gate
`UpdateDashboardURL` on: the strictest it can be.

Reads JSON as Go does. Retries nearly everything without end, takes 400 alone for
a refusal, and deletes after whatever may have left something behind.
"""

from tests.conformance.platforms.rules import (
    ANY,
    BUT_200,
    CLEAN_UP,
    CRASH,
    DONE,
    FAIL,
    FETCHES,
    FLAG,
    JSON,
    MAP,
    OURS,
    POLLS,
    POLLS_OF_REMOVALS,
    RETRY,
    SECRET_KEYS,
    TEXT,
    UNREAD,
    WAIT,
    Platform,
    Rule,
    Schema,
    every,
    golang,
    many,
    no,
    polls,
)

NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 63}
SENTENCE: Schema = {"type": "string", "minLength": 1}
PLAN = golang(
    ("id", "name", "description"),
    id=NAME,
    name=NAME,
    description=SENTENCE,
    free=FLAG,
    bindable=FLAG,
    metadata=MAP,
    schemas=MAP,
)
OFFERING = golang(
    ("id", "name", "description", "plans"),
    id=NAME,
    name=NAME,
    description=SENTENCE,
    tags=many(TEXT),
    requires=many(TEXT),
    bindable=FLAG,
    instances_retrievable=FLAG,
    bindings_retrievable=FLAG,
    plan_updateable=FLAG,
    metadata=MAP,
    plans=many(PLAN, 1),
)
CATALOG = golang(services=many(OFFERING))
ANSWER = golang(operation=TEXT, dashboard_url=TEXT)
BOUND = golang(
    operation=TEXT,
    credentials=MAP,
    syslog_drain_url=TEXT,
    route_service_url=TEXT,
    volume_mounts=many(JSON),
)
GOOD_SECRET = golang(credentials={"propertyNames": SECRET_KEYS})
"""Another key fails the Secret, and the PUT comes again for up to seven days."""

SERVICE_CATALOG = Platform(
    name="Service Catalog",
    version=(2, 14),
    rules=(
        Rule("catalog", {200}, CATALOG, DONE),
        Rule("catalog", ANY, UNREAD, RETRY),
        #
        Rule("provision", {200, 201}, ANSWER, DONE),
        Rule("provision", {202}, ANSWER, WAIT),
        Rule("provision", {400}, UNREAD, FAIL),
        Rule("provision", {*BUT_200, *OURS}, UNREAD, CLEAN_UP),
        Rule("provision", ANY, UNREAD, RETRY),
        #
        # the answer's dashboard_url is dereferenced, there or not
        Rule("update", {200, 202}, every(ANSWER, no("dashboard_url")), CRASH),
        Rule("update", {200}, ANSWER, DONE),
        Rule("update", {202}, ANSWER, WAIT),
        Rule("update", {400}, UNREAD, FAIL),
        Rule("update", ANY, UNREAD, RETRY),
        #
        Rule("deprovision", {200, 410}, UNREAD, DONE),
        Rule("deprovision", {202}, ANSWER, WAIT),
        Rule("deprovision", ANY, UNREAD, RETRY),
        #
        # a secretTransform writes into what is not there
        Rule("bind", {200, 201}, every(BOUND, no("credentials")), CRASH),
        Rule("bind", {200, 201}, every(BOUND, GOOD_SECRET), DONE),
        Rule("bind", {200, 201}, BOUND, RETRY),
        Rule("bind", {202}, BOUND, WAIT),
        Rule("bind", {*BUT_200, *OURS}, UNREAD, CLEAN_UP),
        Rule("bind", ANY, UNREAD, FAIL),
        #
        Rule("unbind", {200, 410}, ANSWER, DONE),
        Rule("unbind", {202}, ANSWER, WAIT),
        Rule("unbind", ANY, UNREAD, RETRY),
        #
        Rule("fetch binding", {200}, every(BOUND, no("credentials")), CRASH),
        Rule("fetch binding", {200}, every(BOUND, GOOD_SECRET), DONE),
        Rule("fetch binding", {200}, BOUND, RETRY),
        Rule(FETCHES, ANY, UNREAD, CLEAN_UP),
        #
        *polls(
            Rule(POLLS_OF_REMOVALS, {410}, UNREAD, DONE),
            Rule("poll provision", {400}, UNREAD, CLEAN_UP),
            Rule(POLLS, {400}, UNREAD, FAIL),
            shape=golang(state=TEXT, description=TEXT),
            # after a removal that failed comes a new DELETE
            failed={"provision": CLEAN_UP, "deprovision": RETRY, "unbind": RETRY},
        ),
    ),
)
