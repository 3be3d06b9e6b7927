"""A finished run, told: text for a terminal, JSON, JUnit and one HTML file."""

import importlib
from typing import Literal, get_args

from osbkit.conformance.reports.account import Account

Format = Literal["text", "json", "junit", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)


def render(told: Account, form: Format) -> str:
    """The report as a file of this format holds it."""
    module = importlib.import_module(f"{__name__}.{form}")
    text: str = module.render(told)
    return text
