"""Database servers for measurements: private, durable, stopped in the end.

Started as the tests start theirs (`tests.servers`), with memory of the size that
millions of rows want. What is not installed cannot be measured.
"""

import contextlib
from collections.abc import Iterator

from osbkit.store import migrate
from scripts.benchmarks.processes import CannotMeasure
from tests import servers

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}


class _Postgres(servers.PostgresServer):
    def command(self) -> list[str]:
        memory = ("--shared_buffers=1GB", "--max_wal_size=4GB")
        return [*super().command(), *memory]


class _Mariadb(servers.MariadbServer):
    def command(self) -> list[str]:
        return [*super().command(), "--innodb-buffer-pool-size=1G"]


KINDS: dict[str, type[servers.DatabaseServer]] = {
    "postgresql": _Postgres,
    "mariadb": _Mariadb,
}


def is_installed(kind: str) -> bool:
    """Whether this machine has the server."""
    return bool(servers.INSTALLED[kind]())


@contextlib.contextmanager
def serving(kind: str) -> Iterator[servers.DatabaseServer]:
    """A database server that is removed in the end.

    Raises:
        CannotMeasure: it is not installed.
    """
    if not is_installed(kind):
        raise CannotMeasure(
            f"{NAMES[kind]} is not installed: apt-get install {servers.PACKAGES[kind]}."
        )
    server = KINDS[kind](durable=True)
    try:
        yield server
    finally:
        server.remove()


def fresh(server: servers.DatabaseServer) -> str:
    """The URL of a new database with the tables."""
    url = server.fresh()
    migrate.upgrade(url)
    return url
