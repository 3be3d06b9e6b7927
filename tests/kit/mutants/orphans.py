"""Wrong in what is left behind."""

from osbkit.conformance.checks.orphans import DUKE
from tests.kit.matrix import Mutant, Turn, answers, instead, status
from tests.kit.narrow import Verb, has_plan, runs, thing_of
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal
from tests.kit.removing import MAKING, loses_patience


def _knows_no_failed(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    thing = thing_of(broker, asked)
    if thing is not None and thing.state == "failed" and not thing.running:
        raise Refusal(404, "There is nothing of that id.")
    return usual(asked)


def _knows_no_unheard(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What is being made and has not been polled yet is not known."""
    thing = thing_of(broker, asked)
    running = thing.running if thing and runs(thing, *MAKING) else None
    if running is not None and running.polls_left == broker.polls:
        raise Refusal(404, "There is nothing of that id yet.")
    return usual(asked)


def _wants_to_know_who(broker: ReferenceBroker) -> None:
    """What a user made is deleted for a user only."""
    made: set[str] = set()
    name = "x-broker-api-originating-identity"

    def provision(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if asked.headers.get(name) == DUKE:
            made.add(asked.instance_id)
        return usual(asked)

    def deprovision(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if asked.instance_id in made and name not in asked.headers:
            raise Refusal(400, "Who are you?")
        return usual(asked)

    instead("provision", provision)(broker)
    instead("deprovision", deprovision)(broker)


def _answers_one_plan(code: int) -> Turn:
    """What is done to the instances of one plan, needs-app, has this status."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer = usual(asked)
        if has_plan(broker, asked, "needs-app"):
            answer.status = code
        return answer

    return turn


MUTANTS = [
    Mutant(
        "failed_provision_is_404",
        "The DELETE of an instance whose provisioning failed is answered 404.",
        fails=("failed_provision_can_be_deleted",),
        change=instead("deprovision", _knows_no_failed),
    ),
    Mutant(
        "failed_bind_is_404",
        "The DELETE of a binding whose creation failed is answered 404.",
        fails=("failed_bind_can_be_deleted",),
        change=instead("unbind", _knows_no_failed),
    ),
    Mutant(
        "unheard_provision_is_404",
        "The DELETE of an instance that nobody has polled yet is answered 404.",
        fails=(
            "unheard_provision_can_be_deleted",
            "deprovision_during_provision_waits",
        ),
        change=instead("deprovision", _knows_no_unheard),
    ),
    Mutant(
        "unheard_bind_is_404",
        "The DELETE of a binding that nobody has polled yet is answered 404.",
        fails=("unheard_bind_can_be_deleted", "unbind_waits_with_concurrency_error"),
        change=instead("unbind", _knows_no_unheard),
    ),
    *(
        Mutant(
            f"{number}th_{verb}_is_500",
            f"The {number}th DELETE of one id ({verb}) is answered 500.",
            fails=(f"{verb_s}_can_be_repeated", *more),
            change=instead(verb, loses_patience(after=number - 1)),
        )
        for verb, verb_s in {"deprovision": "deletes", "unbind": "unbinds"}.items()
        for number, more in {4: ("equal_deletes_are_answered_well",), 5: ()}.items()
    ),
    Mutant(
        "delete_needs_an_identity",
        "A DELETE without identity is refused where the PUT had one.",
        fails=("delete_needs_no_identity",),
        change=_wants_to_know_who,
    ),
    Mutant(
        "unbind_is_201",
        "An unbind within the request is answered 201.",
        fails=(
            "only_a_put_creates",
            "unbind_is_200",
            "equal_deletes_are_answered_well",
        ),
        change=answers("DELETE binding", 200, status(201)),
    ),
    *(
        Mutant(
            f"update_of_one_plan_is_{code}",
            f"An update of one plan, within the request, is answered {code}.",
            fails=fails,
            change=instead("update", _answers_one_plan(code)),
        )
        for code, fails in {
            201: ("only_a_put_creates",),
            203: ("success_has_a_known_status",),
        }.items()
    ),
]
