"""A text that matches a regular expression, for parameters with a `pattern`.

Walks Python's own parse of the expression. What it does not know it leaves out; the
caller judges the result by the schema, so a poor text is only not used.
"""

import re
from importlib import import_module
from typing import Any

parser: Any = import_module("re._parser")  # private, and no stub tells of it
MOST = 64  # repetitions at most


def matching(pattern: str, least: int = 0, turn: int = 0) -> str:
    """A text that matches, if one is found; else an empty one.

    Args:
        least: as many characters at least, where the pattern has room.
        turn: asks for different texts.
    """
    for extra in (0, max(0, least - 1), least):
        try:
            parsed = parser.parse(pattern)
        except (re.error, RecursionError, OverflowError):
            return ""
        text = _sequence(parsed, turn, extra)
        if len(text) >= least:
            return text
    return text


def _sequence(parsed: Any, turn: int, extra: int) -> str:
    return "".join(_one(str(kind), what, turn, extra) for kind, what in parsed)


def _one(kind: str, what: Any, turn: int, extra: int) -> str:
    match kind:
        case "LITERAL":
            return chr(what)
        case "NOT_LITERAL":
            return "b" if what == ord("a") else "a"
        case "ANY":
            return _letter(turn)
        case "IN":
            return _member(what, turn)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, inner = what
            times = min(low + (extra or (turn % 3)), int(high), low + MOST)
            return "".join(
                _sequence(inner, turn + number, 0) for number in range(times)
            )
        case "SUBPATTERN":
            return _sequence(what[-1], turn, extra)
        case "BRANCH":
            branches = what[1]
            return _sequence(branches[turn % len(branches)], turn, extra)
        case "CATEGORY":
            return _category(str(what), turn)
    return ""


def _member(members: Any, turn: int) -> str:
    members = list(members)
    if str(members[0][0]) == "NEGATE":
        return _outside(members[1:])
    kind, what = members[turn % len(members)]
    match str(kind):
        case "LITERAL":
            return chr(what)
        case "RANGE":
            low, high = what
            return chr(low + turn % (high - low + 1))
        case "CATEGORY":
            return _category(str(what), turn)
    return "a"


def _outside(members: Any) -> str:
    taken = re.compile("[" + re.escape("".join(_letters(members))) + "]|^$")
    return next((sign for sign in "aZ5-_. " if not taken.match(sign)), "~")


def _letters(members: Any) -> list[str]:
    found: list[str] = []
    for kind, what in members:
        if str(kind) == "LITERAL":
            found.append(chr(what))
        elif str(kind) == "RANGE":
            found += [chr(code) for code in range(what[0], min(what[1], 255) + 1)]
        elif str(kind) == "CATEGORY":
            found.append(_category(str(what), 0))
    return found


def _category(name: str, turn: int) -> str:
    if name.endswith("NOT_DIGIT"):
        return _letter(turn)
    if name.endswith("DIGIT"):
        return str(turn % 10)
    if name.endswith(("NOT_SPACE", "WORD")):
        return "-" if "NOT_WORD" in name else _letter(turn)
    return " "


def _letter(turn: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[turn % 26]
