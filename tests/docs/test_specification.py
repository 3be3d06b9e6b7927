"""The page about the specification fits the requirements, and what the broker does.

The tables of answers are read from the page: each row holds cases, parted by "; ",
one answer, and the rows of the matrix that it is about. `specification_cases` knows
how to ask for each case; what is expected stands in the page only.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.docs.pages import ROOT, Page, rows, told
from tests.docs.specification_cases import TRIALS, served

PAGE = Page(ROOT / "docs" / "specification.md")
MATRIX = ROOT / "osbkit" / "conformance" / "requirements.tsv"
ID = re.compile(r"\b[A-Z]+-[0-9]{2}\b")
SPAN = re.compile(r"\b([A-Z]+)-([0-9]{2})\s+to\s+\1-([0-9]{2})\b")
UNTRIED = "◦"

# --- requirements -------------------------------------------------------------------


def matrix() -> dict[str, str]:
    """Every requirement's section, by its ID."""
    lines = MATRIX.read_text(encoding="utf-8").splitlines()
    found = [line.split("\t") for line in lines if ID.match(line)]
    return {cells[0]: cells[2] for cells in found}


def named() -> set[str]:
    """Every ID that the page names, those within a span included."""
    spans = {
        f"{family}-{number:02}"
        for family, first, last in SPAN.findall(PAGE.text)
        for number in range(int(first), int(last) + 1)
    }
    return spans | set(ID.findall(PAGE.text)) - {"UTF-8"}


SUBSECTIONS = re.compile(r"(Body|Response|Parameters|Route$|Request \(|\(|JSON$|CAT-)")
"""Parts of a section that have no heading on the page, or of no section at all."""
IN_FULL = {
    "Authentication": "Platform to Service Broker Authentication",
    "Changes / Change Policy": "Change Policy for Minor Versions",
    "Updating": "Updating a Service Instance",
    "Fetching": "Fetching a Service Instance",
    "Polling LO": "Polling Last Operation for Service Instances",
    "Polling LO for Service Instances": "Polling Last Operation for Service Instances",
    "Polling LO for Service Bindings": "Polling Last Operation for Service Bindings",
    "maximum_polling_duration": "Polling Interval and Duration",
    "Polling": "Polling Interval and Duration",
    "profile": "Profile",
    "profile Catalog Extensions": "Catalog Extensions",
    "async bindings": "Asynchronous Operations",
}
WORDS_AFTER = re.compile(
    r"( etc\.| bodies| tables?| [0-9/]+| table \(.*\)| 4[0-9]{2}.*| Note)$"
)


def sections(cell: str) -> set[str]:
    """The headings that a cell of the matrix means, in full."""
    if cell in IN_FULL:
        return {IN_FULL[cell]}
    found = set()
    for part in re.split(r"; | ?/ ?(?=[A-Z]|max)", cell):
        title = WORDS_AFTER.sub("", part.strip())
        title = "Orphan Mitigation" if title.lower() == "orphan mitigation" else title
        if title and not title[0].isdigit() and not SUBSECTIONS.match(title):
            found.add(IN_FULL.get(title, title))
    return found


def headings() -> set[str]:
    """The titles of the page's sections; one heading may join several."""
    lines = re.findall(r"^##+ (.+)$", PAGE.prose, re.MULTILINE)
    return {title for line in lines for title in line.split(", ")}


def test_every_requirement_that_the_page_names_exists() -> None:
    assert named() - matrix().keys() == set()


def test_every_requirement_is_named_in_the_page() -> None:
    assert matrix().keys() - named() == set()


def test_every_section_of_the_matrix_has_its_heading() -> None:
    wanted = {title for cell in matrix().values() for title in sections(cell)}

    assert wanted - headings() == set()
    assert len(wanted) > 45


# --- what the page says -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table of answers.

    Attributes:
        answer: status and code, then fields of the body.
        tried: whether the page says that a test can send it.
    """

    cases: tuple[str, ...]
    answer: tuple[str, ...]
    tried: bool


def answers() -> list[Row]:
    """The rows of every table of answers."""
    found = []
    for table in re.findall(r"^\| case \| answer \|.*\n(?:\|.*\n)+", PAGE.text, re.M):
        for said, answer, _ in rows(table):
            tried = not said.startswith(UNTRIED)
            cases = said.removeprefix(UNTRIED).strip().split("; ")
            found.append(Row(tuple(cases), tuple(told(answer)), tried))
    return found


def trial_of(said: str) -> str | None:
    """The longest beginning of a case that somebody knows how to ask."""
    known = [beginning for beginning in TRIALS if said.startswith(beginning)]
    return max(known, key=len, default=None)


def difference(row: Row, got: httpx.Response) -> str | None:
    """How an answer differs from the page."""
    status, _, code = row.answer[0].partition(" ")
    fields = dict(each.split(": ") for each in row.answer[1:])
    body = got.json() if got.content else {}
    if str(got.status_code) != status or body.get("error", "") != code:
        return f"{got.status_code} {body}"
    if any(text_of(body.get(name)) != value for name, value in fields.items()):
        return f"{got.status_code} {body}"
    if got.is_error and ("description" in body) is (got.status_code == 410):
        return f"{got.status_code} {body}"
    return None


def text_of(value: Any) -> str:
    """A value of a body as the page writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def test_every_case_of_the_tables_is_tried_or_marked() -> None:
    cases = [each for row in answers() if row.tried for each in row.cases]
    used = {trial_of(each) for each in cases}

    assert [each for each in cases if trial_of(each) is None] == []
    assert TRIALS.keys() - used == set()
    assert len(cases) > 180


async def test_the_broker_answers_as_the_tables_say(tmp_path: Path) -> None:
    different = []
    async with served(tmp_path) as platform:
        for row in answers():
            for said in row.cases if row.tried else ():
                trial = TRIALS[trial_of(said) or ""]
                got = await trial(platform, told(said))
                if wrong := difference(row, got):
                    different.append(f"{said}: {wrong}, not {row.answer}")

    assert different == []
