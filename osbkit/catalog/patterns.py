"""Regular expressions of JSON Schema, made fit for Python.

JSON Schema means those of ECMAScript. Python's differ in what bites: `$` also
matches before a last line break, and `\\d`, `\\w`, `\\b` take letters and digits
of every script.
"""

import re
import warnings
from typing import Final

_TOKEN: Final = re.compile(r"\\.|[\[\]$]|[^\\\[\]$]+", re.DOTALL)


def for_python(pattern: str) -> str:
    """The same expression for Python's `re`.

    Raises:
        re.error: Python cannot read it (`\\p{…}`, `(?<name>…)`, a wrong bracket).
    """
    inside_class = False
    parts = []
    for match in _TOKEN.finditer(pattern):
        part = match[0]
        if part == "[":
            part = r"\[" if inside_class else part
            inside_class = True
        elif part == "]":
            inside_class = False
        elif part == "$" and not inside_class:
            part = r"\Z"
        parts.append(part)
    translated = "(?a)" + "".join(parts)
    with warnings.catch_warnings():  # of set operators that Python may get one day
        warnings.simplefilter("ignore", FutureWarning)
        re.compile(translated)
    return translated
