"""Wrong in errors and content types."""

from tests.kit.matrix import Mutant, answers, fields, status

MUTANTS = [
    Mutant(
        "bind_of_nothing_is_500",
        "A binding of an instance that does not exist is answered 500.",
        fails=("mistakes_are_4xx",),
        change=answers("PUT binding", 404, status(500)),
    ),
    Mutant(
        "empty_error",
        "The error code of a 404 is empty.",
        fails=("error_is_a_word",),
        change=answers("", 404, fields(error="")),
    ),
]
