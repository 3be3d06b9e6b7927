"""Wrong in unbinding; see `tests.kit.removing` for what both removals do."""

from tests.kit.matrix import Mutant, instead
from tests.kit.narrow import Verb, ended_well, thing_of
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal
from tests.kit.removing import has_forgotten, knows_none, says_busy_during, twins


def _does_nothing(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    binding = thing_of(broker, asked)
    if binding is None or binding.state != "ready":
        return usual(asked)
    broker.check_ids(asked)
    return Answer(200)


def _comes_back(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """A fetch makes that what was removed asynchronously is there again."""
    binding = thing_of(broker, asked)
    try:
        return usual(asked)
    finally:
        if binding is not None and ended_well(binding, "unbind"):
            binding.state = "ready"


def _removes_all(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, removed = usual(asked), thing_of(broker, asked)
    for each in broker.instances[asked.instance_id].bindings.values():
        if each is not removed:
            each.state = "gone"
    return answer


def _removes_its_like(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """An unbind that goes on after its answer takes along all but successors."""
    answer, removed = usual(asked), thing_of(broker, asked)
    others = broker.instances[asked.instance_id].bindings.values()
    for each in others if answer.status == 202 else ():
        if each is not removed and not each.attributes["after"]:
            each.state = "gone"
    return answer


def _knows_no_instance(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if asked.instance_id not in broker.instances:
        raise Refusal(404, "There is no such instance.")
    return usual(asked)


def _looks_everywhere(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    for instance_id, instance in broker.instances.items():
        if asked.binding_id in instance.bindings:
            asked.parts[1] = instance_id
    return usual(asked)


MUTANTS = [
    *twins(
        "unbind", a="An unbind", kind="DELETE binding", maker="bind", made="binding"
    ),
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
        "unbound_comes_back",
        "What was removed asynchronously is there again when it has been fetched.",
        fails=("unbound_is_gone",),
        change=instead("fetch_binding", _comes_back),
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
        "running_unbind_removes_other_bindings",
        "An unbind that goes on after its answer removes all bindings but successors.",
        fails=("unbind_leaves_other_bindings",),
        change=instead("unbind", _removes_its_like),
    ),
    Mutant(
        "unbind_of_unknown_binding_is_404",
        "An unbind of a binding that never was is answered 404.",
        fails=(
            "unbind_of_unknown_binding_is_410",
            "unbind_below_another_instance_is_410",
        ),
        change=instead("unbind", knows_none),
    ),
    Mutant(
        "unbind_below_unknown_instance_is_404",
        "An unbind below an instance that never was is answered 404.",
        fails=("unbind_of_unknown_binding_is_410",),
        change=instead("unbind", _knows_no_instance),
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
        change=instead("unbind", has_forgotten),
    ),
    Mutant(
        "unbind_looks_below_every_instance",
        "An unbind finds the binding by its id alone.",
        fails=("unbind_below_another_instance_is_410",),
        change=instead("unbind", _looks_everywhere),
    ),
    Mutant(
        "unbind_during_bind_has_another_error",
        "An unbind during the binding is refused with an error of its own.",
        fails=("unbind_waits_with_concurrency_error",),
        change=instead("unbind", says_busy_during("bind")),
    ),
]
