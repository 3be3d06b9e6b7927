"""The pages of the documentation fit the code, and each other."""

import ast
import re
import sqlite3
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from osbkit.api import credentials
from osbkit.domain import Operation
from osbkit.settings import known_names
from osbkit.store import migrate
from tests.docs.pages import PAGES, ROOT, Page, anchor, rows, told

OPERATIONS = Page(ROOT / "docs" / "operations.md")
LEVELS = {"debug", "info", "warning", "error"}


def events() -> Iterator[tuple[str, str]]:
    """Every event that osbkit logs, with its level, read from the source."""
    for path in sorted((ROOT / "osbkit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level),
                    args=[ast.Constant(value=str(name)), *_],
                ) if level in LEVELS:
                    yield name, level


def test_the_table_of_events_names_each_with_its_level():
    table = rows(OPERATIONS.section("## Logs"))

    assert [(told(cells[0])[0], cells[1]) for cells in table] == sorted(set(events()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_link_leads_somewhere(page: Page):
    broken = []
    for link in page.links():
        if link.startswith(("https://", "http://")):
            continue
        name, _, wanted = link.partition("#")
        target = Page((page.path.parent / name).resolve() if name else page.path)
        there = target.path.exists() and (not wanted or wanted in target.anchors())
        if not there:
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_setting_that_is_named_exists(page: Page):
    named = set(re.findall(r"\bOSBKIT_[A-Z_]+\b", page.text))

    assert {name.removesuffix("_") for name in named} <= set(known_names())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_block_of_code_can_be_parsed(page: Page):
    for block in page.blocks("python"):
        ast.parse(block)
    for block in page.blocks("yaml"):
        assert list(yaml.safe_load_all(block))


def test_the_programs_of_the_pages_are_formatted_as_the_rest(tmp_path: Path):
    for page in PAGES:
        for name, body in page.files().items():
            (tmp_path / name).write_text(body)
    ruff = f"{sysconfig.get_path('scripts')}/ruff"
    config = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(tmp_path)]

    formatted = subprocess.run([ruff, "format", "--check", *config], check=False)
    linted = subprocess.run([ruff, "check", "--ignore=I001", *config], check=False)

    assert (formatted.returncode, linted.returncode) == (0, 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_every_path_in_backticks_is_there(page: Page):
    roots = r"(?:\./)?(?:osbkit|docs|tests|scripts|examples|deploy)/"
    named = {word for word in told(page.prose) if re.match(roots, word)}
    paths = {word.split()[0] for word in named}

    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_the_index_names_every_page():
    index = Page(ROOT / "docs" / "README.md")
    linked = {(index.path.parent / link).resolve() for link in index.links()}

    assert {page.path for page in PAGES} - {index.path} <= linked


def test_the_credentials_file_of_the_page_can_be_used():
    (block,) = OPERATIONS.blocks("yaml")

    found = credentials.read(block.encode())

    assert [one.caller.label for one in found] == ["cf-prod", "cluster-a"]


def queries() -> list[str]:
    return re.findall(r'sqlite3 -readonly osbkit\.db "([^"]+)"', OPERATIONS.text)


@pytest.mark.parametrize("query", queries())
def test_the_queries_for_the_night_fit_the_tables(query: str, tmp_path: Path):
    migrate.upgrade(f"sqlite:///{tmp_path / 'osbkit.db'}")
    database: Any = sqlite3.connect(tmp_path / "osbkit.db")

    found = database.execute(query).fetchall()
    database.close()

    assert found == []


def test_there_are_queries_for_the_night():
    assert len(queries()) == 2
    assert Operation.__dataclass_fields__.keys() >= {"parked", "claims", "attempt"}


def test_rooms_of_the_architecture_are_the_rooms_there_are():
    page = Page(ROOT / "docs" / "architecture.md")
    table = rows(page.section("## The house"))
    named = {room for cells in table for room in told(cells[0])}
    there = {
        path.stem
        for path in (ROOT / "osbkit").iterdir()
        if not path.name.startswith(("_", "."))
    }

    assert named <= there
    assert there - named <= {"py", "version", "conformance"}


def test_anchors_are_made_as_links_name_them():
    assert anchor("What it promises, and what not yet") == (
        "what-it-promises-and-what-not-yet"
    )
