"""Errors and content type. Spec: "Service Broker Errors", "Content Type"."""

from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect
from osbkit.conformance.registry import every_answer


def is_error(seen: Exchange) -> bool:
    """A 4xx or 5xx with a JSON object as its body."""
    return seen.status >= 400 and isinstance(seen.json, dict)


@every_answer(
    "ERR-03",
    when=lambda seen: is_error(seen) and "error" in seen.object,
    advice="Leave `error` out where the specification names no code.",
)
def error_is_a_word(seen: Exchange) -> None:
    """The field `error` of an error is a string that is not empty."""
    expect(
        isinstance(seen.error, str) and seen.error != "",
        f"`error` is {seen.error!r}",
        seen,
    )
