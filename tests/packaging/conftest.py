"""Fixtures, each made once: what git tracks, the distributions, the wheel installed."""

from pathlib import Path

import pytest

from tests.packaging.environments import (
    ROOT,
    Environment,
    build,
    clean_environment,
    listed,
)


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that git tracks, relative to the root."""
    return listed()


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: tracked files, and new ones that are not ignored."""
    copy = tmp_path_factory.mktemp("sources")
    for path in listed("--cached", "--others", "--exclude-standard"):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes((ROOT / path).read_bytes())
        (copy / path).chmod((ROOT / path).stat().st_mode)
    return copy


@pytest.fixture(scope="session")
def sdist(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """osbkit-<version>.tar.gz"""
    return build("sdist", sources, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """osbkit-<version>-py3-none-any.whl"""
    return build("wheel", sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A clean environment with the wheel."""
    environment = clean_environment(tmp_path_factory.mktemp("installed"))
    environment.install(wheel)
    return environment
