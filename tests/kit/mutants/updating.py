"""Wrong in updating, and in the metadata of instances."""

from collections.abc import Callable
from typing import Any

from tests.kit.matrix import (
    Mutant,
    Rewrite,
    answers,
    fields,
    instead,
    refuses,
    status,
    without,
)
from tests.kit.narrow import (
    Change,
    Verb,
    alters,
    denies,
    has_plan,
    instance_of,
    plan_id,
    sends,
    sent,
)
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal, Thing

BUSY = "Something is in progress."


# --- changes of the answers ----------------------------------------------------------


def with_code(code: str, becomes: Rewrite) -> Change:
    """The answers to updates that are refused with a code are changed."""

    def rewrite(asked: Asked, told: Answer) -> Answer | None:
        return becomes(asked, told) if told.body.get("error") == code else None

    return answers("PATCH instance", 422, rewrite)


def cannot_be_left(becomes: Rewrite) -> Change:
    """The answers to changes of plan that are not supported are changed."""

    def rewrite(asked: Asked, told: Answer) -> Answer | None:
        refused = told.body.get("description") == "This plan cannot be left."
        return becomes(asked, told) if refused else None

    return answers("PATCH instance", 422, rewrite)


def ends_at_once(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    """What begins on a plan that is asynchronous only is answered 200."""
    answer = usual(asked)
    if answer.status == 202 and has_plan(broker, asked, "async"):
        answer.status = 200
    return answer


def repeated(becomes: Callable[[Answer], Answer]) -> Change:
    """The answers to repeats of an update that runs are changed."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        known = instance_of(broker, asked)
        running = known.running if known else None
        answer = usual(asked)
        return becomes(answer) if running and answer.status == 202 else answer

    return instead("update", turn)


def told_of_instances(edit: Callable[[Json], Json]) -> Change:
    """The metadata of instances is told otherwise, everywhere."""

    def change(broker: ReferenceBroker) -> None:
        usual = broker.told_of

        def told_of(instance_id: str, offering: Json) -> Json:
            told = usual(instance_id, offering)
            return {**told, "metadata": edit(told["metadata"])}

        vars(broker)["told_of"] = told_of

    return change


# --- changes of what is done ---------------------------------------------------------


def moves_the_dashboard(status_of: int) -> Change:
    """An update gives the dashboard another address and does not tell it.

    Args:
        status_of: the answers after which it does so.
    """

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer, known = usual(asked), instance_of(broker, asked)
        if answer.status == status_of and known is not None:
            url = known.body["dashboard_url"]
            known.body = {**known.body, "dashboard_url": f"{url}/new"}
            answer.body.pop("dashboard_url", None)
        return answer

    return instead("update", turn)


def is_a_list(asked: Asked, told: Answer) -> Answer:
    """The body is an array."""
    told.raw = b"[]"
    return told


def tells_another_dashboard(asked: Asked, told: Answer) -> Answer:
    """A dashboard is told that nobody will find."""
    told.body["dashboard_url"] += "/elsewhere"
    return told


def lends(name: str, when: Callable[[ReferenceBroker, Json], bool]) -> Change:
    """Some updates get the instance's value of a field."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        body, known = sent(asked), instance_of(broker, asked)
        if known is not None and body and when(broker, body):
            alters(asked, **{name: known.attributes[name]})
        return usual(asked)

    return instead("update", turn)


def unknown(name: str, *texts: str) -> Callable[[ReferenceBroker, Json], bool]:
    """The id is a text, and not in the catalog; or it is one of these."""

    def holds(broker: ReferenceBroker, body: Json) -> bool:
        value = body.get(name)
        offerings = broker.catalog["services"]
        plans = [each for one in offerings for each in one["plans"]]
        known = {each["id"] for each in [*offerings, *plans]}
        if value in texts:
            return True
        return isinstance(value, str) and value != "" and value not in known

    return holds


def of_another(name: str) -> Callable[[ReferenceBroker, Json], bool]:
    """The id is in the catalog, and not of the first offering."""

    def holds(broker: ReferenceBroker, body: Json) -> bool:
        others = broker.catalog["services"][1:]
        plans = [each for one in others for each in one["plans"]]
        return body.get(name) in [each["id"] for each in [*others, *plans]]

    return holds


def is_no(kind: type, name: str) -> Callable[[ReferenceBroker, Json], bool]:
    """The field is there, and has another type."""
    return lambda broker, body: name in body and not isinstance(body[name], kind)


def takes_wrong_type(name: str, kind: type) -> Change:
    """A field with another type is taken for the instance's, or for none."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        body = sent(asked)
        if is_no(kind, name)(broker, body):
            sends(asked, {key: each for key, each in body.items() if key != name})
        return usual(asked)

    return instead("update", turn)


def forgets(name: str, value: Callable[[ReferenceBroker], Any], *alone: str) -> Change:
    """An update that names only some fields changes another one as well.

    Args:
        name: what is changed.
        value: what it becomes.
        alone: the fields that such an update has.
    """

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        body, answer = sent(asked), usual(asked)
        known = instance_of(broker, asked)
        if answer.status == 200 and known is not None and {*body} == {*alone}:
            known.attributes = {**known.attributes, name: value(broker)}
        return answer

    return instead("update", turn)


def goes_back(broker: ReferenceBroker) -> None:
    """An update without plan_id goes back to the first plan of the instance."""
    provision, update = broker.provision, broker.update
    first: dict[str, Any] = {}

    def provisioned(asked: Asked) -> Answer:
        first.setdefault(asked.instance_id, sent(asked).get("plan_id"))
        return provision(asked)

    def updated(asked: Asked) -> Answer:
        body, answer = sent(asked), update(asked)
        known = instance_of(broker, asked)
        if answer.status == 200 and known is not None and "plan_id" not in body:
            plan = first[asked.instance_id]
            known.attributes = {**known.attributes, "plan_id": plan}
        return answer

    vars(broker).update(provision=provisioned, update=updated)


def changes_before_it_looks(
    words: str, *names: str
) -> Callable[[ReferenceBroker, Asked, Verb], Answer]:
    """A refused update has been carried out in part.

    Args:
        words: how the description of the refusal begins.
        names: of the fields that are written.
    """

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        try:
            return usual(asked)
        except Refusal as refusal:
            body, known = sent(asked), instance_of(broker, asked)
            if refusal.answer.body["description"].startswith(words) and known:
                named = {name: body[name] for name in names if name in body}
                known.attributes = {**known.attributes, **named}
            raise

    return turn


def makes_what_is_unknown(code: int) -> Change:
    """A PATCH of an unknown instance makes one, and is answered so."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        try:
            return usual(asked)
        except Refusal as refusal:
            if refusal.answer.status != 404 or asked.instance_id in broker.instances:
                raise
            service = broker.catalog["services"][0]["id"]
            held = {
                "service_id": service,
                "plan_id": plan_id("sync"),
                "parameters": {},
            }
            broker.instances[asked.instance_id] = Thing(held, state="ready")
            refusal.answer.status = code
            raise

    return instead("update", turn)


def refuses_past(when: Callable[[Json], bool]) -> Change:
    """An update is refused for its previous_values."""

    def holds(broker: ReferenceBroker, asked: Asked) -> bool:
        past = sent(asked).get("previous_values")
        return isinstance(past, dict) and when(past)

    return refuses("update", 400, holds)


def _wants_past(broker: ReferenceBroker, asked: Asked) -> bool:
    return has_plan(broker, asked, "needs-app") and "previous_values" not in sent(asked)


def _has_only(*names: str) -> Callable[[ReferenceBroker, Asked], bool]:
    return lambda broker, asked: {*sent(asked)} == {*names}


def _changes(
    old: str, new: str, *more: str
) -> Callable[[ReferenceBroker, Asked], bool]:
    """The plan is changed so, and the update names no more than these fields."""

    def holds(broker: ReferenceBroker, asked: Asked) -> bool:
        body = sent(asked)
        named = body.get("plan_id") == plan_id(new)
        few = {*body} <= {"service_id", "plan_id", *more}
        return named and few and has_plan(broker, asked, old)

    return holds


def remembers_the_plan(verb: str) -> Change:
    """Requests are held against the plan with which the instance was made.

    Args:
        verb: refuses those that name another one.
    """

    def change(broker: ReferenceBroker) -> None:
        provision, usual = broker.provision, getattr(broker, verb)
        first: dict[str, Any] = {}

        def provisioned(asked: Asked) -> Answer:
            answer = provision(asked)
            if answer.status in {201, 202}:
                first.setdefault(asked.instance_id, sent(asked)["plan_id"])
            return answer

        def held(asked: Asked) -> Answer:
            known, named = instance_of(broker, asked), _named_plan(asked)
            now = known.attributes["plan_id"] if known else None
            if named is not None and named == now != first.get(asked.instance_id):
                raise Refusal(400, "The instance has another plan.")
            answer: Answer = usual(asked)
            return answer

        vars(broker).update({"provision": provisioned, verb: held})

    return change


def _named_plan(asked: Asked) -> Any:
    return asked.query.get("plan_id") or sent(asked).get("plan_id")


def fetches_the_first_plan(broker: ReferenceBroker) -> None:
    """A fetch tells the plan with which the instance was made."""
    provision, fetch = broker.provision, broker.fetch
    first: dict[str, Any] = {}

    def provisioned(asked: Asked) -> Answer:
        answer = provision(asked)
        if answer.status in {201, 202}:
            first.setdefault(asked.instance_id, sent(asked)["plan_id"])
        return answer

    def fetched(asked: Asked) -> Answer:
        answer = fetch(asked)
        answer.body["plan_id"] = first[asked.instance_id]
        return answer

    vars(broker).update(provision=provisioned, fetch=fetched)


def has_no_updates(broker: ReferenceBroker) -> None:
    """There is no PATCH, and nothing in the catalog announces one."""
    for offering in broker.catalog["services"]:
        offering |= {"plan_updateable": False, "allow_context_updates": False}
        for plan in offering["plans"]:
            plan.pop("plan_updateable", None)
            plan.get("schemas", {}).get("service_instance", {}).pop("update", None)
    refuses("update", 405, lambda broker, asked: bool(sent(asked)))(broker)


MUTANTS = [
    Mutant(
        "updates_are_not_offered",
        "Nothing is wrong: there are no updates, and the catalog announces none.",
        fails=(),
        change=has_no_updates,
    ),
    Mutant(
        "updated_is_201",
        "An update that was applied is answered 201.",
        fails=("update_within_the_request_is_200", "only_a_put_creates"),
        change=answers("PATCH instance", 200, status(201)),
    ),
    Mutant(
        "updated_is_204",
        "An update that was applied is answered 204, with a body all the same.",
        fails=("update_within_the_request_is_200", "success_has_a_known_status"),
        change=answers("PATCH instance", 200, status(204)),
    ),
    Mutant(
        "updated_is_404",
        "An update without the flag is applied and denied where the PUT had it.",
        fails=("update_within_the_request_is_200",),
        change=denies("update", "provision", 404),
    ),
    Mutant(
        "begun_update_is_200",
        "An update that has begun is answered 200.",
        fails=("update_that_has_begun_is_202",),
        change=instead("update", ends_at_once),
    ),
    Mutant(
        "update_without_flag_is_400",
        "An update that needs accepts_incomplete is refused with 400.",
        fails=("update_needs_the_flag", "codes_come_with_422"),
        change=with_code("AsyncRequired", status(400)),
    ),
    Mutant(
        "update_without_flag_is_unnamed",
        "An update that needs accepts_incomplete is refused with another code.",
        fails=("update_needs_the_flag",),
        change=with_code("AsyncRequired", fields(error="AsyncOnly")),
    ),
    Mutant(
        "repeat_while_updating_is_200",
        "A repeat of a running update is answered 200.",
        fails=("repeat_while_updating_is_202",),
        change=repeated(lambda answer: Answer(200)),
    ),
    Mutant(
        "repeat_while_updating_is_busy",
        "A repeat of a running update is refused with ConcurrencyError.",
        fails=("repeat_while_updating_is_202",),
        change=repeated(
            lambda answer: Answer(
                422, {"error": "ConcurrencyError", "description": BUSY}
            )
        ),
    ),
    Mutant(
        "repeat_while_updating_is_renamed",
        "A repeat of a running update names another operation.",
        fails=("repeat_while_updating_names_its_operation",),
        change=repeated(lambda answer: Answer(202, {"operation": "another"})),
    ),
    Mutant(
        "repeat_while_updating_has_no_name",
        "A repeat of a running update names no operation.",
        fails=("repeat_while_updating_names_its_operation",),
        change=repeated(lambda answer: Answer(202)),
    ),
    Mutant(
        "updated_is_a_list",
        "The answer to an update is an array.",
        fails=("answer_to_an_update_is_well_formed", "successes_are_objects"),
        change=answers("PATCH instance", 200, is_a_list),
    ),
    Mutant(
        "dashboard_of_an_update_is_an_object",
        "dashboard_url in the answer to an update is an object.",
        fails=(
            "answer_to_an_update_is_well_formed",
            "fetch_tells_the_newest_dashboard",
        ),
        change=answers("PATCH instance", 200, fields(dashboard_url={"url": "/"})),
    ),
    Mutant(
        "dashboard_of_a_running_update_is_false",
        "dashboard_url in a 202 to an update is false.",
        fails=("answer_to_an_update_is_well_formed",),
        change=answers("PATCH instance", 202, fields(dashboard_url=False)),
    ),
    *(
        Mutant(
            f"operation_of_an_update_is_{name}",
            f"operation in the 202 to an update is {name}.",
            fails=("operation_of_an_update_is_text",),
            change=answers("PATCH instance", 202, fields(operation=value)),
        )
        for name, value in {"null": None, "a_number": 7, "empty": ""}.items()
    ),
    *(
        Mutant(
            f"dashboard_moves_after_{code}",
            f"An update that is answered {code} moves the dashboard and is silent.",
            fails=("changed_dashboard_is_told_at_once", *others),
            change=moves_the_dashboard(code),
        )
        for code, others in {
            200: ("fetch_tells_the_newest_dashboard",),
            202: (),
        }.items()
    ),
    Mutant(
        "update_tells_another_dashboard",
        "An update tells a dashboard that is not the one that is fetched.",
        fails=(
            "changed_dashboard_is_told_at_once",
            "fetch_tells_the_newest_dashboard",
        ),
        change=answers("PATCH instance", 200, tells_another_dashboard),
    ),
    Mutant(
        "refused_update_is_repeatable_in_words",
        "A refused change of plan tells update_repeatable as a text.",
        fails=(
            "failed_update_tells_what_can_be_done",
            "update_repeatable_has_its_place",
        ),
        change=cannot_be_left(fields(update_repeatable="no")),
    ),
    Mutant(
        "goes_back_to_its_first_plan",
        "An update without plan_id goes back to the plan of the provisioning.",
        fails=("plan_stays_without_plan_id",),
        change=goes_back,
    ),
    Mutant(
        "update_of_nothing_changes_the_plan",
        "An update of nothing changes the plan.",
        fails=("plan_stays_without_plan_id",),
        change=forgets("plan_id", lambda broker: plan_id("auto"), "service_id"),
    ),
    Mutant(
        "update_of_parameters_changes_the_plan",
        "An update of parameters changes the plan.",
        fails=("plan_stays_without_plan_id",),
        change=forgets(
            "plan_id",
            lambda broker: plan_id("sync-large"),
            "service_id",
            "parameters",
        ),
    ),
    Mutant(
        "update_of_nothing_empties_parameters",
        "An update without parameters empties those of the instance.",
        fails=("parameters_stay_without_parameters",),
        change=forgets("parameters", lambda broker: {}, "service_id"),
    ),
    Mutant(
        "change_of_plan_empties_parameters",
        "A change of plan empties the parameters of the instance.",
        fails=("parameters_stay_without_parameters",),
        change=forgets("parameters", lambda broker: {}, "service_id", "plan_id"),
    ),
    Mutant(
        "updates_without_service_id",
        "An update without service_id is taken.",
        fails=("update_needs_service_id",),
        change=lends("service_id", lambda broker, body: "service_id" not in body),
    ),
    Mutant(
        "updates_to_an_unknown_offering",
        "An unknown service_id of an update is not looked at.",
        fails=("update_to_unknown_plans_is_refused",),
        change=lends("service_id", unknown("service_id")),
    ),
    Mutant(
        "updates_with_an_empty_offering",
        "An empty service_id of an update is not looked at.",
        fails=("update_to_unknown_plans_is_refused",),
        change=lends("service_id", lambda broker, body: body.get("service_id") == ""),
    ),
    Mutant(
        "updates_to_an_unknown_plan",
        "An unknown plan_id of an update is not looked at.",
        fails=("update_to_unknown_plans_is_refused",),
        change=lends("plan_id", unknown("plan_id")),
    ),
    Mutant(
        "updates_to_a_foreign_plan",
        "A plan of another offering is taken for none.",
        fails=("update_to_unknown_plans_is_refused",),
        change=lends("plan_id", of_another("plan_id")),
    ),
    Mutant(
        "updates_to_another_offering",
        "The offering of an update is not compared with the instance's.",
        fails=("instance_keeps_its_offering",),
        change=lends("service_id", of_another("service_id")),
    ),
    *(
        Mutant(
            f"updates_with_any_{name}",
            f"{name} of an update is ignored when it has another type.",
            fails=("wrong_types_are_not_updated_to",),
            change=takes_wrong_type(name, kind),
        )
        for name, kind in {"plan_id": str, "parameters": dict, "context": dict}.items()
    ),
    Mutant(
        "update_of_the_unknown_is_500",
        "An update of an unknown instance is answered 500.",
        fails=("unknown_instance_is_not_updated",),
        change=answers("PATCH instance", 404, status(500)),
    ),
    Mutant(
        "update_makes_an_instance",
        "An update of an unknown instance makes one, and is answered 200.",
        fails=("unknown_instance_is_not_updated",),
        change=makes_what_is_unknown(200),
    ),
    Mutant(
        "refused_update_makes_an_instance",
        "An update of an unknown instance is refused, and makes one.",
        fails=("unknown_instance_is_not_updated",),
        change=makes_what_is_unknown(404),
    ),
    Mutant(
        "plan_before_parameters",
        "The plan is changed, and then the parameters are refused.",
        fails=("refused_update_changes_nothing",),
        change=instead(
            "update", changes_before_it_looks("The parameters are", "plan_id")
        ),
    ),
    Mutant(
        "parameters_before_offering",
        "The parameters are changed, and then the offering is refused.",
        fails=("refused_update_changes_nothing",),
        change=instead(
            "update", changes_before_it_looks("An instance keeps", "parameters")
        ),
    ),
    Mutant(
        "parameters_before_service_id",
        "The parameters are changed, and then service_id is missing.",
        fails=("refused_update_changes_nothing",),
        change=instead(
            "update", changes_before_it_looks("service_id is missing", "parameters")
        ),
    ),
    Mutant(
        "plan_that_cannot_be_left_is_403",
        "A change of plan that is not supported is answered 403.",
        fails=("refused_change_of_plan_is_422",),
        change=cannot_be_left(status(403)),
    ),
    Mutant(
        "plan_that_cannot_be_had_is_400",
        "Of two plans that can be left one cannot be had from the other: 400.",
        fails=("refused_change_of_plan_is_422",),
        change=refuses("update", 400, _changes("sync-large", "auto", "parameters")),
    ),
    Mutant(
        "plan_that_cannot_be_left_is_silent",
        "A change of plan is refused with a blank description.",
        fails=("refused_change_of_plan_is_explained",),
        change=cannot_be_left(fields(description=" ")),
    ),
    Mutant(
        "plan_that_cannot_be_left_is_not_explained",
        "A change of plan is refused without a description.",
        fails=("refused_change_of_plan_is_explained",),
        change=cannot_be_left(without("description")),
    ),
    Mutant(
        "empty_past_is_refused",
        "Empty previous_values are refused.",
        fails=("previous_values_are_taken",),
        change=refuses_past(lambda past: not past),
    ),
    Mutant(
        "redundant_past_is_refused",
        "Deprecated fields of previous_values are refused.",
        fails=("previous_values_are_taken",),
        change=refuses_past(lambda past: "organization_id" in past),
    ),
    Mutant(
        "short_past_is_refused",
        "previous_values without the organization are refused.",
        fails=("previous_values_are_taken",),
        change=refuses_past(lambda past: bool(past) and "organization_id" not in past),
    ),
    Mutant(
        "past_is_wanted",
        "A plan is updated only by requests with previous_values.",
        fails=("previous_values_can_be_left_out",),
        change=refuses("update", 400, _wants_past),
    ),
    Mutant(
        "parameters_need_the_plan",
        "Parameters are updated only by requests that name the plan, too.",
        fails=("one_change_is_enough",),
        change=refuses("update", 400, _has_only("service_id", "parameters")),
    ),
    Mutant(
        "plan_needs_parameters",
        "A plan is changed only by requests with parameters.",
        fails=("one_change_is_enough",),
        change=refuses("update", 422, _changes("sync", "sync-large")),
    ),
    Mutant(
        "update_of_nothing_is_400",
        "An update of nothing is answered 400.",
        fails=("update_of_nothing_is_no_mistake",),
        change=refuses("update", 400, _has_only("service_id")),
    ),
    Mutant(
        "first_plan_is_fetched",
        "A fetch tells the plan with which the instance was made.",
        fails=("new_plan_is_fetched",),
        change=fetches_the_first_plan,
    ),
    *(
        Mutant(
            f"first_plan_counts_for_{verb}",
            f"{verb} goes by the plan with which the instance was made.",
            fails=("new_plan_is_taken",),
            change=remembers_the_plan(verb),
        )
        for verb in ("bind", "deprovision")
    ),
    Mutant(
        "metadata_is_a_list",
        "metadata of instances is an array.",
        fails=("metadata_is_made_of_objects",),
        change=told_of_instances(lambda metadata: [metadata]),  # type: ignore[arg-type, return-value]
    ),
    Mutant(
        "labels_are_a_list",
        "labels of instances are an array.",
        fails=("metadata_is_made_of_objects",),
        change=told_of_instances(lambda metadata: {**metadata, "labels": ["kind"]}),
    ),
    Mutant(
        "attributes_are_a_text",
        "attributes of instances are a text.",
        fails=("metadata_is_made_of_objects",),
        change=told_of_instances(lambda metadata: {**metadata, "attributes": "a=b"}),
    ),
    Mutant(
        "metadata_of_an_update_is_a_text",
        "metadata in the answer to an update is a text.",
        fails=("metadata_is_made_of_objects",),
        change=answers("PATCH instance", 200, fields(metadata="new")),
    ),
    Mutant(
        "labels_are_numbers",
        "A label of instances is a number.",
        fails=("values_of_metadata_are_texts",),
        change=told_of_instances(lambda metadata: {**metadata, "labels": {"a": 1}}),
    ),
    Mutant(
        "attributes_are_deep",
        "An attribute of instances is an object.",
        fails=("values_of_metadata_are_texts",),
        change=told_of_instances(
            lambda metadata: {**metadata, "attributes": {"a": {"b": "c"}}}
        ),
    ),
    Mutant(
        "metadata_is_not_fetched",
        "A fetch tells no metadata.",
        fails=("metadata_is_fetched_as_it_was_told",),
        change=answers("GET instance", 200, without("metadata")),
    ),
    Mutant(
        "attributes_are_not_fetched",
        "A fetch tells no attributes.",
        fails=("metadata_is_fetched_as_it_was_told",),
        change=answers("GET instance", 200, fields(metadata={"labels": {}})),
    ),
    Mutant(
        "new_labels_are_not_fetched",
        "An update tells new labels, and a fetch the old ones.",
        fails=("metadata_is_fetched_as_it_was_told",),
        change=answers(
            "PATCH instance", 200, fields(metadata={"labels": {"kind": "new"}})
        ),
    ),
]
