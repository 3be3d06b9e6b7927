"""The OpenAPI document tells exactly what the broker answers.

schemathesis makes requests from the document, right ones and wrong ones; most are
aimed at instances and bindings that are there, so that they get past the first
refusal. Every answer must be one that the document names.
"""

import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from osbkit.api import openapi
from osbkit.api.endpoints import ROUTES
from tests.api.brokers import (
    ASYNC,
    AUTO,
    OFFERING,
    PASSWORD,
    SYNC,
    USER,
    VERSION,
    a_broker,
    client_of,
    serving,
)

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
ROUNDS = 6
EXAMPLES = 20
PLANS = {"tiny": SYNC, "slow": ASYNC, "standard": AUTO}
BINDINGS = ["b-0", "b-1"]
PARAMETERS = [{}, {"max_messages": 5}, {"note": "refused"}, {"role": "writer"}, None]
QUIETLY = settings(
    max_examples=EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
PAGES = ["/openapi.json", "/docs", "/redoc"]
HEADERS = {
    "Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
} | VERSION


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    app: Any = a_broker(tmp_path).app
    with asgi.get_client(app) as made:
        yield made
    asgi.shutdown_lifespans()


@st.composite
def aimed(draw: Any, operation: Any, mode: GenerationMode, number: int) -> Any:
    """A request of schemathesis', as a rule for something that may be there."""
    case: Any = draw(operation.as_strategy(mode))
    name = draw(st.sampled_from(sorted(PLANS)))
    if draw(st.integers(0, 4)):
        ids = {"instance_id": instance_id(number, name)}
        ids["binding_id"] = draw(st.sampled_from(BINDINGS))
        case.path_parameters = {one: ids[one] for one in case.path_parameters}
    if isinstance(case.body, dict) and draw(st.integers(0, 4)):
        case.body = case.body | draw(fitting(operation.label, PLANS[name]))
    if case.query and draw(st.booleans()):
        case.query = case.query | {"accepts_incomplete": "true"}
    return case


@st.composite
def fitting(draw: Any, label: str, plan: str) -> dict[str, Any]:
    """What makes a body one that the broker may take."""
    body: dict[str, Any] = {
        "service_id": OFFERING,
        "plan_id": plan,
        "parameters": draw(st.sampled_from(PARAMETERS)),
    }
    if label.startswith("PUT") and "binding" not in label:
        body |= {"organization_guid": "org", "space_guid": "space"}
    if draw(st.booleans()):
        body["maintenance_info"] = draw(st.sampled_from([None, {"version": "1.2.0"}]))
    if draw(st.integers(0, 4)):
        body["predecessor_binding_id"] = None
    if draw(st.integers(0, 4)):
        body |= {"bind_resource": None, "app_guid": "", "context": None}
    return body


def instance_id(number: int, name: str) -> str:
    """One instance for each plan, anew for each round."""
    return f"round-{number}-{name}"


def make_some(client: Any, number: int) -> None:
    """Instances and bindings for a round of requests to meet."""
    for name, plan in PLANS.items():
        wanted = {"service_id": OFFERING, "plan_id": plan}
        path = f"/v2/service_instances/{instance_id(number, name)}"
        owned = wanted | {"organization_guid": "org", "space_guid": "space"}
        query = {"accepts_incomplete": "true"}
        for url, body in ((path, owned), (f"{path}/service_bindings/b-0", wanted)):
            made = client.put(url, params=query, json=body, headers=HEADERS)
            assert made.status_code in {201, 202}, made.text
            wait_for(client, url)


def wait_for(client: Any, url: str) -> None:
    """Poll until it is made."""
    while True:
        polled = client.get(f"{url}/last_operation", headers=HEADERS).json()
        if polled["state"] != "in progress":
            assert polled["state"] == "succeeded", polled
            return


def reads_first(operation: Any) -> tuple[bool, bool, str]:
    """Look, then change, then remove: a round meets what it made."""
    label = str(operation.label)
    return label.startswith("DELETE"), not label.startswith("GET"), label


@pytest.mark.slow
def test_schemathesis_finds_no_answer_that_the_document_does_not_name(client):
    schema = schemathesis.openapi.from_dict(openapi.document())
    found: list[Any] = list(schema.get_all_operations())
    operations = sorted((one.ok() for one in found), key=reads_first)
    seen: Counter[tuple[str, int]] = Counter()

    def judge(case: Any) -> None:
        response = case.call(session=client, headers=HEADERS)
        seen[case.operation.label, response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    for number in range(ROUNDS):
        make_some(client, number)
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                cases = aimed(operation, mode, number)
                seed(number)(QUIETLY(given(case=cases)(judge)))()

    assert sum(seen.values()) >= 2000
    done = {label for label, status in seen if 200 <= status < 300}
    unmet = {operation.label for operation in operations} - done
    assert len(unmet) <= 1, "hardly anything met"  # what is met depends on chance


def test_document_names_the_ten_endpoints_and_each_status_of_them():
    described = openapi.document()["paths"]

    methods = {path: {one.upper() for one in made} for path, made in described.items()}
    assert methods == {"/v2/catalog": {"GET"}} | {
        path: set(made) for path, made in ROUTES.items()
    }
    assert sum(map(len, methods.values())) == 10
    for made in described.values():
        for operation in made.values():
            assert all(status.isdigit() for status in operation["responses"])
            assert {"400", "401", "412", "503"} <= set(operation["responses"])


def test_every_reference_of_the_document_leads_somewhere_and_every_schema_is_one():
    document = openapi.document()

    for pointer in references(document):
        found: Any = document
        for part in pointer.removeprefix("#/").split("/"):
            found = found[part]
        assert found
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def references(value: Any) -> Iterator[str]:
    """Every `$ref` below a value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


async def test_document_is_served_to_those_who_may_use_the_broker(tmp_path):
    async with serving(tmp_path) as served:
        known = await served.client.get("/openapi.json")
        pages = [(await served.client.get(url)).status_code for url in PAGES]
        async with client_of(served.broker.app, auth=None) as stranger:
            refused = [(await stranger.get(url)).status_code for url in PAGES]

    assert known.json() == openapi.document()
    assert pages == [200] * len(PAGES)
    assert refused == [401] * len(PAGES)


def test_document_belongs_to_who_asked_for_it():
    mine = openapi.document()
    mine["paths"].clear()
    mine["components"]["schemas"].clear()

    assert len(openapi.document()["paths"]) == 5
    assert "Error" in openapi.document()["components"]["schemas"]
