"""What pydantic says of refused parameters, in words for the platform's user.

Pydantic's own messages repeat parts of the input in places (a union's tag, a
character of a UUID) and speak Python in others, so only its kinds of error and
the limits that come from the model are used. What an author wrote in a
ValueError is passed on, unless it holds what was refused.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import from_json
from pydantic_core.core_schema import ErrorType

from osbkit.catalog.places import Place
from osbkit.catalog.problems import counted, sentence_of

_GENERAL: Final = "is not valid"
_SHORTEST_SECRET: Final = 4  # characters; shorter words stand in any sentence
_MOST_LEAVES: Final = 1000
_CORE: Final = frozenset(get_args(ErrorType))

_SAID: Final[dict[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is not a known parameter",
    "json_invalid": "must be valid JSON",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be a smaller integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "none_required": "must be null",
    "string_type": "must be a string",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "bytes_type": "must be a string",
    "bytes_too_short": "must have at least {min_length} bytes",
    "bytes_too_long": "must have at most {max_length} bytes",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dataclass_type": "must be an object",
    "dataclass_exact_type": "must be an object",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "union_tag_not_found": "must name its kind in {discriminator}",
    "union_tag_invalid": "must have one of {expected_tags} in {discriminator}",
    "decimal_max_digits": "must have at most {max_digits} digits",
    "decimal_max_places": "must have at most {decimal_places} decimal places",
    "url_scheme": "must be a URL with the scheme {expected_schemes}",
    "recursion_loop": "must not be nested so deeply",
}
_JSON_WORD: Final = {"True": "true", "False": "false", "None": "null"}
_PYTHON_WORD: Final = re.compile(r"'(?:[^'\\]|\\.)*'|True|False|None")
_SAID_OF_A_FAMILY: Final = (
    ("datetime_", "must be a date and time as in RFC 3339"),
    ("date_", "must be a date as YYYY-MM-DD"),
    ("time_delta_", "must be a duration as in ISO 8601"),
    ("time_", "must be a time as HH:MM:SS"),
    ("timezone_", "must be a date and time as in RFC 3339"),
    ("uuid_", "must be a UUID"),
    ("url_", "must be a URL"),
    ("decimal_", "must be a decimal number"),
    ("bytes_", "must be a string of bytes"),
)


def problems(wrong: ValidationError, raw: bytes) -> Iterator[tuple[Place, str]]:
    """Each error at its place in the JSON text that was refused."""
    errors: list[Any] = wrong.errors(include_url=False)
    sent = None if errors[0]["type"] == "json_invalid" else from_json(raw)
    for error in errors:
        place, said = _place(error["loc"], sent, error["type"]), _said(error)
        of_a_name = error["loc"][-1:] == ("[key]",)
        yield place, f"has a name that {said}" if of_a_name else said


def _place(location: Place, sent: Any, kind: str) -> Place:
    """Leave out of pydantic's location what is no place: the members of a union."""
    place: list[str | int] = []
    here = sent
    for index, step in enumerate(location):
        is_last = index == len(location) - 1
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            if not (is_last and kind == "missing"):
                continue
        place.append(step)
    return tuple(place)


def _said(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("value_error", "assertion_error"):
        return _author(str(context.get("error", "")), error["input"])
    if kind not in _CORE:  # a PydanticCustomError of the author's
        return _author(error["msg"], error["input"])
    if kind in _SAID:
        words = {name: _for_users(value) for name, value in context.items()}
        return counted(_SAID[kind].format_map(words))
    for family, said in _SAID_OF_A_FAMILY:
        if kind.startswith(family):
            return said
    return _GENERAL


def _author(text: str, refused: Any) -> str:
    """An author's own sentence, unless the refused value stands in it."""
    leaves = _leaves(refused)
    if len(leaves) >= _MOST_LEAVES or any(_repeats(text, leaf) for leaf in leaves):
        return _GENERAL
    sentence = sentence_of(text)
    return f"{_GENERAL}: {sentence}" if sentence else _GENERAL


def _repeats(text: str, leaf: Any) -> bool:
    word = str(leaf)
    if len(word) >= _SHORTEST_SECRET:
        return word in text
    return isinstance(leaf, str) and repr(leaf) in text


def _leaves(value: Any) -> list[Any]:
    """The strings and numbers in a value, as far as one need look."""
    leaves: list[Any] = []
    waiting = [value]
    while waiting and len(leaves) < _MOST_LEAVES:
        here = waiting.pop()
        if isinstance(here, dict):
            waiting += here.values()
        elif isinstance(here, list | tuple | set | frozenset):
            waiting += here
        elif isinstance(here, str | int | float) and not isinstance(here, bool):
            leaves.append(here)
    return leaves


def _for_users(value: Any) -> Any:
    """Limits and words from the model, without Python's spelling of JSON."""
    if not isinstance(value, str):
        return value
    return _PYTHON_WORD.sub(lambda match: _JSON_WORD.get(match[0], match[0]), value)
