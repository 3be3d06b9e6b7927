"""Servers as processes: started, waited for, weighed, stopped.

Weighed by what the kernel says in /proc, children included, so the figures are
the server's alone: no client, no interpreter around it. CPU time comes in ticks
of a hundredth of a second; a measurement of two seconds knows it to about 1 %.

Units: seconds, MiB.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from passlib.hash import argon2

from scripts.benchmarks import workload

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")
STARTS_WITHIN = 30.0
STOPS_WITHIN = 15.0
SETTLES_WITHIN = 20.0
USER_TIME, SYSTEM_TIME = 11, 12  # of /proc/PID/stat, counted after the name


class CannotMeasure(Exception):
    """Something that is no figure: a server that did not start, a wrong answer."""


class Server:
    """A server of the catalog at `/v2/catalog`, on a port of its own.

    A subclass knows otherwise when it has started.

    Args:
        command: `{port}` in it is replaced.
        environment: all it gets beside PATH and HOME.
        log: where its output goes; a file, as a log collector would read.

    Attributes:
        began_within: seconds from the start of the process to its first answer.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG")
                if name in os.environ}  # fmt: skip
        began = time.monotonic()
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 (our own words)
                [part.replace("{port}", str(self.port)) for part in command],
                cwd=ROOT,
                env={**kept, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._wait(began + STARTS_WITHIN)
        self.began_within = time.monotonic() - began

    def _wait(self, give_up: float) -> None:
        while True:
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.kill()
                raise CannotMeasure(f"A server did not start:\n{self.said()}")
            if self.has_started():
                return
            time.sleep(0.005)

    def has_started(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/v2/catalog") == 200
        return False

    def ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """The status of one request."""
        return self._answer(method, path, body, headers or {}).status

    def etag(self) -> str:
        """What the catalog is known by."""
        return self._answer("GET", "/v2/catalog", None, {}).headers["ETag"]

    def _answer(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {**workload.HEADERS, **headers})
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        return answer

    def has_said(self, event: str) -> bool:
        """Whether an event is in its log."""
        return event in self._log.read_text(errors="replace")

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2_000:]

    def cpu(self) -> float:
        """Seconds of CPU that it and its children have used, all threads."""
        ticks = 0
        for pid in self._family():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[USER_TIME]) + int(fields[SYSTEM_TIME])
        return ticks / TICK

    def settled_cpu(self) -> float:
        """The same, once what was begun for the last requests has been done."""
        give_up = time.monotonic() + SETTLES_WITHIN
        before = self.cpu()
        while time.monotonic() < give_up:
            time.sleep(0.15)
            after = self.cpu()
            if after - before <= 1 / TICK:
                return after
            before = after
        raise CannotMeasure("A server did not come to rest after its last request.")

    def memory(self) -> float:
        """MiB that are resident."""
        kilobytes = 0
        for pid in self._family():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    kilobytes += int(line.split()[1])
        return kilobytes / 1024

    def _family(self) -> list[int]:
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def stop(self) -> None:
        """Ask it to leave, and make it if it does not."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as it stands."""
        self._process.kill()
        self._process.wait()


class Worker(Server):
    """`osbkit worker`: it serves nothing, and says when it has started."""

    def has_started(self) -> bool:
        """Whether it waits for work."""
        return self.has_said("worker.started")


def free_port() -> int:
    """A port of the loopback that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def osbkit(directory: Path, broker: str = "small", **settings: str) -> Server:
    """A broker of `brokers`, as `osbkit serve` runs it in production."""
    return Server(
        [
            str(ROOT / ".venv/bin/osbkit"),
            "serve",
            f"scripts.benchmarks.brokers:{broker}",
            "--port={port}",
        ],
        {
            "OSBKIT_DATABASE_URL": f"sqlite:///{directory}/broker.db",
            "OSBKIT_BASIC_USER": workload.USER,
            "OSBKIT_BASIC_PASSWORD": workload.PASSWORD,
            "OSBKIT_LOG_LEVEL": "INFO",
            **settings,
        },
        directory / "server.log",
    )


def on_a_server(
    url: str, directory: Path, broker: str = "small", **settings: str
) -> Server:
    """The same on a database server, whose tables are there."""
    return Server(
        [
            str(ROOT / ".venv/bin/osbkit"),
            "serve",
            f"scripts.benchmarks.brokers:{broker}",
            "--port={port}",
        ],
        {
            "OSBKIT_DATABASE_URL": url,
            "OSBKIT_ENCRYPTION_KEYS": workload.KEYS,
            "OSBKIT_BASIC_USER": workload.USER,
            "OSBKIT_BASIC_PASSWORD": workload.PASSWORD,
            **settings,
        },
        directory / "server.log",
    )


def worker(url: str, directory: Path, broker: str = "small", **settings: str) -> Worker:
    """A process that runs the operations of that database."""
    return Worker(
        [
            str(ROOT / ".venv/bin/osbkit"),
            "worker",
            f"scripts.benchmarks.brokers:{broker}",
        ],
        {
            "OSBKIT_DATABASE_URL": url,
            "OSBKIT_ENCRYPTION_KEYS": workload.KEYS,
            "OSBKIT_BASIC_USER": workload.USER,
            "OSBKIT_BASIC_PASSWORD": workload.PASSWORD,
            **settings,
        },
        directory / "worker.log",
    )


def hashed(directory: Path, module: str) -> Server:
    """The small broker of a module, its one credential hashed by argon2id."""
    file = directory / "credentials.json"
    directory.mkdir(exist_ok=True)
    basic = {
        "user": workload.USER,
        "password_hash": argon2.hash(workload.PASSWORD),  # type: ignore[no-untyped-call]
    }
    entry = {"label": "bench", "platform": "bench", "basic": basic}
    file.write_text(json.dumps({"credentials": [entry]}))
    return Server(
        [
            str(ROOT / ".venv/bin/osbkit"),
            "serve",
            f"scripts.benchmarks.{module}:small",
            "--port={port}",
        ],
        {
            "OSBKIT_DATABASE_URL": f"sqlite:///{directory}/broker.db",
            "OSBKIT_CREDENTIALS_FILE": str(file),
        },
        directory / "server.log",
    )


def bare(directory: Path) -> Server:
    """The routes of `bare`, served by the same uvicorn."""
    return Server(
        [
            str(ROOT / ".venv/bin/uvicorn"),
            "scripts.benchmarks.bare:app",
            "--http=httptools",
            "--no-access-log",
            "--port={port}",
        ],
        {},
        directory / "bare.log",
    )


def peer(directory: Path) -> Server:
    """The broker of `peer`, under gunicorn with one synchronous worker."""
    return Server(
        [
            str(ROOT / ".bench/bin/gunicorn"),
            "--workers=1",
            "--worker-class=sync",
            "--bind=127.0.0.1:{port}",
            "scripts.benchmarks.peer:app",
        ],
        {},
        directory / "peer.log",
    )


@contextlib.contextmanager
def running(server: Server, *, abruptly: bool = False) -> Iterator[Server]:
    """Stop a server in the end, whatever happens.

    Args:
        abruptly: without a farewell, for one whose operations never end.
    """
    try:
        yield server
    finally:
        if abruptly:
            server.kill()
        else:
            server.stop()
