"""Wrong in what is left behind."""

from collections import Counter
from collections.abc import Callable

from osbkit.conformance.checks.orphans import DUKE
from tests.kit.matrix import Mutant, answers, instead, status
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal, Thing

Verb = Callable[[Asked], Answer]
Change = Callable[[ReferenceBroker], None]


def _thing(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    """The instance or binding that is asked for."""
    instance = broker.instances.get(asked.instance_id)
    if instance is None or "binding" not in asked.kind:
        return instance
    return instance.bindings.get(asked.binding_id)


def _knows_no_failed(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    thing = _thing(broker, asked)
    if thing is not None and thing.state == "failed" and not thing.running:
        raise Refusal(404, "There is nothing of that id.")
    return usual(asked)


def _knows_no_unheard(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What is being made and has not been polled yet is not known."""
    thing = _thing(broker, asked)
    running = thing.running if thing else None
    unheard = running is not None and running.polls_left == broker.polls
    if running and unheard and running.kind in {"provision", "bind"}:
        raise Refusal(404, "There is nothing of that id yet.")
    return usual(asked)


def _loses_patience(verb: str) -> Change:
    """The fourth DELETE of one thing is answered 500."""
    count: Counter[str] = Counter()

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        count[asked.parts[-1]] += 1
        if count[asked.parts[-1]] >= 4:
            raise Refusal(500, "There is nothing left to be deleted.")
        return usual(asked)

    return instead(verb, turn)


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
    Mutant(
        "fourth_deprovision_is_500",
        "The fourth DELETE of an instance is answered 500.",
        fails=("deletes_can_be_repeated", "equal_deletes_are_answered_well"),
        change=_loses_patience("deprovision"),
    ),
    Mutant(
        "fourth_unbind_is_500",
        "The fourth DELETE of a binding is answered 500.",
        fails=("unbinds_can_be_repeated", "equal_deletes_are_answered_well"),
        change=_loses_patience("unbind"),
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
]
