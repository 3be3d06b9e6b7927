"""Which requests a mutant is wrong about: the fewer, the fewer checks fail with it.

What a request says, and what the reference broker holds of the thing that it names.
"""

import json
from collections.abc import Callable
from typing import Any

from tests.kit import offers
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal, Thing

Verb = Callable[[Asked], Answer]
Change = Callable[[ReferenceBroker], None]


def sent(asked: Asked) -> Json:
    """The body of a request; empty when it cannot be read."""
    try:
        return asked.body
    except Refusal:
        return {}


def sends(asked: Asked, body: Json) -> None:
    """Let a request have another body."""
    asked.content = json.dumps(body).encode()


def alters(asked: Asked, **changes: Any) -> None:
    """Let a request have other fields."""
    sends(asked, {**sent(asked), **changes})


def thing_of(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    """The instance or binding that a request names, whatever became of it."""
    instance = broker.instances.get(asked.instance_id)
    if instance is None or "binding" not in asked.kind:
        return instance
    return instance.bindings.get(asked.binding_id)


def instance_of(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    """The instance that a request names, if it is there."""
    known = broker.instances.get(asked.instance_id)
    return known if known is not None and known.exists else None


def runs(thing: Thing | None, *kinds: str) -> bool:
    """Whether an operation of one of these kinds is in progress."""
    running = thing.running if thing is not None else None
    return running is not None and running.kind in kinds


def ended_well(thing: Thing | None, kind: str) -> bool:
    """Whether the last operation was of this kind, and none has failed or runs."""
    operations = thing.operations if thing is not None else []
    return (
        bool(operations)
        and operations[-1].kind == kind
        and all(each.state == "succeeded" for each in operations)
    )


def plan_id(name: str, offering: str = "everything") -> str:
    """The id of a plan of the catalog."""
    (found,) = (
        plan["id"]
        for each in offers.catalog()["services"]
        for plan in each["plans"]
        if (each["name"], plan["name"]) == (offering, name)
    )
    return str(found)


def has_plan(broker: ReferenceBroker, asked: Asked, name: str) -> bool:
    """Whether the instance that a request names, if any, has this plan."""
    instance = broker.instances.get(asked.instance_id)
    return instance is not None and instance.attributes["plan_id"] == plan_id(name)


def denies(verb: str, maker: str, code: int) -> Change:
    """What was made with the flag is done within the request, and yet denied.

    Args:
        verb: what is done, as the broker's method is called.
        maker: what makes the thing: provision or bind.
        code: the status of the denial.
    """

    def change(broker: ReferenceBroker) -> None:
        made: set[str] = set()
        makes: Verb = getattr(broker, maker)
        does: Verb = getattr(broker, verb)

        def notes(asked: Asked) -> Answer:
            if asked.flag:
                made.add(asked.parts[-1])
            return makes(asked)

        def denied(asked: Asked) -> Answer:
            answer = does(asked)
            if answer.status == 200 and not asked.flag and asked.parts[-1] in made:
                raise Refusal(code, "There is no such thing.")
            return answer

        setattr(broker, maker, notes)
        setattr(broker, verb, denied)

    return change
