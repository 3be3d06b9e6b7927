"""Servers that do not outlive their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.crash.server import Runner, Server


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Make servers, all in one folder unless told otherwise."""
    made: list[Server] = []

    def make(runner: Runner = "uvicorn", folder: Path = tmp_path) -> Server:
        server = Server(folder, runner)
        made.append(server)
        return server

    yield make
    for server in made:
        server.close()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """One server, not yet started."""
    return make_server()
