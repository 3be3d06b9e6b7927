"""Wrong in polls of bindings."""

from tests.kit.matrix import Mutant, answers, fields, instead, status
from tests.kit.mutants.polling import (
    BIND_POLL,
    as_if_succeeded,
    ends_in_404,
    has_another_operation,
    has_ended,
    refused,
    refused_later,
    retry_after,
    told,
)
from tests.kit.narrow import Verb
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal, Thing

POLL = "poll_binding"


def looks_everywhere(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """A binding is found below every instance."""
    try:
        return usual(asked)
    except Refusal:
        for instance in broker.instances.values():
            if asked.binding_id in instance.bindings:
                return broker.polled(asked, instance.bindings[asked.binding_id])
        raise


def nowhere_is_gone(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """A binding that is below no instance is told to be gone."""
    every = broker.instances.values()
    if not any(asked.binding_id in instance.bindings for instance in every):
        raise Refusal(410, "It is gone.")
    return usual(asked)


def has_no_operation_to_be_hinted_at(asked: Asked, thing: Thing | None) -> bool:
    """The binding never had an operation, and the poll has both hints."""
    both = {"service_id", "plan_id"} <= asked.query.keys()
    return both and thing is not None and not thing.operations


MUTANTS = [
    Mutant(
        "running_polls_of_bindings_are_202",
        "A poll of a binding that is in progress is answered 202.",
        fails=("poll_of_a_binding_is_200",),
        change=told(BIND_POLL, "in progress", status(202)),
    ),
    Mutant(
        "state_of_bindings_with_capitals",
        "The state of a binding is called In Progress.",
        fails=("state_of_a_binding_is_one_of_three",),
        change=told(BIND_POLL, "in progress", fields(state="In Progress")),
    ),
    Mutant(
        "description_of_bindings_is_an_object",
        "The description of a binding's poll is an object.",
        fails=("description_of_a_bindings_poll_is_text",),
        change=told(BIND_POLL, "succeeded", fields(description={"text": "done"})),
    ),
    Mutant(
        "failed_bind_is_usable",
        "A failed binding tells whether the instance is usable.",
        fails=("bindings_poll_tells_nothing_of_the_instance",),
        change=told(BIND_POLL, "failed", fields(instance_usable=True)),
    ),
    Mutant(
        "bind_is_repeatable",
        "A binding in progress tells that an update can be repeated.",
        fails=("bindings_poll_tells_nothing_of_the_instance",),
        change=told(BIND_POLL, "in progress", fields(update_repeatable=True)),
    ),
    Mutant(
        "retry_after_of_bindings_has_a_unit",
        "Retry-After of a binding's poll is 10s.",
        fails=("retry_after_of_a_binding_is_a_span",),
        change=told(BIND_POLL, "in progress", retry_after("10s")),
    ),
    Mutant(
        "poll_of_a_binding_needs_both_hints",
        "A poll of a binding with one hint and not the other is answered 400.",
        fails=("poll_of_a_binding_takes_hints",),
        change=instead(
            POLL,
            refused(
                lambda asked, thing: (
                    thing and len({"service_id", "plan_id"} & {*asked.query}) == 1
                )
            ),
        ),
    ),
    Mutant(
        "operation_of_bindings_is_not_decoded",
        "The operation of a binding is compared as it stands in the URL.",
        fails=("operation_of_a_binding_comes_back_encoded",),
        change=instead(
            POLL, refused(lambda asked, thing: "operation=%" in asked.raw_query, 404)
        ),
    ),
    Mutant(
        "unknown_operation_of_a_binding_is_500",
        "A poll of a binding with an unknown operation is answered 500.",
        fails=("wrong_hints_of_a_binding_do_no_harm",),
        change=instead(POLL, refused(has_another_operation, 500)),
    ),
    Mutant(
        "poll_of_unknown_binding_is_200",
        "A poll of a binding that never was is answered 200.",
        fails=(
            "poll_below_another_instance_is_404",
            "poll_of_unknown_binding_is_404",
        ),
        change=answers(BIND_POLL, 404, as_if_succeeded),
    ),
    Mutant(
        "poll_of_unknown_binding_is_410",
        "A poll of a binding that never was is answered 410.",
        fails=("poll_below_another_instance_is_404", "poll_of_unknown_binding_is_404"),
        change=answers(BIND_POLL, 404, status(410)),
    ),
    Mutant(
        "poll_of_binding_that_never_was_is_410",
        "A poll of a binding that no instance ever had is answered 410.",
        fails=("poll_of_unknown_binding_is_404",),
        change=instead(POLL, nowhere_is_gone),
    ),
    Mutant(
        "poll_finds_bindings_everywhere",
        "A poll finds a binding below every instance.",
        fails=("poll_below_another_instance_is_404",),
        change=instead(POLL, looks_everywhere),
    ),
    Mutant(
        "bind_ends_in_410",
        "A binding that has been made is told by 410 to who names no operation.",
        fails=("poll_of_a_binding_is_not_410", "poll_of_a_binding_takes_hints"),
        change=instead(POLL, refused(has_ended("bind"), 410)),
    ),
    Mutant(
        "bound_at_once_is_410",
        "A binding that was made within the request is told by 410 to a poll with both"
        " hints.",
        fails=("poll_of_a_binding_is_not_410",),
        change=instead(POLL, refused(has_no_operation_to_be_hinted_at, 410)),
    ),
    Mutant(
        "end_of_unbind_is_404",
        "Who polls an unbind without hints is told 404 in the end.",
        fails=("end_of_unbind_is_told",),
        change=instead(POLL, ends_in_404("unbind")),
    ),
    Mutant(
        "end_of_a_bind_is_forgotten",
        "Polls of a binding are answered 404 when its end has been told once.",
        fails=("end_of_a_binding_is_not_forgotten",),
        change=instead(POLL, refused_later(1, {"bind"}, 404)),
    ),
]
