"""The machine of `test_machine` can fail: brokers that decide one thing wrongly.

Each fault is one decision of `osbkit.lifecycle.decide`, exchanged while the broker
runs; each is found within the steps that find nothing in the broker as it is.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from osbkit.domain import OperationKind, ResourceState
from osbkit.errors import Gone, OperationInProgress
from osbkit.lifecycle import decide
from osbkit.lifecycle.decide import Begin, Settled
from tests.conformance.test_machine import STEPS, Difference, Scene, drive, scene

__all__ = ["scene"]
Decide = Callable[..., Any]
NAMES = (
    "on_provision",
    "on_deprovision",
    "on_unbind",
    "instance_of",
    "same_attributes",
)
RIGHT: dict[str, Decide] = {name: getattr(decide, name) for name in NAMES}


def repeat_is_made_again(found: Any, *rest: Any) -> Any:
    """PUT of what is there already: 201."""
    decision = RIGHT["on_provision"](found, *rest)
    if isinstance(decision, Settled):
        return Begin(generation=found.generation + 1)
    return decision


def creation_cannot_be_deleted(found: Any, running: Any, *rest: Any, **how: Any) -> Any:
    """DELETE while the creation runs: 422, as of any other change."""
    if any(one.kind is OperationKind.PROVISION for one in running):
        raise OperationInProgress
    return RIGHT["on_deprovision"](found, running, *rest, **how)


def gone_binding_is_removed_again(
    instance: Any, found: Any, *rest: Any, **how: Any
) -> Any:
    """DELETE of a binding that is gone: 200 once more."""
    try:
        return RIGHT["on_unbind"](instance, found, *rest, **how)
    except Gone:
        if found is None or found.state is not ResourceState.GONE:
            raise
        return Begin(generation=found.generation)


def platforms_see_each_other(found: Any, platform: str) -> Any:
    """GET, PATCH and bind of an instance of another platform."""
    owner = platform if found is None else found.platform
    return RIGHT["instance_of"](found, owner)


def plan_does_not_count(found: Any, wanted: Any) -> bool:
    """PUT with another plan: taken for a repeat."""
    there = replace(found, plan_id=wanted.plan_id, service_id=wanted.service_id)
    return bool(RIGHT["same_attributes"](there, wanted))


def nothing_blocks(running: Any) -> list[Any]:
    """Changes of one instance side by side."""
    return []


def delete_halts_nothing(*what: Any, **how: Any) -> Any:
    """What runs goes on beside the deletion."""
    decision = RIGHT["on_deprovision"](*what, **how)
    return replace(decision, halts=()) if isinstance(decision, Begin) else decision


def flag_is_not_needed(*what: Any, **how: Any) -> Any:
    """DELETE without accepts_incomplete on an asynchronous plan: begun."""
    return RIGHT["on_deprovision"](*what, **(how | {"async_only": False}))


MUTANTS: list[tuple[str, Decide]] = [
    ("on_provision", repeat_is_made_again),
    ("same_attributes", plan_does_not_count),
    ("on_deprovision", creation_cannot_be_deleted),
    ("on_deprovision", delete_halts_nothing),
    ("on_deprovision", flag_is_not_needed),
    ("on_unbind", gone_binding_is_removed_again),
    ("instance_of", platforms_see_each_other),
    ("blocking", nothing_blocks),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decision", "wrong"),
    [
        pytest.param(decision, wrong, id=wrong.__name__.replace("_", " "))
        for decision, wrong in MUTANTS
    ],
)
def test_a_wrong_decision_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, decision: str, wrong: Decide
) -> None:
    monkeypatch.setattr(decide, decision, wrong)

    with pytest.raises(Difference):
        drive(scene, STEPS)

    assert scene.steps <= STEPS
