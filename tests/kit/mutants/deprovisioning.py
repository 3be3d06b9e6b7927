"""Wrong in deprovisioning; see `tests.kit.removing` for what both removals do."""

from tests.kit.matrix import Mutant, answers, instead
from tests.kit.narrow import Verb, ended_well, thing_of
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal
from tests.kit.removing import has_forgotten, knows_none, says_busy_during, twins


def _does_nothing(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = thing_of(broker, asked)
    if instance is None or instance.state != "ready" or instance.running:
        return usual(asked)
    _, plan = broker.plan_of(
        instance.attributes["service_id"], instance.attributes["plan_id"]
    )
    if plan["name"] == "delete-fails":
        return usual(asked)
    broker.check_ids(asked)
    return Answer(200)


def _is_still_fetched(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What was made and then deleted asynchronously is still told."""
    instance = thing_of(broker, asked)
    if instance is None or not ended_well(instance, "deprovision"):
        return usual(asked)
    instance.state = "ready"
    try:
        return usual(asked)
    finally:
        instance.state = "gone"


def _takes_neighbours(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, removed = usual(asked), broker.instances[asked.instance_id]
    for each in broker.instances.values():
        if each.attributes["space_guid"] == removed.attributes["space_guid"]:
            each.state = "gone" if each is not removed else each.state
    return answer


def _fails_with_bindings(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = thing_of(broker, asked)
    bindings = instance.bindings.values() if instance else ()
    if sum(each.state == "ready" for each in bindings) > 1:
        raise Refusal(500, "Some things still refer to this instance.")
    return usual(asked)


def _maybe_usable(asked: Asked, told: Answer) -> Answer:
    if "instance_usable" in told.body and "update_repeatable" not in told.body:
        told.body["instance_usable"] = "maybe"
    return told


MUTANTS = [
    *twins(
        "deprovision",
        a="A deprovision",
        kind="DELETE instance",
        maker="provision",
        made="provision",
    ),
    Mutant(
        "deprovision_does_nothing",
        "A deprovision is answered 200, and the instance stays.",
        fails=(
            "deprovisioned_is_gone",
            "second_deprovision_is_410",
            "deprovision_with_bindings_left",
            "repeat_makes_nothing",
            "unknown_instances_are_404",
        ),
        change=instead("deprovision", _does_nothing),
    ),
    Mutant(
        "deprovisioned_is_fetched",
        "What was made and then deleted asynchronously can still be fetched.",
        fails=("deprovisioned_is_gone",),
        change=instead("fetch", _is_still_fetched),
    ),
    Mutant(
        "deprovision_takes_neighbours",
        "A deprovision removes every instance of the space.",
        fails=("deprovision_leaves_other_instances",),
        change=instead("deprovision", _takes_neighbours),
    ),
    Mutant(
        "deprovision_with_bindings_is_500",
        "A deprovision with two bindings left is answered 500.",
        fails=("deprovision_with_bindings_left",),
        change=instead("deprovision", _fails_with_bindings),
    ),
    Mutant(
        "failed_deprovision_is_maybe_usable",
        "A failed deprovision tells instance_usable as a word.",
        fails=(
            "failed_deprovision_tells_whether_usable",
            "instance_usable_tells_of_a_failure",
        ),
        change=answers("GET instance poll", 200, _maybe_usable),
    ),
    Mutant(
        "deprovision_of_unknown_instance_is_404",
        "A deprovision of an instance that never was is answered 404.",
        fails=("deprovision_of_unknown_instance_is_410",),
        change=instead("deprovision", knows_none),
    ),
    Mutant(
        "second_deprovision_is_404",
        "A deprovision of an instance that is gone is answered 404.",
        fails=(
            "second_deprovision_is_410",
            "deletes_can_be_repeated",
            "unheard_provision_can_be_deleted",
            "equal_deletes_are_answered_well",
        ),
        change=instead("deprovision", has_forgotten),
    ),
    *(
        Mutant(
            f"deprovision_during_{kind}_has_another_error",
            f"A deprovision during the {kind} is refused with an error of its own.",
            fails=(f"deprovision_during_{kind}_waits",),
            change=instead("deprovision", says_busy_during(kind)),
        )
        for kind in ("provision", "update")
    ),
]
