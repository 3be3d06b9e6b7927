"""Recorded requests, sent again to a broker, and each answer judged.

    lines = recording("korifi")
    findings = await Replay(broker, KORIFI, offer, backend).run(lines)
    assert findings == []

A stretch is what a platform sends, line after line, for one change of one
resource: the PUT with its polls, Korifi's rounds. Where the plan is asynchronous
the backend is held inside the first half of each stretch and has ended in the
second; polls that the platform would send and the recording lacks are added.

An answer is a finding if the platform would do anything but go on: it must take
as begun what runs, and as done what has ended.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx

from osbkit.backends.scripted import Hold, Verb, succeed
from tests.conformance.broker import Queues, ident
from tests.conformance.platforms.fields import strangers
from tests.conformance.platforms.rules import CHANGES, DONE, WAIT, Platform, Verdict
from tests.flows.serving import PASSWORD, USER, Served, soon

FOLDER = Path(__file__).parent.parent / "recordings"
TOKEN = "a-token-for-tests"
BLANK = re.compile(r"\{([a-z_]+[0-9]*)\}")
NO_OPERATION = re.compile(r"operation=\{operation\}&?")


@dataclass(frozen=True)
class Line:
    """One recorded request; the blanks for ids are filled in.

    Attributes:
        path: with the query; `{operation}` still stands where a token goes.
        auth: Basic or Bearer.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any] | None
    auth: str

    @property
    def resource(self) -> str:
        """The path without query and `/last_operation`."""
        return self.path.partition("?")[0].removesuffix("/last_operation")

    @property
    def of_binding(self) -> bool:
        """Whether it is about a binding."""
        return "/service_bindings/" in self.path

    @property
    def polls(self) -> bool:
        """Whether it asks for the last operation."""
        return self.path.partition("?")[0].endswith("/last_operation")

    @property
    def verb(self) -> str:
        """What it asks for (rules.VERBS); a poll is named by its stretch."""
        if self.path == "/v2/catalog":
            return "catalog"
        what = "binding" if self.of_binding else "instance"
        match self.method:
            case "PUT":
                return "bind" if self.of_binding else "provision"
            case "PATCH":
                return "update"
            case "DELETE":
                return "unbind" if self.of_binding else "deprovision"
            case _:
                return "poll" if self.polls else f"fetch {what}"


@dataclass(frozen=True)
class Answer:
    """What came back, and what the platform makes of it."""

    verb: str
    status: int
    content: bytes
    verdict: Verdict

    @property
    def body(self) -> Any:
        """As JSON; None where it is none."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


@dataclass(frozen=True)
class Offer:
    """The offering and the plans that a recording is replayed on, by names.

    Attributes:
        held: the plan answers 202, so the backend is held inside each change.
        held_bindings: the same of its bindings.
    """

    offering: str
    plan: str
    other_plan: str
    held: bool = False
    held_bindings: bool = False

    def ids(self) -> dict[str, str]:
        """What the blanks of a recording stand for."""
        return {
            "service_id": ident(self.offering),
            "plan_id": ident(f"{self.offering}/{self.plan}"),
            "other_plan_id": ident(f"{self.offering}/{self.other_plan}"),
            **{f"instance_{n}": f"instance-{n}" for n in range(1, 4)},
            **{f"binding_{n}": f"binding-{n}" for n in range(1, 4)},
        }


def recording(name: str, offer: Offer) -> list[Line]:
    """Read a recording, ids filled in."""
    ids = offer.ids() | {"operation": "{operation}"}
    text = (FOLDER / f"{name}.jsonl").read_text()
    filled = BLANK.sub(lambda found: ids[found[1]], text)
    return [
        Line(one["method"], one["path"], one["headers"], one["body"], one["auth"])
        for one in map(json.loads, filled.splitlines())
    ]


def stretches(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """The lines of one change of one resource belong together, its polls too."""
    change = ""

    def of(line: Line) -> tuple[str, str]:
        nonlocal change
        if line.verb != "poll":
            change = line.verb
        return change, line.resource

    for _, together in groupby(lines, of):
        yield list(together)


@dataclass
class Replay:
    """One platform in front of one broker.

    Attributes:
        findings: what the platform would not put up with, in words.
        credentials: what it was given for each binding, by path.
    """

    broker: Served
    platform: Platform
    offer: Offer
    backend: Queues
    findings: list[str] = field(default_factory=list)
    credentials: dict[str, list[Any]] = field(default_factory=dict)
    operation: str | None = None

    async def run(self, lines: Sequence[Line]) -> list[str]:
        """Replay a recording in its order."""
        for stretch in stretches(lines):
            await self.stretch(stretch)
        self._require_credentials(lines)
        return self.findings

    async def stretch(self, lines: Sequence[Line]) -> None:
        """One change, held and let go on an asynchronous plan."""
        change = lines[0].verb
        held = self.offer.held_bindings if lines[0].of_binding else self.offer.held
        self.operation = None
        if change not in CHANGES or not held:
            for line in lines:
                await self.expect(line, change, DONE)
            return
        hold = Hold()
        self.backend.next(_script(change), succeed(hold=hold))
        half = max(1, len(lines) // 2)
        for line in lines[:half]:
            await self.expect(line, change, WAIT)
        if not any(line.polls for line in lines[:half]):
            await self.expect(self.poll_of(lines[0]), change, WAIT)
        hold.release()
        await self.broker.quiet()
        for line in lines[half:] or [self.poll_of(lines[0])]:
            await self.expect(line, change, DONE)

    async def expect(self, line: Line, change: str, wanted: Verdict) -> Answer:
        """Send a line; anything but the verdict wanted is a finding."""
        answer = await self.send(line, change)
        if answer.verdict is not wanted:
            self._find(line, answer, f"{self.platform.name} {answer.verdict.value}")
        self._look_at(line, answer)
        return answer

    async def send(self, line: Line, change: str) -> Answer:
        """Send a line as the client did, and judge what comes back."""
        path = (
            NO_OPERATION.sub("", line.path)
            if self.operation is None
            else line.path.replace("{operation}", self.operation)
        )
        asking = self.broker.http.request(
            line.method,
            path,
            headers=dict(line.headers) | _authorization(line),
            auth=(USER, PASSWORD) if line.auth == "Basic" else httpx.USE_CLIENT_DEFAULT,
            content=None if line.body is None else json.dumps(line.body).encode(),
        )
        got = await soon(asking)
        verb = f"poll {change}" if line.verb == "poll" else line.verb
        verdict = self.platform.judge(verb, got.status_code, got.content)
        return Answer(verb, got.status_code, got.content, verdict)

    def poll_of(self, line: Line) -> Line:
        """The poll that the platform would send after this change."""
        ids = self.offer.ids()
        query = f"plan_id={ids['plan_id']}&service_id={ids['service_id']}"
        path = f"{line.resource}/last_operation?operation={{operation}}&{query}"
        return Line("GET", path, line.headers, None, line.auth)

    def _look_at(self, line: Line, answer: Answer) -> None:
        """What holds for every answer of this client's version."""
        body = answer.body
        for path in strangers(answer.verb, self.platform.version, answer.status, body):
            self._find(line, answer, f"{path} came after {self.platform.version}")
        if not isinstance(body, dict):
            return
        if answer.status == 202:
            token = body.get("operation")
            if self.operation not in {None, token}:
                self._find(line, answer, "another operation for the same change")
            self.operation = token
        if "credentials" in body:
            self.credentials.setdefault(line.resource, []).append(body["credentials"])

    def _require_credentials(self, lines: Sequence[Line]) -> None:
        """Each binding got some, and always the same."""
        for resource in {line.resource for line in lines if line.verb == "bind"}:
            got = self.credentials.get(resource, [])
            if not got or any(one != got[0] for one in got):
                self.findings.append(f"{resource}: credentials {len(got)} times")

    def _find(self, line: Line, answer: Answer, what: str) -> None:
        self.findings.append(f"{line.method} {line.path}: {answer.status}: {what}")


def _script(change: str) -> Verb:
    """The verb of a scripted backend."""
    verbs: dict[str, Verb] = {
        "provision": "provision",
        "update": "update",
        "deprovision": "deprovision",
        "bind": "bind",
        "unbind": "unbind",
    }
    return verbs[change]


def _authorization(line: Line) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"} if line.auth == "Bearer" else {}
