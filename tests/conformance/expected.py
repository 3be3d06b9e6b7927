"""What an answer holds: fields, values, headers; and what a client has never heard of.

    Answer           one answer that is allowed, to the last field
    unlike(...)      why what came is not this answer

A body is closed: what is not named is a difference, nested fields included. A value
that the model cannot know stands as a `Kind`: its type and its limits. Written from
the tables of the specification's "Response" sections and from docs/specification.md;
it imports nothing of osbkit and knows of no broker.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.asking import SECRET, Json, Request, same


@dataclass(frozen=True)
class Kind:
    """A value of which only this much is known."""

    what: str
    fits: Callable[[Any], bool]

    def __repr__(self) -> str:
        """As a difference is told."""
        return f"<{self.what}>"


def like(pattern: str) -> Callable[[Any], bool]:
    """Whether a value is text of this shape."""
    return lambda value: (
        isinstance(value, str) and re.fullmatch(pattern, value) is not None
    )


TEXT = Kind("a text that is not empty", like(r"(?s).*\S.*"))
URL = Kind("an absolute URL", like(r"https?://\S+"))
TOKEN = Kind("26 letters and digits", like(r"[A-Za-z0-9]{26}"))
SECONDS = Kind("seconds, more than none", like(r"[1-9][0-9]{0,5}"))
Retry = Kind | str | None


@dataclass(frozen=True)
class Answer:
    """One answer that is allowed.

    Attributes:
        body: every field, each with its value or its kind.
        retry: what Retry-After may be; None is its absence.
    """

    status: int
    body: Json = field(default_factory=dict)
    retry: tuple[Retry, ...] = (None,)

    @property
    def left(self) -> Json:
        """What it tells of an instance after a failure."""
        return {name: self.body[name] for name in LEFT if name in self.body}


LEFT = ("instance_usable", "update_repeatable")
CODES: dict[str, str | Kind] = {
    # clients compare both to the letter before they believe the code
    "AsyncRequired": "This service plan requires client support for asynchronous"
    " service operations.",
    "ConcurrencyError": "The Service Broker does not support concurrent requests that"
    " mutate the same resource.",
    "RequiresApp": TEXT,
    "MaintenanceInfoConflict": TEXT,
    "UpdateRefused": TEXT,
}


def error(
    status: int,
    code: str | None = None,
    sentence: str | None = None,
    *,
    usable: bool | None = None,
    repeatable: bool | None = None,
) -> Answer:
    """A refusal. Spec: "Service Broker Errors".

    Args:
        sentence: for the user, where it is known.
        usable, repeatable: what is told; None for nothing, as of all that is no
            failure of an update or a deprovision.
    """
    said = {} if code is None else {"error": code}
    body: Json = {
        **said,
        "description": sentence or (TEXT if code is None else CODES[code]),
        "instance_usable": usable,
        "update_repeatable": repeatable,
    }
    told = {name: value for name, value in body.items() if value is not None}
    return Answer(status, told, retry=(SECONDS,) if status == 503 else (None,))


# --- what older clients are not sent ----------------------------------------------

SINCE: dict[str, int] = {
    "endpoints": 15,
    "maintenance_info": 15,
    "metadata": 16,
    "metadata.attributes": 17,
    "metadata.renew_before": 17,
    "instance_usable": 16,
    "update_repeatable": 16,
}
"""Minor versions that brought fields. Spec: "Change Policy for Minor Versions"."""
SINCE_BY_VERB: dict[tuple[str, str], int] = {
    ("update", "dashboard_url"): 14,
    ("fetch", "metadata"): 17,
}


def as_known(body: Json, request: Request, within: str = "") -> Json:
    """The fields that the client of a request knows."""
    kept: Json = {}
    for name, value in body.items():
        path = within + name
        since = SINCE_BY_VERB.get((request.verb, path), SINCE.get(path, 0))
        if request.minor < since:
            continue
        if path == "metadata":
            value = as_known(value, request, "metadata.")
            if not value:
                continue
        kept[name] = value
    return kept


# --- what came --------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """An answer that came; the headers by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: Any


def unlike(answer: Answer, request: Request, told: Told) -> str | None:
    """Why what came is not this answer; None if it is."""
    if told.status != answer.status:
        return "another status"
    return (
        other_body(answer, request, told.body)
        or other_headers(answer, request, told.headers)
        or None
    )


def other_body(answer: Answer, request: Request, body: Any) -> str | None:
    """Why a body is not that of an answer."""
    if reason := differs(as_known(answer.body, request), body, "the body"):
        return reason
    if answer.status >= 400 and SECRET in str(body):
        return "it repeats what was refused"
    return None


def differs(expected: Any, found: Any, where: str) -> str | None:
    """Why a value is not what is expected; objects are closed."""
    if isinstance(expected, Kind):
        return None if expected.fits(found) else f"{where} is {found!r}, not {expected}"
    if not isinstance(expected, dict) or not isinstance(found, dict):
        right = same(expected, found)
        return None if right else f"{where} is {found!r}, not {expected!r}"
    if more := found.keys() - expected.keys():
        return f"{where} has {', '.join(sorted(more))} as well"
    if less := expected.keys() - found.keys():
        return f"{where} lacks {', '.join(sorted(less))}"
    reasons = (
        differs(value, found[name], f"{where}.{name}")
        for name, value in expected.items()
    )
    return next((reason for reason in reasons if reason), None)


def other_headers(
    answer: Answer, request: Request, headers: Mapping[str, str]
) -> str | None:
    """Why headers are not those of an answer. Those not named here do not count.

    Spec: "Content Type", "Request Identity", "Polling Last Operation" (Retry-After).
    """
    expected: list[tuple[str, tuple[Retry, ...]]] = [
        ("content-type", ("application/json",)),
        ("retry-after", answer.retry),
        ("x-broker-api-request-identity", (request.echo,)),
        ("www-authenticate", (TEXT if answer.status == 401 else None,)),
        ("location", (None,)),  # no answer is a redirect
    ]
    for name, allowed in expected:
        reasons = [differs(one, headers.get(name), name) for one in allowed]
        if all(reasons):
            return "; and ".join(reason for reason in reasons if reason)
    return None
