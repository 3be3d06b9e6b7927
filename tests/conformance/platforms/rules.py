"""Tables of what a platform makes of an answer, and how one is looked up.

    Rule("provision", {200, 201}, ANSWER, DONE)     who asked, status, body → verdict

The first rule that fits counts. A body is bytes, read as the platform reads it:

    UNREAD      not looked at, it may be empty or no JSON at all
    a schema    must be JSON and fit (JSON Schema 2020-12)
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Final

from jsonschema import Draft202012Validator

Schema = dict[str, Any]


class Verdict(Enum):
    """What the platform does next."""

    DONE = "takes it as done"
    WAIT = "takes it as begun, and polls"
    RETRY = "asks again as if nothing had been said"
    FAIL = "shows its user a failure"
    CLEAN_UP = "shows a failure and deletes what may be left (orphan mitigation)"
    CRASH = "stops working"


DONE, WAIT, RETRY = Verdict.DONE, Verdict.WAIT, Verdict.RETRY
FAIL, CLEAN_UP, CRASH = Verdict.FAIL, Verdict.CLEAN_UP, Verdict.CRASH

CHANGES: Final = ("provision", "update", "deprovision", "bind", "unbind")
POLLS: Final = tuple(f"poll {change}" for change in CHANGES)
FETCHES: Final = ("fetch instance", "fetch binding")
VERBS: Final = ("catalog", *CHANGES, *POLLS, *FETCHES)
REMOVALS: Final = ("deprovision", "unbind")
POLLS_OF_REMOVALS: Final = ("poll deprovision", "poll unbind")

ANY: Final = range(100, 600)
BELOW_300: Final = range(200, 300)
REFUSALS: Final = range(400, 500)
OURS: Final = range(500, 600)
BUT_200: Final = range(201, 300)

UNREAD: Final = None
JSON: Final[Schema] = {}
TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
NUMBER: Final[Schema] = {"type": "integer"}
MAP: Final[Schema] = {"type": "object"}
SECRET_KEYS: Final[Schema] = {"pattern": "^[-._a-zA-Z0-9]+$"}
"""Keys that a Kubernetes Secret can have."""


@dataclass(frozen=True)
class Rule:
    """One row of a table.

    Args:
        verb: one of VERBS, or several.
        body: UNREAD, or the schema that it must fit.
    """

    verb: str | Collection[str]
    statuses: Collection[int]
    body: Schema | None
    verdict: Verdict

    def fits(self, verb: str, status: int, body: object) -> bool:
        """Whether the row is about this answer."""
        verbs = {self.verb} if isinstance(self.verb, str) else self.verb
        if verb not in verbs or status not in self.statuses:
            return False
        if self.body is UNREAD:
            return True
        return body is not NO_JSON and self._validator.is_valid(body)

    @cached_property
    def _validator(self) -> Any:
        return Draft202012Validator(self.body or JSON)


@dataclass(frozen=True)
class Platform:
    """A client of brokers.

    Attributes:
        version: of the API, as it says in each request.
        rules: its table; total over VERBS, every status and every body.
        polls_bindings: False binds and unbinds without `accepts_incomplete`.
    """

    name: str
    version: tuple[int, int]
    rules: tuple[Rule, ...] = field(repr=False)
    polls_bindings: bool = True

    def judge(self, verb: str, status: int, body: bytes) -> Verdict:
        """What the platform does after this answer.

        Raises:
            LookupError: the table has a hole.
        """
        value = read(body)
        for rule in self.rules:
            if rule.fits(verb, status, value):
                return rule.verdict
        raise LookupError(f"{self.name} has no rule for {verb}, {status}")


NO_JSON: Final = object()


def read(body: bytes) -> object:
    """A body as JSON, or NO_JSON."""
    try:
        return json.loads(body)
    except ValueError:
        return NO_JSON


def every(*schemas: Schema) -> Schema:
    """All of them must fit."""
    return {"allOf": list(schemas)}


def no(*fields: str) -> Schema:
    """An object that lacks one of the fields, or has a null there."""
    there = {name: {"not": {"type": "null"}} for name in fields}
    return {"not": {"type": "object", "required": list(fields), "properties": there}}


def exact(required: Iterable[str] = (), /, **fields: Schema) -> Schema:
    """An object whose fields have these types; null is no type of any of them."""
    return {"type": "object", "properties": fields, "required": list(required)}


def golang(required: Iterable[str] = (), /, **fields: Schema) -> Schema:
    """What Go reads into a struct: a null counts as absent everywhere, the body too."""
    loose = {name: nullable(schema) for name, schema in fields.items()}
    kinds = ["object"] if required else ["object", "null"]
    return {"type": kinds, "properties": loose, "required": list(required)}


def nullable(schema: Schema) -> Schema:
    """The same or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema, least: int = 0) -> Schema:
    """A list of it."""
    return {"type": "array", "items": schema, "minItems": least}


def polls(
    *more: Rule,
    shape: Schema,
    failed: Mapping[str, Verdict] | None = None,
    other: Verdict = RETRY,
) -> tuple[Rule, ...]:
    """The rows of last_operation.

    Args:
        more: rows that come first.
        shape: of the whole body.
        failed: change → what the platform does when it reads `failed`; FAIL
            where nothing is said.
        other: what it does after everything else.
    """
    ends = dict.fromkeys(CHANGES, FAIL) | dict(failed or {})
    return (
        *more,
        Rule(POLLS, {200}, every(shape, state("succeeded")), DONE),
        Rule(POLLS, {200}, every(shape, state("in progress")), WAIT),
        *(
            Rule(f"poll {change}", {200}, every(shape, state("failed")), verdict)
            for change, verdict in ends.items()
        ),
        Rule(POLLS, ANY, UNREAD, other),
    )


def state(*texts: str) -> Schema:
    """A last_operation in exactly this state, or one of these."""
    return exact(("state",), state={"enum": list(texts)})
