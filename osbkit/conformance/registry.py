"""Which checks there are, and how one is written.

    @check("PROV-09", advice="Compare plan_id with the stored one; answer 409.")
    async def other_plan_conflicts(target: Target) -> None:
        \"\"\"A PUT of an id in use with another plan is answered 409.\"\"\"

    @every_answer("CT-01", when=lambda seen: bool(seen.body))
    def body_is_json(seen: Exchange) -> None:
        \"\"\"An answer with a body says that it is JSON.\"\"\"

A check proves requirements of one level, so that a failure weighs what they weigh.
An observer judges every exchange of a run; it passes when it has judged at least one.
"""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osbkit.conformance.exchange import Exchange
from osbkit.conformance.requirements import REQUIREMENTS, Level, Requirement

if TYPE_CHECKING:
    from osbkit.conformance.target import Target

Trying = Callable[["Target"], Awaitable[None]]
Judging = Callable[[Exchange], None]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One black-box check.

    Attributes:
        name: of its function; unique.
        requirements: what it proves, all of one level.
        sentence: what must hold; the first paragraph of the docstring.
        advice: what to change in a broker that fails it.
        since: the first API version that knows what it is about.
        alone: not beside other checks: it looks at what they would change.
        trying: the function of a check; None for an observer.
        judging, when: of an observer: the function, and which exchanges it is for.
    """

    name: str
    requirements: tuple[Requirement, ...]
    sentence: str
    advice: str
    since: tuple[int, int]
    alone: bool = False
    trying: Trying | None = None
    judging: Judging | None = None
    when: Callable[[Exchange], bool] = lambda seen: True

    @property
    def level(self) -> Level:
        """Of its requirements."""
        return self.requirements[0].level

    @property
    def family(self) -> str:
        """Of its first requirement; the table in which it stands."""
        return self.requirements[0].family

    @property
    def place(self) -> tuple[tuple[int, int], str]:
        """Sorts checks as the reports show them."""
        return self.requirements[0].place, self.name


_checks: dict[str, Check] = {}


def check(
    *ids: str, advice: str = "", since: str = "2.11", alone: bool = False
) -> Callable[[Trying], Trying]:
    """Register an async function as the proof of requirements.

    Args:
        ids: of requirements, all of one level.
        advice: what to change in a broker that fails; one or two sentences.
        since: the first API version that knows what it is about.
        alone: not beside other checks.
    """

    def register(function: Trying) -> Trying:
        _add(
            Check(
                name=_name(function),
                requirements=_requirements(ids),
                sentence=_sentence(function),
                advice=advice,
                since=version_of(since),
                alone=alone,
                trying=function,
            )
        )
        return function

    return register


def every_answer(
    *ids: str,
    when: Callable[[Exchange], bool],
    advice: str = "",
    since: str = "2.11",
) -> Callable[[Judging], Judging]:
    """Register a function that judges every exchange of the run.

    Args:
        when: which exchanges it is for. Exchanges without an answer never come.
    """

    def register(function: Judging) -> Judging:
        _add(
            Check(
                name=_name(function),
                requirements=_requirements(ids),
                sentence=_sentence(function),
                advice=advice,
                since=version_of(since),
                judging=function,
                when=when,
            )
        )
        return function

    return register


def _add(one: Check) -> None:
    if one.name in _checks:
        raise ValueError(f"two checks are called {one.name}")
    _checks[one.name] = one


def _name(function: Callable[..., object]) -> str:
    return function.__name__


def _requirements(ids: Iterable[str]) -> tuple[Requirement, ...]:
    found = tuple(REQUIREMENTS[each] for each in ids)
    if len({each.level for each in found}) != 1:
        raise ValueError(f"{ids} are not requirements of one level")
    return found


def _sentence(function: Callable[..., object]) -> str:
    words = (function.__doc__ or "").split("\n\n")[0].split()
    if not words:
        raise ValueError(f"{_name(function)} has no docstring")
    return " ".join(words)


def version_of(text: str) -> tuple[int, int]:
    """An API version as two numbers that can be compared."""
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def all_checks() -> list[Check]:
    """Every check of the kit, in the order of the reports."""
    from osbkit.conformance import checks

    for module in pkgutil.iter_modules(checks.__path__):
        importlib.import_module(f"{checks.__name__}.{module.name}")
    return sorted(_checks.values(), key=lambda one: one.place)
