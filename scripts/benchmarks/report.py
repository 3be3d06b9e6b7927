"""Lines of the table: name, figure, budget, `ok` or `MISS`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["ok", "MISS", "–"]
UNITS = {"µs": 0, "ms": 1, "s": 2, "MiB": 0, "times": 2, "/s": 0}
"""Units and the decimals they are printed with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a figure is held to.

    Attributes:
        limit: at most this; at least this where `least` is set.
        goal: what it is meant to become; never judged.
    """

    limit: float
    goal: float | None = None
    least: bool = False

    def kept_by(self, figure: float) -> bool:
        """Whether a figure is within it."""
        return figure >= self.limit if self.least else figure <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure.

    Attributes:
        budget: None for a line that is there to compare with.
        note: what else was seen.
        rounds: every measurement that the figure was taken from.
    """

    name: str
    figure: float
    unit: str
    budget: Budget | None = None
    note: str = ""
    rounds: tuple[float, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """`ok`, `MISS`, or a dash where nothing is asked."""
        if self.budget is None:
            return "–"
        return "ok" if self.budget.kept_by(self.figure) else "MISS"

    def text(self) -> str:
        """The line as it is printed."""
        figure = f"{self.figure:,.{UNITS[self.unit]}f} {self.unit}"
        told = f"{self.name:<38} {figure:>11}  {self._asked():<22} {self.verdict:<4}"
        return f"{told}  {self.note}".rstrip()

    def _asked(self) -> str:
        if self.budget is None:
            return ""
        sign = "≥" if self.budget.least else "≤"
        asked = f"{sign} {self.budget.limit:g} {self.unit}"
        if self.budget.goal is not None:
            asked += f" (goal {self.budget.goal:g})"
        return asked

    def record(self) -> dict[str, Any]:
        """The same for programs."""
        budget = self.budget
        return {
            "name": self.name,
            "figure": round(self.figure, 3),
            "unit": self.unit,
            "budget": None if budget is None else budget.limit,
            "at_least": budget is not None and budget.least,
            "goal": None if budget is None else budget.goal,
            "verdict": self.verdict,
            "note": self.note,
            "rounds": [round(one, 3) for one in self.rounds],
        }


def missed(lines: Iterable[Line]) -> list[str]:
    """The names of those that are over their budget."""
    return [line.name for line in lines if line.verdict == "MISS"]


def document(lines: list[Line], machine: dict[str, Any]) -> str:
    """Everything, as JSON."""
    whole = {
        "machine": machine,
        "ok": not missed(lines),
        "lines": [line.record() for line in lines],
    }
    return json.dumps(whole, ensure_ascii=False, indent=2)
