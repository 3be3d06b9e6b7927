"""The records' own rules: equality of JSON, names of resources."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osbkit import Bound, DeprovisionRequest
from osbkit.domain import (
    Identity,
    WantedUpdate,
    base32,
    resource_name,
    same_json,
)
from tests.store.records import a_binding, an_instance, an_operation

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 2, allow_nan=False)
    | st.text("ab1", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab", max_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(JSON)
def test_value_is_the_same_as_itself_read_again(value):
    assert same_json(value, json.loads(json.dumps(value)))


@given(JSON, JSON)
def test_sameness_has_no_direction(left, right):
    assert same_json(left, right) == same_json(right, left)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        pytest.param(1, 1.0, True, id="1 and 1.0"),
        pytest.param(1, True, False, id="1 and true"),
        pytest.param(0, False, False, id="0 and false"),
        pytest.param(0.0, False, False, id="0.0 and false"),
        pytest.param(True, True, True, id="true and true"),
        pytest.param(None, False, False, id="null and false"),
        pytest.param(None, None, True, id="null and null"),
        pytest.param("1", 1, False, id="text and number"),
        pytest.param("", None, False, id="empty text and null"),
        pytest.param([], {}, False, id="empty list and empty object"),
        pytest.param({}, {"a": None}, False, id="absent and null"),
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, True, id="another order"),
        pytest.param([1, 2], [2, 1], False, id="a list in another order"),
        pytest.param([1], [1, 1], False, id="a longer list"),
        pytest.param({"a": [{"b": 1}]}, {"a": [{"b": True}]}, False, id="deep inside"),
        pytest.param(2**60, float(2**60), True, id="a large number"),
        pytest.param(2**60 + 1, float(2**60), False, id="one that is no double"),
    ],
)
def test_values_are_compared_as_json(left, right, expected):
    assert same_json(left, right) is expected
    assert same_json(right, left) is expected


# --- names ----------------------------------------------------------------------------


@given(IDS, IDS, st.integers(1, 10**6))
def test_name_is_of_24_harmless_characters(broker, instance, generation):
    for binding in (None, instance):
        name = resource_name(broker, instance, generation, binding, 1)

        assert re.fullmatch(r"osb-[a-z2-7]{20}", name)
        assert name == resource_name(broker, instance, generation, binding, 1)


def test_everything_that_tells_two_resources_apart_is_in_the_name():
    names = [
        resource_name("x", "i", 1),
        resource_name("y", "i", 1),
        resource_name("x", "j", 1),
        resource_name("x", "i", 2),
        resource_name("x", "i", 1, "b", 1),
        resource_name("x", "i", 1, "b", 2),
        resource_name("x", "i", 1, "c", 1),
        resource_name("x", "i", 2, "b", 1),
        resource_name("x", "j", 1, "b", 1),
    ]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("x", "ab", 1), ("xa", "b", 1), id="broker and instance"),
        pytest.param(("x", "i1", 1), ("x", "i", 11), id="instance and generation"),
        pytest.param(("x", "i", 1, "1", 1), ("x", "i", 1, "11", 0), id="binding"),
        pytest.param(("x", "i:1", 1), ("x", "i", 1, ":1", 1), id="a colon in an id"),
        pytest.param(("x", "I", 1), ("x", "i", 1), id="case"),
        pytest.param(("x", "é", 1), ("x", "e\u0301", 1), id="two ways to write é"),
    ],
)
def test_ids_that_run_together_have_names_of_their_own(one, other):
    assert resource_name(*one) != resource_name(*other)


def test_names_of_many_instances_do_not_meet():
    names = {resource_name("x", f"i-{number}", 1) for number in range(20_000)}

    assert len(names) == 20_000


def test_name_never_changes():
    """The first 20 letters of base32 of SHA-256 over the parts and their lengths;
    a name that changed would lose everything that was made under the old one."""
    assert resource_name("broker", "instance", 1) == "osb-kt3pmm7s2a546ejms7fw"
    assert resource_name("broker", "instance", 1, "binding", 2) == (
        "osb-s5wpzb3hqzus5qrafhev"
    )


@given(st.integers(0, 2**100 - 1))
def test_base32_is_the_number_digit_by_digit(number):
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    text = base32(number, 20)

    assert (
        sum(
            letters.index(letter) << 5 * place
            for place, letter in enumerate(text[::-1])
        )
        == number
    )


SECRET = "hunter2"
SEALED = {"password": SECRET}


@pytest.mark.parametrize(
    "record",
    [
        an_instance(parameters=SEALED, context=SEALED, facts=SEALED),
        a_binding(
            parameters=SEALED,
            context=SEALED,
            facts=SEALED,
            bound=SEALED,
            bind_resource=SEALED,
        ),
        an_operation(asked=SEALED, outcome=SEALED),
        Identity("cf", SEALED),
        WantedUpdate(service_id="s", parameters=SEALED, context=SEALED),
        Bound(credentials=SEALED, facts=SEALED, syslog_drain_url=SECRET),
        DeprovisionRequest(
            name="n",
            instance_id="i",
            offering="o",
            plan="p",
            platform="d",
            facts=SEALED,
            context=SEALED,
            identity=Identity("cf", SEALED),
        ),
    ],
    ids=lambda record: type(record).__name__,
)
def test_no_record_shows_what_is_sealed_at_rest(record):
    assert SECRET not in repr(record)
    assert type(record).__name__ in repr(record)
