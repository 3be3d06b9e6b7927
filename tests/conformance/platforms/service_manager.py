"""SAP Service Manager as a platform: the client library of Service Catalog, with
its own mind about what comes back. It has no recording of its own.

As a proxy it replaces every body that is not JSON, so such a body never counts
as done here.
"""

from tests.conformance.platforms.rules import (
    ANY,
    BUT_200,
    CLEAN_UP,
    DONE,
    FAIL,
    FETCHES,
    OURS,
    POLLS,
    POLLS_OF_REMOVALS,
    REMOVALS,
    RETRY,
    TEXT,
    UNREAD,
    WAIT,
    Platform,
    Rule,
    golang,
    polls,
)
from tests.conformance.platforms.service_catalog import ANSWER, BOUND, CATALOG

MAYBE_MADE = {*BUT_200, 408, *OURS}

SERVICE_MANAGER = Platform(
    name="SAP Service Manager",
    version=(2, 14),
    rules=(
        Rule("catalog", {200}, CATALOG, DONE),
        Rule("catalog", ANY, UNREAD, FAIL),
        #
        Rule("provision", {200, 201}, ANSWER, DONE),
        Rule("provision", {202}, ANSWER, WAIT),
        Rule("provision", MAYBE_MADE, UNREAD, CLEAN_UP),
        Rule("provision", ANY, UNREAD, FAIL),
        #
        Rule("update", {200}, ANSWER, DONE),
        Rule("update", {202}, ANSWER, WAIT),
        Rule("update", ANY, UNREAD, FAIL),
        #
        Rule(REMOVALS, {200, 410}, ANSWER, DONE),
        Rule(REMOVALS, {202}, ANSWER, WAIT),
        Rule(REMOVALS, ANY, UNREAD, FAIL),
        #
        Rule("bind", {200, 201}, BOUND, DONE),
        Rule("bind", {202}, BOUND, WAIT),
        Rule("bind", MAYBE_MADE, UNREAD, CLEAN_UP),
        Rule("bind", ANY, UNREAD, FAIL),
        #
        Rule("fetch binding", {200}, BOUND, DONE),
        Rule("fetch instance", {200}, ANSWER, DONE),
        Rule(FETCHES, ANY, UNREAD, FAIL),
        #
        *polls(
            Rule(POLLS_OF_REMOVALS, {410}, ANSWER, DONE),
            Rule(POLLS, {404, 503}, UNREAD, RETRY),
            shape=golang(state=TEXT, description=TEXT),
            failed={"provision": CLEAN_UP, "bind": CLEAN_UP},
            other=FAIL,
        ),
    ),
)
