"""Wrong in binding: statuses, repeats, conflicts, credentials, metadata."""

import json
import secrets
from collections.abc import Callable

from tests.kit.matrix import Mutant, Rewrite, answers, fields, instead, status
from tests.kit.mutants.binding_kinds import has_not, told_otherwise
from tests.kit.narrow import Change, Verb, alters, instance_of, sent, thing_of
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal, Thing

HELD: Json = {"parameters": {}, "app": "", "after": None}


def binding_of(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    """The binding that a request names, if its instance has it."""
    known = thing_of(broker, asked)
    return known if known is not None and known.exists else None


def _is(code: str, becomes: Rewrite) -> Change:
    """The answer to a binding that is refused with a code is changed."""

    def rewrite(asked: Asked, told: Answer) -> Answer | None:
        return becomes(asked, told) if told.body.get("error") == code else None

    return answers("PUT binding", None, rewrite)


def _unless_rotated(becomes: Rewrite) -> Rewrite:
    """Answers to bindings that name no predecessor are changed."""

    def rewrite(asked: Asked, told: Answer) -> Answer | None:
        if "predecessor_binding_id" in sent(asked):
            return None
        return becomes(asked, told)

    return rewrite


def _mode(broker: ReferenceBroker, asked: Asked) -> str:
    """That of the plan of the instance."""
    held = broker.instances[asked.instance_id].attributes
    _, plan = broker.plan_of(held["service_id"], held["plan_id"])
    return str(plan["x-mode"])


def _for_mode(mode: str, becomes: Rewrite) -> Change:
    """Answers 202 to bindings of plans of a mode are changed."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer = usual(asked)
        if _mode(broker, asked) == mode and answer.status == 202:
            return becomes(asked, answer) or answer
        return answer

    return instead("bind", turn)


def _tells_what_has_begun(broker: ReferenceBroker) -> None:
    """Bindings of asynchronous plans are 201 and fetched while they are made."""
    _for_mode("async", status(201))(broker)

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        known = binding_of(broker, asked)
        if known is not None and _runs(known) and _mode(broker, asked) == "async":
            return Answer(200, dict(known.body))
        return usual(asked)

    instead("fetch_binding", turn)(broker)


def _repeated(
    becomes: Callable[[Thing, Answer], Answer], when: Callable[[Thing], bool]
) -> Change:
    """The answers to repeats that are taken for such are changed."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        known = binding_of(broker, asked)
        if known is None or not when(known):
            return usual(asked)
        return becomes(known, usual(asked))

    return instead("bind", turn)


def _runs(binding: Thing) -> bool:
    return binding.running is not None


def _was_at_once(binding: Thing) -> bool:
    return not binding.operations


def _was_begun(binding: Thing) -> bool:
    return bool(binding.operations) and not _runs(binding)


def _refused_as_busy(known: Thing, answer: Answer) -> Answer:
    return Answer(422, {"error": "ConcurrencyError", "description": "It is on its way"})


def _renewed(known: Thing, answer: Answer) -> Answer:
    given = {**answer.body["credentials"], "password": secrets.token_hex(8)}
    return Answer(answer.status, {**answer.body, "credentials": given})


def _as_created(known: Thing, answer: Answer) -> Answer:
    return Answer(201 if answer.status == 200 else answer.status, answer.body)


def _overlooks(name: str, when: Callable[[Thing], bool]) -> Change:
    """A repeated PUT is compared without one of its attributes."""

    def change(broker: ReferenceBroker) -> None:
        usual = broker.bound_again

        def bound_again(asked: Asked, known: Thing, wanted: Json) -> Answer:
            if when(known):
                wanted = {**wanted, name: known.attributes[name]}
            return usual(asked, known, wanted)

        vars(broker)["bound_again"] = bound_again

    return change


def _keeps_its_ids(known_alone: bool) -> Change:
    """The ids that a binding names are taken for those of its instance.

    Args:
        known_alone: of bindings that there are; else of all others.
    """

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        instance, known = instance_of(broker, asked), binding_of(broker, asked)
        if instance is not None and (known is not None) is known_alone:
            for name in ("service_id", "plan_id"):
                if isinstance(sent(asked).get(name), str):
                    alters(asked, **{name: instance.attributes[name]})
        return usual(asked)

    return instead("bind", turn)


def _writes_conflicts(broker: ReferenceBroker) -> None:
    usual = broker.bound_again

    def bound_again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        try:
            return usual(asked, known, wanted)
        except Refusal as refusal:
            if refusal.answer.status == 409:
                known.attributes = wanted
            raise

    vars(broker)["bound_again"] = bound_again


def _tells_conflicts(broker: ReferenceBroker) -> None:
    usual = broker.bound_again

    def bound_again(asked: Asked, known: Thing, wanted: Json) -> Answer:
        try:
            return usual(asked, known, wanted)
        except Refusal as refusal:
            if refusal.answer.status == 409:
                known.body = {**known.body, "credentials": {"user": "another"}}
            raise

    vars(broker)["bound_again"] = bound_again


def _elsewhere(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    """A binding of this id that another instance has."""
    return next(
        (
            instance.bindings[asked.binding_id]
            for name, instance in broker.instances.items()
            if name != asked.instance_id and asked.binding_id in instance.bindings
        ),
        None,
    )


def _finds_it_elsewhere(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    found = _elsewhere(broker, asked)
    return usual(asked) if found is None else Answer(200, dict(found.body))


def _shares_by_id(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, found = usual(asked), _elsewhere(broker, asked)
    made = binding_of(broker, asked)
    if made is None or found is None:
        return answer
    made.body = dict(found.body)
    return Answer(201, dict(made.body)) if answer.status == 201 else answer


def _lends(name: str) -> Change:
    """A binding that lacks a field gets the instance's."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        instance = instance_of(broker, asked)
        if instance is not None and name not in sent(asked):
            alters(asked, **{name: instance.attributes[name]})
        return usual(asked)

    return instead("bind", turn)


def _refuses(code: int, when: Callable[[ReferenceBroker, Asked], bool]) -> Change:
    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if when(broker, asked):
            raise Refusal(code, "This is not what the broker wants.")
        return usual(asked)

    return instead("bind", turn)


def _beside_another(broker: ReferenceBroker, asked: Asked) -> bool:
    instance = instance_of(broker, asked)
    others = instance.bindings.items() if instance else ()
    return any(_runs(each) for name, each in others if name != asked.binding_id)


def _while_provisioning(broker: ReferenceBroker, asked: Asked) -> bool:
    instance = instance_of(broker, asked)
    running = instance.running if instance else None
    return running is not None and running.kind == "provision"


def _overlooks_type(name: str, right: type) -> Change:
    """A field of a wrong type is taken for the right one, or for none."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        instance, body = instance_of(broker, asked), sent(asked)
        if instance and name in body and not isinstance(body[name], right):
            alters(asked, **{name: instance.attributes[name] if right is str else None})
        return usual(asked)

    return instead("bind", turn)


def _binds_nothing(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    if instance_of(broker, asked) is None:
        return Answer(201, {"credentials": {"user": secrets.token_hex(4)}})
    return usual(asked)


def _binds_the_unbindable(broker: ReferenceBroker) -> None:
    """A plan is told as not bindable, and bound all the same."""

    def plans(catalog: Json) -> list[Json]:
        found = [each for one in catalog["services"] for each in one["plans"]]
        return [each for each in found if each["name"] == "unbound"]

    def becomes(asked: Asked, told: Answer) -> Answer:
        for plan in plans(told.body):
            plan["bindable"] = False
        return told

    for plan in plans(broker.catalog):
        plan["bindable"] = True
    answers("GET catalog", 200, becomes)(broker)


def _reads_app(nested: bool) -> Change:
    """Only the app in bind_resource is read, or only the one beside it."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        resource = sent(asked).get("bind_resource")
        if nested:
            alters(asked, app_guid=None)
        elif isinstance(resource, dict) and "app_guid" in resource:
            alters(asked, bind_resource={**resource, "app_guid": None})
        return usual(asked)

    return instead("bind", turn)


def _makes_before_it_looks(
    broker: ReferenceBroker, asked: Asked, usual: Verb
) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        instance, known = instance_of(broker, asked), binding_of(broker, asked)
        words = refusal.answer.body["description"]
        if instance and known is None and words.startswith("The plan_id is not"):
            instance.bindings[asked.binding_id] = Thing(dict(HELD), state="ready")
        raise


def _static(broker: ReferenceBroker) -> None:
    usual = broker.binding_told

    def binding_told(offering: Json, plan: Json) -> Json:
        given = {"uri": "https://service.reference.example", "user": "everybody"}
        return {**usual(offering, plan), "credentials": given}

    vars(broker)["binding_told"] = binding_told


def _as_text(body: Json) -> None:
    if "credentials" in body:
        body["credentials"] = json.dumps(body["credentials"])


def metadata(**changes: str) -> Change:
    """Fields of a binding's metadata are changed, where there are any."""

    def edit(body: Json) -> None:
        if "metadata" in body:
            body["metadata"] |= changes

    return told_otherwise(edit)


def _makes_what_requires_an_app(
    broker: ReferenceBroker, asked: Asked, usual: Verb
) -> Answer:
    try:
        return usual(asked)
    except Refusal as refusal:
        if refusal.answer.body.get("error") == "RequiresApp":
            alters(asked, app_guid="some app")
            usual(asked)
        raise


MUTANTS = [
    Mutant(
        "bound_is_200",
        "A binding that was made is answered 200.",
        fails=("bound_by_the_request_is_201", "repeated_rotation_is_the_same"),
        change=answers("PUT binding", 201, status(200)),
    ),
    Mutant(
        "bound_without_predecessor_is_200",
        "A binding that was made is answered 200, unless it is a rotation.",
        fails=("bound_by_the_request_is_201",),
        change=answers("PUT binding", 201, _unless_rotated(status(200))),
    ),
    Mutant(
        "begun_binding_is_201",
        "A binding that has begun is answered 201.",
        fails=("binding_that_has_begun_is_202", "bindings_are_fetched"),
        change=_for_mode("async", status(201)),
    ),
    Mutant(
        "begun_binding_is_200",
        "A binding that has begun is answered 200.",
        fails=("binding_that_has_begun_is_202", "bindings_are_fetched"),
        change=_for_mode("async", status(200)),
    ),
    Mutant(
        "begun_binding_is_201_and_fetched",
        "A binding that has begun is answered 201, and can be fetched meanwhile.",
        fails=("binding_that_has_begun_is_202",),
        change=_tells_what_has_begun,
    ),
    Mutant(
        "running_binding_has_credentials",
        "A 202 to a binding holds credentials.",
        fails=("running_binding_tells_nothing",),
        change=answers("PUT binding", 202, fields(credentials={"user": "early"})),
    ),
    Mutant(
        "running_binding_has_endpoints",
        "A 202 to a binding holds endpoints.",
        fails=("running_binding_tells_nothing",),
        change=answers(
            "PUT binding",
            202,
            fields(endpoints=[{"host": "early.example", "ports": ["1"]}]),
        ),
    ),
    Mutant(
        "binding_without_flag_is_400",
        "A binding that needs accepts_incomplete is refused with 400.",
        fails=(
            "binding_needs_the_flag",
            "codes_come_with_422",
            "rotation_needs_the_flag",
        ),
        change=_is("AsyncRequired", status(400)),
    ),
    Mutant(
        "binding_without_flag_is_unnamed",
        "A binding that needs accepts_incomplete is refused with another code.",
        fails=("binding_needs_the_flag", "rotation_needs_the_flag"),
        change=_is("AsyncRequired", fields(error="AsyncOnly")),
    ),
    Mutant(
        "first_binding_without_flag_is_unnamed",
        "A binding that needs accepts_incomplete is refused with another code, unless"
        " it is a rotation.",
        fails=("binding_needs_the_flag",),
        change=_is("AsyncRequired", _unless_rotated(fields(error="AsyncOnly"))),
    ),
    Mutant(
        "operation_of_binding_is_null",
        "operation of a binding is null.",
        fails=("operation_of_binding_is_short_text",),
        change=answers("PUT binding", 202, fields(operation=None)),
    ),
    Mutant(
        "operation_of_binding_is_a_number",
        "operation of a binding is a number.",
        fails=("operation_of_binding_is_short_text",),
        change=answers("PUT binding", 202, fields(operation=7)),
    ),
    Mutant(
        "operation_of_binding_is_long",
        "operation of a binding has 10,001 characters.",
        fails=("operation_of_binding_is_short_text",),
        change=answers("PUT binding", 202, fields(operation="x" * 10_001)),
    ),
    Mutant(
        "repeat_while_binding_is_200",
        "A repeat of a running binding is answered 200.",
        fails=("repeat_while_binding_is_202",),
        change=_repeated(lambda known, answer: Answer(200), _runs),
    ),
    Mutant(
        "repeat_while_binding_is_422",
        "A repeat of a running binding is refused with ConcurrencyError.",
        fails=("repeat_while_binding_is_202",),
        change=_repeated(_refused_as_busy, _runs),
    ),
    Mutant(
        "repeat_while_binding_is_renamed",
        "A repeat of a running binding names another operation.",
        fails=("repeat_while_binding_names_its_operation",),
        change=_repeated(
            lambda known, answer: Answer(202, {"operation": "another"}), _runs
        ),
    ),
    Mutant(
        "repeat_of_a_binding_is_202",
        "A repeat of a binding that was made at once is answered 202.",
        fails=("repeat_of_a_binding_is_200",),
        change=_repeated(lambda known, answer: Answer(202), _was_at_once),
    ),
    Mutant(
        "repeat_of_a_binding_renews_it",
        "A repeat of a binding is answered with another password.",
        fails=("repeat_of_a_binding_is_200",),
        change=_repeated(_renewed, _was_at_once),
    ),
    Mutant(
        "repeat_of_a_binding_is_201",
        "A repeat of a binding is answered 201.",
        fails=(
            "repeat_of_a_binding_is_200",
            "repeat_of_a_binding_is_not_201",
            "repeated_rotation_is_the_same",
        ),
        change=_repeated(_as_created, _was_at_once),
    ),
    Mutant(
        "repeat_of_an_async_binding_is_201",
        "A repeat of a binding that was made asynchronously is answered 201.",
        fails=("repeat_of_a_binding_is_not_201", "repeated_rotation_is_the_same"),
        change=_repeated(_as_created, _was_begun),
    ),
    Mutant(
        "repeat_of_an_async_binding_without_predecessor_is_201",
        "A repeat of a binding that was made asynchronously is answered 201, unless it"
        " is a rotation.",
        fails=("repeat_of_a_binding_is_not_201",),
        change=_repeated(
            _as_created,
            lambda known: _was_begun(known) and known.attributes["after"] is None,
        ),
    ),
    Mutant(
        "binding_with_other_parameters_is_200",
        "Parameters of a repeated binding are not looked at.",
        fails=("other_parameters_of_a_binding_conflict",),
        change=_overlooks("parameters", lambda known: not _runs(known)),
    ),
    Mutant(
        "running_binding_with_other_parameters_is_202",
        "Parameters of a binding that is being made are not looked at.",
        fails=("what_differs_while_binding_conflicts",),
        change=_overlooks("parameters", _runs),
    ),
    Mutant(
        "binding_of_other_app_is_200",
        "The app of a repeated binding is not looked at.",
        fails=("other_app_of_a_binding_conflicts",),
        change=_overlooks("app", lambda known: True),
    ),
    Mutant(
        "binding_of_other_plan_is_200",
        "The ids in a repeated binding are not looked at.",
        fails=("other_plan_of_a_binding_conflicts",),
        change=_keeps_its_ids(known_alone=True),
    ),
    Mutant(
        "conflict_of_bindings_is_written",
        "What a refused repeat asked for is written.",
        fails=("conflict_leaves_the_binding",),
        change=_writes_conflicts,
    ),
    Mutant(
        "conflict_of_bindings_renews_it",
        "A refused repeat changes the credentials.",
        fails=("conflict_leaves_the_binding",),
        change=_tells_conflicts,
    ),
    Mutant(
        "binding_found_elsewhere",
        "A binding is looked up by its id alone.",
        fails=("bindings_belong_to_their_instance",),
        change=instead("bind", _finds_it_elsewhere),
    ),
    Mutant(
        "binding_shared_by_id",
        "Bindings of one id get the same credentials on two instances.",
        fails=("bindings_belong_to_their_instance",),
        change=instead("bind", _shares_by_id),
    ),
    Mutant(
        "binding_without_service_id",
        "A binding needs no service_id.",
        fails=("binding_needs_service_id",),
        change=_lends("service_id"),
    ),
    Mutant(
        "binding_without_plan_id",
        "A binding needs no plan_id.",
        fails=("binding_needs_plan_id",),
        change=_lends("plan_id"),
    ),
    Mutant(
        "binding_of_any_plan",
        "The ids in a new binding are not looked at.",
        fails=("other_plans_are_not_bound",),
        change=_keeps_its_ids(known_alone=False),
    ),
    Mutant(
        "missing_app_is_400",
        "A binding without the app that it needs is answered 400.",
        fails=("binding_without_its_app_requires_one", "codes_come_with_422"),
        change=_is("RequiresApp", status(400)),
    ),
    Mutant(
        "missing_app_is_unnamed",
        "A binding without the app that it needs is refused with another code.",
        fails=("binding_without_its_app_requires_one",),
        change=_is("RequiresApp", fields(error="AppRequired")),
    ),
    Mutant(
        "empty_bind_resource_is_400",
        "An empty bind_resource is refused.",
        fails=("bind_resource_is_optional",),
        change=_refuses(400, lambda _, asked: sent(asked).get("bind_resource") == {}),
    ),
    Mutant(
        "binding_beside_a_binding_is_409",
        "A binding while another one is made is answered 409.",
        fails=("binding_beside_a_binding_is_made_or_waits",),
        change=_refuses(409, _beside_another),
    ),
    Mutant(
        "binding_while_provisioning_is_500",
        "A binding while its instance is provisioned is answered 500.",
        fails=(
            "binding_while_provisioning_is_no_fault",
            "changes_wait_for_the_provision",
        ),
        change=_refuses(500, _while_provisioning),
    ),
    Mutant(
        "binding_without_flag_while_provisioning_is_500",
        "A binding without accepts_incomplete while its instance is provisioned is"
        " answered 500.",
        fails=("binding_while_provisioning_is_no_fault",),
        change=_refuses(
            500,
            lambda broker, asked: (
                "accepts_incomplete" not in asked.query
                and _while_provisioning(broker, asked)
            ),
        ),
    ),
    *(
        Mutant(
            f"{name}_of_a_binding_is_anything",
            f"The type of {name} of a binding is not looked at.",
            fails=("wrong_types_are_not_bound",),
            change=_overlooks_type(name, right),
        )
        for name, right in {
            "service_id": str,
            "plan_id": str,
            "parameters": dict,
            "bind_resource": dict,
            "context": dict,
        }.items()
    ),
    Mutant(
        "unknown_instance_is_bound",
        "A binding of an unknown instance is answered 201.",
        fails=("unknown_instances_are_not_bound",),
        change=instead("bind", _binds_nothing),
    ),
    Mutant(
        "unbindable_is_bound",
        "A plan that is not bindable can be bound.",
        fails=("what_is_not_bindable_is_not_bound",),
        change=_binds_the_unbindable,
    ),
    Mutant(
        "app_beside_is_not_read",
        "Only bind_resource.app_guid names the app.",
        fails=("app_may_stand_in_both_places", "codes_mean_what_they_say"),
        change=_reads_app(nested=True),
    ),
    Mutant(
        "app_in_resource_is_not_read",
        "Only the app_guid at the top names the app.",
        fails=("app_may_stand_in_both_places", "codes_mean_what_they_say"),
        change=_reads_app(nested=False),
    ),
    Mutant(
        "app_beside_is_refused",
        "A binding with an app_guid and no bind_resource is answered 400.",
        fails=("app_may_stand_in_both_places",),
        change=_refuses(
            400,
            lambda _, asked: (
                "app_guid" in sent(asked) and "bind_resource" not in sent(asked)
            ),
        ),
    ),
    Mutant(
        "refused_binding_is_made",
        "A binding that was refused for its plan is there.",
        fails=("refused_binding_leaves_nothing",),
        change=instead("bind", _makes_before_it_looks),
    ),
    Mutant(
        "requires_app_and_binds",
        "A binding is refused with RequiresApp, and made all the same.",
        fails=("refused_binding_leaves_nothing",),
        change=instead("bind", _makes_what_requires_an_app),
    ),
    Mutant(
        "credentials_are_text",
        "credentials is a string.",
        fails=("credentials_are_an_object",),
        change=told_otherwise(_as_text),
    ),
    Mutant(
        "credentials_are_only_fetched",
        "The answer that made a binding lacks its credentials.",
        fails=("credentials_come_with_the_binding",),
        change=told_otherwise(lambda body: body.pop("credentials"), "PUT binding"),
    ),
    Mutant(
        "nothing_is_told",
        "Neither the answer nor the fetch tells a binding.",
        fails=("information_is_told",),
        change=has_not("credentials", "endpoints"),
    ),
    Mutant(
        "credentials_are_shared",
        "All bindings have the same credentials.",
        fails=("credentials_are_unique",),
        change=_static,
    ),
    Mutant(
        "endpoints_are_not_told",
        "No binding tells endpoints.",
        fails=("endpoints_are_told",),
        change=has_not("endpoints"),
    ),
    Mutant(
        "expires_at_without_fraction",
        "expires_at has no fraction of a second.",
        fails=("expires_at_is_a_moment",),
        change=metadata(expires_at="2099-12-31T23:59:59Z"),
    ),
    Mutant(
        "expires_at_in_no_month",
        "expires_at looks like a time and is none.",
        fails=("expires_at_is_a_moment",),
        change=metadata(expires_at="2099-13-31T23:59:59.0Z"),
    ),
    Mutant(
        "renew_before_with_offset",
        "renew_before has an offset in place of the Z.",
        fails=("renew_before_is_a_moment",),
        change=metadata(renew_before="2099-12-01T00:00:00.0+00:00"),
    ),
    Mutant(
        "renewal_after_the_end",
        "renew_before is after expires_at.",
        fails=("renewal_is_before_the_end",),
        change=metadata(renew_before="2100-01-01T00:00:00.0Z"),
    ),
    Mutant(
        "renewal_at_the_end",
        "renew_before is expires_at.",
        fails=("renewal_has_its_time",),
        change=metadata(renew_before="2099-12-31T23:59:59.00Z"),
    ),
    Mutant(
        "binding_expired_long_ago",
        "A new binding has expired.",
        fails=("new_binding_has_not_expired",),
        change=metadata(
            expires_at="2001-12-31T23:59:59.0Z", renew_before="2001-12-01T00:00:00.0Z"
        ),
    ),
]
