"""Private database servers for tests: PostgreSQL and MariaDB of this machine.

One server of a kind for a whole run, started when the first test asks for it, in a
directory of its own below /tmp, on a free port of the loopback; its processes are
stopped by their ids when the run ends. Durability is off: a test that pulls the
plug asks for a server of its own.

    url = fresh("postgresql")     a new, empty database on it

What is not installed is skipped, and is a failure where CI=true.
"""

import atexit
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

START = 60.0
KINDS = ("postgresql", "mariadb")
PACKAGES = {"postgresql": "postgresql", "mariadb": "mariadb-server"}
ROOT = os.getuid() == 0


class DatabaseServer:
    """A running server.

    Attributes:
        port: on 127.0.0.1.
        pid: of its first process.
    """

    kind: str
    user: str

    def __init__(self, *, durable: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"osbkit-{self.kind}-", dir="/tmp"))
        self.port = free_port()
        self._durable = durable
        self._made = 0
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)
        self.prepare()
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def prepare(self) -> None:
        """Make the directory of its data."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What is run."""
        raise NotImplementedError

    def sql(self, statement: str) -> None:
        """Run a statement as the administrator."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self.identity(),
            )
        give_up = time.monotonic() + START
        while True:
            try:
                self.sql("SELECT 1")
                return
            except Exception:  # noqa: BLE001 (whatever the client says of it)
                if self._process.poll() is not None or time.monotonic() > give_up:
                    told = (self.folder / "log").read_text(errors="replace")
                    pytest.fail(f"{self.kind} did not start:\n{told[-3000:]}")
                time.sleep(0.05)

    def identity(self) -> dict[str, Any]:
        """Neither server runs as root."""
        return {"user": self.user} if ROOT else {}

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it at once, by its process id."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop it and remove its directory."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        self._made += 1
        name = f"osbkit_{self._made}_{secrets.token_hex(3)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of a database on it."""
        return f"{self.kind}://osbkit:a-password@127.0.0.1:{self.port}/{name}"

    def _own(self, *folders: Path) -> None:
        if ROOT:
            for folder in (self.folder, *folders):
                shutil.chown(folder, self.user)

    def _run(self, *command: str) -> None:
        subprocess.run(
            command, check=True, capture_output=True, cwd=self.folder, **self.identity()
        )


class PostgresServer(DatabaseServer):
    """PostgreSQL."""

    kind, user = "postgresql", "postgres"

    def prepare(self) -> None:
        self._own()
        password = self.folder / "password"
        password.write_text("a-password")
        password.chmod(0o644)
        self._run(
            f"{postgres_programs()}/initdb",
            *("-D", str(self.folder / "data"), "-U", "osbkit", "-A", "scram-sha-256"),
            *("--pwfile", str(password), "-E", "UTF8", "--no-locale", "--no-sync"),
        )

    def command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "32MB",
            "fsync": "on" if self._durable else "off",
            "synchronous_commit": "on" if self._durable else "off",
        }
        settings = [f"--{name}={value}" for name, value in options.items()]
        data = str(self.folder / "data")
        return [f"{postgres_programs()}/postgres", "-D", data, *settings]

    def sql(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            db.execute(statement.encode())


class MariadbServer(DatabaseServer):
    """MariaDB."""

    kind, user = "mariadb", "mysql"

    def prepare(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        self._own(data)
        program = shutil.which("mariadb-install-db")
        assert program is not None
        self._run(
            program,
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        first = self.folder / "first.sql"
        first.write_text(
            "CREATE USER IF NOT EXISTS 'osbkit'@'127.0.0.1' IDENTIFIED BY 'a-password';"
            "\nGRANT ALL ON *.* TO 'osbkit'@'127.0.0.1';\n"
        )
        first.chmod(0o644)

    def command(self) -> list[str]:
        program = shutil.which("mariadbd", path=SYSTEM_PATH)
        assert program is not None
        return [
            program,
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--init-file={self.folder / 'first.sql'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--max-connections=200",
            "--innodb-buffer-pool-size=32M",
            f"--innodb-flush-log-at-trx-commit={int(self._durable)}",
        ]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        super().stop(how)

    def sql(self, statement: str) -> None:
        client = shutil.which("mariadb")
        assert client is not None
        subprocess.run(
            [
                client,
                "--no-defaults",
                "--protocol=tcp",
                f"--port={self.port}",
                "--host=127.0.0.1",
                "--user=osbkit",
                "--password=a-password",
                f"--execute={statement}",
            ],
            check=True,
            capture_output=True,
        )


SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
SERVERS: dict[str, type[DatabaseServer]] = {
    "postgresql": PostgresServer,
    "mariadb": MariadbServer,
}


@cache
def postgres_programs() -> str | None:
    """The directory of the newest PostgreSQL of this machine."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: float(path.parts[-3]),
    )
    if found:
        return str(found[-1].parent)
    program = shutil.which("postgres")
    return None if program is None else str(Path(program).parent)


INSTALLED: dict[str, Callable[[], object]] = {
    "postgresql": postgres_programs,
    "mariadb": lambda: (
        shutil.which("mariadbd", path=SYSTEM_PATH)
        and shutil.which("mariadb-install-db")
        and shutil.which("mariadb")
    ),
}


DRIVERS = {"postgresql": ("asyncpg", "psycopg"), "mariadb": ("asyncmy", "pymysql")}


def require(kind: str) -> None:
    """Skip, or fail in CI, where a server or its drivers are not installed."""
    missing = ""
    if not INSTALLED[kind]():
        missing = f"{kind} is not installed (apt-get install {PACKAGES[kind]})"
    elif not all(importlib.util.find_spec(name) for name in DRIVERS[kind]):
        missing = f"the drivers of {kind} are not installed (scripts/setup)"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


@cache
def shared(kind: str) -> DatabaseServer:
    """The server of this run."""
    return SERVERS[kind]()


def fresh(kind: str) -> str:
    """The URL of a new, empty database; skips or fails where there is no server."""
    require(kind)
    return shared(kind).fresh()


def own(kind: str) -> DatabaseServer:
    """A server that one test stops and starts; durable; the caller removes it."""
    require(kind)
    return SERVERS[kind](durable=True)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
