"""eden, a command line for brokers, API version 2.13.

Parses every body before it looks at the status, binds and unbinds synchronously
only, and takes an answer to a poll that it cannot read for `succeeded`.
"""

from tests.conformance.platforms.rules import (
    ANY,
    BELOW_300,
    DONE,
    FAIL,
    FETCHES,
    FLAG,
    JSON,
    MAP,
    OURS,
    POLLS,
    REFUSALS,
    RETRY,
    TEXT,
    UNREAD,
    WAIT,
    Platform,
    Rule,
    golang,
    many,
    polls,
    state,
)

COSTS = many(golang(amount={"additionalProperties": {"type": "number"}}, unit=TEXT))
PLAN_METADATA = golang(displayName=TEXT, bullets=many(TEXT), costs=COSTS)
OFFERING_METADATA = golang(
    displayName=TEXT,
    imageUrl=TEXT,
    longDescription=TEXT,
    providerDisplayName=TEXT,
    documentationUrl=TEXT,
    supportUrl=TEXT,
)
PLAN = golang(id=TEXT, name=TEXT, description=TEXT, free=FLAG, metadata=PLAN_METADATA)
OFFERING = golang(
    id=TEXT,
    name=TEXT,
    description=TEXT,
    bindable=FLAG,
    plan_updateable=FLAG,
    tags=many(TEXT),
    metadata=OFFERING_METADATA,
    plans=many(PLAN),
)
ANSWER = golang(operation=TEXT, dashboard_url=TEXT)
BOUND = golang(credentials=MAP)
KNOWN = state("in progress", "succeeded", "failed")

EDEN = Platform(
    name="eden",
    version=(2, 13),
    polls_bindings=False,
    rules=(
        Rule("catalog", {200}, golang(services=many(OFFERING)), DONE),
        Rule("catalog", ANY, UNREAD, FAIL),
        #
        Rule(("provision", "deprovision"), {202}, ANSWER, WAIT),
        Rule(("provision", "deprovision"), BELOW_300, ANSWER, DONE),
        Rule(("provision", "deprovision"), ANY, UNREAD, FAIL),  # 410 as well
        #
        Rule("update", ANY, UNREAD, FAIL),
        #
        # a 202 counts as bound, without credentials
        Rule("bind", {200, 201}, BOUND, DONE),
        Rule("unbind", {200}, ANSWER, DONE),
        Rule(("bind", "unbind"), ANY, UNREAD, FAIL),
        #
        Rule(FETCHES, ANY, UNREAD, FAIL),
        #
        *polls(
            Rule(POLLS, {410}, UNREAD, FAIL),
            Rule(POLLS, {*REFUSALS, *OURS}, JSON, FAIL),
            Rule(POLLS, {200}, {"not": KNOWN}, RETRY),
            shape=golang(state=TEXT, description=TEXT),
            other=DONE,  # what it cannot read is `succeeded`
        ),
    ),
)
