"""Wrong in unbinding."""

from collections.abc import Callable

from tests.kit.matrix import Mutant, answers, fields, instead, status
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal, Thing

Verb = Callable[[Asked], Answer]


def _binding(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    instance = broker.instances.get(asked.instance_id)
    return instance.bindings.get(asked.binding_id) if instance else None


def _runs(binding: Thing | None, kind: str) -> bool:
    """Whether an operation of this kind is in progress."""
    running = binding.running if binding else None
    return running is not None and running.kind == kind


def _does_nothing(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    binding = _binding(broker, asked)
    if binding is None or binding.state != "ready":
        return usual(asked)
    broker.check_ids(asked)
    return Answer(200)


def _removes_all(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer = usual(asked)
    removed = _binding(broker, asked)
    for each in broker.instances[asked.instance_id].bindings.values():
        if each is not removed:
            each.state = "gone"
    return answer


def _minds_the_ids(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    instance = broker.instances.get(asked.instance_id)
    for name in ("service_id", "plan_id"):
        named = asked.query.get(name)
        if instance and named and named != instance.attributes[name]:
            raise Refusal(500, "The ids are not those of the instance.")
    return usual(asked)


def _refuses_the_repeat(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if _runs(_binding(broker, asked), "unbind"):
        raise Refusal(422, "It is already being removed.", "ConcurrencyError")
    return usual(asked)


def _renames_the_repeat(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    repeated = _runs(_binding(broker, asked), "unbind")
    answer = usual(asked)
    return Answer(202, {"operation": "another"}) if repeated else answer


def _needs_no(name: str) -> Callable[[ReferenceBroker], None]:
    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        asked.query.setdefault(name, "left-out")
        return usual(asked)

    return instead("unbind", turn)


def _refuses_too_late(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        binding = _binding(broker, asked)
        if binding is not None and refusal.answer.status == 400:
            binding.state = "gone"
        raise


def _knows_none(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if _binding(broker, asked) is None:
        raise Refusal(404, "There is no such binding.")
    return usual(asked)


def _has_forgotten(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    binding = _binding(broker, asked)
    if binding is not None and binding.state == "gone":
        raise Refusal(404, "There is no such binding any more.")
    return usual(asked)


def _looks_everywhere(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    for instance_id, instance in broker.instances.items():
        if asked.binding_id in instance.bindings:
            asked.parts[1] = instance_id
    return usual(asked)


def _says_busy(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if _runs(_binding(broker, asked), "bind"):
        raise Refusal(422, "The binding is being made.", "Busy")
    return usual(asked)


def _does_not_halt(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    binding = _binding(broker, asked)
    making = binding.running if _runs(binding, "bind") and binding else None
    answer = usual(asked)
    if making is not None and answer.status == 202:
        making.state = "in progress"
    return answer


def _polls_of_the_first(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, binding = usual(asked), _binding(broker, asked)
    making = binding.operations[0] if binding and binding.operations else None
    halted = making is not None and making.kind == "bind" and making.state == "failed"
    if halted and answer.body["state"] == "succeeded":
        answer.body["state"] = "failed"
    return answer


def _polls_of_the_last(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, binding = usual(asked), _binding(broker, asked)
    if binding is not None and binding.state == "gone":
        answer.body["state"] = "succeeded"
    return answer


def _another_word(asked: Asked, told: Answer) -> Answer:
    if told.body.get("error") == "AsyncRequired":
        told.body["error"] = "Asynchronous"
    return told


MUTANTS = [
    Mutant(
        "unbind_does_nothing",
        "An unbind is answered 200, and the binding stays.",
        fails=(
            "unbound_is_gone",
            "second_unbind_is_410",
            "unknown_predecessor_is_refused",
            "removed_binding_is_404",
        ),
        change=instead("unbind", _does_nothing),
    ),
    Mutant(
        "unbind_removes_all_bindings",
        "An unbind removes every binding of the instance.",
        fails=(
            "unbind_leaves_other_bindings",
            "unbind_with_wrong_ids_does_no_harm",
            "both_bindings_are_valid",
        ),
        change=instead("unbind", _removes_all),
    ),
    Mutant(
        "unbind_with_wrong_ids_is_500",
        "An unbind that names another offering or plan is answered 500.",
        fails=("unbind_with_wrong_ids_does_no_harm",),
        change=instead("unbind", _minds_the_ids),
    ),
    Mutant(
        "unbind_is_204",
        "An unbind within the request is answered 204.",
        fails=(
            "unbind_is_200",
            "success_has_a_known_status",
            "equal_deletes_are_answered_well",
        ),
        change=answers("DELETE binding", 200, status(204)),
    ),
    Mutant(
        "unbind_in_progress_is_200",
        "An unbind that has begun is answered 200.",
        fails=("running_unbind_is_202", "unbind_halts_the_binding"),
        change=answers("DELETE binding", 202, status(200)),
    ),
    Mutant(
        "repeated_unbind_is_422",
        "The repeat of a running unbind is answered 422 ConcurrencyError.",
        fails=("repeated_unbind_is_202",),
        change=instead("unbind", _refuses_the_repeat),
    ),
    Mutant(
        "repeated_unbind_has_another_operation",
        "The repeat of a running unbind names another operation.",
        fails=("repeated_unbind_names_its_operation",),
        change=instead("unbind", _renames_the_repeat),
    ),
    Mutant(
        "unbind_operation_is_long",
        "The operation of an unbind has 10,001 characters.",
        fails=("unbind_operation_is_a_short_text",),
        change=answers("DELETE binding", 202, fields(operation="x" * 10_001)),
    ),
    Mutant(
        "unbind_operation_is_a_number",
        "The operation of an unbind is a number.",
        fails=("unbind_operation_is_a_short_text",),
        change=answers("DELETE binding", 202, fields(operation=7)),
    ),
    Mutant(
        "unbind_needs_no_service_id",
        "An unbind without service_id is done.",
        fails=("unbind_without_service_id_is_400",),
        change=_needs_no("service_id"),
    ),
    Mutant(
        "unbind_needs_no_plan_id",
        "An unbind without plan_id is done.",
        fails=("unbind_without_plan_id_is_400",),
        change=_needs_no("plan_id"),
    ),
    Mutant(
        "unbind_refuses_too_late",
        "An unbind that is refused has removed the binding.",
        fails=(
            "unbind_without_service_id_is_400",
            "unbind_without_plan_id_is_400",
        ),
        change=instead("unbind", _refuses_too_late),
    ),
    Mutant(
        "unbind_of_unknown_binding_is_404",
        "An unbind of a binding that never was is answered 404.",
        fails=(
            "unbind_of_unknown_binding_is_410",
            "unbind_below_another_instance_is_410",
        ),
        change=instead("unbind", _knows_none),
    ),
    Mutant(
        "second_unbind_is_404",
        "An unbind of a binding that has been removed is answered 404.",
        fails=(
            "second_unbind_is_410",
            "unbinds_can_be_repeated",
            "unheard_bind_can_be_deleted",
            "equal_deletes_are_answered_well",
        ),
        change=instead("unbind", _has_forgotten),
    ),
    Mutant(
        "unbind_looks_below_every_instance",
        "An unbind finds the binding by its id alone.",
        fails=("unbind_below_another_instance_is_410",),
        change=instead("unbind", _looks_everywhere),
    ),
    Mutant(
        "unbind_without_the_flag_has_another_error",
        "An unbind that needs accepts_incomplete is refused with another error.",
        fails=("unbind_needs_the_flag",),
        change=answers("DELETE binding", 422, _another_word),
    ),
    Mutant(
        "unbind_during_bind_has_another_error",
        "An unbind during the binding is refused with an error of its own.",
        fails=("unbind_waits_with_concurrency_error",),
        change=instead("unbind", _says_busy),
    ),
    Mutant(
        "unbind_does_not_halt_the_binding",
        "A binding that was removed while it was being made comes back.",
        fails=("unbind_halts_the_binding",),
        change=instead("unbind", _does_not_halt),
    ),
    Mutant(
        "polls_of_a_halting_unbind_say_failed",
        "Polls after an unbind during the binding tell of the binding.",
        fails=("polls_tell_of_the_halting_unbind",),
        change=instead("poll_binding", _polls_of_the_first),
    ),
    Mutant(
        "polls_of_a_halted_binding_say_succeeded",
        "Polls of a binding that was removed while being made tell of success.",
        fails=("polls_tell_that_the_binding_failed",),
        change=instead("poll_binding", _polls_of_the_last),
    ),
]
