"""Wrong in removing: what a DELETE of an instance and of a binding can both do wrong.

`twins` makes the mutants that both have; the turns are also used one by one.
"""

from collections import Counter

from tests.kit.matrix import Mutant, Turn, answers, fields, instead, status
from tests.kit.narrow import (
    Verb,
    denies,
    ended_well,
    runs,
    thing_of,
)
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal, Thing

MAKING = ("provision", "bind")
REMOVING = ("deprovision", "unbind")


# --- the answer ----------------------------------------------------------------------


def ends_at_once(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What begins is answered 200, unless it halts something."""
    halts = runs(thing_of(broker, asked), *MAKING)
    answer = usual(asked)
    if answer.status == 202 and not halts:
        answer.status = 200
    return answer


def refuses_the_repeat(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if runs(thing_of(broker, asked), *REMOVING):
        raise Refusal(422, "It is already being removed.", "ConcurrencyError")
    return usual(asked)


def renames_the_repeat(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    repeated = runs(thing_of(broker, asked), *REMOVING)
    answer = usual(asked)
    return Answer(202, {"operation": "another"}) if repeated else answer


# --- what is refused -----------------------------------------------------------------


def minds_the_ids(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = broker.instances.get(asked.instance_id)
    for name in ("service_id", "plan_id"):
        named = asked.query.get(name)
        if instance and named and named != instance.attributes[name]:
            raise Refusal(500, "The ids are not those of the instance.")
    return usual(asked)


def needs_no(name: str) -> Turn:
    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        asked.query.setdefault(name, "left-out")
        return usual(asked)

    return turn


def refuses_too_late(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        thing = thing_of(broker, asked)
        if thing is not None and refusal.answer.status == 400:
            thing.state = "gone"
        raise


def another_word(asked: Asked, told: Answer) -> Answer:
    """AsyncRequired by another name."""
    if told.body.get("error") == "AsyncRequired":
        told.body["error"] = "Asynchronous"
    return told


# --- what is gone --------------------------------------------------------------------


def knows_none(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if thing_of(broker, asked) is None:
        raise Refusal(404, "There is no such thing.")
    return usual(asked)


def has_forgotten(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    thing = thing_of(broker, asked)
    if thing is not None and thing.state == "gone":
        raise Refusal(404, "There is no such thing any more.")
    return usual(asked)


def has_forgotten_what_ended(
    broker: ReferenceBroker, asked: Asked, usual: Verb
) -> Answer:
    """What was made and then removed asynchronously is 404 from then on."""
    thing = thing_of(broker, asked)
    if thing is not None and any(ended_well(thing, kind) for kind in REMOVING):
        raise Refusal(404, "There is no such thing any more.")
    return usual(asked)


def has_forgotten_what_was_halted(
    broker: ReferenceBroker, asked: Asked, usual: Verb
) -> Answer:
    """What was removed while it was being made is 404 from then on."""
    thing = thing_of(broker, asked)
    if thing is not None and thing.state == "gone" and was_halted(thing):
        raise Refusal(404, "There is no such thing any more.")
    return usual(asked)


def loses_patience(after: int) -> Turn:
    """Each DELETE of one thing is answered 500 after so many."""
    count: Counter[str] = Counter()

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        count[asked.parts[-1]] += 1
        if count[asked.parts[-1]] > after:
            raise Refusal(500, "There is nothing left to be deleted.")
        return usual(asked)

    return turn


# --- what was being made -------------------------------------------------------------


def was_halted(thing: Thing) -> bool:
    """Whether its making began, and did not succeed."""
    first = thing.operations[0] if thing.operations else None
    return first is not None and first.kind in MAKING and first.state == "failed"


def says_busy_during(kind: str) -> Turn:
    """An error of its own, when an operation of this kind is in progress."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if runs(thing_of(broker, asked), kind):
            raise Refusal(422, "It is being worked at.", "Busy")
        return usual(asked)

    return turn


def does_not_halt(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    thing = thing_of(broker, asked)
    making = thing.running if thing and runs(thing, *MAKING) else None
    answer = usual(asked)
    if making is not None and answer.status == 202:
        making.state = "in progress"
    return answer


def polls_of_the_first(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, thing = usual(asked), thing_of(broker, asked)
    if thing and was_halted(thing) and answer.body["state"] == "succeeded":
        answer.body["state"] = "failed"
    return answer


def polls_of_the_last(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, thing = usual(asked), thing_of(broker, asked)
    if thing is not None and thing.state == "gone":
        answer.body["state"] = "succeeded"
    return answer


# --- what both have ------------------------------------------------------------------


def twins(verb: str, *, a: str, kind: str, maker: str, made: str) -> list[Mutant]:
    """The mutants that deprovisioning and unbinding both have.

    Args:
        verb: deprovision or unbind.
        a: the verb with its article.
        kind: of its requests, such as "DELETE instance".
        maker: the verb that makes what it removes.
        made: what the checks call the making.
    """
    poll = "poll" if verb == "deprovision" else "poll_binding"
    return [
        Mutant(
            f"{verb}_is_denied",
            f"{a} without the flag removes what was made with it, and is answered 410.",
            fails=(f"{verb}_is_200",),
            change=denies(verb, maker, 410),
        ),
        Mutant(
            f"{verb}_is_204",
            f"{a} within the request is answered 204.",
            fails=(
                f"{verb}_is_200",
                "success_has_a_known_status",
                "equal_deletes_are_answered_well",
            ),
            change=answers(kind, 200, status(204)),
        ),
        Mutant(
            f"{verb}_with_wrong_ids_is_500",
            f"{a} that names another offering or plan is answered 500.",
            fails=(f"{verb}_with_wrong_ids_does_no_harm",),
            change=instead(verb, minds_the_ids),
        ),
        Mutant(
            f"{verb}_in_progress_is_200",
            f"{a} that has begun is answered 200.",
            fails=(f"running_{verb}_is_202", f"{verb}_halts_the_{made}"),
            change=answers(kind, 202, status(200)),
        ),
        Mutant(
            f"{verb}_that_halts_nothing_is_200",
            f"{a} that has begun is answered 200, but for one that halts something.",
            fails=(f"running_{verb}_is_202",),
            change=instead(verb, ends_at_once),
        ),
        Mutant(
            f"repeated_{verb}_is_422",
            f"{a} that runs is answered 422 ConcurrencyError when it is repeated.",
            fails=(f"repeated_{verb}_is_202",),
            change=instead(verb, refuses_the_repeat),
        ),
        Mutant(
            f"repeated_{verb}_has_another_operation",
            f"{a} that runs names another operation when it is repeated.",
            fails=(f"repeated_{verb}_names_its_operation",),
            change=instead(verb, renames_the_repeat),
        ),
        Mutant(
            f"{verb}_operation_is_long",
            f"{a} has an operation of 10,001 characters.",
            fails=(f"{verb}_operation_is_a_short_text",),
            change=answers(kind, 202, fields(operation="x" * 10_001)),
        ),
        Mutant(
            f"{verb}_operation_is_a_number",
            f"{a} has a number for its operation.",
            fails=(f"{verb}_operation_is_a_short_text",),
            change=answers(kind, 202, fields(operation=7)),
        ),
        *(
            Mutant(
                f"{verb}_needs_no_{name}",
                f"{a} without {name} is done.",
                fails=(f"{verb}_without_{name}_is_400",),
                change=instead(verb, needs_no(name)),
            )
            for name in ("service_id", "plan_id")
        ),
        Mutant(
            f"{verb}_refuses_too_late",
            f"{a} that is refused has removed what it names.",
            fails=(
                f"{verb}_without_service_id_is_400",
                f"{verb}_without_plan_id_is_400",
            ),
            change=instead(verb, refuses_too_late),
        ),
        Mutant(
            f"{verb}_of_what_ended_is_404",
            f"{a} of what was made and removed asynchronously is answered 404.",
            fails=(f"second_{verb}_is_410",),
            change=instead(verb, has_forgotten_what_ended),
        ),
        Mutant(
            f"{verb}_of_what_was_halted_is_404",
            f"{a} of what was removed while it was being made is answered 404.",
            fails=(f"unheard_{maker}_can_be_deleted",),
            change=instead(verb, has_forgotten_what_was_halted),
        ),
        Mutant(
            f"{verb}_without_the_flag_has_another_error",
            f"{a} that needs accepts_incomplete is refused with another error.",
            fails=(f"{verb}_needs_the_flag",),
            change=answers(kind, 422, another_word),
        ),
        Mutant(
            f"{verb}_does_not_halt_the_{made}",
            f"{a} of what is being made does not keep it from coming back.",
            fails=(f"{verb}_halts_the_{made}",),
            change=instead(verb, does_not_halt),
        ),
        Mutant(
            f"polls_of_a_halting_{verb}_say_failed",
            f"{a} of what is being made is told as failed by polls.",
            fails=(f"polls_tell_of_the_halting_{verb}",),
            change=instead(poll, polls_of_the_first),
        ),
        Mutant(
            f"polls_of_a_halted_{made}_say_succeeded",
            f"{a} of what is being made lets polls tell that it was made.",
            fails=(f"polls_tell_that_the_{made}_failed",),
            change=instead(poll, polls_of_the_last),
        ),
    ]
