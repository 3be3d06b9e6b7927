"""The three headers, and the ids in a path, on their own.

Requirements proved here: HDR-01 to HDR-12, URL-01, URL-03 to URL-05.
"""

import base64
import json
from typing import Any
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osbkit.api import headers
from osbkit.domain import Identity
from osbkit.errors import Malformed, NotThere, VersionUnsupported

IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255)


# --- X-Broker-API-Version -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"2.11", (2, 11)),
        (b"2.17", (2, 17)),
        (b"2.99", (2, 99)),
        (b" 2.17\t", (2, 17)),
        (b"2.0017", (2, 17)),
        (b"2.999999999", (2, 999_999_999)),
    ],
)
def test_version_from_2_11_on_is_taken(text, expected):
    assert headers.version_of(text) == expected


@pytest.mark.parametrize(
    "text", [b"", b"  ", b"2.10", b"2.9", b"2.0", b"1.17", b"3.0", b"99.0", b"0.0"]
)
def test_version_that_is_empty_or_not_spoken_is_412_and_names_the_one_to_use(text):
    with pytest.raises(VersionUnsupported) as refused:
        headers.version_of(text)

    assert refused.value.status == 412
    assert "2.17" in refused.value.description


@pytest.mark.parametrize(
    "text",
    [
        *(None, b"abc", b"2", b"2.", b".17", b"2.x", b"-1.0", b"2.17.1", b"2,17"),
        *(b"2. 17", b"v2.17", b"2.17, 2.16", b"+2.17", b"2.1e1", b"\xb2.17"),
        *(b"\xd9\xa2.1", b"2." + b"1" * 10, b"9" * 5000 + b".1", b"\x00"),
    ],
)
def test_version_that_is_absent_or_no_version_is_400(text):
    with pytest.raises(Malformed) as refused:
        headers.version_of(text)

    assert "X-Broker-API-Version" in refused.value.description
    assert "2.17" in refused.value.description


def test_versions_are_compared_part_by_part_as_numbers():
    assert headers.version_of(b"2.100") > headers.version_of(b"2.17")
    with pytest.raises(VersionUnsupported):
        headers.version_of(b"2.9")


@given(st.binary(max_size=40))
def test_no_bytes_make_the_version_anything_but_400_or_412(value):
    try:
        major, minor = headers.version_of(value)
    except (Malformed, VersionUnsupported):
        return
    assert major == 2
    assert minor >= 11


# --- X-Broker-API-Originating-Identity ----------------------------------------------


def said(platform: str, value: Any) -> bytes:
    """A header as a platform writes it."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return platform.encode() + b" " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("platform", "value"),
    [
        ("cloudfoundry", {"user_id": "683ea748"}),
        ("kubernetes", {"username": "duke", "uid": "c2", "groups": ["a"], "extra": {}}),
        ("something-else", {"ä": [None, 1.5]}),
    ],
)
def test_identity_is_read_whatever_the_platform(platform, value):
    assert headers.identity_of(said(platform, value)) == Identity(platform, value)


def test_identity_is_read_from_the_other_alphabet_and_without_padding():
    value = {"user": "??>>~~ü"}
    text = base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
    assert b"-" in text or b"_" in text

    assert headers.identity_of(b"cf   " + text + b" ") == Identity("cf", value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="absent"),
        pytest.param(b"", id="empty"),
        pytest.param(b"cloudfoundry", id="no value"),
        pytest.param(b" e30=", id="no platform"),
        pytest.param(b"cf !!!", id="no base64"),
        pytest.param(b"cf e30=e", id="broken padding"),
        pytest.param(said("cf", b"{"), id="no JSON"),
        pytest.param(said("cf", b"\xff\xfe"), id="no text"),
        pytest.param(said("cf", [1]), id="no object"),
        pytest.param(said("cf", "x"), id="a string"),
        pytest.param(said("cf", b'{"a": NaN}'), id="NaN"),
        pytest.param(said("cf", b'{"a": 1e999}'), id="too large a number"),
        pytest.param(said("cf", b'{"a": "\\ud800"}'), id="half a surrogate pair"),
        pytest.param(said("cf", b'{"a": "\\u0000"}'), id="NUL"),
        pytest.param(said("cf", b'{"a":' + b"[" * 5000), id="5,000 brackets"),
        pytest.param(said("cf", b'{"a":' + b"9" * 5000 + b"}"), id="5,000 digits"),
        pytest.param(said("cf", {"a": "x" * 60_000}), id="longer than any"),
        pytest.param(b"c\xff " + base64.b64encode(b"{}"), id="platform not ASCII"),
    ],
)
def test_identity_that_cannot_be_read_is_nobody_and_no_refusal(value):
    assert headers.identity_of(value) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_an_identity_fail(value):
    found = headers.identity_of(value)
    assert found is None or isinstance(found.value, dict)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    )
)
def test_identity_comes_back_as_it_was_written(value):
    assert headers.identity_of(said("cf", value)) == Identity("cf", value)


async def test_unreadable_identity_does_not_stop_a_request(served):
    for number, value in enumerate((b"cf", b"cf !!!", said("cf", b'{"a": NaN}'))):
        answer = await served.client.put(
            served.instance(f"i-{number}"),
            json=served.provision(),
            headers={"X-Broker-API-Originating-Identity": value},
        )
        assert answer.status_code == 201


# --- X-Broker-API-Request-Identity --------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sent_back"),
    [
        (b"e26cee84-6b38-4456-b34e-d1a9f002c956", True),
        (b"any words, even \xc3\xa4", True),
        (b"x" * 1024, True),
        (b"x" * 1025, False),
        (b"", False),
        (b"a\r\nset-cookie: b", False),
        (b"a\x00", False),
    ],
)
def test_request_identity_is_sent_back_unless_it_could_do_harm(value, sent_back):
    assert headers.echoable(value) is sent_back


# --- paths --------------------------------------------------------------------------

ROUTER = {
    "/v2/service_instances/{0}": "/v2/service_instances/-",
    "/v2/service_instances/{0}/last_operation": (
        "/v2/service_instances/-/last_operation"
    ),
    "/v2/service_instances/{0}/service_bindings/{1}": (
        "/v2/service_instances/-/service_bindings/-"
    ),
    "/v2/service_instances/{0}/service_bindings/{1}/last_operation": (
        "/v2/service_instances/-/service_bindings/-/last_operation"
    ),
}


@given(instance=IDS, binding=IDS)
def test_every_id_without_control_characters_is_found_whole(instance, binding):
    ids = quote(instance, safe=""), quote(binding, safe="")
    for template, path in ROUTER.items():
        target = headers.target_of(template.format(*ids).encode())

        assert target.path == path
        assert target.instance_id == instance
        assert target.binding_id == (binding if "{1}" in template else "")


@given(st.binary(max_size=60))
def test_no_bytes_make_reading_a_path_fail_or_reach_the_router(part):
    written = quote_from_bytes(part, safe="").encode()
    for raw in (
        b"/v2/service_instances/" + part,
        b"/v2/service_instances/" + written + b"/last_operation",
        part,
    ):
        try:
            target = headers.target_of(raw)
        except (Malformed, NotThere):
            continue
        assert target.path in {*ROUTER.values(), "/v2/catalog"}
        assert target is headers.CATALOG or 1 <= len(target.instance_id) <= 255


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"/", b"/v2", b"/v2/", b"/v2/catalogue", b"/v2//catalog", b"v2"),
        *(b"/v2/service_instances", b"/v2/service_instances/", b"/v2/catalog//"),
        *(b"/v2/service_instances/a/b", b"/v2/catalog/last_operation"),
        b"/v2/service_instances/a/service_bindings",
        b"/v2/service_instances/a/service_bindings/b/last_operation/c",
    ],
)
def test_path_that_is_none_of_ours_is_not_there(raw):
    with pytest.raises(NotThere):
        headers.target_of(raw)


@pytest.mark.parametrize("raw", [b"/v2/catalog", b"//v2/catalog", b"/v2/catalog/"])
def test_catalog_is_found_in_spite_of_slashes_too_many(raw):
    assert headers.target_of(raw) is headers.CATALOG


def test_id_in_a_refusal_is_called_by_its_kind_and_not_repeated():
    with pytest.raises(Malformed) as refused:
        headers.target_of(b"/v2/service_instances/i/service_bindings/b%0Ahunter2")

    assert "binding id" in refused.value.description
    assert "hunter2" not in refused.value.description
