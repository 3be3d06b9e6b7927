"""What the kit learns of a plan is true of that plan."""

from tests.kit.matrix import examine
from tests.kit.reference import ReferenceBroker


async def test_a_plan_is_deprovisioned_as_itself_when_only_plan_changes_are_known():
    broker = ReferenceBroker()
    for plan in broker.catalog["services"][0]["plans"]:
        plan.pop("schemas", None)

    report = await examine(broker, [])

    learned = dict(report.plans)
    assert "update async only" in learned["everything/async"]
    assert "deprovision async only" in learned["everything/async"]
    assert "deprovision sync" in learned["everything/sync"]
    assert report.left == ()
