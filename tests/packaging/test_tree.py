"""What may not be in the repository, and what its scripts must be."""

import re
import stat
import sysconfig
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, succeed

# Written in parts, so that this file does not hold them.
INDEX = re.compile(
    "|".join(
        [
            r"pypi\." + "org",
            r"pythonhosted\." + "org",
            r"registry\." + "npmjs",
            r"deb\." + r"debian\.org",
            "index-" + "url",
            "trusted-" + "host",
        ]
    )
)
HOME = re.compile(r"/(?:home|Users)/[a-z]|(?<![\w.])/roo[t]/")
SCRIPTS = sorted(p for p in (ROOT / "scripts").iterdir() if p.is_file())


def lines_with(paths: list[Path], pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in paths:
        text = (ROOT / path).read_bytes().decode(errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{path}:{number}")
    return found


def test_no_file_names_a_package_index(tracked: list[Path]):
    assert lines_with(tracked, INDEX) == []


def test_no_file_names_a_place_on_somebodys_machine(tracked: list[Path]):
    here = {str(ROOT), sysconfig.get_path("purelib"), str(Path.home())} - {"/"}
    places = re.compile(
        "|".join([HOME.pattern, *(re.escape(place) + r"(?![\w-])" for place in here)])
    )

    assert lines_with(tracked, places) == []


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        pytest.param("--extra-index-" + "url=x", INDEX, id="option"),
        pytest.param("https://files.python" + "hosted.org/x", INDEX, id="address"),
        pytest.param("/ho" + "me/ann/x", HOME, id="home directory"),
        pytest.param("source = /ro" + "ot/x", HOME, id="home of root"),
    ],
)
def test_such_a_line_would_be_found(line: str, pattern: re.Pattern[str]):
    assert pattern.search(line)


@pytest.mark.parametrize(
    "script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda p: p.name
)
def test_a_script_is_executable_and_stops_at_the_first_error(script: Path):
    text = script.read_text()

    assert script.stat().st_mode & stat.S_IXUSR
    if text.startswith("#!/usr/bin/env bash\n"):
        succeed(["bash", "-n", script], cwd=ROOT)
        assert "\nset -euo pipefail\n" in text
    else:
        assert text.startswith("#!")


def test_state_secrets_and_environments_are_ignored(tracked: list[Path]):
    ignored = [
        ".demo/password",
        ".venv/bin/python",
        "secrets/basic-password",
        "deploy/secrets/password",
        "osbkit.db",
        "osbkit.db.key",
        "osbkit.db.lock",
        "osbkit.db-wal",
    ]

    said = succeed(["git", "check-ignore", *ignored], cwd=ROOT)

    assert said.split() == ignored
