"""What is wrong with a catalog, told so that whoever wrote it can mend it.

`Remark` is what a rule says of a place in the document; `Finding` is the same
with the place spelled out and the names of offering and plan beside it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from osbkit.catalog.places import Place, spell

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a catalog.

    Attributes:
        path: where, as `services[0].plans[1].id`, or the name of a file.
        problem: what is wrong there; reads on from the path.
        fix: what to write instead, as a sentence.
        level: an error stops the start, a warning is only told.
        names: the same place in names, `queue` or `queue/tiny`; may be empty.
    """

    path: str
    problem: str
    fix: str
    level: Level = "error"
    names: str = ""

    def __str__(self) -> str:
        where = f"{self.path} ({self.names})" if self.names else self.path
        return f"{where}: {self.problem}. {self.fix}"


class Remark(NamedTuple):
    """What a rule says, before the place is spelled out."""

    place: Place
    problem: str
    fix: str
    level: Level = "error"


def told(document: Mapping[str, Any], remarks: Iterable[Remark]) -> list[Finding]:
    """Spell remarks on a document out, each once, in the order they came."""
    return list(
        dict.fromkeys(
            Finding(
                path=spell(remark.place) or "catalog",
                problem=remark.problem,
                fix=remark.fix,
                level=remark.level,
                names=names_at(document, remark.place),
            )
            for remark in remarks
        )
    )


def names_at(document: Mapping[str, Any], place: Place) -> str:
    """The names of the offering and the plan that a place lies in."""
    names: list[str] = []
    here: Any = document
    for depth, key in ((2, "services"), (4, "plans")):
        if len(place) < depth or place[depth - 2] != key:
            break
        try:
            here = here[key][place[depth - 1]]
        except (KeyError, IndexError, TypeError):
            break
        name = here.get("name") if isinstance(here, Mapping) else None
        names.append(name if isinstance(name, str) and name.isprintable() else "?")
    return "/".join(names) if any(name.strip("?") for name in names) else ""
