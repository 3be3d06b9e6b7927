"""What is wrong with the parameters of a request, told to the platform's user."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from osbkit.catalog.places import Place, spell

MOST_PROBLEMS: Final = 20
"""Problems told of one request."""

TYPES: Final = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_LONGEST: Final = 200  # characters of an author's sentence, or of a list of words


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of the parameters, and what is wrong with it.

    Attributes:
        path: as `queues[0].name`; empty for the parameters as a whole.
        message: goes on from the path: "must be an integer". Holds no value of
            the request.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'the whole'} {self.message}"


@dataclass(frozen=True, slots=True)
class Unfit:
    """Parameters that were refused.

    Attributes:
        problems: at least one, at most 20.
    """

    problems: tuple[FieldProblem, ...]

    @property
    def sentence(self) -> str:
        """All of it in one sentence, for the `description` of an answer."""
        return f"The parameters do not fit: {'; '.join(map(str, self.problems))}."


def unfit(found: Iterable[tuple[Place, str]]) -> Unfit:
    """Put what was found together: what concerns one field in one problem."""
    by_path: dict[str, list[str]] = {}
    for place, message in islice(found, 10 * MOST_PROBLEMS):
        by_path.setdefault(spell(place), []).append(message)
    told = islice(by_path.items(), MOST_PROBLEMS)
    return Unfit(tuple(FieldProblem(path, either(said)) for path, said in told))


def either(said: Iterable[str]) -> str:
    """What is said of one value by several types, of which it fits none."""
    messages = list(dict.fromkeys(said))
    beginning = "must be "
    if len(messages) > 1 and all(text.startswith(beginning) for text in messages):
        return beginning + " or ".join(
            text.removeprefix(beginning) for text in messages
        )
    return ", or ".join(messages)


def one_of(values: Sequence[Any]) -> str:
    """`must be one of "a", "b"`, unless there are too many to tell."""
    if len(values) == 1:
        return f"must be {_short(json.dumps(values[0], ensure_ascii=False))}"
    words = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
    if len(words) > _LONGEST:
        return f"must be one of the {len(values)} values that the schema lists"
    return f"must be one of {words}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def counted(message: str) -> str:
    """The same message, with `1 entry` for `1 entries`."""
    return _ONE.sub(lambda match: _SINGULAR[match[1]], message)


_SINGULAR: Final = {
    "entries": " 1 entry",
    "characters": " 1 character",
    "bytes": " 1 byte",
    "fields": " 1 field",
    "digits": " 1 digit",
    "decimal places": " 1 decimal place",
}
_ONE: Final = re.compile(f" 1 ({'|'.join(_SINGULAR)})")


def sentence_of(text: str) -> str | None:
    """An author's words on one line, at most 200 characters; None if empty."""
    line = " ".join(text.split())
    return _short(line) or None
