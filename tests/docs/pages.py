"""The pages of the documentation, taken apart: code blocks, tables, links.

A code block whose first line is `# name.ext` is that file.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.\w+)\n")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_COMMAND = re.compile(r"^    (\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file."""

    path: Path

    @property
    def text(self) -> str:
        """The whole of it."""
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCED.sub("", self.text)

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks of a language that are not files."""
        return [
            body
            for found, body in _FENCED.findall(self.text)
            if found == language and not _FILE.match(body)
        ]

    def files(self) -> dict[str, str]:
        """The blocks that are files, by name."""
        return {
            match[1]: body
            for _, body in _FENCED.findall(self.text)
            if (match := _FILE.match(body))
        }

    def commands(self) -> list[str]:
        """The lines that are indented as code, outside of fences."""
        return _COMMAND.findall(self.prose)

    def section(self, heading: str) -> str:
        """The text from a heading to the next one of its rank or above."""
        level, _, _ = heading.partition(" ")
        start = self.text.index(f"\n{heading}\n") + len(heading) + 2
        end = re.compile(rf"^#{{1,{len(level)}}} ", re.MULTILINE).search(
            self.text, start
        )
        return self.text[start : end.start() if end else None]

    def links(self) -> list[str]:
        """What its links lead to."""
        return _LINK.findall(self.prose)

    def anchors(self) -> set[str]:
        """The anchors that its headings make."""
        return {anchor(heading) for heading in _HEADING.findall(self.prose)}


def anchor(heading: str) -> str:
    """A heading as a link names it."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without heads and rules."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        head = number + 1 < len(lines) and lines[number + 1].startswith("| ---")
        if line.startswith("| ") and not line.startswith("| ---") and not head:
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def told(cell: str) -> list[str]:
    """What stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


README = Page(ROOT / "README.md")
PAGES = [
    Page(path)
    for path in [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("README.md")),
    ]
]
