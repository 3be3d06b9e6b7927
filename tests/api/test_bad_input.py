"""What a caller may get wrong: 400 with a sentence, nothing recorded, never 5xx.

Requirements proved here: CT-01 to CT-07, ERR-01, ERR-05, ERR-12, ERR-14, EXT-01,
EXT-02, EXT-05, AUTH-02, AUTH-03, AUTH-06, AUTH-07, AUTH-08, URL-01, URL-03 to
URL-05, DEPROV-06, UNBIND-06, PROV-19.
"""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from tests.api.brokers import AUTO, OFFERING, SYNC, Served, client_of

SECRET = "hunter2-of-a-caller"
LIMIT = 1024 * 1024
DEEP = 100_000
COUNTS = [
    "SELECT count(*) FROM instances",
    "SELECT count(*) FROM bindings",
    "SELECT count(*) FROM operations",
]
CATALOG = "/v2/catalog"
INSTANCE = Served.instance()
BINDING = Served.binding()
ROUTES = [
    ("GET", CATALOG),
    ("GET", INSTANCE),
    ("PUT", INSTANCE),
    ("PATCH", INSTANCE),
    ("DELETE", INSTANCE),
    ("GET", f"{INSTANCE}/last_operation"),
    ("GET", BINDING),
    ("PUT", BINDING),
    ("DELETE", BINDING),
    ("GET", f"{BINDING}/last_operation"),
]
TAKES_BODY = [("PUT", INSTANCE), ("PATCH", INSTANCE), ("PUT", BINDING)]
ALLOWED = {
    CATALOG: {"GET", "HEAD"},
    INSTANCE: {"GET", "HEAD", "PUT", "PATCH", "DELETE"},
    f"{INSTANCE}/last_operation": {"GET", "HEAD"},
    BINDING: {"GET", "HEAD", "PUT", "DELETE"},
    f"{BINDING}/last_operation": {"GET", "HEAD"},
}


def recorded(served: Served) -> int:
    """Rows of instances, bindings and operations together."""
    with closing(sqlite3.connect(served.database)) as db:
        return sum(db.execute(count).fetchone()[0] for count in COUNTS)


def refused(answer: httpx.Response, status: int = 400) -> str:
    """The sentence of a refusal whose form is right."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert isinstance(body, dict)
    sentence = body["description"]
    assert isinstance(sentence, str)
    assert sentence
    assert SECRET not in answer.text
    return sentence


def body_for(method: str, path: str) -> dict[str, Any]:
    """A body that this route takes."""
    if path == BINDING:
        return Served.bind(parameters={})
    return Served.provision(parameters={}) if method == "PUT" else Served.bind()


async def made(served: Served) -> int:
    """An instance and a binding are there; returns the rows so far."""
    client = served.client
    assert (await client.put(INSTANCE, json=served.provision())).status_code == 201
    assert (await client.put(BINDING, json=served.bind())).status_code == 201
    return recorded(served)


# --- bodies -------------------------------------------------------------------------

NOT_READABLE = [
    pytest.param(b"", "body", id="nothing"),
    pytest.param(b" \r\n\t", "body", id="blanks"),
    pytest.param(b"{", "JSON", id="cut off"),
    pytest.param(b'{"service_id": "a",}', "JSON", id="a comma too many"),
    pytest.param(b"service_id=a&plan_id=b", "JSON", id="a form"),
    pytest.param(b"\xef\xbb\xbf{}", "JSON", id="a byte order mark"),
    pytest.param('{"a": 1}'.encode("utf-16"), "JSON", id="UTF-16"),
    pytest.param(b'{"service_id": "\xff"}', "JSON", id="invalid UTF-8"),
    pytest.param(b'{"service_id": "\xed\xa0\x80"}', "JSON", id="a coded surrogate"),
    pytest.param(rb'{"service_id": "\ud800"}', "JSON", id="half a surrogate pair"),
    pytest.param(b'{"service_id": "\x00"}', "JSON", id="a raw NUL"),
    pytest.param(b"[" * DEEP, "JSON", id="100,000 brackets"),
    pytest.param(b"[" * DEEP + b"]" * DEEP, "JSON", id="100,000 nested arrays"),
    pytest.param(b'{"a":' * DEEP + b"1" + b"}" * DEEP, "JSON", id="nested objects"),
    pytest.param(b'{"parameters": ' + b"9" * 5000 + b"}", "JSON", id="5,000 digits"),
    pytest.param(b"[]", "the body must be an object", id="an array"),
    pytest.param(b'"text"', "the body must be an object", id="a string"),
    pytest.param(b"7", "the body must be an object", id="a number"),
    pytest.param(b"true", "the body must be an object", id="true"),
    pytest.param(b"null", "the body must be an object", id="null"),
]


@pytest.mark.parametrize(("body", "said"), NOT_READABLE)
async def test_body_that_is_no_json_object_is_malformed(served, body, said):
    for method, path in TAKES_BODY:
        answer = await served.client.request(method, path, content=body)

        assert said in refused(answer), (method, path)
    assert recorded(served) == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param("NaN", "parameters must be a finite number", id="NaN"),
        pytest.param("Infinity", "parameters must be a finite number", id="Infinity"),
        pytest.param("-Infinity", "parameters must be a finite number", id="-Infinity"),
        pytest.param("1e400", "parameters must be a finite number", id="1e400"),
        pytest.param("-1E+400", "parameters must be a finite number", id="-1E+400"),
        pytest.param(r'"\u0000"', "must not hold a NUL character", id="NUL"),
        pytest.param(r'{"a\u0000": 1}', "a name with a NUL character", id="NUL name"),
        pytest.param("[" * 150 + "NaN" + "]" * 150, "finite number", id="deep inside"),
    ],
)
async def test_values_that_json_does_not_have_are_malformed(served, value, said):
    for method, path in TAKES_BODY:
        text = json.dumps(body_for(method, path) | {"parameters": {"x": "VALUE"}})
        body = text.replace('"VALUE"', value)

        answer = await served.client.request(method, path, content=body)

        assert said in refused(answer), (method, path)
    assert recorded(served) == 0


async def test_nul_is_refused_in_every_text_of_a_body(served):
    for field in ("service_id", "plan_id", "organization_guid", "space_guid"):
        body = served.provision() | {field: "a\0b"}

        assert field in refused(await served.client.put(INSTANCE, json=body))
    assert recorded(served) == 0


TEXT: list[Any] = [7, True, 1.5, [SECRET], {SECRET: SECRET}]
OBJECT: list[Any] = [SECRET, 7, False, [SECRET]]
FIELDS = [
    *[
        pytest.param("PUT", INSTANCE, field, [*wrong, *more], id=f"provision {field}")
        for field, wrong, more in (
            ("service_id", TEXT, [None, ""]),
            ("plan_id", TEXT, [None, ""]),
            ("organization_guid", TEXT, [None, ""]),
            ("space_guid", TEXT, [None, ""]),
            ("parameters", OBJECT, []),
            ("context", OBJECT, []),
            ("maintenance_info", OBJECT, [{"version": 7}]),
        )
    ],
    *[
        pytest.param("PATCH", INSTANCE, field, [*wrong, *more], id=f"update {field}")
        for field, wrong, more in (
            ("service_id", TEXT, [None, ""]),
            ("plan_id", TEXT, [""]),
            ("parameters", OBJECT, []),
            ("context", OBJECT, []),
            ("maintenance_info", OBJECT, [{"version": [SECRET]}]),
            ("previous_values", OBJECT, [{"plan_id": 7}]),
        )
    ],
    *[
        pytest.param("PUT", BINDING, field, [*wrong, *more], id=f"bind {field}")
        for field, wrong, more in (
            ("service_id", TEXT, [None, ""]),
            ("plan_id", TEXT, [None, ""]),
            ("app_guid", TEXT, []),
            ("bind_resource", OBJECT, [{"app_guid": 7}, {"route": [SECRET]}]),
            ("parameters", OBJECT, []),
            ("context", OBJECT, []),
            ("predecessor_binding_id", TEXT, [""]),
        )
    ],
]


@pytest.mark.parametrize(("method", "path", "field", "wrong"), FIELDS)
async def test_field_of_another_type_is_named_and_its_value_is_not(
    served, method, path, field, wrong
):
    for value in wrong:
        body = body_for(method, path) | {field: value}

        answer = await served.client.request(method, path, json=body)

        assert field in refused(answer), value
    assert recorded(served) == 0


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("PUT", INSTANCE, "service_id"),
        ("PUT", INSTANCE, "plan_id"),
        ("PUT", INSTANCE, "organization_guid"),
        ("PUT", INSTANCE, "space_guid"),
        ("PATCH", INSTANCE, "service_id"),
        ("PUT", BINDING, "service_id"),
        ("PUT", BINDING, "plan_id"),
    ],
)
async def test_field_that_is_missing_is_named(served, method, path, field):
    before = await made(served)
    body = body_for(method, path)
    del body[field]

    answer = await served.client.request(method, path, json=body)

    assert f"{field} is missing" in refused(answer)
    assert recorded(served) == before


async def test_every_wrong_field_is_named_at_once(served):
    answer = await served.client.put(INSTANCE, json={"service_id": 7, "context": []})

    sentence = refused(answer)
    for field in ("service_id", "plan_id", "organization_guid", "space_guid"):
        assert field in sentence
    assert "context must be an object" in sentence


async def test_what_the_catalog_does_not_have_is_refused(served):
    before = await made(served)
    client = served.client
    other = served.instance("other")

    unknown = [
        await client.put(other, json=served.provision() | {"service_id": SECRET}),
        await client.put(other, json=served.provision(SECRET)),
        await client.patch(INSTANCE, json=served.bind() | {"service_id": SECRET}),
        await client.patch(INSTANCE, json=served.bind(SECRET)),
        await client.put(f"{BINDING}2", json=served.bind() | {"service_id": SECRET}),
        await client.put(f"{BINDING}2", json=served.bind(SECRET)),
    ]

    for answer, field in zip(unknown, ["service_id", "plan_id"] * 3, strict=True):
        assert field in refused(answer)
    assert recorded(served) == before


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        pytest.param({"max_messages": "5"}, "max_messages", id="digits as text"),
        pytest.param({"max_messages": True}, "max_messages", id="true for a number"),
        pytest.param({"max_messages": 1.5}, "max_messages", id="a fraction"),
        pytest.param({"max_messages": 0}, "max_messages", id="below the least"),
        pytest.param({"note": [SECRET]}, "note", id="a list for a text"),
        pytest.param({"unheard_of": SECRET}, "unheard_of", id="unknown name"),
    ],
)
async def test_parameters_against_their_schema_are_refused(served, parameters, said):
    client = served.client

    new = await client.put(INSTANCE, json=served.provision(parameters=parameters))
    assert recorded(served) == 0
    before = await made(served)
    old = await client.patch(INSTANCE, json=served.bind(parameters=parameters))

    assert said in refused(new)
    assert said in refused(old)
    assert recorded(served) == before


async def test_parameters_of_a_binding_are_judged_by_their_own_schema(served):
    before = await made(served)

    answer = await served.client.put(
        f"{BINDING}2", json=served.bind(parameters={"role": SECRET})
    )

    assert "role" in refused(answer)
    assert recorded(served) == before


async def test_what_platforms_really_send_is_taken(served):
    client = served.client
    loose: dict[str, Any] = {
        "parameters": None,
        "maintenance_info": {},
        "context": {"platform": "kubernetes", "x": [None]},
        "x-vendor": {"deep": [1, 2.5, None]},
    }

    answers = [
        await client.put(INSTANCE, json=served.provision(**loose)),
        await client.patch(
            INSTANCE, json=served.bind(**loose, previous_values={"plan_id": "old"})
        ),
        await client.put(
            BINDING,
            json=served.bind(
                **loose, app_guid="", bind_resource={"app_guid": None, "x": [1]}
            ),
        ),
        await client.get(f"{BINDING}?x-unknown=1&service_id=&plan_id=other"),
    ]

    assert [answer.status_code for answer in answers] == [201, 200, 201, 200]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json; charset=utf-8",
        "text/plain",
        "application/x-www-form-urlencoded",
    ],
)
async def test_content_type_of_a_request_does_not_matter(served, content_type):
    headers = {} if content_type is None else {"content-type": content_type}
    body = json.dumps(served.provision()).encode()

    answer = await served.client.put(INSTANCE, content=body, headers=headers)

    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"


# --- sizes --------------------------------------------------------------------------


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body of blanks that does not say how long it is."""
    while size > 0:
        yield b" " * min(size, 64 * 1024)
        size -= 64 * 1024


async def test_body_over_the_limit_is_refused_by_its_length(served):
    for method, path in TAKES_BODY:
        answer = await served.client.request(method, path, content=b" " * (LIMIT + 1))

        assert str(LIMIT) in refused(answer, 413)
    assert recorded(served) == 0


async def test_body_over_the_limit_is_refused_while_it_is_read(served):
    for method, path in TAKES_BODY:
        answer = await served.client.request(method, path, content=chunks(LIMIT + 1))

        assert str(LIMIT) in refused(answer, 413)
    assert recorded(served) == 0


async def test_body_of_just_the_limit_is_read(served):
    body = json.dumps(served.provision()).encode()

    whole = await served.client.put(INSTANCE, content=body.ljust(LIMIT))
    chunked = await served.client.put(served.instance("2"), content=chunks(LIMIT))

    assert whole.status_code == 201
    assert "JSON object" in refused(chunked)


@pytest.mark.parametrize("length", ["-1", "1.5", "0x10", "", "٣"])
async def test_length_that_is_no_number_is_malformed(served, length):
    headers = {"content-length": length.encode()}

    answer = await served.client.put(INSTANCE, content=chunks(1), headers=headers)

    assert "Content-Length" in refused(answer)


async def test_length_of_thousands_of_digits_is_too_large(served):
    headers = {"content-length": "9" * 5000}

    refused(await served.client.put(INSTANCE, content=chunks(1), headers=headers), 413)


# --- ids and paths ------------------------------------------------------------------

BAD_IDS = [
    pytest.param("a" * 256, "255 characters", id="256 characters"),
    pytest.param("%C3%A4" * 256, "255 characters", id="256 letters of two bytes"),
    pytest.param("a" * 10_000, "255 characters", id="10,000 characters"),
    pytest.param("%00", "control characters", id="NUL"),
    pytest.param("a%0Ab", "control characters", id="a line break"),
    pytest.param("%7F", "control characters", id="DEL"),
    pytest.param("%C2%85", "control characters", id="a C1 control"),
    pytest.param("%FF", "UTF-8", id="a byte that is no UTF-8"),
    pytest.param("%ED%A0%80", "UTF-8", id="a surrogate"),
    pytest.param("%C3", "UTF-8", id="half a letter"),
]


@pytest.mark.parametrize(("bad", "said"), BAD_IDS)
async def test_id_that_no_platform_makes_is_malformed(served, bad, said):
    instance, binding = served.instance(bad), served.binding(bad)
    query = served.ids()

    answers = [
        await served.client.put(instance, json=served.provision()),
        await served.client.get(instance),
        await served.client.delete(instance, params=query),
        await served.client.get(f"{instance}/last_operation"),
        await served.client.put(binding, json=served.bind()),
        await served.client.delete(binding, params=query),
        await served.client.get(f"{binding}/last_operation"),
        await served.client.get(served.binding("b", bad)),
    ]

    for answer in answers:
        assert said in refused(answer)
    assert recorded(served) == 0


async def test_empty_id_is_malformed_or_no_path(served):
    empty = await served.client.get("/v2/service_instances//last_operation")
    none = await served.client.get("/v2/service_instances/")

    assert "instance id" in refused(empty)
    refused(none, 404)


@pytest.mark.parametrize(
    ("written", "same"),
    [
        pytest.param("A-z.0_9~", "A-z.0_9~", id="unreserved characters"),
        pytest.param("a%2Fb", "a%2fb", id="a slash"),
        pytest.param("a%20b", "a%20b", id="a blank"),
        pytest.param("100%25", "100%25", id="a percent sign"),
        pytest.param("a+b:c@d", "a%2Bb%3Ac%40d", id="plus, colon, at"),
        pytest.param("%C3%A4%F0%9F%90%87", "%c3%a4%f0%9f%90%87", id="not ASCII"),
        pytest.param("%61bc", "abc", id="needlessly encoded"),
        pytest.param("a" * 255, "a" * 255, id="255 characters"),
        pytest.param("%3Fq%23f", "%3fq%23f", id="question mark, hash"),
    ],
)
async def test_id_is_decoded_and_belongs_to_one_instance(served, written, same):
    client = served.client
    await client.put(served.instance("neighbour"), json=served.provision())

    made_ = await client.put(served.instance(written), json=served.provision())
    again = await client.put(served.instance(same), json=served.provision())
    bound = await client.put(served.binding(written, same), json=served.bind())
    found = await client.get(served.binding(same, written))

    assert [made_.status_code, again.status_code] == [201, 200]
    assert [bound.status_code, found.status_code] == [201, 200]


async def test_ids_that_differ_in_case_or_blanks_are_different(served):
    for written in ("abc", "ABC", "abc%20", "%20abc"):
        answer = await served.client.put(
            served.instance(written), json=served.provision()
        )
        assert answer.status_code == 201, written


async def test_slash_in_an_id_does_not_lead_elsewhere(served):
    await served.client.put(served.instance("a%2Flast_operation"), json={})
    answer = await served.client.get(served.instance("a%2Flast_operation"))

    assert "instance" in refused(answer, 404)


@pytest.mark.parametrize("path", ["//v2/catalog", "///v2/catalog", "/v2/catalog/"])
async def test_slashes_that_platforms_add_are_forgiven(served, path):
    answer = await served.client.get(f"http://broker.example{path}")

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/catalog",
        "/v2",
        "/v2/",
        "/v2/nothing",
        "/v2//catalog",
        "/v2/catalog//",
        "/v2/catalog/more",
        "/v2/service_instances",
        "/v2/service_instances/a/b",
        "/v2/service_instances/a/service_bindings",
        "/v2/service_instances/a/service_bindings/b/c",
        "/V2/catalog",
        "/v2%2Fcatalog",
        "/v2%2Fservice_instances%2Fa",
        "/%76%32/service_instances/a",
        "/v2/service_instances%2Fa",
        "/v2/catalog%2F",
    ],
)
async def test_path_of_no_route_is_unknown_to_all_methods(served, path):
    for method in ("GET", "PUT", "PATCH", "DELETE", "POST"):
        answer = await served.client.request(method, path)

        refused(answer, 404 if method == "GET" else answer.status_code)
        assert answer.status_code in {404, 405}
    assert recorded(served) == 0


@pytest.mark.parametrize("path", ALLOWED)
async def test_wrong_method_is_told_the_right_ones(served, path):
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"):
        if method in ALLOWED[path]:
            continue
        answer = await served.client.request(method, path)

        refused(answer, 405)
        allow = {part.strip() for part in answer.headers["allow"].split(",")}
        assert allow == ALLOWED[path], method
    assert recorded(served) == 0


async def test_head_is_answered_like_get_without_a_body(served):
    await made(served)
    for path in ALLOWED:
        answer = await served.client.head(path)

        assert answer.status_code == 200, path


# --- queries ------------------------------------------------------------------------


@pytest.mark.parametrize("path", [INSTANCE, BINDING])
@pytest.mark.parametrize("field", ["service_id", "plan_id"])
async def test_delete_without_both_ids_deletes_nothing(served, path, field):
    before = await made(served)
    rest = served.ids()
    del rest[field]

    absent = await served.client.delete(path, params=rest)
    empty = await served.client.delete(path, params=rest | {field: ""})

    assert field in refused(absent)
    assert field in refused(empty)
    assert recorded(served) == before
    assert (await served.client.get(path)).status_code == 200


async def test_delete_of_nothing_without_ids_is_malformed_too(served):
    refused(await served.client.delete(INSTANCE))


async def test_ids_of_a_delete_that_differ_from_the_stored_ones_do_not_count(served):
    await made(served)

    answer = await served.client.delete(INSTANCE, params=served.ids(AUTO))

    assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize("value", ["True", "TRUE", "1", "yes", "", "false", "truee"])
async def test_only_the_word_true_accepts_an_incomplete_answer(served, value):
    answer = await served.client.put(
        f"{INSTANCE}?accepts_incomplete={value}",
        json=served.provision("2b-plan-async"),
    )

    assert answer.status_code == 422
    assert answer.json()["error"] == "AsyncRequired"
    assert recorded(served) == 0


@pytest.mark.parametrize("token", ["%00", "a" * 11_000, "%FF", "x'--", "🐇", ""])
async def test_strange_operation_tokens_mean_the_latest_one(served, token):
    await made(served)

    answer = await served.client.get(f"{INSTANCE}/last_operation?operation={token}")

    assert answer.json() == {"state": "succeeded"}


# --- strangers ----------------------------------------------------------------------

UNKNOWN_PATHS = ["/v2/nothing", "/v2", "/", "/v2/service_instances", "/v2%2Fcatalog"]


async def test_stranger_learns_nothing_on_any_route(served):
    bodies = set()
    headers = [{"X-Broker-API-Version": "nonsense"}, {}]
    async with client_of(served.broker.app, auth=None, headers={}) as stranger:
        for method, path in [*ROUTES, *(("GET", path) for path in UNKNOWN_PATHS)]:
            for more in headers:
                answer = await stranger.request(
                    method, path, content=b"{not json", headers=more
                )

                refused(answer, 401)
                assert "Basic" in answer.headers["www-authenticate"]
                bodies.add(answer.text)
    assert len(bodies) == 1
    assert recorded(served) == 0


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(("POST", INSTANCE, {}), id="a wrong method"),
        pytest.param(("PUT", Served.instance("%FF"), {}), id="a bad id"),
        pytest.param(("DELETE", INSTANCE, {}), id="no ids in the query"),
        pytest.param(("PUT", INSTANCE, {"content": b" " * (LIMIT + 1)}), id="too much"),
        pytest.param(
            ("PUT", INSTANCE, {"headers": {"content-length": "x"}}), id="no length"
        ),
    ],
)
async def test_nothing_is_judged_before_the_credentials(served, request_):
    method, path, more = request_
    async with client_of(served.broker.app, auth=("platform", "wrong")) as stranger:
        refused(await stranger.request(method, path, **more), 401)


async def test_stranger_changes_nothing(served):
    before = await made(served)
    async with client_of(served.broker.app, auth=("platform", "wrong")) as stranger:
        answers = [
            await stranger.put(served.instance("new"), json=served.provision()),
            await stranger.patch(INSTANCE, json=served.bind(AUTO)),
            await stranger.delete(BINDING, params=served.ids()),
            await stranger.delete(INSTANCE, params=served.ids()),
        ]

    assert {answer.status_code for answer in answers} == {401}
    assert recorded(served) == before
    shown = await served.client.get(INSTANCE)
    assert shown.json()["plan_id"] == SYNC
    assert shown.json()["service_id"] == OFFERING


async def test_two_authorization_headers_are_one_too_many(served):
    good = served.client.build_request("GET", CATALOG)
    auth = httpx.BasicAuth("platform", "a-password-of-the-tests")
    value = next(auth.auth_flow(good)).headers["authorization"]
    headers = [("authorization", value), ("authorization", value)]
    headers.append(("x-broker-api-version", "2.17"))

    async with client_of(served.broker.app, auth=None, headers=[]) as stranger:
        once = await stranger.get(CATALOG, headers=headers[1:])
        twice = await stranger.get(CATALOG, headers=headers)

    assert once.status_code == 200
    refused(twice, 401)
