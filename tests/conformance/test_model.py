"""The model's judgement by itself: which answers it takes, and which it refuses.

Each answer is right but for one thing. No broker is asked; what the machine finds in
one with a fault is in test_machine_mutants.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.conformance.asking import SECRET, Json, Request, Verb
from tests.conformance.expected import Told
from tests.conformance.model import (
    ENDPOINTS,
    EXPIRES,
    RENEW,
    Asked,
    Ending,
    Model,
    difference,
    learn,
)

URL = "https://queues.example/osb-1"
TOKEN = "0123456789abcdefghijklmnop"
METADATA: Json = {
    "labels": {"plan": "sync"},
    "attributes": {"size": "2", "named": "nothing", "version": "1.0.0"},
}
SHOWN: Json = {"dashboard_url": URL, "metadata": METADATA}
CREDENTIALS: Json = {
    "user": "osb-2",
    "key": "only-for-tests",
    "plan": "sync",
    "role": "reader",
    "app": "none",
}
BOUND: Json = {
    "credentials": CREDENTIALS,
    "endpoints": ENDPOINTS,
    "metadata": {"expires_at": EXPIRES, "renew_before": RENEW},
}
FETCHED: Json = {
    **SHOWN,
    "service_id": "queue",
    "plan_id": "sync",
    "parameters": {"size": 2},
    "maintenance_info": {"version": "1.0.0"},
}
SENTENCES = {
    "AsyncRequired": "This service plan requires client support for asynchronous"
    " service operations.",
    "ConcurrencyError": "The Service Broker does not support concurrent requests that"
    " mutate the same resource.",
}


@dataclass
class Platform:
    """What one platform has asked for: instance `i` (sync), binding `b`, and `j`,
    which is being made on an asynchronous plan."""

    model: Model = field(default_factory=Model)

    def ask(self, verb: Verb, instance: str = "i", **more: Any) -> Asked:
        """Ask for something."""
        body = more.pop("body", {"service_id": "queue", "plan_id": "sync"})
        return self.model.ask(
            Request(verb=verb, platform="cf", instance=instance, body=body, **more)
        )

    def provision(self, instance: str = "i", plan: str = "sync", **more: Any) -> Asked:
        """PUT of an instance."""
        body = {
            "service_id": "queue",
            "plan_id": plan,
            "organization_guid": "org",
            "space_guid": "space",
            "parameters": {"size": 2},
        }
        return self.ask("provision", instance, body=body | more.pop("body", {}), **more)

    def done(self, asked: Asked, body: Json) -> None:
        """The service has done it, and the answer came."""
        assert asked.operation is not None
        self.model.end(asked.operation, Ending.WELL)
        assert learn(self.model, asked, body) is None


@pytest.fixture
def platform() -> Platform:
    """A platform with all that."""
    found = Platform()
    found.done(found.provision(), SHOWN)
    found.done(found.ask("bind", binding="b"), BOUND)
    learn(found.model, found.provision("j", "async", flag=True), {"operation": TOKEN})
    return found


Ask = Callable[[Platform], Asked]


def made(platform: Platform) -> Asked:
    """An instance has been made."""
    asked = platform.provision("new", identity="7f9a")
    assert asked.operation is not None
    platform.model.end(asked.operation, Ending.WELL)
    return asked


def bound(platform: Platform) -> Asked:
    """A binding has been made."""
    asked = platform.ask("bind", binding="new")
    assert asked.operation is not None
    platform.model.end(asked.operation, Ending.WELL)
    return asked


def halted(platform: Platform) -> Asked:
    """A DELETE ended the creation that a request waits for."""
    asked = platform.provision("new")
    platform.ask("deprovision", "new")
    return asked


ECHO = "x-broker-api-request-identity"
RIGHT: dict[str, tuple[Ask, Told]] = {
    name: (ask, Told(status, {"content-type": "application/json"} | more, body))
    for name, ask, status, more, body in (
        (
            "made",
            made,
            201,
            {ECHO: "7f9a"},
            SHOWN | {"dashboard_url": "https://queues.example/osb-3"},
        ),
        (
            "accepted",
            lambda platform: platform.provision("new", "async", flag=True),
            202,
            {},
            {
                "dashboard_url": "https://queues.example/osb-3",
                "metadata": {
                    "labels": {"plan": "async"},
                    "attributes": METADATA["attributes"] | {"version": "1.1.0"},
                },
                "operation": "z" * 26,
            },
        ),
        ("repeated", lambda platform: platform.provision(), 200, {}, SHOWN),
        ("fetched", lambda platform: platform.ask("fetch", body={}), 200, {}, FETCHED),
        ("bound", bound, 201, {}, BOUND),
        (
            "bound before",
            lambda platform: platform.ask("fetch_binding", binding="b", body={}),
            200,
            {},
            BOUND,
        ),
        (
            "polled",
            lambda platform: platform.ask("poll", "j", body={}),
            200,
            {"retry-after": "7"},
            {"state": "in progress", "description": "Half of it is done (50 %)"},
        ),
        (
            "polled after",
            lambda platform: platform.ask("poll", body={}),
            200,
            {},
            {"state": "succeeded"},
        ),
        (
            "malformed",
            lambda platform: platform.provision(body={"parameters": SECRET}),
            400,
            {},
            {"description": "The request is malformed."},
        ),
        (
            "unknown",
            lambda platform: platform.ask("fetch", "nowhere", body={}),
            404,
            {},
            {"description": "There is no such instance."},
        ),
        (
            "gone",
            lambda platform: platform.ask("deprovision", "nowhere"),
            410,
            {},
            {},
        ),
        (
            "needs the flag",
            lambda platform: platform.provision("new", "async"),
            422,
            {},
            {"error": "AsyncRequired", "description": SENTENCES["AsyncRequired"]},
        ),
        (
            "busy",
            lambda platform: platform.ask("update", "j", body={"service_id": "queue"}),
            422,
            {},
            {"error": "ConcurrencyError", "description": SENTENCES["ConcurrencyError"]},
        ),
        (
            "another version",
            lambda platform: platform.provision(
                "new", body={"maintenance_info": {"version": "0.9.0"}}
            ),
            422,
            {},
            {"error": "MaintenanceInfoConflict", "description": "It has changed."},
        ),
        ("halted", halted, 503, {"retry-after": "5"}, {"description": "Ended."}),
        (
            "stranger",
            lambda platform: platform.model.ask(
                Request(verb="fetch", platform="nobody", instance="i")
            ),
            401,
            {"www-authenticate": "Basic"},
            {"description": "Who are you?"},
        ),
    )
}
Wrong = tuple[str, Json, Mapping[str, str | None]]


def wrong(
    name: str, headers: Mapping[str, str | None] | None = None, /, **body: Any
) -> Wrong:
    """A right answer with other fields or headers; `LESS` and None take one away."""
    return name, body, headers or {}


LESS = "(left out)"
WRONG: list[Wrong] = [
    *(
        wrong("made", **{name: value})
        for name, value in (
            ("junk", 1),
            ("state", "failed"),
            ("operation", "z" * 26),
            ("operation", None),
            ("credentials", {"password": "leak"}),
            ("dashboard_url", LESS),
            ("dashboard_url", ""),
            ("dashboard_url", 7),
            ("dashboard_url", None),
            ("dashboard_url", "queues.example"),
            ("metadata", LESS),
            ("metadata", {}),
            ("metadata", METADATA | {"junk": {}}),
            ("metadata", METADATA | {"labels": {"plan": "async"}}),
        )
    ),
    *(
        wrong("accepted", operation=value)
        for value in (LESS, None, "", 7, "z" * 25, "z" * 10_001, TOKEN[:25] + "/")
    ),
    wrong("accepted", credentials={}),
    wrong("accepted", {"retry-after": "soon"}),
    wrong("repeated", dashboard_url="https://queues.example/osb-9"),
    wrong("repeated", operation=TOKEN),
    wrong("fetched", maintenance_info={"version": "6.6.6"}),
    wrong("fetched", maintenance_info={"version": "1.0.0", "description": "Any."}),
    wrong("fetched", maintenance_info=LESS),
    wrong("fetched", parameters={"size": 2.5}),
    wrong("fetched", parameters=LESS),
    wrong("fetched", service_id="other"),
    wrong("fetched", credentials={}),
    wrong("fetched", context={}),
    *(
        wrong("bound", credentials=value)
        for value in (
            {},
            None,
            "text",
            LESS,
            CREDENTIALS | {"role": "writer"},
            CREDENTIALS | {"key": ""},
            CREDENTIALS | {"more": 1},
        )
    ),
    wrong("bound", operation=None),
    wrong("bound", endpoints=[{"host": "queues.example", "ports": [5671]}]),
    wrong("bound", metadata={"expires_at": "tomorrow", "renew_before": RENEW}),
    wrong("bound", syslog_drain_url="syslog://logs.example"),
    wrong("bound before", credentials=CREDENTIALS | {"key": "another"}),
    wrong("bound before", predecessor_binding_id="a"),
    *(
        wrong("polled", **{name: value})
        for name, value in (
            ("state", "succeeded"),
            ("state", "working"),
            ("description", ""),
            ("description", 7),
            ("description", LESS),
            ("operation", TOKEN),
            ("credentials", {}),
            ("instance_usable", True),
        )
    ),
    *(
        wrong("polled", {"retry-after": value})
        for value in (None, "0", "8", "Fri, 31 Dec 2027 23:59:59 GMT")
    ),
    wrong("polled after", description=""),
    wrong("polled after", update_repeatable=True),
    wrong("polled after", {"retry-after": "7"}),
    *(
        wrong("malformed", **{name: value})
        for name, value in (
            ("description", 7),
            ("description", ""),
            ("description", " "),
            ("description", None),
            ("description", LESS),
            ("description", f"{SECRET} is no object."),
            ("credentials", {"password": "leak"}),
            ("error", "Malformed"),
            ("error", "AsyncRequired"),
            ("instance_usable", True),
            ("update_repeatable", False),
            ("operation", TOKEN),
        )
    ),
    wrong("unknown", error="NotFound"),
    wrong("gone", description="It is gone."),
    wrong("needs the flag", error=LESS),
    wrong("needs the flag", error="ConcurrencyError"),
    wrong("needs the flag", description="Use accepts_incomplete."),
    wrong("busy", description="Another operation is in progress."),
    wrong("busy", {"retry-after": "5"}),
    wrong("another version", update_repeatable=False),
    wrong("halted", {"retry-after": None}),
    wrong("halted", {"retry-after": "Fri, 31 Dec 2027 23:59:59 GMT"}),
    wrong("stranger", {"www-authenticate": None}),
    *(
        wrong(name, {"content-type": value})
        for name in ("made", "malformed", "gone")
        for value in (None, "text/plain", "application/json, application/json")
    ),
    wrong("made", {ECHO: None}),
    wrong("made", {ECHO: "another"}),
    wrong("made", {"location": "/v2/catalog"}),
    wrong("made", {"retry-after": "5"}),
    wrong("malformed", {ECHO: "7f9a"}),
    wrong("malformed", {"www-authenticate": "Basic"}),
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_taken(platform: Platform, name: str) -> None:
    ask, told = RIGHT[name]

    assert difference(ask(platform), told) is None


@pytest.mark.parametrize("name", RIGHT)
def test_another_status_is_refused(platform: Platform, name: str) -> None:
    ask, told = RIGHT[name]
    asked = ask(platform)

    for status in {200, 201, 202, 400, 404, 409, 410, 422, 500, 503} - {told.status}:
        assert difference(asked, replace(told, status=status)) is not None


@pytest.mark.parametrize(
    ("name", "body", "headers"),
    [pytest.param(*each, id=f"{each[0]} {each[1]} {each[2]}"[:90]) for each in WRONG],
)
def test_an_answer_that_is_wrong_in_one_thing_is_refused(
    platform: Platform, name: str, body: Json, headers: Mapping[str, str | None]
) -> None:
    ask, told = RIGHT[name]
    other = {**told.body, **body}
    more = {**told.headers, **headers}
    changed = Told(
        told.status,
        {key: value for key, value in more.items() if value is not None},
        {key: value for key, value in other.items() if value != LESS},
    )

    assert difference(ask(platform), changed) is not None


@pytest.mark.parametrize("body", [None, [], "text", 7])
def test_a_body_that_is_no_object_is_refused(platform: Platform, body: object) -> None:
    for ask, told in RIGHT.values():
        assert difference(ask(platform), replace(told, body=body)) is not None


@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        ("2.17", []),
        ("2.16", ["metadata"]),
        ("2.15", ["metadata"]),
        ("2.14", ["metadata", "maintenance_info"]),
        ("2.99", []),
    ],
)
def test_an_older_client_is_sent_what_it_knows(
    platform: Platform, version: str, lacks: list[str]
) -> None:
    asked = platform.ask("fetch", body={}, version=version)
    _, told = RIGHT["fetched"]
    known = {name: value for name, value in FETCHED.items() if name not in lacks}

    assert difference(asked, replace(told, body=known)) is None
    assert not lacks or difference(asked, told) is not None


def test_what_the_broker_made_up_belongs_to_one_alone(platform: Platform) -> None:
    third = platform.provision("third", "async", flag=True)

    assert learn(platform.model, made(platform), {"dashboard_url": URL}) is not None
    assert learn(platform.model, bound(platform), BOUND) is not None
    assert learn(platform.model, third, {"operation": TOKEN}) is not None
