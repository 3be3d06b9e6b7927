"""Reading bodies and queries: strict, forgiving where platforms need it, silent.

Requirements proved here: CT-05, EXT-01, PROV-19, BIND-13, MAINT-01, ROT-02.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from osbkit.api import wire
from osbkit.domain import WantedBinding, WantedInstance, WantedUpdate
from osbkit.errors import BodyTooLarge, Malformed

READERS: list[Any] = [wire.provision, wire.update, wire.bind]
OWNED: dict[str, Any] = {
    "service_id": "s",
    "plan_id": "p",
    "organization_guid": "o",
    "space_guid": "sp",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def text(body: Any) -> bytes:
    return json.dumps(body).encode()


def query(string: str) -> Request:
    return Request({"type": "http", "query_string": string.encode(), "headers": []})


def refusal(reader: Any, body: bytes) -> Malformed | None:
    """Why a body is refused; None when it is read."""
    try:
        reader(body)
    except Malformed as refused:
        return refused
    return None


# --- what is read -------------------------------------------------------------------


def test_provision_is_read_field_by_field():
    body = OWNED | {
        "parameters": {"a": [1, 2.5, None]},
        "context": {"platform": "cloudfoundry"},
        "maintenance_info": {"version": "2.1.1+abc", "description": "x"},
    }

    assert wire.provision(text(body)) == WantedInstance(
        **OWNED,
        parameters={"a": [1, 2.5, None]},
        context={"platform": "cloudfoundry"},
        maintenance_version="2.1.1+abc",
    )


def test_update_is_read_and_previous_values_are_not():
    body = {
        "service_id": "s",
        "previous_values": {"plan_id": "old", "maintenance_info": {"version": "1"}},
    }

    assert wire.update(text(body)) == WantedUpdate(service_id="s")


def test_rotation_needs_nothing_but_its_predecessor():
    assert wire.bind(b'{"predecessor_binding_id": "old"}') == WantedBinding(
        service_id=None, plan_id=None, parameters={}, predecessor="old"
    )


@pytest.mark.parametrize(
    "absent",
    [
        pytest.param({}, id="left out"),
        pytest.param(
            {"parameters": None, "context": None, "maintenance_info": None}, id="null"
        ),
        pytest.param({"parameters": {}, "maintenance_info": {}}, id="empty"),
        pytest.param({"maintenance_info": {"version": None}}, id="null inside"),
    ],
)
def test_absent_null_and_empty_are_the_same(absent):
    assert wire.provision(text(OWNED | absent)) == WantedInstance(
        **OWNED, parameters={}
    )
    assert wire.update(text({"service_id": "s"} | absent)) == WantedUpdate(
        service_id="s"
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, None, id="nowhere"),
        pytest.param({"app_guid": "top"}, "top", id="at the top"),
        pytest.param({"app_guid": ""}, None, id="empty at the top"),
        pytest.param({"bind_resource": {"app_guid": "in"}}, "in", id="inside"),
        pytest.param(
            {"app_guid": "top", "bind_resource": {"app_guid": "in"}}, "in", id="both"
        ),
        pytest.param(
            {"app_guid": "top", "bind_resource": {"app_guid": ""}}, "top", id="one"
        ),
    ],
)
def test_application_is_found_at_either_place(fields, expected):
    body = {"service_id": "s", "plan_id": "p"} | fields

    assert wire.bind(text(body)).app_guid == expected


def test_bind_resource_is_kept_as_it_came():
    resource = {"route": "r.example", "credential_client_id": "c", "x": {"y": 1}}
    body = {"service_id": "s", "plan_id": "p", "bind_resource": resource}

    assert wire.bind(text(body)).bind_resource == resource


def test_fields_that_nobody_knows_are_passed_over():
    body = OWNED | {"x-vendor": [1], "dashboard_url": 7, "state": "failed"}

    assert wire.provision(text(body)) == WantedInstance(**OWNED, parameters={})


# --- what is refused ----------------------------------------------------------------


@pytest.mark.parametrize("reader", READERS)
@given(value=JSON)
def test_whatever_json_comes_is_read_or_malformed(reader, value):
    refused = refusal(reader, text(value))

    assert refused is None or (refused.status, refused.description[-1]) == (400, ".")


@pytest.mark.parametrize("reader", READERS)
@given(body=st.binary(max_size=100))
def test_whatever_bytes_come_are_read_or_malformed(reader, body):
    refused = refusal(reader, body)

    assert refused is None or refused.description.endswith(".")


@pytest.mark.parametrize("reader", READERS)
@given(field=st.sampled_from(sorted(wire.FIELDS)), inner=JSON)
def test_no_refusal_repeats_a_value_or_a_name_of_the_client(reader, field, inner):
    secret = "hunter2-of-a-caller"
    for value in (secret, [secret], {secret: secret}, [inner, secret], {secret: inner}):
        refused = refusal(
            reader, text({"service_id": "s", "plan_id": "p"} | {field: value})
        )
        if refused is not None:
            assert secret not in refused.description
            assert refused.__context__ is None or refused.__suppress_context__


def test_name_of_the_client_is_not_repeated_when_its_value_is_no_number():
    with pytest.raises(Malformed, match=r"^A value in the body must be a finite"):
        wire.provision(b'{"hunter2": NaN}')
    with pytest.raises(Malformed, match=r"^A value in parameters must be a finite"):
        wire.provision(b'{"parameters": {"hunter2": NaN}}')


def test_at_most_five_problems_are_told_at_once():
    body = dict.fromkeys(wire.ProvisionBody.model_fields, 7)

    with pytest.raises(Malformed) as refused:
        wire.provision(text(body))

    assert refused.value.description.count(";") == wire.MOST_PROBLEMS - 1


def test_schema_of_a_body_names_its_parts_as_components():
    schema = wire.fields_of(wire.PROVISION)

    assert set(schema["required"]) == set(OWNED)
    assert "#/components/schemas/MaintenanceInfo" in json.dumps(schema)


# --- the body -----------------------------------------------------------------------


def sending(*messages: dict[str, Any]) -> Request:
    left = list(messages)

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    return Request({"type": "http", "headers": []}, receive)


def part(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_body_is_put_together_from_its_parts():
    request = sending(part(b"ab", True), part(b"", True), part(b"cd", False))

    assert await wire.body_of(request, 4) == b"abcd"


async def test_body_is_not_read_further_than_its_limit():
    request = sending(part(b"abc", True), part(b"de", True))  # no third message

    with pytest.raises(BodyTooLarge, match="larger than 4 bytes"):
        await wire.body_of(request, 4)


async def test_client_that_left_in_its_body_is_no_request():
    with pytest.raises(ClientDisconnect):
        await wire.body_of(sending(part(b"a", True), {"type": "http.disconnect"}), 9)


# --- the query ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("string", "expected"),
    [
        ("accepts_incomplete=true", True),
        ("x=1&accepts_incomplete=true", True),
        ("accepts_incomplete=false&accepts_incomplete=true", True),
        ("accepts_incomplete=false", False),
        ("accepts_incomplete=True", False),
        ("accepts_incomplete=1", False),
        ("accepts_incomplete", False),
        ("accepts_incomplete=%FF", False),
        ("", False),
    ],
)
def test_incomplete_is_accepted_by_the_word_true_only(string, expected):
    assert wire.accepts_incomplete(query(string)) is expected


@pytest.mark.parametrize("missing", ["service_id", "plan_id"])
def test_missing_id_of_a_delete_is_named(missing):
    other = {"service_id": "plan_id", "plan_id": "service_id"}[missing]

    for string in (f"{other}=x", f"{other}=x&{missing}="):
        with pytest.raises(Malformed, match=f"query parameter {missing} is missing"):
            wire.ids_of(query(string))


def test_ids_of_a_delete_are_read_as_they_are_sent():
    sent = {"service_id": "s", "plan_id": "p"}

    assert wire.ids_of(query("plan_id=p&service_id=s&other=x")) == sent


@pytest.mark.parametrize(
    ("string", "expected"),
    [
        ("operation=01abc", "01abc"),
        (f"operation={'a' * 64}", "a" * 64),
        (f"operation={'a' * 65}", None),
        ("operation=", None),
        ("operation=a%20b", None),
        ("operation=%D9%A1", None),
        ("operation=%00", None),
        ("", None),
    ],
)
def test_operation_that_is_no_token_of_ours_is_none(string, expected):
    assert wire.operation_of(query(string)) == expected
