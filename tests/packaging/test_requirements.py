"""pyproject.toml, the two lock files and the imports of the code agree."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.environments import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
EXTRAS = [
    Requirement(text)
    for extra in PROJECT["project"]["optional-dependencies"].values()
    for text in extra
]
TOOLS = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
BUILD = [Requirement(text) for text in PROJECT["build-system"]["requires"]]

PIN = re.compile(
    r"(?P<name>[a-z0-9._-]+)==(?P<version>[^ ]+)(?: ; (?P<marker>.+?))?"
    r"(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
)


def pins_of(lock: str) -> dict[str, re.Match[str]]:
    """Name → pin; every character of the file belongs to one."""
    text = (ROOT / lock).read_text()
    pins = list(PIN.finditer(text))
    assert "".join(pin[0] for pin in pins) == text, "a line is no hashed pin"
    return {pin["name"]: pin for pin in pins}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-runtime.lock"])
def test_a_lock_is_hashed_pins_and_nothing_else(lock: str):
    """So no option, no address of an index, no path."""
    assert pins_of(lock)


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        pytest.param(
            "requirements.lock", [*RUNTIME, *EXTRAS, *TOOLS, *BUILD], id="everything"
        ),
        pytest.param("requirements-runtime.lock", [*RUNTIME, *EXTRAS], id="runtime"),
    ],
)
def test_a_lock_pins_what_pyproject_asks_for(lock: str, wanted: list[Requirement]):
    pins = pins_of(lock)

    missing = [
        str(requirement)
        for requirement in wanted
        if (pin := pins.get(canonicalize_name(requirement.name))) is None
        or not requirement.specifier.contains(pin["version"])
    ]
    assert missing == [], "run ./scripts/lock"


def test_an_image_runs_on_what_was_tested():
    everything, runtime = (
        pins_of("requirements.lock"),
        pins_of("requirements-runtime.lock"),
    )

    for name, pin in runtime.items():
        assert pin["version"] == everything[name]["version"]
        assert pin["hashes"] == everything[name]["hashes"]


def test_no_tool_is_needed_at_run_time():
    tools = {canonicalize_name(tool.name) for tool in TOOLS}
    tools -= {"packaging"}  # procrastinate needs it as well

    assert tools & set(pins_of("requirements-runtime.lock")) == set()


def third_party(path: Path) -> set[str]:
    """Top-level names that a module imports, in functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"osbkit", "migrations", "examples"}


@pytest.mark.parametrize("room", ["osbkit", "migrations", "examples"])
def test_every_import_is_declared(room: str):
    declared = {canonicalize_name(r.name) for r in [*RUNTIME, *EXTRAS]}
    declared.add(canonicalize_name("pydantic-core"))  # pydantic pins its version
    providers = packages_distributions()

    undeclared = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / room).rglob("*.py")
        for name in third_party(path)
        if not declared & {canonicalize_name(d) for d in providers.get(name, [])}
    }
    assert undeclared == set()
