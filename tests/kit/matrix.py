"""The matrix: brokers that are wrong in one way, and the checks that must say so.

    MUTANTS = [
        Mutant("repeat_is_201", "A repeated PUT is answered 201.",
               fails=("repeat_is_not_created",),
               change=answers("PUT instance", 200, status(201))),
    ]

One module per section in `tests/kit/mutants/`, each with such a list. `fails` names
every check that fails, no more and no less. A mutant without `change` is a line
`if self.wrong("name")` in `tests.kit.reference`.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from osbkit.conformance.polling import Tempo
from osbkit.conformance.registry import Check, all_checks
from osbkit.conformance.results import Report
from osbkit.conformance.runner import run
from osbkit.conformance.sending import Connection, Credentials
from osbkit.conformance.session import Choices, Session
from tests.kit import mutants
from tests.kit.reference import (
    PASSWORD,
    USER,
    Answer,
    Asked,
    ReferenceBroker,
    Refusal,
)

Rewrite = Callable[[Asked, Answer], Answer | None]
Turn = Callable[[ReferenceBroker, Asked, Callable[[Asked], Answer]], Answer]
URL = "https://reference.example"
AT_ONCE = Tempo(first=0.0, longest=0.0, patience=0.5)


@dataclass(frozen=True)
class Mutant:
    """A broker that is wrong in one way.

    Attributes:
        name: of it; also what `ReferenceBroker.wrong` is asked for.
        wrong: in which way, one sentence.
        fails: the names of all checks that fail.
        change: makes it wrong from outside.
        url: by which it is reached.
    """

    name: str
    wrong: str
    fails: tuple[str, ...]
    change: Callable[[ReferenceBroker], None] = lambda broker: None
    url: str = URL

    def broker(self) -> ReferenceBroker:
        """A fresh one."""
        broker = ReferenceBroker(mutant=self.name)
        self.change(broker)
        return broker


# --- changes from outside ------------------------------------------------------------


def answers(
    kind: str, when: int | None, becomes: Rewrite
) -> Callable[[ReferenceBroker], None]:
    """Change every answer of a kind.

    Args:
        kind: such as "PUT instance"; see `Asked.kind`; "" for every kind.
        when: only answers with this status; None for any.
    """

    def rewrite(asked: Asked, told: Answer) -> Answer | None:
        if kind in {"", asked.kind} and when in {None, told.status}:
            return becomes(asked, told)
        return None

    def change(broker: ReferenceBroker) -> None:
        broker.rewrite = rewrite

    return change


def status(code: int) -> Rewrite:
    """Another status, the rest as it was."""

    def becomes(asked: Asked, told: Answer) -> Answer:
        told.status = code
        return told

    return becomes


def fields(**changes: Any) -> Rewrite:
    """Fields added to the body, or replaced."""

    def becomes(asked: Asked, told: Answer) -> Answer:
        told.body = {**told.body, **changes}
        return told

    return becomes


def without(*names: str) -> Rewrite:
    """Fields taken out of the body."""

    def becomes(asked: Asked, told: Answer) -> Answer:
        told.body = {key: each for key, each in told.body.items() if key not in names}
        return told

    return becomes


def headers(**changes: str | None) -> Rewrite:
    """Headers changed (`_` stands for `-`); None takes one out."""

    def becomes(asked: Asked, told: Answer) -> Answer:
        for name, value in changes.items():
            told.headers.pop(name.replace("_", "-"), None)
            if value is not None:
                told.headers[name.replace("_", "-")] = value
        return told

    return becomes


def refuses(
    verb: str, code: int, when: Callable[[ReferenceBroker, Asked], bool]
) -> Callable[[ReferenceBroker], None]:
    """Refuse some requests before they are looked at.

    Args:
        verb: the broker's method, such as "provision".
    """

    def change(broker: ReferenceBroker) -> None:
        usual = getattr(broker, verb)

        def taken(asked: Asked) -> Answer:
            if when(broker, asked):
                raise Refusal(code, "This is not what the broker wants.")
            answer: Answer = usual(asked)
            return answer

        setattr(broker, verb, taken)

    return change


def instead(verb: str, turn: Turn) -> Callable[[ReferenceBroker], None]:
    """A verb that goes another way.

    Args:
        verb: a method of the reference broker, such as "unbind".
        turn: gets the broker, the request, and the verb as it was.
    """

    def change(broker: ReferenceBroker) -> None:
        usual = getattr(broker, verb)
        setattr(broker, verb, lambda asked: turn(broker, asked, usual))

    return change


def offers(edit: Callable[[dict[str, Any]], None]) -> Callable[[ReferenceBroker], None]:
    """Change the catalog: `edit` gets it to change in place."""
    return lambda broker: edit(broker.catalog)


def tells(edit: Callable[[dict[str, Any]], None]) -> Callable[[ReferenceBroker], None]:
    """Change what is told of the catalog: the broker goes by the right one."""

    def becomes(asked: Asked, told: Answer) -> Answer:
        told.body = json.loads(json.dumps(told.body))  # plans share schemas
        edit(told.body)
        return told

    return answers("GET catalog", 200, becomes)


# --- running -------------------------------------------------------------------------


class AsSent(httpx.AsyncBaseTransport):
    """To the broker in process; names of headers keep their case, as on a wire."""

    def __init__(self, broker: ReferenceBroker) -> None:
        self._broker = broker

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raw: bytes = request.extensions["target"]
        scope = {
            "type": "http",
            "method": request.method,
            "raw_path": raw,
            "query_string": raw.partition(b"?")[2],
            "headers": request.headers.raw,
        }
        body = await request.aread()
        told: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: dict[str, Any]) -> None:
            told.append(message)

        await self._broker(scope, receive, send)
        start, rest = told
        return httpx.Response(
            start["status"], headers=start["headers"], content=rest["body"]
        )


async def examine(
    broker: ReferenceBroker,
    checks: Sequence[Check] | None = None,
    *,
    version: str = "2.17",
    choices: Choices | None = None,
    url: str = URL,
) -> Report:
    """Run the kit against a reference broker, in process.

    Args:
        checks: all of them if left out.
    """
    connection = Connection(
        url,
        Credentials(user=USER, password=PASSWORD),
        version=version,
        transport=AsSent(broker),
        clock=broker.clock,
    )
    session = Session(connection, choices=choices, tempo=AT_ONCE)
    try:
        return await run(session, all_checks() if checks is None else checks)
    finally:
        await connection.close()


def all_mutants() -> list[Mutant]:
    """Those of every section."""
    found: list[Mutant] = []
    for module in pkgutil.iter_modules(mutants.__path__):
        found += importlib.import_module(f"{mutants.__name__}.{module.name}").MUTANTS
    return found
