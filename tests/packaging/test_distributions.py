"""What stands in the sdist and in the wheel."""

import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.packaging.environments import ROOT, build


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_one_package_and_its_metadata(wheel: Path):
    tops = {name.split("/")[0] for name in names_in(wheel)}

    version = wheel.name.split("-")[1]
    assert tops == {"osbkit", f"osbkit-{version}.dist-info"}


def test_the_wheel_ships_every_module_and_migration(wheel: Path, sources: Path):
    modules = {
        str(path.relative_to(sources)) for path in sources.glob("osbkit/**/*.py")
    }
    migrations = {
        f"osbkit/{path.relative_to(sources)}"
        for path in sources.glob("migrations/**/*.py")
    }

    assert migrations, "the repository has no migrations"
    assert modules | migrations | {"osbkit/py.typed"} <= names_in(wheel)


def test_the_wheel_holds_no_test_example_or_leftover(wheel: Path):
    odd = [
        name
        for name in names_in(wheel)
        if "__pycache__" in name or name.startswith(("osbkit/tests", "osbkit/examples"))
    ]

    assert odd == []


def test_the_wheel_names_licence_versions_and_command(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
        command = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
        licence = archive.read(name.replace("METADATA", "licenses/LICENSE"))

    assert metadata["License-Expression"] == "Apache-2.0"
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert metadata["Requires-Python"] == ">=3.11"
    assert "osbkit = osbkit.cli:main" in command


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_checkout(
    sdist: Path, wheel: Path, tmp_path: Path
):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()

    again = build("wheel", unpacked, tmp_path / "again")

    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert {n: first.read(n) for n in first.namelist()} == {
            n: second.read(n) for n in second.namelist()
        }


@pytest.mark.parametrize(
    "name",
    [
        "LICENSE",
        "CHANGELOG.md",
        "requirements.lock",
        "scripts/test",
        "tests/conftest.py",
    ],
)
def test_the_sdist_can_be_tested_and_read(sdist: Path, name: str):
    with tarfile.open(sdist) as archive:
        inside = {member.name.partition("/")[2] for member in archive.getmembers()}

    assert name in inside
