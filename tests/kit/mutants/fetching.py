"""Wrong in fetching instances."""

from tests.kit.matrix import (
    Mutant,
    Rewrite,
    Turn,
    answers,
    fields,
    instead,
    refuses,
    without,
)
from tests.kit.narrow import Verb, has_plan
from tests.kit.reference import Answer, Asked, ReferenceBroker, Refusal


def late() -> Rewrite:
    """What was told to be ready is not found by the fetch that comes next."""
    just: set[str] = set()

    def rewrite(asked: Asked, told: Answer) -> Answer:
        if asked.kind == "GET instance poll" and told.body.get("state") == "succeeded":
            just.add(asked.instance_id)
        elif asked.kind.endswith(" instance") and asked.instance_id in just:
            just.remove(asked.instance_id)
            if asked.method == "GET":
                return missing(asked, told)
        return told

    return rewrite


def early(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What is being made is told as if it were there."""
    known = broker.instances.get(asked.instance_id)
    running = known.running if known is not None else None
    if known is None or running is None or running.kind != "provision":
        return usual(asked)
    state, operations = known.state, known.operations
    known.state, known.operations = "ready", []
    try:
        return usual(asked)
    finally:
        known.state, known.operations = state, operations


def gone_is_410(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """A deleted instance is answered 410."""
    known = broker.instances.get(asked.instance_id)
    if known is not None and known.state == "gone":
        raise Refusal(410, "The instance is gone.")
    return usual(asked)


def missing_for(name: str) -> Turn:
    """Instances of one plan are not found."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if has_plan(broker, asked, name):
            raise Refusal(404, "There is no such instance.")
        return usual(asked)

    return turn


def moves(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """A fetched instance is in another space from then on."""
    answer = usual(asked)
    broker.instances[asked.instance_id].attributes["space_guid"] = "elsewhere"
    return answer


def before_updates() -> Turn:
    """What the first fetch told is told for ever."""
    told: dict[str, Answer] = {}

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer = usual(asked)
        first = told.setdefault(asked.instance_id, answer)
        kept = ("plan_id", "parameters")
        answer.body |= {name: first.body[name] for name in kept}
        return answer

    return turn


def other_hint(broker: ReferenceBroker, asked: Asked) -> bool:
    """A hint of the query is wrong."""
    known = broker.instances.get(asked.instance_id)
    held = known.attributes if known is not None else {}
    return any(
        asked.query.get(name, held.get(name)) != held.get(name)
        for name in ("service_id", "plan_id")
    )


def not_offered(broker: ReferenceBroker, asked: Asked) -> bool:
    """The instance's offering is not retrievable."""
    known = broker.instances.get(asked.instance_id)
    return known is not None and any(
        offering["id"] == known.attributes["service_id"]
        and not offering["instances_retrievable"]
        for offering in broker.catalog["services"]
    )


def masked(asked: Asked, told: Answer) -> Answer:
    """Values of parameters are replaced."""
    told.body["parameters"] = dict.fromkeys(told.body["parameters"], "hidden")
    return told


def missing(asked: Asked, told: Answer) -> Answer:
    """There is no such instance."""
    told.status, told.body = 404, {"description": "There is no such instance."}
    return told


def elsewhere(broker: ReferenceBroker) -> None:
    """Until it is updated, an instance has another dashboard than was told."""
    updated: set[str] = set()

    def update(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        updated.add(asked.instance_id)
        return usual(asked)

    def fetch(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer = usual(asked)
        if asked.instance_id not in updated:
            answer.body["dashboard_url"] += "/other"
        return answer

    instead("update", update)(broker)
    instead("fetch", fetch)(broker)


MUTANTS = [
    Mutant(
        "one_plan_cannot_be_fetched",
        "Instances of one plan of a retrievable offering are answered 404.",
        fails=("every_plan_can_be_fetched",),
        change=instead("fetch", missing_for("unbound")),
    ),
    Mutant(
        "fetched_late",
        'A fetch right after a poll said "succeeded" is answered 404.',
        fails=("fetched_as_soon_as_it_is_ready",),
        change=lambda broker: answers("", None, late())(broker),
    ),
    Mutant(
        "deleted_is_410",
        "A fetch of a deleted instance is answered 410.",
        fails=("unknown_instances_are_404",),
        change=instead("fetch", gone_is_410),
    ),
    Mutant(
        "never_used_is_400",
        "A fetch of an id that was never used is answered 400.",
        fails=("unknown_instances_are_404",),
        change=refuses(
            "fetch",
            400,
            lambda broker, asked: asked.instance_id not in broker.instances,
        ),
    ),
    Mutant(
        "fetched_early",
        "A fetch tells an instance that is being provisioned.",
        fails=("what_is_provisioned_is_404",),
        change=instead("fetch", early),
    ),
    Mutant(
        "fetch_is_busy_without_a_code",
        "A fetch during an update is answered 422 without an error code.",
        fails=("what_is_updated_is_told_or_busy",),
        change=answers("GET instance", 422, without("error")),
    ),
    Mutant(
        "fetch_is_missing_during_an_update",
        "A fetch during an update is answered 404.",
        fails=("what_is_updated_is_told_or_busy",),
        change=answers("GET instance", 422, missing),
    ),
    Mutant(
        "not_retrievable_is_500",
        "A fetch where instances_retrievable is not declared is answered 500.",
        fails=("what_is_not_retrievable_does_no_harm",),
        change=refuses("fetch", 500, not_offered),
    ),
    Mutant(
        "fetch_tells_another_offering",
        "service_id of a fetch is not the instance's.",
        fails=("fetch_tells_offering_and_plan",),
        change=answers("GET instance", 200, fields(service_id="another")),
    ),
    Mutant(
        "fetch_tells_another_dashboard",
        "dashboard_url of a fetch is not the one that was told.",
        fails=("fetch_tells_the_newest_dashboard",),
        change=elsewhere,
    ),
    Mutant(
        "fetch_tells_a_list_of_parameters",
        "parameters of a fetch are an array.",
        fails=("fetch_tells_parameters_as_sent",),
        change=answers("GET instance", 200, fields(parameters=[])),
    ),
    Mutant(
        "fetch_hides_values",
        "parameters of a fetch have other values than were sent.",
        fails=("fetch_tells_parameters_as_sent", "fetch_shows_the_update"),
        change=answers("GET instance", 200, masked),
    ),
    Mutant(
        "hints_are_refused",
        "A fetch with service_id in its query is answered 400.",
        fails=("hints_of_a_fetch_are_not_needed",),
        change=refuses("fetch", 400, lambda broker, asked: "service_id" in asked.query),
    ),
    Mutant(
        "wrong_hint_is_500",
        "A fetch with a wrong hint is answered 500.",
        fails=("wrong_hints_of_a_fetch_do_no_harm",),
        change=refuses("fetch", 500, other_hint),
    ),
    Mutant(
        "fetch_moves_the_instance",
        "A fetch changes an attribute of the instance.",
        fails=("fetching_changes_nothing",),
        change=instead("fetch", moves),
    ),
    Mutant(
        "fetch_tells_what_was",
        "A fetch tells plan and parameters as the first fetch did.",
        fails=("fetch_shows_the_update",),
        change=lambda broker: instead("fetch", before_updates())(broker),
    ),
]
