"""Wrong in fetching bindings."""

import secrets
from collections.abc import Callable

from tests.kit.matrix import Mutant, Turn, instead, tells
from tests.kit.mutants.binding_kinds import told_otherwise
from tests.kit.reference import Answer, Asked, Json, ReferenceBroker, Refusal, Thing

Change = Callable[[ReferenceBroker], None]
Verb = Callable[[Asked], Answer]


def known(broker: ReferenceBroker, asked: Asked) -> Thing | None:
    """The binding of a request, also one that failed or is gone."""
    instance = broker.instances.get(asked.instance_id)
    return instance.bindings.get(asked.binding_id) if instance else None


def _refused(code: int, when: Callable[[ReferenceBroker, Asked], bool]) -> Change:
    """Some fetches are answered with an error."""

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        if when(broker, asked):
            raise Refusal(code, "This cannot be fetched.")
        return usual(asked)

    return instead("fetch_binding", turn)


def _is_of_large_plan(broker: ReferenceBroker, asked: Asked) -> bool:
    instance = broker.instances.get(asked.instance_id)
    if instance is None or known(broker, asked) is None:
        return False
    held = instance.attributes
    _, plan = broker.plan_of(held["service_id"], held["plan_id"])
    return bool(plan["name"] == "sync-large")


def _tells_of(turn: int) -> Turn:
    """Every binding of an instance is fetched as one of them."""

    def told(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer = usual(asked)
        bindings = list(broker.instances[asked.instance_id].bindings.values())
        there = [each for each in bindings if each.state == "ready"]
        answer.body |= there[turn].body
        return answer

    return told


def _too_early() -> Change:
    """A binding that was begun is found by its second fetch only."""
    asked_for: set[str] = set()

    def early(broker: ReferenceBroker, asked: Asked) -> bool:
        binding = known(broker, asked)
        begun = binding is not None and bool(binding.operations)
        ready = begun and binding is not None and binding.state == "ready"
        if not ready or asked.binding_id in asked_for:
            return False
        asked_for.add(asked.binding_id)
        return True

    return _refused(404, early)


def _right_after_a_poll(broker: ReferenceBroker) -> None:
    """A binding that was begun is not found by the request that follows its poll."""
    routed = broker.routed
    before: dict[str, str] = {}  # the path asked for last, by instance

    async def remembers(asked: Asked) -> Answer:
        instance, path = "/".join(asked.parts[:2]), "/".join(asked.parts)
        polled = before.get(instance) == f"{path}/last_operation"
        before[instance] = path
        if polled and asked.kind == "GET binding" and _was_begun(broker, asked):
            raise Refusal(404, "It is not there yet.")
        return await routed(asked)

    broker.routed = remembers  # type: ignore[method-assign]


def _was_begun(broker: ReferenceBroker, asked: Asked) -> bool:
    binding = known(broker, asked)
    return binding is not None and bool(binding.operations)


def _never_was(broker: ReferenceBroker, asked: Asked) -> bool:
    return known(broker, asked) is None and asked.instance_id in broker.instances


def _has_no_instance(broker: ReferenceBroker, asked: Asked) -> bool:
    return asked.instance_id not in broker.instances


def _is_gone(broker: ReferenceBroker, asked: Asked) -> bool:
    binding = known(broker, asked)
    return binding is not None and binding.state == "gone"


def _is_being_made(broker: ReferenceBroker, asked: Asked) -> bool:
    binding = known(broker, asked)
    running = binding.running if binding else None
    return running is not None and running.kind == "bind"


def _tells_half_made(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    binding = known(broker, asked)
    if binding is not None and _is_being_made(broker, asked):
        return Answer(200, dict(binding.body))
    return usual(asked)


def _without_secrets(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, binding = usual(asked), known(broker, asked)
    if binding is not None and binding.operations:
        answer.body.pop("credentials")
    return answer


def _renews(begun: bool) -> Change:
    """Each fetch makes another password.

    Args:
        begun: of bindings that were made asynchronously; else of the others.
    """

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer, binding = usual(asked), known(broker, asked)
        if binding is not None and bool(binding.operations) is begun:
            password = {"password": secrets.token_hex(8)}
            answer.body["credentials"] = {**answer.body["credentials"], **password}
        return answer

    return instead("fetch_binding", turn)


def _hides(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    answer, binding = usual(asked), known(broker, asked)
    if binding is not None and not binding.operations:
        hidden = {"password": "********"}
        answer.body["credentials"] = {**answer.body["credentials"], **hidden}
    return answer


def _once() -> Change:
    """A binding that was made within the request is found once."""
    asked_for: list[str] = []

    def turn(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
        answer = usual(asked)
        asked_for.append(asked.binding_id)
        if asked_for.count(asked.binding_id) == 2:
            raise Refusal(404, "It has been fetched.")
        return answer

    return instead("fetch_binding", turn)


def _looks_everywhere(broker: ReferenceBroker, asked: Asked, usual: Verb) -> Answer:
    for name, instance in broker.instances.items():
        if asked.binding_id in instance.bindings:
            asked.parts[1] = name
    return usual(asked)


def _hints(*names: str) -> Callable[[ReferenceBroker, Asked], bool]:
    """The query holds these hints, and no other."""
    both = {"service_id", "plan_id"}
    return lambda broker, asked: both & asked.query.keys() == set(names)


def _text(body: Json) -> None:
    body["parameters"] = "role=reader"


def _not_retrievable(catalog: Json) -> None:
    for offering in catalog["services"]:
        offering["bindings_retrievable"] = False


MUTANTS = [
    Mutant(
        "one_plan_is_not_fetched",
        "Bindings of one plan cannot be fetched.",
        fails=("bindings_are_fetched",),
        change=_refused(404, _is_of_large_plan),
    ),
    Mutant(
        "success_is_told_too_early",
        "A binding whose success was told cannot be fetched at once.",
        fails=("begun_binding_is_fetched_at_once", "both_bindings_are_valid"),
        change=_too_early(),
    ),
    Mutant(
        "fetch_after_a_poll_is_404",
        "The fetch that follows the poll that told the end of a binding is answered"
        " 404.",
        fails=("begun_binding_is_fetched_at_once",),
        change=_right_after_a_poll,
    ),
    Mutant(
        "unknown_binding_is_410",
        "The fetch of a binding that never was is answered 410.",
        fails=("unknown_binding_is_404", "binding_is_not_fetched_elsewhere"),
        change=_refused(410, _never_was),
    ),
    Mutant(
        "binding_of_unknown_instance_is_400",
        "The fetch of a binding of an instance that never was is answered 400.",
        fails=("unknown_binding_is_404",),
        change=_refused(400, _has_no_instance),
    ),
    Mutant(
        "removed_binding_is_410",
        "The fetch of a binding that was removed is answered 410.",
        fails=("removed_binding_is_404",),
        change=_refused(410, _is_gone),
    ),
    Mutant(
        "running_binding_is_422",
        "The fetch of a binding that is being made is refused with 422.",
        fails=("running_binding_is_404",),
        change=_refused(422, _is_being_made),
    ),
    Mutant(
        "running_binding_is_told",
        "The fetch of a binding that is being made is answered 200.",
        fails=("running_binding_is_404",),
        change=instead("fetch_binding", _tells_half_made),
    ),
    Mutant(
        "begun_binding_without_credentials",
        "Credentials of a binding that was made asynchronously are never told.",
        fails=("credentials_are_fetched",),
        change=instead("fetch_binding", _without_secrets),
    ),
    Mutant(
        "fetch_tells_another_password",
        "A fetch tells another password than the answer that made the binding.",
        fails=("fetch_tells_what_the_answer_told", "fetch_can_be_repeated"),
        change=_renews(begun=False),
    ),
    *(
        Mutant(
            f"fetch_tells_the_{which}_binding",
            f"A fetch tells what the {which} binding of the instance is.",
            fails=("fetch_tells_of_the_binding_that_is_named",),
            change=instead("fetch_binding", _tells_of(turn)),
        )
        for which, turn in {"first": 0, "last": -1}.items()
    ),
    Mutant(
        "fetch_hides_the_password",
        "A fetch tells stars for the password that the answer told.",
        fails=("fetch_tells_what_the_answer_told",),
        change=instead("fetch_binding", _hides),
    ),
    Mutant(
        "fetch_renews_the_password",
        "Each fetch of a binding that was made asynchronously tells another password.",
        fails=("fetch_can_be_repeated",),
        change=_renews(begun=True),
    ),
    Mutant(
        "fetch_works_once",
        "The second fetch of a binding is answered 404.",
        fails=(
            "fetch_can_be_repeated",
            "hints_change_no_fetch",
            "async_required_binds_nothing",
            "version_refusals_change_nothing",
        ),
        change=_once(),
    ),
    Mutant(
        "fetched_parameters_are_text",
        "The parameters of a fetched binding are a string.",
        fails=("fetched_parameters_are_an_object",),
        change=told_otherwise(_text, "GET binding"),
    ),
    Mutant(
        "hints_of_a_fetch_are_refused",
        "A fetch with both hints is refused.",
        fails=("hints_change_no_fetch",),
        change=_refused(400, _hints("service_id", "plan_id")),
    ),
    Mutant(
        "one_hint_of_a_fetch_is_refused",
        "A fetch with one hint alone is refused.",
        fails=("hints_change_no_fetch",),
        change=_refused(400, _hints("plan_id")),
    ),
    Mutant(
        "binding_is_fetched_elsewhere",
        "A binding is fetched by its id alone.",
        fails=("binding_is_not_fetched_elsewhere",),
        change=instead("fetch_binding", _looks_everywhere),
    ),
    Mutant(
        "begun_bindings_are_lost",
        "Bindings are made asynchronously, and bindings_retrievable is false.",
        fails=("begun_bindings_are_retrievable",),
        change=tells(_not_retrievable),
    ),
]
