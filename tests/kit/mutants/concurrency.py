"""Wrong at the same moment, or while something is in progress."""

import asyncio
from collections.abc import Callable
from functools import partial

from tests.kit.matrix import Mutant, Turn, answers, fields, instead
from tests.kit.narrow import Change, Verb, runs, thing_of
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal, Thing

CODE = "ConcurrencyError"


def _runs(broker: ReferenceBroker, asked: Asked, kind: str) -> bool:
    """Whether an operation of this kind is in progress on the instance."""
    return runs(broker.instances.get(asked.instance_id), kind)


def refuses_with(status: int, code: str | None, kind: str) -> Turn:
    """Another refusal than ConcurrencyError during an operation of this kind."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        try:
            return usual(asked)
        except Refusal as refusal:
            busy = refusal.answer.body.get("error") == CODE
            if busy and _runs(broker, asked, kind):
                raise Refusal(status, "Something is in progress.", code) from None
            raise

    return turn


def halts(kind: str) -> Turn:
    """A request that is refused ends what was running."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        try:
            return usual(asked)
        except Refusal as refusal:
            if refusal.answer.body.get("error") == CODE and _runs(broker, asked, kind):
                broker.instances[asked.instance_id].operations[-1].state = "failed"
            raise

    return turn


def does_it_later(later: Callable[[Thing, Asked], None]) -> Turn:
    """What is refused during an update is done when that has succeeded."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        try:
            return usual(asked)
        except Refusal as refusal:
            if refusal.answer.body.get("error") == CODE and _runs(
                broker, asked, "update"
            ):
                thing = broker.instances[asked.instance_id]
                running = thing.operations[-1]
                running.apply = partial(
                    _both, running.apply, partial(later, thing, asked)
                )
            raise

    return turn


def _both(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()


def _change(thing: Thing, asked: Asked) -> None:
    given = asked.body.get("parameters") or {}
    held = thing.attributes["parameters"]
    thing.attributes = {**thing.attributes, "parameters": {**held, **given}}


def _remove(thing: Thing, asked: Asked) -> None:
    thing.state = "gone"


def binds_all_the_same(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        if refusal.answer.body.get("error") == CODE and _runs(broker, asked, "update"):
            thing = broker.instances[asked.instance_id]
            running = thing.operations.pop()
            usual(asked)
            thing.operations.append(running)
        raise


def joins_the_running_one(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        busy = refusal.answer.body.get("error") == CODE
        if not (busy and asked.flag and _runs(broker, asked, "update")):
            raise
        running = broker.instances[asked.instance_id].operations[-1]
        return Answer(202, {"operation": running.token})


def locks_the_space(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """Only one instance of a space is worked at."""
    own = broker.instances.get(asked.instance_id)
    for each in broker.instances.values():
        if own is None or each is own or each.running is None:
            continue
        if each.attributes["space_guid"] == own.attributes["space_guid"]:
            raise Refusal(422, "Something is in progress in this space.", CODE)
    return usual(asked)


def begins_anew(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if _runs(broker, asked, "deprovision"):
        del broker.instances[asked.instance_id]
    return usual(asked)


# --- looking up too early ------------------------------------------------------------

Late = Callable[[ReferenceBroker, Asked, Thing | None, set[str]], None]


def looks_up_early(kind: str, late: Late) -> Change:
    """Requests of a kind wait between looking up and doing.

    Args:
        late: before it is done; gets what was found, and the ids of its bindings.
    """

    def change(broker: ReferenceBroker) -> None:
        routed = broker.routed

        async def waiting(asked: Asked) -> Answer:
            if asked.kind == kind:
                found = _found(broker, asked)
                instance = broker.instances.get(asked.instance_id)
                ids = set(instance.bindings) if instance else set()
                await asyncio.sleep(0)
                late(broker, asked, found, ids)
            return await routed(asked)

        broker.routed = waiting  # type: ignore[method-assign]

    return change


def _found(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    """What the request is about, unless it is gone."""
    found = thing_of(broker, asked)
    return found if found and found.exists else None


def _of_plan(asked: Asked, thing: Thing) -> bool:
    wanted = asked.body.get("parameters") or {}
    return bool(thing.attributes["parameters"] == wanted)


def makes_it_twice(
    broker: ReferenceBroker, asked: Asked, found: Thing | None, ids: set[str]
) -> None:
    now = broker.instances.get(asked.instance_id)
    if found is None and now is not None and _of_plan(asked, now):
        del broker.instances[asked.instance_id]


def makes_both(
    broker: ReferenceBroker, asked: Asked, found: Thing | None, ids: set[str]
) -> None:
    now = broker.instances.get(asked.instance_id)
    if found is None and now is not None and not _of_plan(asked, now):
        del broker.instances[asked.instance_id]


def binds_it_twice(
    broker: ReferenceBroker, asked: Asked, found: Thing | None, ids: set[str]
) -> None:
    instance = broker.instances.get(asked.instance_id)
    if found is None and instance is not None:
        instance.bindings.pop(asked.binding_id, None)


def loses_bindings(
    broker: ReferenceBroker, asked: Asked, found: Thing | None, ids: set[str]
) -> None:
    instance = broker.instances.get(asked.instance_id)
    if instance is not None:
        for id in set(instance.bindings) - ids - {asked.binding_id}:
            del instance.bindings[id]


def misses_it(
    broker: ReferenceBroker, asked: Asked, found: Thing | None, ids: set[str]
) -> None:
    if found is not None and not found.exists:
        raise Refusal(500, "It was there a moment ago.")


def _silent(asked: Asked, told: Answer) -> Answer | None:
    busy = told.body.get("error") == CODE
    return fields(description=" ")(asked, told) if busy else None


MUTANTS = [
    Mutant(
        "update_during_update_is_409",
        "An update during another one is answered 409.",
        fails=("update_waits_for_an_update",),
        change=instead("update", refuses_with(409, "Conflict", "update")),
    ),
    Mutant(
        "bind_during_update_is_423",
        "A binding during an update is answered 423.",
        fails=("bind_waits_for_an_update",),
        change=instead("bind", refuses_with(423, None, "update")),
    ),
    Mutant(
        "update_during_provision_is_429",
        "An update during the provision is answered 429.",
        fails=("changes_wait_for_the_provision",),
        change=instead("update", refuses_with(429, None, "provision")),
    ),
    Mutant(
        "bind_during_provision_has_another_error",
        "A binding during the provision is refused with a word of the broker's own.",
        fails=("changes_wait_for_the_provision",),
        change=instead("bind", refuses_with(422, "Busy", "provision")),
    ),
    Mutant(
        "update_during_deprovision_is_500",
        "An update during the deprovision is answered 500.",
        fails=("changes_wait_for_the_deprovision",),
        change=instead("update", refuses_with(500, None, "deprovision")),
    ),
    Mutant(
        "bind_during_deprovision_has_no_error",
        "A binding during the deprovision is answered 422 without an error code.",
        fails=("changes_wait_for_the_deprovision",),
        change=instead("bind", refuses_with(422, None, "deprovision")),
    ),
    Mutant(
        "refused_update_halts_the_provision",
        "An update that is refused ends the provision.",
        fails=("refused_update_disturbs_no_provision",),
        change=instead("update", halts("provision")),
    ),
    Mutant(
        "refused_update_halts_the_update",
        "An update that is refused ends the one that is running.",
        fails=("refused_update_disturbs_no_update",),
        change=instead("update", halts("update")),
    ),
    *(
        Mutant(
            f"busy_{verb}_is_queued",
            f"A {verb} is refused during an update, and done when that has ended.",
            fails=("what_was_refused_meanwhile_is_not_done_later",),
            change=instead(verb, does_it_later(later)),
        )
        for verb, later in {"update": _change, "deprovision": _remove}.items()
    ),
    Mutant(
        "busy_bind_is_made",
        "A binding is refused during an update, and made all the same.",
        fails=("what_was_refused_meanwhile_is_not_done_later",),
        change=instead("bind", binds_all_the_same),
    ),
    Mutant(
        "other_update_joins_the_running_one",
        "Another update during an update is answered 202, and forgotten.",
        fails=("update_that_is_taken_meanwhile_is_done",),
        change=instead("update", joins_the_running_one),
    ),
    *(
        Mutant(
            f"one_{verb}_in_a_space",
            f"A {verb} is refused while another instance of the space is being made.",
            fails=("other_instances_need_not_wait",),
            change=instead(verb, locks_the_space),
        )
        for verb in ("update", "bind", "deprovision")
    ),
    Mutant(
        "provision_during_deprovision_is_202",
        "A PUT during the deprovision begins anew.",
        fails=("provision_waits_for_the_deprovision",),
        change=instead("provision", begins_anew),
    ),
    Mutant(
        "concurrency_error_is_silent",
        "The description of ConcurrencyError is blank.",
        fails=("concurrency_error_is_described",),
        change=answers("", 422, _silent),
    ),
    Mutant(
        "equal_provisions_are_201",
        "Equal PUTs at the same moment make an instance each.",
        fails=("equal_provisions_make_one_instance",),
        change=looks_up_early("PUT instance", makes_it_twice),
    ),
    Mutant(
        "the_last_provision_wins",
        "Of different PUTs at the same moment each is accepted.",
        fails=("one_of_two_provisions_wins",),
        change=looks_up_early("PUT instance", makes_both),
    ),
    Mutant(
        "equal_binds_are_201",
        "Equal PUTs at the same moment make a binding each.",
        fails=("equal_binds_make_one_binding",),
        change=looks_up_early("PUT binding", binds_it_twice),
    ),
    Mutant(
        "bindings_get_lost",
        "Of bindings made at the same moment only one stays.",
        fails=("accepted_bindings_are_made",),
        change=looks_up_early("PUT binding", loses_bindings),
    ),
    *(
        Mutant(
            f"second_delete_of_the_{what}_is_500",
            f"Of two DELETEs of the {what} at the same moment one is answered 500.",
            fails=("equal_deletes_are_answered_well",),
            change=looks_up_early(f"DELETE {what}", misses_it),
        )
        for what in ("instance", "binding")
    ),
]
