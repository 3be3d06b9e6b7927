"""The machine of `test_machine` can fail: brokers that do one thing wrongly.

    wrong decisions   of osbkit's lifecycle, exchanged while the broker runs
    wrong reading     of a request
    wrong answers     a field, a value or a header of what leaves the broker

Each is found within the steps that find nothing in the broker as it is. A fault is a
function from what is right to what is wrong.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from osbkit.api import answers, headers, wire
from osbkit.domain import Json, OperationKind, ResourceState, same_json
from osbkit.errors import (
    Gone,
    MaintenanceInfoConflict,
    Malformed,
    OperationInProgress,
)
from osbkit.lifecycle import bindings, decide, instances
from osbkit.lifecycle.decide import Begin, Settled
from osbkit.lifecycle.instances import Instances
from osbkit.lifecycle.waiting import Patience
from tests.conformance.test_machine import STEPS, Difference, Scene, drive, scene

__all__ = ["scene"]
Wrong = Callable[[Any], Any]
Place = tuple[Any, str]


# --- decisions --------------------------------------------------------------------


def repeat_is_made_again(right: Any) -> Any:
    """PUT of what is there already: 201."""

    def wrong(found: Any, *rest: Any) -> Any:
        decision = right(found, *rest)
        if isinstance(decision, Settled):
            return Begin(generation=found.generation + 1)
        return decision

    return wrong


def creation_cannot_be_deleted(right: Any) -> Any:
    """DELETE while the creation runs: 422, as of any other change."""

    def wrong(found: Any, running: Any, *rest: Any, **how: Any) -> Any:
        if any(one.kind is OperationKind.PROVISION for one in running):
            raise OperationInProgress
        return right(found, running, *rest, **how)

    return wrong


def gone_binding_is_removed_again(right: Any) -> Any:
    """DELETE of a binding that is gone: 200 once more."""

    def wrong(instance: Any, found: Any, *rest: Any, **how: Any) -> Any:
        try:
            return right(instance, found, *rest, **how)
        except Gone:
            if found is None or found.state is not ResourceState.GONE:
                raise
            return Begin(generation=found.generation)

    return wrong


def platforms_see_each_other(right: Any) -> Any:
    """GET, PATCH and bind of an instance of another platform."""
    return lambda found, platform: right(found, found.platform if found else platform)


def plan_does_not_count(right: Any) -> Any:
    """PUT with another plan: taken for a repeat."""
    return lambda found, wanted: right(
        replace(found, plan_id=wanted.plan_id, service_id=wanted.service_id), wanted
    )


def nothing_blocks(right: Any) -> Any:
    """Changes of one instance side by side."""
    return lambda running: []


def delete_halts_nothing(right: Any) -> Any:
    """What runs goes on beside the deletion."""

    def wrong(*what: Any, **how: Any) -> Any:
        decision = right(*what, **how)
        return replace(decision, halts=()) if isinstance(decision, Begin) else decision

    return wrong


def flag_is_not_needed(right: Any) -> Any:
    """DELETE without accepts_incomplete on an asynchronous plan: begun."""
    return lambda *what, **how: right(*what, **(how | {"async_only": False}))


def context_is_an_attribute(right: Any) -> Any:
    """PUT with another context: 409."""
    return lambda found, wanted: (
        right(found, wanted) and same_json(found.context, wanted.context)
    )


def context_without_effect_is_lost(right: Any) -> Any:
    """PATCH of a context where the service does not hear of it: not stored."""
    return lambda db, **what: right(db, **(what | {"context": None}))


def context_is_no_change(right: Any) -> Any:
    """PATCH of a context where the service wants to hear of it: it does not."""
    return lambda *_: False


def any_version_will_do(right: Any) -> Any:
    """PUT and PATCH with a maintenance_info that is not the catalog's: taken."""
    return lambda plan, version: None


def repeat_is_judged_by_its_version(right: Any) -> Any:
    """PUT of what is there, with a version of long ago: 422."""

    def wrong(db: Any, **what: Any) -> Any:
        if isinstance(what["refusal"], MaintenanceInfoConflict):
            raise what["refusal"]
        return right(db, **what)

    return wrong


def plan_change_keeps_the_version(right: Any) -> Any:
    """PATCH to another plan: a fetch shows the version of the plan before."""

    def wrong(*what: Any) -> Any:
        change, plan = right(*what)
        target = dict(change.target)
        if "plan_id" in target:
            target["maintenance_version"] = change.there.maintenance_version
        return replace(change, target=target), plan

    return wrong


def update_is_shown_as_it_was(right: Any) -> Any:
    """PATCH: the answer describes the values before it."""
    return lambda instance, target: instance


def backend_may_change(right: Any) -> Any:
    """PATCH to a plan of another backend: taken."""
    return lambda *_: None


def any_parameters_fit(right: Any) -> Any:
    """Parameters against the schema: taken."""
    return lambda *_: None


def any_predecessor_will_do(right: Any) -> Any:
    """A rotation of what cannot be succeeded: 201."""
    return lambda *_: None


def successor_is_asked_again(right: Any) -> Any:
    """A rotation: parameters are the request's, not its predecessor's."""

    def wrong(*what: Any) -> Any:
        return replace(right(*what), parameters=what[3].parameters)

    return wrong


def repeat_needs_no_flag(right: Any) -> Any:
    """A repeat without the flag: 202."""
    return lambda *_: Patience(0.0, "accept")


DECISIONS: list[tuple[Place, Wrong]] = [
    ((decide, "on_provision"), repeat_is_made_again),
    ((decide, "same_attributes"), plan_does_not_count),
    ((decide, "same_attributes"), context_is_an_attribute),
    ((decide, "on_deprovision"), creation_cannot_be_deleted),
    ((decide, "on_deprovision"), delete_halts_nothing),
    ((decide, "on_deprovision"), flag_is_not_needed),
    ((decide, "on_unbind"), gone_binding_is_removed_again),
    ((decide, "instance_of"), platforms_see_each_other),
    ((decide, "blocking"), nothing_blocks),
    ((instances, "record_update"), context_without_effect_is_lost),
    ((Instances, "_context_counts"), context_is_no_change),
    ((instances, "require_version"), any_version_will_do),
    ((instances, "record_provision"), repeat_is_judged_by_its_version),
    ((Instances, "_change"), plan_change_keeps_the_version),
    ((instances, "target_of"), update_is_shown_as_it_was),
    ((Instances, "_require_plan_change"), backend_may_change),
    ((instances, "fitting"), any_parameters_fit),
    ((bindings.Bindings, "_require_predecessor"), any_predecessor_will_do),
    ((bindings, "fresh_binding"), successor_is_asked_again),
    ((instances, "joining"), repeat_needs_no_flag),
]

# --- what is read -----------------------------------------------------------------


def no_object_is_nothing(right: Any) -> Any:
    """PUT with a context, or parameters, of another type: as if they were not there."""

    def wrong(body: bytes) -> Any:
        try:
            return right(body)
        except Malformed:
            said = from_json(body)
            kept = {
                name: value
                for name, value in said.items()
                if isinstance(value, str if name.endswith("d") else dict)
            }
            return right(to_json(kept))

    return wrong


def hints_are_not_needed(right: Any) -> Any:
    """DELETE without service_id and plan_id: begun."""
    return lambda request: {
        name: request.query_params.get(name, "") for name in ("service_id", "plan_id")
    }


def any_api_version_is_served(right: Any) -> Any:
    """A request of version 3.0, or of none: looked at."""
    return lambda value: headers.NEWEST


def bind_resource_is_not_read(right: Any) -> Any:
    """PUT of a binding: only the deprecated app_guid counts."""
    return lambda body: replace(right(body), app_guid=None)


def extensions_are_refused(right: Any) -> Any:
    """PUT with a field that the specification does not have: 400."""

    def wrong(body: bytes) -> Any:
        if b"x-vendor" in body:
            raise Malformed("The request has an unknown field.")
        return right(body)

    return wrong


def unreadable_user_is_refused(right: Any) -> Any:
    """An originating identity that cannot be read: 400."""

    def wrong(value: bytes | None) -> Any:
        found = right(value)
        if value is not None and found is None:
            raise Malformed("The header cannot be read.")
        return found

    return wrong


def any_flag_is_the_flag(right: Any) -> Any:
    """accepts_incomplete=maybe: an answer that the platform cannot take."""

    def wrong(request: Request) -> bool:
        return request.query_params.get("accepts_incomplete", "false") != "false"

    return wrong


READING: list[tuple[Place, Wrong]] = [
    ((wire, "provision"), no_object_is_nothing),
    ((wire, "ids_of"), hints_are_not_needed),
    ((headers, "version_of"), any_api_version_is_served),
    ((wire, "bind"), bind_resource_is_not_read),
    ((wire, "provision"), extensions_are_refused),
    ((headers, "identity_of"), unreadable_user_is_refused),
    ((wire, "accepts_incomplete"), any_flag_is_the_flag),
]

# --- answers ----------------------------------------------------------------------

Change = Callable[[int, Json, dict[str, str]], object]


def sent(change: Change) -> Wrong:
    """Answers to which something is done: to their status, body and headers."""

    def wrongly(right: Any) -> Any:
        def send(status: int, body: Json, more: dict[str, str] | None = None) -> Any:
            body, more = dict(body), dict(more or {})
            change(status, body, more)
            return right(status, body, more)

        return send

    return wrongly


def with_fields(where: Callable[[int, Json], object], **fields: Any) -> Wrong:
    """Answers to which fields are added, or in which they have other values."""
    return sent(
        lambda status, body, _: body.update(fields if where(status, body) else {})
    )


def without_field(name: str) -> Wrong:
    """Answers in which a field is missing."""
    return sent(lambda status, body, _: body.pop(name, None))


def with_header(name: str, value: str, *where: int) -> Wrong:
    """Answers of these statuses with another header."""
    return sent(
        lambda status, _, more: more.update({name: value} if status in where else {})
    )


def without_header(name: str) -> Wrong:
    """Answers without a header."""
    return sent(lambda _, body, more: more.pop(name, None))


def as_text(right: Any) -> Any:
    """Answers that call themselves text."""

    def send(*what: Any) -> Response:
        answer: Response = right(*what)
        answer.headers["content-type"] = "text/plain"
        return answer

    return send


def created(status: int, body: Json) -> bool:
    """The answer to a request that made something."""
    return status == 201


def accepted(status: int, body: Json) -> bool:
    """A 202."""
    return status == 202


def refused(status: int, body: Json) -> bool:
    """An error, but for 410."""
    return status >= 400 and status != 410


def polled(status: int, body: Json) -> bool:
    """The answer to a poll."""
    return "state" in body


def ended_badly(status: int, body: Json) -> bool:
    """A poll of what failed."""
    return body.get("state") == "failed"


def has(name: str) -> Callable[[int, Json], bool]:
    """Answers that have a field."""
    return lambda status, body: name in body


def says(code: str) -> Callable[[int, Json], bool]:
    """Errors of a code."""
    return lambda status, body: body.get("error") == code


LEAK = {"password": "only-for-tests"}
SEND = (answers, "send")
ANSWERS: dict[str, tuple[Place, Wrong]] = {
    "unknown field": (SEND, with_fields(created, junk=1)),
    "state of what was made": (SEND, with_fields(created, state="succeeded")),
    "operation of what was made": (SEND, with_fields(created, operation="x" * 26)),
    "null": (SEND, with_fields(created, operation=None)),
    "no operation": (SEND, without_field("operation")),
    "long operation": (SEND, with_fields(accepted, operation="x" * 10_001)),
    "null operation": (SEND, with_fields(accepted, operation=None)),
    "credentials in a 202": (SEND, with_fields(accepted, credentials=LEAK)),
    "credentials in a poll": (SEND, with_fields(polled, credentials=LEAK)),
    "credentials in an error": (SEND, with_fields(refused, credentials=LEAK)),
    "text as credentials": (SEND, with_fields(has("credentials"), credentials="u:p")),
    "no endpoints": (SEND, without_field("endpoints")),
    "other expiry": (SEND, with_fields(has("endpoints"), metadata={"expires_at": "x"})),
    "no dashboard": (SEND, without_field("dashboard_url")),
    "other version": (
        SEND,
        with_fields(has("maintenance_info"), maintenance_info={"version": "6.6.6"}),
    ),
    "no version": (SEND, without_field("maintenance_info")),
    "no parameters": (SEND, without_field("parameters")),
    "empty description of a poll": (SEND, with_fields(polled, description="")),
    "no description of a failure": (SEND, without_field("description")),
    "description that is no text": (SEND, with_fields(refused, description=7)),
    "sentence of our own": (
        SEND,
        with_fields(says("AsyncRequired"), description="Use accepts_incomplete."),
    ),
    "unknown code": (SEND, with_fields(refused, error="Malformed")),
    "usable in any error": (SEND, with_fields(refused, instance_usable=True)),
    "repeatable in any poll": (SEND, with_fields(ended_badly, update_repeatable=True)),
    "body of 410": (
        SEND,
        with_fields(lambda status, _: status == 410, description="It is gone."),
    ),
    "no Retry-After": (SEND, without_header("retry-after")),
    "date as Retry-After": (
        SEND,
        with_header("retry-after", "Fri, 31 Dec 2027 23:59:59 GMT", 503),
    ),
    "Retry-After of what is done": (SEND, with_header("retry-after", "5", 201)),
    "redirect": (SEND, with_header("location", "/v2/catalog", 201)),
    "no challenge": (SEND, without_header("www-authenticate")),
    "text": (SEND, as_text),
    "identity is not sent back": (
        (headers, "echoable"),
        lambda _: lambda value: False,
    ),
    "any identity is sent back": (
        (headers, "echoable"),
        lambda _: lambda value: True,
    ),
    "newer fields for older clients": (
        (answers, "known"),
        lambda _: lambda body, version: body,
    ),
    "refused value": (
        (wire, "sentence_of"),
        lambda _: lambda error: str(error.errors()[0]["input"]) or "It is malformed.",
    ),
}

# --- found ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "wrongly"),
    [
        *(
            pytest.param(place, wrongly, id=wrongly.__name__.replace("_", " "))
            for place, wrongly in [*DECISIONS, *READING]
        ),
        *(pytest.param(*fault, id=name) for name, fault in ANSWERS.items()),
    ],
)
def test_a_wrong_broker_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, place: Place, wrongly: Wrong
) -> None:
    where, name = place
    monkeypatch.setattr(where, name, wrongly(getattr(where, name)))

    with pytest.raises(Difference):
        drive(scene, STEPS)

    assert scene.steps <= STEPS
