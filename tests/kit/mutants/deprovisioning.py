"""Wrong in deprovisioning."""

from collections.abc import Callable

from tests.kit.matrix import Mutant, answers, fields, instead, status
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal, Thing

Verb = Callable[[Asked], Answer]


def _instance(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    return broker.instances.get(asked.instance_id)


def _runs(instance: Thing | None, kind: str) -> bool:
    """Whether an operation of this kind is in progress."""
    running = instance.running if instance else None
    return running is not None and running.kind == kind


def _does_nothing(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = _instance(broker, asked)
    if instance is None or instance.state != "ready" or instance.running:
        return usual(asked)
    _, plan = broker.plan_of(
        instance.attributes["service_id"], instance.attributes["plan_id"]
    )
    if plan["name"] == "delete-fails":
        return usual(asked)
    broker.check_ids(asked)
    return Answer(200)


def _takes_neighbours(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, removed = usual(asked), broker.instances[asked.instance_id]
    for each in broker.instances.values():
        if each.attributes["space_guid"] == removed.attributes["space_guid"]:
            each.state = "gone" if each is not removed else each.state
    return answer


def _minds_the_ids(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = _instance(broker, asked)
    for name in ("service_id", "plan_id"):
        named = asked.query.get(name)
        if instance and named and named != instance.attributes[name]:
            raise Refusal(500, "The ids are not those of the instance.")
    return usual(asked)


def _fails_with_bindings(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = _instance(broker, asked)
    bindings = instance.bindings.values() if instance else ()
    if sum(each.state == "ready" for each in bindings) > 1:
        raise Refusal(500, "Some things still refer to this instance.")
    return usual(asked)


def _refuses_the_repeat(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if _runs(_instance(broker, asked), "deprovision"):
        raise Refusal(422, "It is already being removed.", "ConcurrencyError")
    return usual(asked)


def _renames_the_repeat(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    repeated = _runs(_instance(broker, asked), "deprovision")
    answer = usual(asked)
    return Answer(202, {"operation": "another"}) if repeated else answer


def _needs_no(name: str) -> Callable[[ReferenceBroker], None]:
    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        asked.query.setdefault(name, "left-out")
        return usual(asked)

    return instead("deprovision", turn)


def _refuses_too_late(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        instance = _instance(broker, asked)
        if instance is not None and refusal.answer.status == 400:
            instance.state = "gone"
        raise


def _knows_none(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if _instance(broker, asked) is None:
        raise Refusal(404, "There is no such instance.")
    return usual(asked)


def _has_forgotten(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = _instance(broker, asked)
    if instance is not None and instance.state == "gone":
        raise Refusal(404, "There is no such instance any more.")
    return usual(asked)


def _says_busy_during(kind: str) -> Callable[[ReferenceBroker], None]:
    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if _runs(_instance(broker, asked), kind):
            raise Refusal(422, "The instance is being worked at.", "Busy")
        return usual(asked)

    return instead("deprovision", turn)


def _does_not_halt(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = _instance(broker, asked)
    making = instance.running if instance and _runs(instance, "provision") else None
    answer = usual(asked)
    if making is not None and answer.status == 202:
        making.state = "in progress"
    return answer


def _polls_of_the_first(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, instance = usual(asked), _instance(broker, asked)
    first = instance.operations[0] if instance and instance.operations else None
    halted = first and first.kind == "provision" and first.state == "failed"
    if halted and answer.body["state"] == "succeeded":
        answer.body["state"] = "failed"
    return answer


def _polls_of_the_last(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, instance = usual(asked), _instance(broker, asked)
    if instance is not None and instance.state == "gone":
        answer.body["state"] = "succeeded"
    return answer


def _another_word(asked: Asked, told: Answer) -> Answer:
    if told.body.get("error") == "AsyncRequired":
        told.body["error"] = "Asynchronous"
    return told


def _maybe_usable(asked: Asked, told: Answer) -> Answer:
    if "instance_usable" in told.body and "update_repeatable" not in told.body:
        told.body["instance_usable"] = "maybe"
    return told


MUTANTS = [
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
        "deprovision_takes_neighbours",
        "A deprovision removes every instance of the space.",
        fails=("deprovision_leaves_other_instances", "every_instance_is_a_resource"),
        change=instead("deprovision", _takes_neighbours),
    ),
    Mutant(
        "deprovision_with_wrong_ids_is_500",
        "A deprovision that names another offering or plan is answered 500.",
        fails=("deprovision_with_wrong_ids_does_no_harm",),
        change=instead("deprovision", _minds_the_ids),
    ),
    Mutant(
        "deprovision_with_bindings_is_500",
        "A deprovision with two bindings left is answered 500.",
        fails=("deprovision_with_bindings_left",),
        change=instead("deprovision", _fails_with_bindings),
    ),
    Mutant(
        "deprovision_is_204",
        "A deprovision within the request is answered 204.",
        fails=(
            "deprovision_is_200",
            "success_has_a_known_status",
            "equal_deletes_are_answered_well",
        ),
        change=answers("DELETE instance", 200, status(204)),
    ),
    Mutant(
        "deprovision_in_progress_is_200",
        "A deprovision that has begun is answered 200.",
        fails=("running_deprovision_is_202", "deprovision_halts_the_provision"),
        change=answers("DELETE instance", 202, status(200)),
    ),
    Mutant(
        "repeated_deprovision_is_422",
        "The repeat of a running deprovision is answered 422 ConcurrencyError.",
        fails=("repeated_deprovision_is_202",),
        change=instead("deprovision", _refuses_the_repeat),
    ),
    Mutant(
        "repeated_deprovision_has_another_operation",
        "The repeat of a running deprovision names another operation.",
        fails=("repeated_deprovision_names_its_operation",),
        change=instead("deprovision", _renames_the_repeat),
    ),
    Mutant(
        "deprovision_operation_is_long",
        "The operation of a deprovision has 10,001 characters.",
        fails=("deprovision_operation_is_a_short_text",),
        change=answers("DELETE instance", 202, fields(operation="x" * 10_001)),
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
        "deprovision_needs_no_service_id",
        "A deprovision without service_id is done.",
        fails=("deprovision_without_service_id_is_400",),
        change=_needs_no("service_id"),
    ),
    Mutant(
        "deprovision_needs_no_plan_id",
        "A deprovision without plan_id is done.",
        fails=("deprovision_without_plan_id_is_400",),
        change=_needs_no("plan_id"),
    ),
    Mutant(
        "deprovision_refuses_too_late",
        "A deprovision that is refused has deleted the instance.",
        fails=(
            "deprovision_without_service_id_is_400",
            "deprovision_without_plan_id_is_400",
        ),
        change=instead("deprovision", _refuses_too_late),
    ),
    Mutant(
        "deprovision_of_unknown_instance_is_404",
        "A deprovision of an instance that never was is answered 404.",
        fails=("deprovision_of_unknown_instance_is_410",),
        change=instead("deprovision", _knows_none),
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
        change=instead("deprovision", _has_forgotten),
    ),
    Mutant(
        "deprovision_without_the_flag_has_another_error",
        "A deprovision that needs accepts_incomplete is refused with another error.",
        fails=("deprovision_needs_the_flag",),
        change=answers("DELETE instance", 422, _another_word),
    ),
    Mutant(
        "deprovision_during_provision_has_another_error",
        "A deprovision during the provisioning is refused with an error of its own.",
        fails=("deprovision_during_provision_waits",),
        change=_says_busy_during("provision"),
    ),
    Mutant(
        "deprovision_during_update_has_another_error",
        "A deprovision during an update is refused with an error of its own.",
        fails=("deprovision_during_update_waits",),
        change=_says_busy_during("update"),
    ),
    Mutant(
        "deprovision_does_not_halt_the_provision",
        "An instance that was deleted while it was being made comes back.",
        fails=("deprovision_halts_the_provision",),
        change=instead("deprovision", _does_not_halt),
    ),
    Mutant(
        "polls_of_a_halting_deprovision_say_failed",
        "Polls after a deprovision during the provisioning tell of the provisioning.",
        fails=("polls_tell_of_the_halting_deprovision",),
        change=instead("poll", _polls_of_the_first),
    ),
    Mutant(
        "polls_of_a_halted_provision_say_succeeded",
        "Polls of an instance that was deleted while being made tell of success.",
        fails=("polls_tell_that_the_provision_failed",),
        change=instead("poll", _polls_of_the_last),
    ),
]
