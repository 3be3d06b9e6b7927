"""Parameters from the command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osbkit.cli.reading import parameters
from osbkit.cli.terminal import Unusable


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a=5", 5),
        ("a=5.5", 5.5),
        ("a=true", True),
        ("a=null", None),
        ("a=[1,2]", [1, 2]),
        ('a={"b":1}', {"b": 1}),
        ('a="5"', "5"),
        ("a=five", "five"),
        ("a=", ""),
        ("a=b=c", "b=c"),
        ("a=NaN", "NaN"),
        ("a=Infinity", "Infinity"),
    ],
)
def test_a_value_is_json_or_else_text(pair, value):
    assert parameters([pair], None) == {"a": value}


def test_nothing_said_is_nothing_sent():
    assert parameters([], None) is None
    assert parameters([], "{}") == {}


def test_a_single_parameter_takes_the_place_of_one_in_the_object():
    assert parameters(["a=2"], '{"a": 1, "b": 1}') == {"a": 2, "b": 1}


@given(st.text(alphabet=st.characters(exclude_characters="=")))
def test_what_is_no_pair_is_refused_without_being_repeated(text):
    with pytest.raises(Unusable) as refused:
        parameters([f"s3cret{text}"], None)

    assert "s3cret" not in refused.value.sentence


@given(st.text())
def test_what_is_no_json_is_refused_without_being_repeated(text):
    with pytest.raises(Unusable) as refused:
        parameters([], "s3cret" + text)

    assert "s3cret" not in refused.value.sentence
