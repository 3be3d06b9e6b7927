"""The installed package runs: from the wheel, and from a checkout."""

import shutil
import sqlite3
import tomllib
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, Environment, clean_environment


def tables_of(database: Path) -> set[str]:
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows}
    finally:
        connection.close()


def test_the_wheel_runs_away_from_any_checkout(installed: Environment):
    module = installed.python("import osbkit; print(osbkit.__file__)")

    assert Path(module).is_relative_to(installed.path)
    assert ROOT not in Path(module).parents


def test_the_version_is_said_once(installed: Environment):
    said = installed.python("import osbkit; print(osbkit.__version__)")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert said == project["version"]
    assert f"## [{said}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_command_tells_what_it_can_do(installed: Environment):
    text = installed.osbkit("--help")

    for word in ("serve", "db", "catalog", "client", "credentials", "keys"):
        assert word in text


@pytest.mark.parametrize("module", ["osbkit", "osbkit.cli"])
def test_importing_reads_no_setting_and_writes_nothing(
    installed: Environment, module: str
):
    before = set(installed.work.iterdir())

    installed.python(f"import {module}", OSBKIT_PORT="none", OSBKIT_STRANGE="yes")

    assert set(installed.work.iterdir()) == before


def test_the_wheel_upgrades_a_new_database(installed: Environment, tmp_path: Path):
    database = tmp_path / "new.db"

    installed.osbkit("db", "upgrade", OSBKIT_DATABASE_URL=f"sqlite:///{database}")

    assert {"alembic_version", "instances", "bindings", "operations"} <= tables_of(
        database
    )


def test_an_editable_install_runs_the_migrations_of_its_checkout(
    sources: Path, tmp_path: Path
):
    checkout = tmp_path / "checkout"
    environment = clean_environment(tmp_path)
    shutil.copytree(sources, checkout)
    environment.install("--editable", checkout)
    first = min((checkout / "migrations" / "versions").glob("[!_]*.py"))
    seen = tmp_path / "seen"
    first.write_text(
        first.read_text()
        + f"\nopen({str(seen)!r}, 'w').write(__file__)  # added after the install\n"
    )

    environment.osbkit(
        "db", "upgrade", OSBKIT_DATABASE_URL=f"sqlite:///{tmp_path / 'new.db'}"
    )

    assert Path(seen.read_text()).is_relative_to(checkout)


def test_an_editable_install_copies_no_migrations(sources: Path, tmp_path: Path):
    """A copy in site-packages would stay behind when the checkout moves on."""
    environment = clean_environment(tmp_path)

    environment.install("--editable", sources)

    assert list(environment.path.rglob("site-packages/osbkit")) == []
