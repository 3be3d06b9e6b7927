"""Wrong in rotating bindings."""

import json
from collections.abc import Callable

from tests.kit.matrix import Mutant, instead
from tests.kit.mutants.binding import binding_of
from tests.kit.narrow import Change, Verb, alters, instance_of, sent
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal, Thing

NAME = "predecessor_binding_id"


def _rotates(asked: Asked) -> bool:
    return NAME in sent(asked)


def _alone(asked: Asked) -> bool:
    return set(sent(asked)) == {NAME}


def _refused(code: int, when: Callable[[Asked], bool]) -> Change:
    """Some rotations are refused before they are looked at."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if _rotates(asked) and when(asked):
            raise Refusal(code, "This is not how the broker rotates.")
        return usual(asked)

    return instead("bind", turn)


def _old_of(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    """The predecessor that a request names."""
    instance = instance_of(broker, asked)
    return instance.bindings.get(sent(asked).get(NAME, "")) if instance else None


def _replaces(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, old = usual(asked), _old_of(broker, asked)
    if old is not None and answer.status in {201, 202}:
        old.state = "gone"
    return answer


def _goes_together(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, instance = usual(asked), instance_of(broker, asked)
    for each in instance.bindings.values() if instance else ():
        if each.attributes["after"] == asked.binding_id:
            each.state = "gone"
    return answer


def _takes(predecessor: Callable[[ReferenceBroker, Asked], bool]) -> Change:
    """A predecessor that is none of the instance's is overlooked."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        instance, old = instance_of(broker, asked), _old_of(broker, asked)
        there = old is not None and old.state == "ready"
        if instance and _rotates(asked) and not there and predecessor(broker, asked):
            held = instance.attributes
            ids = {key: held[key] for key in ("service_id", "plan_id")}
            asked.content = json.dumps(ids).encode()
        return usual(asked)

    return instead("bind", turn)


def _is_unknown(broker: ReferenceBroker, asked: Asked) -> bool:
    name = sent(asked)[NAME]
    return all(name not in each.bindings for each in broker.instances.values())


def _was_removed(broker: ReferenceBroker, asked: Asked) -> bool:
    return _old_of(broker, asked) is not None


def _is_foreign(broker: ReferenceBroker, asked: Asked) -> bool:
    return not _is_unknown(broker, asked) and not _was_removed(broker, asked)


def _never_known(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    known, body = binding_of(broker, asked), sent(asked)
    if known is None or NAME not in body or known.running is not None:
        return usual(asked)
    return Answer(201, dict(known.body))


def _conflicts(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if _rotates(asked) and binding_of(broker, asked) is not None:
        raise Refusal(409, "The id is in use.", "Conflict")
    return usual(asked)


def _overlooks_predecessor(
    broker: ReferenceBroker, asked: Asked, usual: Verb
) -> Answer:
    known = binding_of(broker, asked)
    if known is not None and _rotates(asked) and known.attributes["after"]:
        alters(asked, **{NAME: known.attributes["after"]})
    return usual(asked)


def _unnamed(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        if _rotates(asked) and refusal.answer.body.get("error") == "AsyncRequired":
            del refusal.answer.body["error"]
        raise


def _forgets_parameters(broker: ReferenceBroker) -> None:
    usual = broker.binding_wanted

    def binding_wanted(instance: Thing, plan: Json, body: Json) -> Json:
        wanted = usual(instance, plan, body)
        return {**wanted, "parameters": {}} if wanted["after"] else wanted

    vars(broker)["binding_wanted"] = binding_wanted


def _cannot_refuse(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        instance = instance_of(broker, asked)
        if instance is not None and _rotates(asked):
            held = instance.attributes
            _, plan = broker.plan_of(held["service_id"], held["plan_id"])
            if not plan.get("binding_rotatable"):
                refusal.answer.status = 500
        raise


def _fails_to_rotate(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, made = usual(asked), binding_of(broker, asked)
    if _alone(asked) and answer.status == 202 and made and made.running:
        made.running.outcome = "failed"
    return answer


def _creates(code: int) -> Change:
    """A rotation that was made is answered with another status."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        rotates = _rotates(asked)
        answer = usual(asked)
        if rotates and answer.status == 201:
            answer.status = code
        return answer

    return instead("bind", turn)


MUTANTS = [
    Mutant(
        "rotation_needs_all_fields",
        "A rotation without offering and plan is refused.",
        fails=("binding_is_rotated",),
        change=_refused(400, _alone),
    ),
    Mutant(
        "rotation_takes_no_other_field",
        "A rotation with offering and plan is refused.",
        fails=(
            "binding_is_rotated",
            "rotation_needs_the_flag",
            "other_predecessor_conflicts",
        ),
        change=_refused(422, lambda asked: "plan_id" in sent(asked)),
    ),
    Mutant(
        "async_rotation_fails",
        "A rotation begins and fails.",
        fails=("binding_is_rotated",),
        change=instead("bind", _fails_to_rotate),
    ),
    Mutant(
        "rotation_replaces",
        "The predecessor is gone when the successor is made.",
        fails=("both_bindings_are_valid", "repeated_rotation_is_the_same"),
        change=instead("bind", _replaces),
    ),
    Mutant(
        "successor_goes_with_predecessor",
        "Unbinding the predecessor removes the successor.",
        fails=("both_bindings_are_valid",),
        change=instead("unbind", _goes_together),
    ),
    Mutant(
        "unknown_predecessor_is_taken",
        "A predecessor that never was is overlooked.",
        fails=("unknown_predecessor_is_refused",),
        change=_takes(_is_unknown),
    ),
    Mutant(
        "removed_predecessor_is_taken",
        "A predecessor that was removed is overlooked.",
        fails=("unknown_predecessor_is_refused",),
        change=_takes(_was_removed),
    ),
    Mutant(
        "foreign_predecessor_is_taken",
        "A predecessor of another instance is overlooked.",
        fails=("foreign_predecessor_is_refused",),
        change=_takes(_is_foreign),
    ),
    Mutant(
        "rotation_is_200",
        "A rotation is answered 200.",
        fails=("repeated_rotation_is_the_same",),
        change=_creates(200),
    ),
    Mutant(
        "repeated_rotation_is_201",
        "A repeated rotation is answered 201.",
        fails=("repeated_rotation_is_the_same", "other_predecessor_conflicts"),
        change=instead("bind", _never_known),
    ),
    Mutant(
        "repeated_rotation_is_409",
        "A repeated rotation is a conflict.",
        fails=("repeated_rotation_is_the_same",),
        change=instead("bind", _conflicts),
    ),
    Mutant(
        "other_predecessor_is_200",
        "The predecessor of a repeated rotation is not looked at.",
        fails=("other_predecessor_conflicts",),
        change=instead("bind", _overlooks_predecessor),
    ),
    Mutant(
        "rotation_without_flag_is_unnamed",
        "A rotation that needs accepts_incomplete is refused without a code.",
        fails=("rotation_needs_the_flag",),
        change=instead("bind", _unnamed),
    ),
    Mutant(
        "successor_without_parameters",
        "A successor has no parameters.",
        fails=("successor_has_the_parameters",),
        change=_forgets_parameters,
    ),
    Mutant(
        "rotation_of_other_plans_is_500",
        "A rotation on a plan that is not rotatable is answered 500.",
        fails=("what_cannot_be_rotated_stays",),
        change=instead("bind", _cannot_refuse),
    ),
]
