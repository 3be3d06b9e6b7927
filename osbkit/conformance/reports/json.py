"""The report for programs: one JSON object.

    {"verdict": …, "conforms": true, "broker": {…}, "counts": {"MUST": {…}, …},
     "requirements": {"PROV-09": {"outcome": "passed", "checks": [{…}], …}, …},
     "checks": [{"name": …, "outcome": …, "exchanges": […]}, …],
     "plans": {…}, "left": […]}

Every requirement of the specification is there, also those of which nothing was
tried: their `outcome` is null and `why` says why. `exchanges` show what a check says,
`last_exchanges` are the last that it made. Secrets are masked.

Units: seconds.
"""

import json
from typing import Any

from osbkit.conformance.exchange import Shown
from osbkit.conformance.reports.account import Account, Line, Standing

Json = dict[str, Any]


def render(told: Account) -> str:
    """The report as text, with a line feed at its end."""
    return json.dumps(as_object(told), indent=2, ensure_ascii=False) + "\n"


def as_object(told: Account) -> Json:
    """The report as an object; its shape stands in the module's header."""
    return {
        "kit": {"name": "osbkit", "version": told.kit},
        "verdict": told.verdict,
        "conforms": told.conforms,
        "stopped": told.stopped,
        "broker": {
            "url": told.url,
            "api_version": told.version,
            "unread": told.unread or None,
        },
        "began": told.began,
        "seconds": round(told.seconds, 3),
        "exchanges": told.exchanges,
        "counts": {
            level.value: {outcome.value: n for outcome, n in counts.items()}
            for level, counts in told.counts.items()
        },
        "requirements": {
            each.requirement.id: _standing(each) for each in told.standings
        },
        "checks": [_line(line) for line in told.lines],
        "plans": dict(told.plans),
        "left": list(told.left),
    }


def _standing(one: Standing) -> Json:
    asked = one.requirement
    return {
        "level": asked.level.value,
        "derived": asked.derived,
        "section": asked.section,
        "sentence": asked.sentence,
        "outcome": one.outcome.value if one.outcome else None,
        "why": one.why or None,
        "checks": [
            {"name": name, "outcome": outcome.value} for name, outcome in one.checks
        ],
    }


def _line(line: Line) -> Json:
    return {
        "name": line.name,
        "requirements": list(line.ids),
        "level": line.level.value,
        "sentence": line.sentence,
        "outcome": line.outcome.value,
        "said": line.said or None,
        "advice": line.advice or None,
        "seconds": round(line.seconds, 3),
        "answers_judged": line.count if line.check.judging else None,
        "exchanges": [_shown(each) for each in line.shown],
        "last_exchanges": [_shown(each) for each in line.before],
    }


def _shown(shown: Shown) -> Json:
    return {
        "request": shown.request,
        "request_headers": [list(pair) for pair in shown.request_headers],
        "request_body": shown.request_body,
        "answer": shown.answer,
        "answer_headers": [list(pair) for pair in shown.answer_headers],
        "answer_body": shown.answer_body,
        "seconds": round(shown.seconds, 3),
    }
