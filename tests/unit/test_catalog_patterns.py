"""Expressions of JSON Schema: judged as Python would, in linear time."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osbkit.catalog.patterns import for_python, searcher

PIECES = [
    *("a", "b", ".", "^", "$", "|", "(?:", "(", ")", "*", "+", "?", "{1,2}", "-", "é"),
    *(
        r"\d",
        r"\w",
        r"\s",
        r"\S",
        r"\W",
        r"\D",
        r"[^\S]",
        r"[^\W]",
        r"[\b]",
        r"\b",
        r"\.",
        "[a-c]",
        r"[^\d]",
        r"[\w-]",
        "[[a]",
    ),
    *("(?=a)", "(?!b)", r"\1", "#", " ", "/"),
]
TEXTS = st.text(alphabet="ab1_-. é\n٣\u212a[&#/", max_size=8)


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), TEXTS)
def test_expression_is_judged_as_python_judges_it(pattern, text):
    try:
        translated = for_python(pattern)
    except re.error:
        return

    assert searcher(translated)(text) == (re.search(translated, text) is not None)


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", r"^(\w|\d)*$", r"^(\w+\s?)*$", "(?:a|a)*b"]
)
def test_expression_that_would_try_for_ever_is_judged_at_once(pattern):
    """Python's own engine needs the age of the universe for the first of these."""
    assert not searcher(for_python(pattern))("a" * 5_000 + "!\n")


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^a(?=b)", "ab", True),
        (r"^(a)\1$", "aa", True),
        (r"^(a)\1$", "ab", False),
        ("a$", "a\n", False),
        (r"^\d$", "٣", False),
        (r"^\w$", "é", False),
    ],
)
def test_what_only_python_reads_is_left_to_python(pattern, text, found):
    assert searcher(for_python(pattern))(text) is found
