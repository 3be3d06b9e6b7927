"""Errors and content type. Spec: "Service Broker Errors", "Content Type"."""

from osbkit.conformance import wants
from osbkit.conformance.exchange import Exchange
from osbkit.conformance.expecting import expect, expect_rejected
from osbkit.conformance.registry import check, every_answer
from osbkit.conformance.target import Target


def is_error(seen: Exchange) -> bool:
    """A 4xx or 5xx with a JSON object as its body."""
    return seen.status >= 400 and isinstance(seen.json, dict)


@check("ERR-01", advice="Answer 4xx to what the platform did wrong.")
async def mistakes_are_4xx(target: Target) -> None:
    """A request about what does not exist is answered 4xx: no 2xx, no 5xx."""
    plan = target.plan(wants.usable)
    unknown = target.instance(plan)
    expect_rejected(await unknown.poll(), said="a poll of an unknown instance")
    expect_rejected(await unknown.fetch(), said="a fetch of an unknown instance")
    expect_rejected(await unknown.update(), said="an update of an unknown instance")
    expect_rejected(await unknown.delete(), said="a delete of an unknown instance")
    binding = unknown.binding()
    expect_rejected(await binding.bind(), said="a binding of an unknown instance")
    expect_rejected(await binding.poll(), said="a poll of an unknown binding")
    expect_rejected(await binding.delete(), said="a delete of an unknown binding")
    for wrong in ({"plan_id": "no-such-plan"}, {"service_id": "no-such-offering"}):
        answer = await target.instance(plan).provision(**wrong)
        expect_rejected(answer, said=f"a PUT with an unknown {next(iter(wrong))}")


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
