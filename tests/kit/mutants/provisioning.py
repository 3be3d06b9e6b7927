"""Wrong in provisioning."""

import json
from collections.abc import Callable
from typing import Any

from tests.kit.matrix import (
    Mutant,
    Rewrite,
    answers,
    fields,
    instead,
    offers,
    refuses,
    status,
    without,
)
from tests.kit.narrow import Change, Verb, plan_id, sends, sent
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal, Thing
from tests.kit.removing import another_word


def when(holds: Callable[[Asked, Answer], bool], becomes: Rewrite) -> Rewrite:
    """Only some answers are changed."""

    def rewrite(asked: Asked, told: Answer) -> Answer | None:
        return becomes(asked, told) if holds(asked, told) else None

    return rewrite


def said(words: str) -> Callable[[Asked, Answer], bool]:
    """Answers whose description begins so."""
    return lambda asked, told: told.body.get("description", "").startswith(words)


def has_code(code: str) -> Callable[[Asked, Answer], bool]:
    """Errors with this code."""
    return lambda asked, told: told.body.get("error") == code


def has_flag(asked: Asked, told: Answer) -> bool:
    """Answers to requests with accepts_incomplete=true."""
    return asked.flag


def overlooks(name: str) -> Change:
    """A repeated PUT is compared without one of its attributes."""

    def differs(known: Json, wanted: Json) -> bool:
        return any(known[each] != wanted.get(each) for each in known if each != name)

    return lambda broker: setattr(broker, "differs", differs)


def takes_missing(name: str) -> Change:
    """A PUT that lacks a field is taken for one that has it."""

    def change(broker: ReferenceBroker) -> None:
        usual = broker.provision
        plans = broker.catalog["services"][0]["plans"]
        lent = {
            "service_id": broker.catalog["services"][0]["id"],
            "plan_id": plans[0]["id"],
        }

        def provision(asked: Asked) -> Answer:
            body = sent(asked)
            if body and name not in body:
                body[name] = lent.get(name, "somewhere")
                sends(asked, body)
            return usual(asked)

        broker.provision = provision  # type: ignore[method-assign]

    return change


def takes_invalid(name: str, *, wrong: Callable[[Any], bool]) -> Change:
    """A PUT with a wrong value of a field is taken for one with a good one."""

    def change(broker: ReferenceBroker) -> None:
        usual = broker.provision

        def provision(asked: Asked) -> Answer:
            body = sent(asked)
            if name in body and wrong(body[name]):
                body[name] = None
                if name in {"organization_guid", "space_guid"}:
                    body[name] = "somewhere"
                sends(asked, body)
            return usual(asked)

        broker.provision = provision  # type: ignore[method-assign]

    return change


def takes_any_plan(broker: ReferenceBroker) -> None:
    """A PUT with ids that the catalog does not know gets the first plan there is."""
    usual = broker.provision
    offering = broker.catalog["services"][0]
    known = {
        (one["id"], plan["id"])
        for one in broker.catalog["services"]
        for plan in one["plans"]
    }

    def provision(asked: Asked) -> Answer:
        body = sent(asked)
        service, plan = body.get("service_id"), body.get("plan_id")
        texts = isinstance(service, str) and isinstance(plan, str)
        if texts and service and plan and (service, plan) not in known:
            body |= {
                "service_id": offering["id"],
                "plan_id": offering["plans"][0]["id"],
            }
            sends(asked, body)
        return usual(asked)

    broker.provision = provision  # type: ignore[method-assign]


def makes_before_it_looks(broker: ReferenceBroker) -> None:
    """A PUT of a plan that is unknown leaves an instance of another one."""
    usual = broker.provision
    offering = broker.catalog["services"][0]

    def provision(asked: Asked) -> Answer:
        try:
            return usual(asked)
        except Refusal as refusal:
            if said("The catalog has no")(asked, refusal.answer):
                held = {
                    "service_id": offering["id"],
                    "plan_id": offering["plans"][0]["id"],
                    "parameters": {},
                }
                broker.instances[asked.instance_id] = Thing(held, state="ready")
            raise

    broker.provision = provision  # type: ignore[method-assign]


def makes_without_a_plan(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """A PUT without a plan leaves an instance of some plan."""
    try:
        return usual(asked)
    except Refusal:
        body = sent(asked)
        if "service_id" in body and "plan_id" not in body:
            held = {**body, "plan_id": plan_id("sync"), "parameters": {}}
            broker.instances[asked.instance_id] = Thing(held, state="ready")
        raise


def writes_over_the_space(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What a PUT makes has the parameters of all instances of its space."""
    new = asked.instance_id not in broker.instances
    answer = usual(asked)
    own = broker.instances[asked.instance_id].attributes
    for each in broker.instances.values() if new else ():
        if each.attributes.get("space_guid") == own["space_guid"]:
            each.attributes = {**each.attributes, "parameters": own["parameters"]}
    return answer


def ends_at_once(code: int, one: str) -> Rewrite:
    """A first PUT of one plan that began is answered as if it were over."""
    begun: set[str] = set()

    def rewrite(asked: Asked, told: Answer) -> Answer:
        if asked.instance_id not in begun and asked.body["plan_id"] == one:
            begun.add(asked.instance_id)
            told.status = code
        return told

    return rewrite


def begins_unseen(broker: ReferenceBroker) -> None:
    """A plan that is not retrievable is asynchronous, and its first PUT says 200."""
    name = ("more", "plain")

    def edit(catalog: Json) -> None:
        for offering in catalog["services"]:
            for plan in offering["plans"]:
                if (plan["name"], offering["name"]) == name:
                    plan["x-mode"] = "async"

    offers(edit)(broker)
    answers("PUT instance", 202, ends_at_once(200, plan_id(*name)))(broker)


def makes_another(broker: ReferenceBroker) -> None:
    """A DELETE removes one of as many as there were PUTs with the flag."""
    left: dict[str, int] = {}

    def provision(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer = usual(asked)
        if asked.flag and answer.status == 200:
            left[asked.instance_id] = left.get(asked.instance_id, 0) + 1
        return answer

    def deprovision(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer = usual(asked)
        if answer.status == 200 and left.pop(asked.instance_id, 0):
            broker.instances[asked.instance_id].state = "ready"
        return answer

    instead("provision", provision)(broker)
    instead("deprovision", deprovision)(broker)


def another_operation(asked: Asked, told: Answer) -> Answer:
    """Every 202 names an operation of its own."""
    told.body["operation"] = f"{told.body['operation']}-{len(SEEN)}"
    SEEN.append(told.body["operation"])
    return told


SEEN: list[str] = []


def conflict_only_when_done(broker: ReferenceBroker) -> None:
    """While an instance is made, every PUT of its id counts as a repeat."""
    usual = broker.provisioned_again

    def again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        making = known.running is not None and known.running.kind == "provision"
        return usual(asked, known, known.attributes if making else wanted)

    broker.provisioned_again = again  # type: ignore[method-assign]


def conflict_is_written(broker: ReferenceBroker) -> None:
    """What is answered 409 is kept all the same."""
    usual = broker.provisioned_again

    def again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        try:
            return usual(asked, known, wanted)
        except Refusal as refusal:
            if refusal.answer.status == 409:
                known.attributes = wanted
            raise

    broker.provisioned_again = again  # type: ignore[method-assign]


def compares_bytes(broker: ReferenceBroker) -> None:
    """The same request in other bytes is another one."""
    usual = broker.provision
    first: dict[str, bytes] = {}

    def provision(asked: Asked) -> Answer:
        known = first.setdefault(asked.instance_id, asked.content)
        if known != asked.content and sent(asked) == json.loads(known or b"{}"):
            raise Refusal(409, "The id is in use with other attributes.", "Conflict")
        return usual(asked)

    broker.provision = provision  # type: ignore[method-assign]


def compares_context(broker: ReferenceBroker) -> None:
    """An id in use with another context is a server's error."""
    usual = broker.provision
    first: dict[str, Any] = {}

    def provision(asked: Asked) -> Answer:
        body = sent(asked)
        known = first.setdefault(asked.instance_id, body)
        new = {**known, "context": None} == {**body, "context": None}
        if new and known.get("context") != body.get("context"):
            raise Refusal(500, "The context has changed.")
        return usual(asked)

    broker.provision = provision  # type: ignore[method-assign]


def one_dashboard(asked: Asked, told: Answer) -> Answer:
    """All instances have the same dashboard."""
    if "dashboard_url" in told.body:
        told.body["dashboard_url"] = "https://service.reference.example/all"
    return told


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _unknown_platform(broker: ReferenceBroker, asked: Asked) -> bool:
    context = sent(asked).get("context")
    known = {None, "cloudfoundry", "kubernetes"}
    return isinstance(context, dict) and context.get("platform") not in known


def _has_no_context(broker: ReferenceBroker, asked: Asked) -> bool:
    newest = asked.headers["x-broker-api-version"] == "2.17"
    return newest and "context" not in sent(asked)


def _used_before(broker: ReferenceBroker, asked: Asked) -> bool:
    known = broker.instances.get(asked.instance_id)
    return known is not None and known.state == "gone"


Again = Callable[[Asked, Thing, Json], Answer]


def _done_already(usual: Again) -> Again:
    def again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        answer = usual(asked, known, wanted)
        if answer.status == 202:
            answer.status = 200
        return answer

    return again


def _busy(usual: Again) -> Again:
    def again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        if usual(asked, known, wanted).status == 202:
            raise Refusal(422, "It is being made.", "ConcurrencyError")
        return usual(asked, known, wanted)

    return again


def _same_parameters(usual: Again) -> Again:
    def again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        return usual(
            asked, known, {**wanted, "parameters": known.attributes["parameters"]}
        )

    return again


def _same_plan(usual: Again) -> Again:
    def again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        if known.running is None:
            wanted = {**wanted, "plan_id": known.attributes["plan_id"]}
        return usual(asked, known, wanted)

    return again


def _known_too(usual: Again) -> Again:
    def again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        both = {**known.attributes["parameters"], **wanted["parameters"]}
        return usual(asked, known, {**wanted, "parameters": both})

    return again


def _create_unchecked(
    usual: Callable[[Json, Json, str, str], None],
) -> Callable[[Json, Json, str, str], None]:
    def check(body: Json, plan: Json, resource: str, action: str) -> None:
        if (resource, action) != ("service_instance", "create"):
            usual(body, plan, resource, action)

    return check


MUTANTS = [
    Mutant(
        "one_resource_for_a_space",
        "A PUT gives its parameters to every instance of the space.",
        fails=("every_instance_is_a_resource",),
        change=instead("provision", writes_over_the_space),
    ),
    Mutant(
        "made_is_200",
        "An instance that a PUT made is answered 200.",
        fails=("made_by_the_request_is_201",),
        change=answers("PUT instance", 201, status(200)),
    ),
    Mutant(
        "begun_is_200",
        "A PUT that began to provision one of the plans is answered 200.",
        fails=("what_has_begun_is_202", "every_plan_can_be_fetched"),
        change=lambda b: answers(
            "PUT instance", 202, ends_at_once(200, plan_id("update-fails"))
        )(b),
    ),
    Mutant(
        "begun_is_201",
        "A PUT that began to provision one of the plans is answered 201.",
        fails=("what_has_begun_is_202", "every_plan_can_be_fetched"),
        change=lambda b: answers(
            "PUT instance", 202, ends_at_once(201, plan_id("update-fails"))
        )(b),
    ),
    Mutant(
        "begun_is_200_where_nothing_is_fetched",
        "A PUT that began is answered 200 for a plan whose instances are not fetched.",
        fails=("what_has_begun_is_202",),
        change=begins_unseen,
    ),
    Mutant(
        "missing_flag_has_another_error",
        "A PUT that needs accepts_incomplete is refused with another error.",
        fails=("provisioning_needs_the_flag",),
        change=answers("PUT instance", 422, another_word),
    ),
    Mutant(
        "provisioning_needs_no_flag_but_says_400",
        "The missing flag of a PUT is answered 400.",
        fails=("provisioning_needs_the_flag", "codes_come_with_422"),
        change=answers(
            "PUT instance", 422, when(has_code("AsyncRequired"), status(400))
        ),
    ),
    Mutant(
        "repeat_while_provisioning_is_200",
        "A repeat while the provisioning runs is answered 200.",
        fails=("repeat_while_provisioning_is_202",),
        change=lambda broker: setattr(
            broker, "provisioned_again", _done_already(broker.provisioned_again)
        ),
    ),
    Mutant(
        "repeat_while_provisioning_is_busy",
        "A repeat while the provisioning runs is answered 422.",
        fails=("repeat_while_provisioning_is_202",),
        change=lambda broker: setattr(
            broker, "provisioned_again", _busy(broker.provisioned_again)
        ),
    ),
    Mutant(
        "repeated_provisioning_has_another_operation",
        "A repeat while the provisioning runs names a new operation.",
        fails=("repeat_while_provisioning_names_its_operation",),
        change=answers("PUT instance", 202, another_operation),
    ),
    Mutant(
        "repeat_is_201",
        "A repeat of what is done is answered 201.",
        fails=("repeat_of_what_is_done_is_200", "repeat_makes_nothing"),
        change=answers("PUT instance", 200, status(201)),
    ),
    Mutant(
        "repeat_with_the_flag_is_201",
        "A repeat with accepts_incomplete of what is done is answered 201.",
        fails=("repeat_makes_nothing",),
        change=answers("PUT instance", 200, when(has_flag, status(201))),
    ),
    Mutant(
        "repeat_makes_another",
        "A repeat with accepts_incomplete makes a second resource.",
        fails=("repeat_makes_nothing",),
        change=makes_another,
    ),
    Mutant(
        "repeat_is_202",
        "A repeat of what is done is answered 202.",
        fails=("repeat_of_what_is_done_is_200", "no_202_without_the_flag"),
        change=answers("PUT instance", 200, status(202)),
    ),
    Mutant(
        "repeat_tells_nothing",
        "A repeat of what is done is answered with an empty object.",
        fails=("repeat_tells_the_same",),
        change=answers("PUT instance", 200, without("dashboard_url", "metadata")),
    ),
    Mutant(
        "repeat_is_compared_as_bytes",
        "The same request with its fields in another order is answered 409.",
        fails=("repeats_are_compared_as_values",),
        change=compares_bytes,
    ),
    Mutant(
        "overlooks_plan",
        "A PUT of an id in use with another plan is taken for a repeat.",
        fails=("other_plan_conflicts", "what_differs_while_provisioning_conflicts"),
        change=overlooks("plan_id"),
    ),
    Mutant(
        "overlooks_plan_of_what_is_done",
        "Another plan is taken for a repeat once the instance is ready.",
        fails=("other_plan_conflicts",),
        change=lambda broker: setattr(
            broker, "provisioned_again", _same_plan(broker.provisioned_again)
        ),
    ),
    Mutant(
        "overlooks_offering",
        "A PUT of an id in use with another offering is taken for a repeat.",
        fails=("other_offering_conflicts",),
        change=lambda broker: setattr(
            broker,
            "differs",
            lambda known, wanted: (
                known != wanted and known.get("service_id") == wanted.get("service_id")
            ),
        ),
    ),
    Mutant(
        "overlooks_parameters",
        "A PUT of an id in use with other parameters is taken for a repeat.",
        fails=(
            "other_parameters_conflict",
            "what_differs_while_provisioning_conflicts",
            "one_of_two_provisions_wins",
        ),
        change=lambda broker: setattr(
            broker, "provisioned_again", _same_parameters(broker.provisioned_again)
        ),
    ),
    Mutant(
        "overlooks_removed_parameters",
        "Parameters that are missing from a repeated PUT do not count.",
        fails=("other_parameters_conflict",),
        change=lambda broker: setattr(
            broker, "provisioned_again", _known_too(broker.provisioned_again)
        ),
    ),
    Mutant(
        "overlooks_organization",
        "A PUT of an id in use with another organization is taken for a repeat.",
        fails=("other_space_conflicts",),
        change=overlooks("organization_guid"),
    ),
    Mutant(
        "overlooks_space",
        "A PUT of an id in use with another space is taken for a repeat.",
        fails=("other_space_conflicts",),
        change=overlooks("space_guid"),
    ),
    Mutant(
        "stumbles_over_context",
        "A PUT of an id in use with another context is answered 500.",
        fails=("other_context_is_taken_or_conflicts",),
        change=compares_context,
    ),
    Mutant(
        "no_conflict_while_provisioning",
        "While an instance is made, any PUT of its id is taken for a repeat.",
        fails=("what_differs_while_provisioning_conflicts",),
        change=conflict_only_when_done,
    ),
    Mutant(
        "conflict_is_written",
        "What a PUT asked for is kept, although it was answered 409.",
        fails=("conflict_changes_nothing",),
        change=conflict_is_written,
    ),
    *(
        Mutant(
            f"provisions_without_{name}",
            f"A PUT without {name} is taken.",
            fails=(f"provisioning_needs_{name}",),
            change=takes_missing(name),
        )
        for name in ("service_id", "plan_id", "organization_guid", "space_guid")
    ),
    Mutant(
        "provisions_invalid_parameters",
        "A PUT with parameters that the schema does not allow is taken.",
        fails=("invalid_parameters_are_not_provisioned",),
        change=lambda broker: setattr(
            broker, "check_parameters", _create_unchecked(broker.check_parameters)
        ),
    ),
    Mutant(
        "provisions_unknown_plans",
        "A PUT with an unknown offering or plan gets the first plan.",
        fails=("unknown_plans_are_not_provisioned",),
        change=takes_any_plan,
    ),
    Mutant(
        "unknown_plan_is_404",
        "A PUT with an unknown plan is answered 404.",
        fails=("unknown_plans_are_400",),
        change=answers("PUT instance", 400, when(said("The catalog"), status(404))),
    ),
    Mutant(
        "provisions_with_an_empty_space",
        "An empty space_guid is taken.",
        fails=("empty_ids_are_400",),
        change=takes_invalid("space_guid", wrong=lambda value: value == ""),
    ),
    Mutant(
        "provisions_with_a_number_for_organization",
        "A number for organization_guid is taken.",
        fails=("wrong_types_are_400",),
        change=takes_invalid(
            "organization_guid", wrong=lambda value: isinstance(value, int)
        ),
    ),
    Mutant(
        "provisions_with_a_text_for_context",
        "A text for context is taken.",
        fails=("wrong_types_are_400",),
        change=takes_invalid("context", wrong=_is_text),
    ),
    Mutant(
        "refused_provisioning_leaves_an_instance",
        "A PUT with an unknown plan is refused, and an instance is there.",
        fails=(
            "refused_provisioning_leaves_nothing",
            "rejected_put_leaves_the_instance",
        ),
        change=makes_before_it_looks,
    ),
    Mutant(
        "refusal_without_a_plan_leaves_an_instance",
        "A PUT without plan_id is refused, and an instance is there.",
        fails=("refused_provisioning_leaves_nothing",),
        change=instead("provision", makes_without_a_plan),
    ),
    Mutant(
        "context_is_needed",
        "A PUT of a platform of the newest version without a context is refused.",
        fails=("any_context_is_provisioned",),
        change=refuses("provision", 400, _has_no_context),
    ),
    Mutant(
        "platform_must_be_known",
        "A context of a platform that the broker does not know is refused.",
        fails=("any_context_is_provisioned", "context_of_any_platform_is_accepted"),
        change=refuses("provision", 400, _unknown_platform),
    ),
    Mutant(
        "empty_parameters_are_refused",
        "A PUT with empty parameters is refused.",
        fails=("no_parameters_are_provisioned",),
        change=refuses(
            "provision", 400, lambda broker, asked: sent(asked).get("parameters") == {}
        ),
    ),
    Mutant(
        "used_id_is_500",
        "A PUT of the id of a deleted instance is answered 500.",
        fails=("id_of_a_deleted_instance_does_no_harm",),
        change=refuses("provision", 500, _used_before),
    ),
    Mutant(
        "ids_are_short",
        "Instance ids of more than 100 characters are refused.",
        fails=("any_text_is_an_instance_id",),
        change=refuses("provision", 400, lambda b, asked: len(asked.instance_id) > 100),
    ),
    Mutant(
        "dashboard_is_an_object",
        "dashboard_url is an object.",
        fails=("dashboard_of_provisioning_is_text", "repeat_tells_the_same"),
        change=answers("PUT instance", 200, fields(dashboard_url={"url": "/"})),
    ),
    Mutant(
        "dashboard_of_one_plan_is_an_object",
        "dashboard_url of one plan is an object from the first answer on.",
        fails=("dashboard_of_provisioning_is_text",),
        change=answers(
            "PUT instance",
            201,
            when(
                lambda asked, told: sent(asked)["plan_id"] == plan_id("needs-app"),
                fields(dashboard_url={"url": "/"}),
            ),
        ),
    ),
    Mutant(
        "dashboard_comes_late",
        "dashboard_url is missing from a 202.",
        fails=("dashboard_is_told_at_once",),
        change=answers("PUT instance", 202, without("dashboard_url")),
    ),
    Mutant(
        "one_dashboard_for_all",
        "All instances have the same dashboard_url.",
        fails=("dashboard_tells_its_instance",),
        change=answers("", None, one_dashboard),
    ),
    Mutant(
        "provision_operation_is_a_number",
        "operation of a provisioning is a number.",
        fails=("operation_of_provisioning_is_text",),
        change=answers("PUT instance", 202, fields(operation=7)),
    ),
    Mutant(
        "provision_operation_is_long",
        "operation of a provisioning has 10,001 characters.",
        fails=("operation_of_provisioning_is_short",),
        change=answers("PUT instance", 202, fields(operation="a" * 10_001)),
    ),
]
