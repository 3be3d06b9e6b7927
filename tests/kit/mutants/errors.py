"""Wrong in errors and content types."""

from tests.kit.matrix import Mutant, answers, fields

MUTANTS = [
    Mutant(
        "empty_error",
        "The error code of a 404 is empty.",
        fails=("error_is_a_word",),
        change=answers("", 404, fields(error="")),
    ),
]
