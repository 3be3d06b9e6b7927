"""What the specification asks of a broker: 389 requirements, each with an ID.

    PROV-12  SHOULD*  Provisioning  An id in use is refused when ... differs.

The table is the file `requirements.tsv` beside this module: ID, level, the section of
the specification, whether it can be seen from outside, and the sentence in words of
our own. A star at the level says that no single sentence of the specification states
it: it follows from several.

IDs never change and are never used again. Their letters name the family, and a report
has one table for each family.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib.resources import files


class Level(StrEnum):
    """How much a failure weighs (RFC 2119)."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"

    @property
    def weight(self) -> int:
        """0 for MUST, 1 for SHOULD, 2 for MAY."""
        return list(Level).index(self)


FAMILIES: Mapping[str, str] = {
    "GEN": "General",
    "HDR": "Headers",
    "EXT": "Vendor extension fields",
    "AUTH": "Authentication",
    "URL": "URL properties",
    "ERR": "Errors",
    "CT": "Content type",
    "CAT": "Catalog",
    "SCHEMA": "Schemas",
    "MAINT": "Maintenance info",
    "ASYNC": "Synchronous and asynchronous",
    "CONC": "Concurrency",
    "LOP": "Polling instances",
    "BLOP": "Polling bindings",
    "POLL": "Polling duration",
    "PROV": "Provisioning",
    "FETCH": "Fetching instances",
    "UPD": "Updating",
    "META": "Instance metadata",
    "BIND": "Binding",
    "ROT": "Rotating bindings",
    "CRED": "Kinds of binding",
    "VOL": "Volume mounts",
    "ENDP": "Endpoints",
    "BFETCH": "Fetching bindings",
    "UNBIND": "Unbinding",
    "DEPROV": "Deprovisioning",
    "ORPH": "Orphan mitigation",
    "PROFILE": "Platform profiles",
}
"""Letters of the IDs and titles, in the order of the reports."""


@dataclass(frozen=True)
class Requirement:
    """One thing asked of a broker.

    Attributes:
        id: such as PROV-12.
        level: how much it weighs.
        derived: follows from several sentences; none states it alone.
        section: title of the section of the specification.
        unseen: cannot be proved from outside.
        sentence: what is asked, in our words.
    """

    id: str
    level: Level
    derived: bool
    section: str
    unseen: bool
    sentence: str

    @cached_property
    def family(self) -> str:
        """The letters of the ID."""
        return self.id.partition("-")[0]

    @cached_property
    def place(self) -> tuple[int, int]:
        """Sorts requirements as the reports show them."""
        return list(FAMILIES).index(self.family), int(self.id.partition("-")[2])


def _read() -> Mapping[str, Requirement]:
    text = files(__package__).joinpath("requirements.tsv").read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line)
    found = [
        Requirement(
            id=name,
            level=Level(level.removesuffix("*")),
            derived=level.endswith("*"),
            section=section,
            unseen=seen == "unseen",
            sentence=sentence,
        )
        for name, level, section, seen, sentence in rows
    ]
    return {each.id: each for each in sorted(found, key=lambda each: each.place)}


REQUIREMENTS: Mapping[str, Requirement] = _read()
"""Every requirement by its ID, in the order of the reports."""


def families_named(wanted: Iterable[str]) -> frozenset[str]:
    """The families that a person means.

    Args:
        wanted: letters of IDs (`PROV`) or titles ("Provisioning"), or the beginning
            of a title, in any case; commas part several.

    Raises:
        ValueError: naming what fits no family.
    """
    found: set[str] = set()
    for word in ",".join(wanted).split(","):
        asked = word.strip().lower()
        hits = {
            family
            for family, title in FAMILIES.items()
            if asked and (family.lower() == asked or title.lower().startswith(asked))
        }
        if not hits:
            raise ValueError(word.strip())
        exact = {hit for hit in hits if hit.lower() == asked}
        found |= exact or hits
    return frozenset(found)
