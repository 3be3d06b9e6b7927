"""Wrong in polls of instances, and in how operations end."""

from collections.abc import Callable
from typing import Any

from tests.kit.matrix import Mutant, Rewrite, Turn, answers, fields, instead, status
from tests.kit.narrow import Change, Verb, runs, thing_of
from tests.kit.reference import (
    Answer,
    Asked,
    Operation,
    ReferenceBroker,
    Refusal,
    Thing,
)

POLL, BIND_POLL = "GET instance poll", "GET binding poll"


# --- what was told -------------------------------------------------------------------


def told(kind: str, state: str, becomes: Rewrite, verb: str = "") -> Change:
    """Change polls that tell a state, of one verb's operation or of all."""

    def rewrite(asked: Asked, answer: Answer) -> Answer | None:
        words = str(answer.body.get("description", ""))
        if answer.body.get("state") == state and words.startswith(f"The {verb}"):
            return becomes(asked, answer)
        return None

    return answers(kind, 200, rewrite)


def as_if_succeeded(asked: Asked, answer: Answer) -> Answer:
    answer.status, answer.body = 200, {"state": "succeeded"}
    return answer


def with_hints(rewrite: Rewrite) -> Rewrite:
    """Only polls with service_id."""
    return lambda asked, answer: (
        rewrite(asked, answer) if "service_id" in asked.query else None
    )


def retry_after(value: str) -> Rewrite:
    def becomes(asked: Asked, answer: Answer) -> Answer:
        answer.headers["retry-after"] = value
        return answer

    return becomes


# --- what is polled ------------------------------------------------------------------


def refused(when: Callable[[Asked, Thing | None], Any], code: int = 400) -> Turn:
    """Some polls are refused."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if when(asked, thing_of(broker, asked)):
            raise Refusal(code, "This cannot be polled.")
        return usual(asked)

    return turn


def refused_later(after: int, verbs: set[str], code: int) -> Turn:
    """Polls are refused once the end has been told so often.

    Args:
        verbs: that are forgotten; those of other verbs are not.
    """

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer, last = usual(asked), last_of(thing_of(broker, asked))
        forgotten = last is not None and times_told(broker, last, answer) > after
        if forgotten and last is not None and last.kind in verbs:
            raise Refusal(code, "This is long past.")
        return answer

    return turn


def back_in_progress(after: int) -> Turn:
    """Polls say "in progress" again once the end has been told so often."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer, last = usual(asked), last_of(thing_of(broker, asked))
        if last is None or "operation" not in asked.query:
            return answer
        if times_told(broker, last, answer) == after:
            answer.body["state"] = "in progress"
        return answer

    return turn


def last_of(thing: Thing | None) -> Operation | None:
    return thing.operations[-1] if thing and thing.operations else None


def times_told(broker: ReferenceBroker, last: Operation, answer: Answer) -> int:
    """How often the end of an operation has been told, this time included."""
    if answer.body.get("state") == "in progress":
        return 0
    counts: dict[str, int] = broker.__dict__.setdefault("told", {})
    counts[last.token] = counts.get(last.token, 0) + 1
    return counts[last.token]


def needs_a_query_first(broker: ReferenceBroker) -> None:
    """While an instance is made, its first poll must have a query."""
    polled: set[str] = set()

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        making = runs(thing_of(broker, asked), "provision")
        if making and not asked.query and asked.instance_id not in polled:
            raise Refusal(400, "The query is empty.")
        polled.add(asked.instance_id)
        return usual(asked)

    instead("poll", turn)(broker)


def changes_plan(asked: Asked, thing: Thing | None) -> bool:
    """The plan is being changed, and the poll names the one before, alone."""
    last = last_of(thing)
    if thing is None or last is None or last.kind != "update":
        return False
    before = asked.query.get("plan_id") == thing.attributes["plan_id"]
    changed = last.wanted["plan_id"] != thing.attributes["plan_id"]
    return before and changed and "operation" not in asked.query


def tells_of_the_first(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """A poll with an operation and no hints tells of the first operation."""
    thing = thing_of(broker, asked)
    if thing and thing.operations and "service_id" not in asked.query:
        asked.query["operation"] = thing.operations[0].token
    return usual(asked)


def has_another_operation(asked: Asked, thing: Thing | None) -> bool:
    """The operation is none of the instance's or binding's."""
    known = [each.token for each in thing.operations] if thing else []
    named = asked.query.get("operation")
    return thing is not None and named is not None and named not in known


def has_ended(verb: str) -> Callable[[Asked, Thing | None], bool]:
    """The poll names no operation, and the last one is this verb's, and has ended."""

    def when(asked: Asked, thing: Thing | None) -> bool:
        last = last_of(thing)
        ended = last is not None and last.kind == verb and last.state != "in progress"
        return ended and "operation" not in asked.query

    return when


def ends_in_404(verb: str) -> Turn:
    """Who polls a removal without hints is told 404 in the end."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer, thing = usual(asked), thing_of(broker, asked)
        last = last_of(thing)
        removed = thing and thing.state == "gone" and last and last.kind == verb
        if removed and "service_id" not in asked.query:
            raise Refusal(404, "There is no such thing any more.")
        return answer

    return turn


MUTANTS = [
    Mutant(
        "running_polls_are_202",
        "A poll of what is in progress is answered 202.",
        fails=("poll_is_200",),
        change=told(POLL, "in progress", status(202)),
    ),
    Mutant(
        "state_with_underscore",
        "The state is called in_progress.",
        fails=("state_is_one_of_three",),
        change=told(POLL, "in progress", fields(state="in_progress")),
    ),
    Mutant(
        "empty_description_of_polls",
        "The description of a poll is empty.",
        fails=("description_of_a_poll_says_something",),
        change=told(POLL, "succeeded", fields(description="")),
    ),
    Mutant(
        "failed_provision_is_usable",
        "A failed provision tells whether the instance is usable.",
        fails=("instance_usable_tells_of_a_failure",),
        change=told(POLL, "failed", fields(instance_usable=False), "provision"),
    ),
    Mutant(
        "usable_after_success",
        "A provision that succeeded tells that the instance is usable.",
        fails=("instance_usable_tells_of_a_failure",),
        change=told(POLL, "succeeded", fields(instance_usable=True), "provision"),
    ),
    Mutant(
        "failed_deprovision_is_repeatable",
        "A failed deprovision tells whether an update can be repeated.",
        fails=("update_repeatable_tells_of_a_failure",),
        change=told(POLL, "failed", fields(update_repeatable=True), "deprovision"),
    ),
    Mutant(
        "repeatable_is_text",
        "A failed update is repeatable as a text.",
        fails=(
            "update_repeatable_tells_of_a_failure",
            "failed_update_tells_what_can_be_done",
        ),
        change=told(POLL, "failed", fields(update_repeatable="yes"), "update"),
    ),
    Mutant(
        "retry_after_soon",
        "Retry-After of a poll is a word.",
        fails=("retry_after_is_a_span", "retry_after_is_a_span_or_date"),
        change=told(POLL, "in progress", retry_after("soon")),
    ),
    Mutant(
        "retry_after_is_a_date",
        "Retry-After of a poll is a date.",
        fails=("retry_after_is_a_span",),
        change=told(POLL, "in progress", retry_after("Fri, 01 Jan 2100 00:00:00 GMT")),
    ),
    Mutant(
        "poll_needs_a_query",
        "A poll without any query is answered 400.",
        fails=("poll_needs_no_query", "poll_takes_hints"),
        change=instead("poll", refused(lambda asked, thing: thing and not asked.query)),
    ),
    Mutant(
        "first_poll_needs_a_query",
        "The first poll of a provisioning is answered 400 without any query.",
        fails=("poll_needs_no_query",),
        change=needs_a_query_first,
    ),
    Mutant(
        "poll_needs_both_hints",
        "A poll with one hint and not the other is answered 400.",
        fails=("poll_takes_hints",),
        change=instead(
            "poll",
            refused(
                lambda asked, thing: (
                    thing
                    and ("plan_id" in asked.query) != ("service_id" in asked.query)
                )
            ),
        ),
    ),
    Mutant(
        "operation_is_not_decoded",
        "The operation is compared as it stands in the URL.",
        fails=("operation_comes_back_encoded",),
        change=instead(
            "poll", refused(lambda asked, thing: "operation=%" in asked.raw_query, 404)
        ),
    ),
    Mutant(
        "polls_tell_of_the_first_operation",
        "A poll without hints tells of the first operation of the instance.",
        fails=("operation_is_the_one_that_is_told",),
        change=instead("poll", tells_of_the_first),
    ),
    Mutant(
        "plan_before_is_400",
        "A poll with the plan before the update is answered 400.",
        fails=("polls_name_the_plan_before",),
        change=instead("poll", refused(changes_plan)),
    ),
    Mutant(
        "unknown_operation_is_500",
        "A poll with an unknown operation is answered 500.",
        fails=("wrong_hints_do_no_harm",),
        change=instead("poll", refused(has_another_operation, 500)),
    ),
    Mutant(
        "poll_of_unknown_instance_is_200",
        "A poll of an instance that never was is answered 200.",
        fails=("mistakes_are_4xx", "poll_of_unknown_instance_is_404"),
        change=answers(POLL, 404, as_if_succeeded),
    ),
    Mutant(
        "poll_of_unknown_instance_is_410",
        "A poll of an instance that never was is answered 410.",
        fails=("poll_of_unknown_instance_is_404",),
        change=answers(POLL, 404, status(410)),
    ),
    Mutant(
        "provision_ends_in_410",
        "A provision that has ended is told by 410 to who names no operation.",
        fails=("poll_of_an_instance_is_not_410", "poll_takes_hints"),
        change=instead("poll", refused(has_ended("provision"), 410)),
    ),
    Mutant(
        "update_ends_in_410",
        "An update that has ended is told by 410 to who names no operation.",
        fails=("poll_of_an_instance_is_not_410",),
        change=instead("poll", refused(has_ended("update"), 410)),
    ),
    Mutant(
        "poll_without_operation_is_500",
        "A poll of an instance that was made within the request is answered 500.",
        fails=("poll_without_operation_does_no_harm",),
        change=instead(
            "poll",
            refused(
                lambda asked, thing: (
                    thing
                    and not thing.operations
                    and {*asked.query} == {"service_id", "plan_id"}
                ),
                500,
            ),
        ),
    ),
    Mutant(
        "end_of_deprovision_is_404",
        "Who polls a deprovision without hints is told 404 in the end.",
        fails=("end_of_deprovision_is_told",),
        change=instead("poll", ends_in_404("deprovision")),
    ),
    Mutant(
        "in_progress_again",
        "A poll says in progress again when the end has been told twice.",
        fails=("operations_end_for_good",),
        change=instead("poll", back_in_progress(3)),
    ),
    Mutant(
        "end_is_forgotten",
        "Polls are answered 404 when the end has been told once.",
        fails=("end_is_not_forgotten",),
        change=instead("poll", refused_later(1, {"update"}, 404)),
    ),
    Mutant(
        "failed_provision_is_400",
        "A poll of a failed provision is answered 400.",
        fails=("failed_provision_is_told",),
        change=told(POLL, "failed", with_hints(status(400)), "provision"),
    ),
]
