"""Korifi, API version 2.17.

Keeps no operation id: it sends the whole PUT or DELETE again on every round, and
takes the credentials of an asynchronous binding from the repeated PUT. It cleans
nothing up, and everything below 300 counts if its body is JSON.
"""

from tests.conformance.platforms.rules import (
    ANY,
    BELOW_300,
    CRASH,
    DONE,
    FAIL,
    FETCHES,
    FLAG,
    MAP,
    REMOVALS,
    RETRY,
    SECRET_KEYS,
    TEXT,
    UNREAD,
    WAIT,
    Platform,
    Rule,
    every,
    exact,
    golang,
    many,
    no,
    polls,
)

PLAN = golang(
    id=TEXT,
    name=TEXT,
    description=TEXT,
    free=FLAG,
    bindable=FLAG,
    metadata=MAP,
    maintenance_info=golang(version=TEXT),
)
OFFERING = golang(
    id=TEXT,
    name=TEXT,
    description=TEXT,
    tags=many(TEXT),
    requires=many(TEXT),
    bindable=FLAG,
    metadata=MAP,
    plan_updateable=FLAG,
    plans=many(PLAN),
)
CATALOG = golang(services=many(OFFERING))
LINK_NO_TEXT = exact(
    ("services",),
    services={
        "contains": exact(
            ("metadata",),
            metadata=exact(
                ("documentationUrl",), documentationUrl={"not": {"type": "string"}}
            ),
        )
    },
)
ANSWER = golang(operation=TEXT)
BOUND = golang(operation=TEXT, credentials=MAP)
GOOD_SECRET = golang(credentials={"propertyNames": SECRET_KEYS})

KORIFI = Platform(
    name="Korifi",
    version=(2, 17),
    rules=(
        Rule("catalog", {200}, LINK_NO_TEXT, CRASH),
        Rule("catalog", {200}, CATALOG, DONE),
        Rule("catalog", ANY, UNREAD, RETRY),
        #
        Rule("provision", {202}, ANSWER, WAIT),
        Rule("provision", BELOW_300, ANSWER, DONE),
        Rule("provision", {409, 422}, UNREAD, FAIL),
        Rule("provision", ANY, UNREAD, RETRY),
        #
        Rule("update", ANY, UNREAD, FAIL),  # it knows none
        #
        Rule("bind", {202}, BOUND, WAIT),
        # without credentials the next round asks again
        Rule("bind", BELOW_300, every(BOUND, no("credentials")), RETRY),
        Rule("bind", BELOW_300, every(BOUND, GOOD_SECRET), DONE),
        Rule("bind", BELOW_300, UNREAD, RETRY),
        Rule("bind", {409, 422}, UNREAD, FAIL),
        Rule("bind", ANY, UNREAD, RETRY),
        #
        Rule(REMOVALS, {410}, UNREAD, DONE),
        Rule(REMOVALS, {202}, ANSWER, WAIT),
        Rule(REMOVALS, BELOW_300, ANSWER, DONE),
        Rule(REMOVALS, {400, 422}, UNREAD, FAIL),
        Rule(REMOVALS, ANY, UNREAD, RETRY),
        #
        Rule(FETCHES, {200}, golang(parameters=MAP), DONE),
        Rule(FETCHES, ANY, UNREAD, FAIL),
        #
        # 410 is an error here, after a removal, too
        *polls(shape=golang(state=TEXT, description=TEXT)),
    ),
)
