"""How a check says what must hold.

    expect(answer.status == 409, "expected 409 Conflict", answer, advice="…")
    expect_status(answer, 409)
    expect_error(answer, 422, "ConcurrencyError")
    expect_rejected(answer)
    skip("the catalog has no plan that …")

Whatever fails carries the exchanges it is about; the report shows them masked.
Sentences never repeat values of credentials or parameters.
"""

from collections.abc import Iterable
from typing import Any, NoReturn

from osbkit.conformance.exchange import NOT_JSON, Exchange


class Broken(AssertionError):
    """The broker does not do what the check asks.

    Attributes:
        said: what was expected and what came, one sentence.
        seen: the exchanges that show it.
        advice: what to change; empty for the check's own.
    """

    def __init__(self, said: str, *seen: Exchange, advice: str = "") -> None:
        super().__init__(said)
        self.said = said
        self.seen = seen
        self.advice = advice


class Skip(Exception):
    """The check does not apply: the broker does not offer what it is about."""


class Blocked(Exception):
    """The check could not be tried: what it builds upon does not work.

    Attributes:
        seen: the exchanges that show it.
    """

    def __init__(self, said: str, *seen: Exchange) -> None:
        super().__init__(said)
        self.said = said
        self.seen = seen


def skip(reason: str) -> NoReturn:
    """End the check: the broker does not offer what it is about."""
    raise Skip(reason)


def expect(holds: bool, said: str, *seen: Exchange, advice: str = "") -> None:
    """What must hold.

    Raises:
        Broken: it does not.
    """
    if not holds:
        raise Broken(said, *seen, advice=advice)


def expect_status(
    answer: Exchange, *allowed: int, said: str = "", advice: str = ""
) -> None:
    """The answer has one of these statuses."""
    if answer.status not in allowed:
        wanted = " or ".join(map(str, allowed))
        why = f"{said}: " if said else ""
        raise Broken(
            f"{why}expected {wanted}, got {_got(answer)}", answer, advice=advice
        )


def expect_rejected(answer: Exchange, *, said: str = "", advice: str = "") -> None:
    """The answer is a 4xx."""
    if not answer.rejected:
        why = f"{said}: " if said else ""
        raise Broken(f"{why}expected a 4xx, got {_got(answer)}", answer, advice=advice)


def expect_no_fault(answer: Exchange, *, said: str = "") -> None:
    """The answer is a 2xx or a 4xx: whatever it is, the broker meant it."""
    if not (answer.good or answer.rejected):
        why = f"{said}: " if said else ""
        raise Broken(f"{why}expected a 2xx or a 4xx, got {_got(answer)}", answer)


def expect_error(answer: Exchange, status: int, code: str, *, advice: str = "") -> None:
    """The answer has this status, and `error` is exactly this code."""
    expect_status(answer, status, advice=advice)
    expect(
        answer.error == code,
        f"expected the error code {code!r}, got {answer.error!r}",
        answer,
        advice=advice or f'Answer {status} with {{"error": "{code}", …}}.',
    )


def expect_object(answer: Exchange, *, advice: str = "") -> dict[str, Any]:
    """The body is a JSON object; it is given back."""
    expect(
        isinstance(answer.json, dict),
        f"expected a JSON object as the body, got {_kind(answer.json)}",
        answer,
        advice=advice,
    )
    return answer.object


def expect_none(problems: Iterable[str], *seen: Exchange, advice: str = "") -> None:
    """No problem was found; otherwise all of them are told, up to ten."""
    found = list(problems)
    if found:
        more = f"; and {len(found) - 10} more" if len(found) > 10 else ""
        raise Broken("; ".join(found[:10]) + more, *seen, advice=advice)


def _got(answer: Exchange) -> str:
    if not answer.status:
        return f"no answer ({answer.trouble})"
    code = f" with error {answer.error!r}" if isinstance(answer.error, str) else ""
    return f"{answer.status}{code}"


def _kind(value: Any) -> str:
    if value is NOT_JSON:
        return "something that is not JSON"
    names = {dict: "an object", list: "an array", str: "a string", type(None): "null"}
    return names.get(type(value), "a number or a boolean")
