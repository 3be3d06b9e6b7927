"""Bodies that leave: a JSON object each, nothing null, nothing a client cannot know.

Requirements proved here: CT-01, CT-07, ERR-03 to ERR-11, ERR-15, AUTH-08, GEN-03,
LOP-02, LOP-04, LOP-05, BLOP-02, PROV-31, UPD-22.
"""

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from osbkit import errors
from osbkit.api import answers, openapi
from osbkit.domain import (
    Binding,
    Instance,
    Operation,
    OperationKind,
    OperationState,
    ResourceState,
)
from osbkit.lifecycle.outcomes import (
    FetchedBinding,
    FetchedInstance,
    Outcome,
    Polled,
    Shown,
)

NEWEST = (2, 17)
INSTANCE = Instance(
    uid="u",
    instance_id="i",
    platform="p",
    service_id="s",
    plan_id="pl",
    offering="queue",
    plan="tiny",
    backend="queue",
    generation=1,
    state=ResourceState.READY,
    organization_guid="o",
    space_guid="sp",
    parameters={},
)
BINDING = Binding(
    uid="u",
    instance_id="i",
    binding_id="b",
    platform="p",
    service_id="s",
    plan_id="pl",
    generation=1,
    instance_generation=1,
    state=ResourceState.READY,
    parameters={},
    bound={"credentials": {}},
)
OPERATION = Operation(
    id="op",
    kind=OperationKind.UPDATE,
    instance_id="i",
    platform="p",
    backend="queue",
    generation=1,
)
SHOWN = Shown(dashboard_url="https://d.example", metadata={"labels": {"a": "b"}})


def body_of(answer: Any) -> dict[str, Any]:
    """The body of an answer, as strict JSON."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    found = json.loads(answer.body, parse_constant=pytest.fail)
    assert isinstance(found, dict)
    return found


def fits(body: dict[str, Any], shape: str) -> None:
    """A body is of the shape that the document gives it."""
    resource = DRAFT202012.create_resource(openapi.document())
    jsonschema.Draft202012Validator(
        {"$ref": f"doc#/components/schemas/{shape}"},
        registry=Registry().with_resource("doc", resource),
    ).validate(body)


# --- changes ------------------------------------------------------------------------


def test_answer_of_nothing_is_an_empty_object():
    answer = answers.changed(Outcome(status=200), NEWEST)

    assert (answer.status_code, body_of(answer)) == (200, {})
    assert "retry-after" not in answer.headers


def test_accepted_change_says_how_to_ask_and_when():
    outcome = Outcome(
        status=202,
        operation="01abc",
        body={"dashboard_url": "https://d.example", "metadata": {"labels": {"a": "b"}}},
        poll_after=7,
    )

    answer = answers.changed(outcome, NEWEST)

    assert answer.status_code == 202
    assert body_of(answer) == {"operation": "01abc", **outcome.body}
    assert answer.headers["retry-after"] == "7"
    fits(body_of(answer), "InstanceAccepted")


@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ((2, 11), {"credentials"}),
        ((2, 14), {"credentials"}),
        ((2, 15), {"credentials", "endpoints"}),
        ((2, 16), {"credentials", "endpoints", "metadata"}),
        ((2, 99), {"credentials", "endpoints", "metadata"}),
    ],
)
def test_fields_newer_than_the_client_are_left_out(version, kept):
    body = {"credentials": {"metadata": 1}, "endpoints": [1], "metadata": {"a": 1}}

    answer = answers.changed(Outcome(status=201, body=body), version)

    assert body_of(answer) == {name: body[name] for name in kept}


@pytest.mark.parametrize(
    ("version", "given", "kept"),
    [
        ((2, 17), ["labels", "attributes"], {"labels", "attributes"}),
        ((2, 16), ["labels", "attributes"], {"labels"}),
        ((2, 16), ["expires_at", "renew_before"], {"expires_at"}),
        ((2, 16), ["attributes"], None),
        ((2, 15), ["labels"], None),
    ],
)
def test_metadata_newer_than_the_client_is_left_out_and_never_empty(
    version, given, kept
):
    """Its labels and expiry came with 2.16, the rest with 2.17."""
    body = {"metadata": {name: name for name in given}}

    found = body_of(answers.changed(Outcome(status=201, body=body), version))

    assert found == (
        {} if kept is None else {"metadata": {name: name for name in kept}}
    )


@pytest.mark.parametrize(
    ("version", "shown"), [((2, 16), False), ((2, 17), True)], ids=["2.16", "2.17"]
)
def test_metadata_of_a_fetched_instance_is_for_clients_that_know_it(version, shown):
    """2.17 "returns the metadata on fetch"."""
    fetched = FetchedInstance(instance=INSTANCE, shown=SHOWN)

    assert ("metadata" in body_of(answers.instance(fetched, version))) is shown


@pytest.mark.parametrize(
    ("version", "update", "shown"),
    [
        ((2, 13), True, False),
        ((2, 14), True, True),
        ((2, 11), False, True),
    ],
)
def test_dashboard_url_of_an_update_is_for_clients_that_know_it(version, update, shown):
    outcome = Outcome(status=200, body={"dashboard_url": "https://d.example"})

    answer = answers.changed(outcome, version, update=update)

    assert ("dashboard_url" in body_of(answer)) is shown


# --- looks --------------------------------------------------------------------------


def test_instance_with_everything_is_shown_whole():
    full = replace(INSTANCE, parameters={"a": 1}, maintenance_version="1.0.0")

    body = body_of(
        answers.instance(FetchedInstance(instance=full, shown=SHOWN), NEWEST)
    )

    assert body == {
        "service_id": "s",
        "plan_id": "pl",
        "dashboard_url": "https://d.example",
        "parameters": {"a": 1},
        "maintenance_info": {"version": "1.0.0"},
        "metadata": {"labels": {"a": "b"}},
    }
    fits(body, "Instance")


def test_instance_with_nothing_is_shown_without_empty_fields():
    bare = FetchedInstance(instance=INSTANCE, shown=Shown())

    assert body_of(answers.instance(bare, NEWEST)) == {
        "service_id": "s",
        "plan_id": "pl",
    }


def test_binding_is_shown_with_its_parameters_and_without_its_facts():
    found = replace(BINDING, parameters={"role": "r"}, facts={"user": "hidden"})

    body = body_of(answers.binding(FetchedBinding(binding=found), NEWEST))

    assert body == {"credentials": {}, "parameters": {"role": "r"}}
    fits(body, "Binding")


# --- polls --------------------------------------------------------------------------


def polled(*, of_binding: bool = False, version: Any = NEWEST, **fields: Any) -> Any:
    """The answer to a poll of an operation with these fields."""
    operation = replace(OPERATION, **fields)
    return answers.polled(Polled(operation=operation, of_binding=of_binding), version)


def test_running_operation_tells_its_text_percentage_and_pause():
    answer = polled(description="Copying", percent=40, poll_after=10)

    assert body_of(answer) == {
        "state": "in progress",
        "description": "Copying (40 %)",
    }
    assert answer.headers["retry-after"] == "10"


def test_ended_operation_asks_nobody_to_come_again():
    answer = polled(
        state=OperationState.SUCCEEDED, description="Copied", percent=40, poll_after=10
    )

    assert body_of(answer) == {"state": "succeeded", "description": "Copied"}
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("text", [None, ""])
def test_operation_without_words_has_no_description(text):
    assert body_of(polled(description=text)) == {"state": "in progress"}


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        pytest.param({}, {"instance_usable", "update_repeatable"}, id="update"),
        pytest.param({"version": (2, 15)}, set(), id="a client that is too old"),
        pytest.param({"of_binding": True}, set(), id="a binding's operation"),
        pytest.param({"kind": OperationKind.PROVISION}, set(), id="provision"),
        pytest.param({"kind": OperationKind.BIND}, set(), id="bind"),
        pytest.param(
            {"kind": OperationKind.DEPROVISION, "update_repeatable": None},
            {"instance_usable"},
            id="deprovision",
        ),
        pytest.param({"state": OperationState.SUCCEEDED}, set(), id="no failure"),
        pytest.param(
            {"instance_usable": None, "update_repeatable": None}, set(), id="unsaid"
        ),
    ],
)
def test_what_is_left_is_told_by_failed_updates_and_deprovisions_only(fields, left):
    given = {
        "state": OperationState.FAILED,
        "instance_usable": False,
        "update_repeatable": False,
    }

    body = body_of(polled(**given | fields))

    assert set(body) == {"state"} | left


# --- refusals -----------------------------------------------------------------------

SENTENCE = "Something is not right."
REFUSALS: list[errors.RequestRejected] = [
    errors.Malformed(SENTENCE),
    errors.Unauthorized(),
    errors.NotThere(SENTENCE),
    errors.MethodUnknown(SENTENCE),
    errors.InstanceConflict(),
    errors.BindingConflict(),
    errors.Gone(),
    errors.VersionUnsupported(SENTENCE),
    errors.BodyTooLarge(SENTENCE),
    errors.AsyncRequired(),
    errors.OperationInProgress(),
    errors.RequiresApp(),
    errors.MaintenanceInfoConflict(),
    errors.UpdateRefused(SENTENCE),
    errors.TooManyRequests(),
    errors.OperationFailed(SENTENCE),
    errors.Unavailable(SENTENCE),
]


def test_every_refusal_of_the_tree_is_tested_here():
    assert {type(error) for error in REFUSALS} == set(
        errors.RequestRejected.__subclasses__()
    )


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
def test_refusal_has_its_status_a_sentence_and_at_most_a_word_of_code(error):
    answer = answers.rejected(error)

    body = body_of(answer)
    assert answer.status_code == error.status
    assert ("www-authenticate" in answer.headers) is (error.status == 401)
    assert ("retry-after" in answer.headers) is (error.status in {429, 503})
    if error.status == 410:
        assert body == {}
    else:
        assert body["description"].endswith(".")
    if error.status == 422:
        assert re.fullmatch(r"[A-Z][A-Za-z]+", body["error"])
    else:
        assert "error" not in body
    assert body.get("update_repeatable") is (
        False if isinstance(error, errors.UpdateRefused) else None
    )


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (
            errors.AsyncRequired(),
            "AsyncRequired",
            "This service plan requires client support for asynchronous service"
            " operations.",
        ),
        (
            errors.OperationInProgress(),
            "ConcurrencyError",
            "The Service Broker does not support concurrent requests that mutate the"
            " same resource.",
        ),
        (
            errors.RequiresApp(),
            "RequiresApp",
            "This service supports generation of credentials through binding an"
            " application only.",
        ),
    ],
)
def test_sentences_that_clients_compare_are_to_the_letter(error, code, sentence):
    assert body_of(answers.rejected(error)) == {"error": code, "description": sentence}


def test_code_of_a_maintenance_conflict_is_the_specifications():
    body = body_of(answers.rejected(errors.MaintenanceInfoConflict()))

    assert body["error"] == "MaintenanceInfoConflict"


def test_failed_operation_tells_what_is_left_to_clients_that_know_it():
    error = errors.OperationFailed(
        SENTENCE, instance_usable=False, update_repeatable=True
    )

    new = body_of(answers.rejected(error, (2, 16)))
    old = body_of(answers.rejected(error, (2, 15)))

    assert new == {
        "description": SENTENCE,
        "instance_usable": False,
        "update_repeatable": True,
    }
    assert old == {"description": SENTENCE}


def test_poll_that_meets_a_fault_is_told_to_come_again():
    poll = answers.fault("/v2/service_instances/-/last_operation")
    other = answers.fault("/v2/service_instances/-")

    assert (poll.status_code, poll.headers["retry-after"]) == (503, "5")
    assert (other.status_code, "retry-after" in other.headers) == (500, False)
    assert body_of(poll) == body_of(other) == {"description": answers.FAULT}
