"""One request and what came back, and how both may be shown.

An exchange keeps the real bytes: checks judge them. What is shown of it passes a
`Mask` first: the `Authorization` header, the values below `credentials`, secrets of
the catalog and every secret that the kit itself was given are replaced.

Units: seconds.
"""

import json
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import httpx

Json = dict[str, Any]
HIDDEN = "•••"
SHORTEST = 4  # characters of a secret that is hidden wherever it stands
LONGEST = 4_000  # characters of a body that are shown

Verb = Literal[
    "catalog",
    "provision",
    "update",
    "deprovision",
    "fetch instance",
    "poll instance",
    "bind",
    "unbind",
    "fetch binding",
    "poll binding",
    "other",
]

_VERBS: Mapping[tuple[str, str], Verb] = {
    ("GET", "catalog"): "catalog",
    ("PUT", "instance"): "provision",
    ("PATCH", "instance"): "update",
    ("DELETE", "instance"): "deprovision",
    ("GET", "instance"): "fetch instance",
    ("GET", "instance poll"): "poll instance",
    ("PUT", "binding"): "bind",
    ("DELETE", "binding"): "unbind",
    ("GET", "binding"): "fetch binding",
    ("GET", "binding poll"): "poll binding",
}


class _NotJson:
    """Stands for a body that is not JSON."""

    def __repr__(self) -> str:
        return "NOT_JSON"


NOT_JSON = _NotJson()


@dataclass(kw_only=True)
class Exchange:
    """One request of the kit and the broker's answer.

    Attributes:
        method, path, query: what was asked; path from `/v2` on, percent-encoded as
            sent, query without its question mark.
        sent_headers, sent: of the request.
        status: of the answer; 0 when none came.
        headers, body: of the answer.
        seconds: until the answer was complete.
        trouble: why no answer came; empty when one did.
        concerns: of a poll: the verb whose operation was asked for, if known.
        authenticated: with the credentials that the kit was given, or none needed.
    """

    method: str
    path: str
    query: str = ""
    sent_headers: tuple[tuple[str, str], ...] = ()
    sent: bytes = b""
    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    body: bytes = b""
    seconds: float = 0.0
    trouble: str = ""
    concerns: Verb | None = None
    authenticated: bool = True

    # --- the request ---------------------------------------------------------------

    @cached_property
    def place(self) -> tuple[str, str | None, str | None]:
        """Kind of resource, and the raw ids of its instance and binding."""
        match self.path.split("/"):
            case ["", "v2", "catalog"]:
                return "catalog", None, None
            case ["", "v2", "service_instances", instance]:
                return "instance", instance, None
            case ["", "v2", "service_instances", instance, "last_operation"]:
                return "instance poll", instance, None
            case ["", "v2", "service_instances", instance, "service_bindings", one]:
                return "binding", instance, one
            case [
                "",
                "v2",
                "service_instances",
                instance,
                "service_bindings",
                one,
                "last_operation",
            ]:
                return "binding poll", instance, one
        return "other", None, None

    @property
    def verb(self) -> Verb:
        """What was asked for, in the specification's words."""
        return _VERBS.get((self.method, self.place[0]), "other")

    @cached_property
    def asked(self) -> Mapping[str, str]:
        """The query, decoded."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def accepts_incomplete(self) -> bool:
        """Whether an answer 202 was allowed."""
        return self.asked.get("accepts_incomplete") == "true"

    @cached_property
    def sent_json(self) -> Any:
        """The body sent, or NOT_JSON."""
        return _parsed(self.sent)

    # --- the answer ----------------------------------------------------------------

    @cached_property
    def json(self) -> Any:
        """The body as JSON, or NOT_JSON."""
        return _parsed(self.body)

    @cached_property
    def object(self) -> Json:
        """The body, if it is a JSON object; else an empty one."""
        return self.json if isinstance(self.json, dict) else {}

    def get(self, name: str) -> Any:
        """A field of the body; None when it is not there."""
        return self.object.get(name)

    @property
    def error(self) -> Any:
        """The error code of the body, whatever type it has; None without one."""
        return self.get("error")

    @property
    def state(self) -> Any:
        """Of a poll: what it told."""
        return self.get("state")

    @property
    def done(self) -> bool:
        """200 or 201: what was asked for has happened."""
        return self.status in {200, 201}

    @property
    def running(self) -> bool:
        """202: it has begun."""
        return self.status == 202

    @property
    def good(self) -> bool:
        """Any 2xx."""
        return 200 <= self.status < 300

    @property
    def rejected(self) -> bool:
        """Any 4xx."""
        return 400 <= self.status < 500

    def __str__(self) -> str:
        return f"{self.method} {self.path} → {self.status or self.trouble}"


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return NOT_JSON


# --- what may be shown -------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """An exchange as a report shows it: texts, secrets masked."""

    request: str
    request_headers: tuple[tuple[str, str], ...]
    request_body: str
    answer: str
    answer_headers: tuple[tuple[str, str], ...]
    answer_body: str
    seconds: float


class Mask:
    """Replaces what must not be shown.

    Args:
        secrets: texts that are hidden wherever they stand.
        names: of fields whose values are hidden, besides those of SECRET_KEYS.
    """

    SECRET_HEADERS = frozenset(
        {"authorization", "cookie", "set-cookie", "proxy-authorization"}
    )
    SECRET_KEYS = frozenset(
        {
            "credentials",
            "secret",
            "password",
            "token",
            "syslog_drain_url",
            "route_service_url",
            "mount_config",
        }
    )

    def __init__(self, secrets: Iterable[str] = (), names: Iterable[str] = ()) -> None:
        self._secrets = sorted({each for each in secrets if each}, key=len)[::-1]
        self._keys = self.SECRET_KEYS | {name.lower() for name in names}

    def text(self, text: str) -> str:
        """The text without the secrets that the kit was given."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def shown(self, seen: Exchange) -> Shown:
        """An exchange, fit for a report.

        What it sent as Authorization is hidden in its answer as well, wrong ones
        included: they are made of the right one, and some brokers repeat them.
        """
        return self._also(_presented(seen))._shown(seen)

    def _also(self, secrets: Iterable[str]) -> "Mask":
        return Mask((*self._secrets, *secrets), self._keys)

    def _shown(self, seen: Exchange) -> Shown:
        query = f"?{seen.query}" if seen.query else ""
        return Shown(
            request=self.text(f"{seen.method} {seen.path}{query}"),
            request_headers=self._headers(seen.sent_headers),
            request_body=self.body(seen.sent),
            answer=self.text(_status_line(seen)),
            answer_headers=self._headers(seen.headers.multi_items()),
            answer_body=self.body(seen.body),
            seconds=seen.seconds,
        )

    def _headers(
        self, headers: Iterable[tuple[str, str]]
    ) -> tuple[tuple[str, str], ...]:
        return tuple(
            (
                name,
                _scheme_of(value)
                if name.lower() in self.SECRET_HEADERS
                else self.text(value),
            )
            for name, value in headers
        )

    def body(self, body: bytes) -> str:
        """A body as text: JSON is indented, long ones are cut."""
        value = _parsed(body)
        if value is NOT_JSON:
            text = body.decode("utf-8", "backslashreplace")
            if any(f'"{key}"' in text.lower() for key in self._keys):
                return f"{HIDDEN} ({len(body)} bytes, no JSON, with a secret's name)"
        else:
            text = json.dumps(self._hidden(value), indent=2, ensure_ascii=False)
        text = self.text(text)
        if len(text) > LONGEST:
            return f"{text[:LONGEST]}\n… {len(text) - LONGEST} more characters"
        return text

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: _blank(each) if key.lower() in self._keys else self._hidden(each)
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [self._hidden(each) for each in value]
        return self.text(value) if isinstance(value, str) else value


def _scheme_of(value: str) -> str:
    scheme, blank, _ = value.partition(" ")
    return f"{scheme} {HIDDEN}" if blank and scheme.isalpha() else HIDDEN


def _blank(value: Any) -> Any:
    """The same shape without its texts and numbers."""
    if isinstance(value, dict):
        return {key: _blank(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_blank(each) for each in value]
    return value if value is None or isinstance(value, bool) else HIDDEN


def _presented(seen: Exchange) -> list[str]:
    """What an exchange sent to prove who it is, as it stands and decoded."""
    found = []
    for name, value in seen.sent_headers:
        if name.lower() != "authorization":
            continue
        encoded = value.partition(" ")[2]
        try:
            plain = b64decode(encoded, validate=True).decode()
        except ValueError:
            plain = ""
        found += [encoded, plain, plain.partition(":")[2]]
    return [each for each in found if len(each) >= SHORTEST]


def _status_line(seen: Exchange) -> str:
    if not seen.status:
        return f"no answer: {seen.trouble}"
    try:
        phrase = HTTPStatus(seen.status).phrase
    except ValueError:
        return str(seen.status)
    return f"{seen.status} {phrase}"


def decoded(raw: str) -> str:
    """An id as it was before it was percent-encoded."""
    return unquote(raw, errors="replace")
