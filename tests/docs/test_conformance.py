"""The page about the kit fits the command, the requirements, and the mutants."""

import re

from typer.testing import CliRunner

from osbkit.cli import app
from osbkit.conformance.reports import FORMATS
from osbkit.conformance.requirements import REQUIREMENTS
from tests.docs.pages import ROOT, Page, rows, told
from tests.kit.matrix import all_mutants

PAGE = Page(ROOT / "docs" / "conformance.md")
ID = re.compile(r"\b[A-Z]+-[0-9]{2}\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
STYLE = re.compile(r"\x1b\[[0-9;]*m")
BROKERS = ("### openbrokerapi 4.7.3", "### @sap/sbf 6.11.9")


def options() -> set[str]:
    """Every option that `osbkit check --help` tells."""
    shown = CliRunner().invoke(app, ["check", "--help"], env={"COLUMNS": "200"})
    return set(OPTION.findall(STYLE.sub("", shown.output))) - {"--help"}


def test_every_option_that_is_named_exists():
    assert set(OPTION.findall(PAGE.text)) <= options()


def test_the_synopsis_names_every_option():
    table = rows(PAGE.section("## Synopsis"))

    named = {option for cells in table for option in OPTION.findall(cells[0])}

    assert named == options()


def test_the_synopsis_names_every_report():
    table = rows(PAGE.section("## Synopsis"))

    named = {name for cells in table for name in told(cells[0])}

    assert set(FORMATS) <= named


def test_every_id_that_is_named_exists():
    named = set(ID.findall(PAGE.text))

    assert named
    assert named <= set(REQUIREMENTS)


def test_failures_of_others_have_the_level_of_their_requirements():
    for heading in BROKERS:
        table = rows(PAGE.section(heading))
        assert table

        for ids, level, *_ in table:
            for name in ID.findall(ids):
                asked = REQUIREMENTS[name]
                star = r"\*" if asked.derived else ""
                assert level == f"{asked.level.value}{star}", name


def test_failures_of_others_are_on_the_pinned_versions():
    peers = (ROOT / "scripts/benchmarks/peers.txt").read_text()
    package = (ROOT / "tests/conformance/others/sbf/package.json").read_text()

    assert "openbrokerapi==4.7.3 " in peers
    assert '"@sap/sbf": "6.11.9"' in package


def test_there_are_as_many_mutants_as_the_page_says():
    (least,) = re.findall(r"more than ([0-9]+) mutants", PAGE.text.replace("\n", " "))

    assert len(all_mutants()) > int(least)
