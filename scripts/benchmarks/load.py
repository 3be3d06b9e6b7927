"""Load on a server by wrk: 16 connections, one thread, a closed loop.

A measurement is made several times and the best of each figure counts: what else
runs on the machine can only make a figure worse. All of them are kept.

Units: microseconds of the server's CPU per request, milliseconds of latency.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from scripts.benchmarks import workload
from scripts.benchmarks.processes import CannotMeasure, Server

CONNECTIONS = 16
SCRIPT = Path(__file__).with_name("requests.lua")
BROKEN_AT_MOST = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one run of wrk showed."""

    cpu: float
    rate: float
    p50: float
    p99: float
    requests: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of one measurement; each property is the best of its kind."""

    rounds: tuple[Round, ...]

    @property
    def cpu(self) -> float:
        """Microseconds of the server's CPU per request."""
        return min(one.cpu for one in self.rounds)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return max(one.rate for one in self.rounds)

    @property
    def p99(self) -> float:
        """Milliseconds in which 99 of 100 requests were answered."""
        return min(one.p99 for one in self.rounds)

    @property
    def note(self) -> str:
        """What stands beside a figure of CPU."""
        return f"{self.rate:,.0f} requests/s, p99 {self.p99:.1f} ms"


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk is to send.

    Attributes:
        arguments: of requests.lua.
        path: of a fixed request.
        headers: beside those of every request.
    """

    arguments: tuple[str, ...]
    path: str = "/"
    headers: tuple[str, ...] = ()

    def on(self, server: Server, seconds: float) -> Round:
        """Send it for so long, and weigh what it costs the server.

        Raises:
            CannotMeasure: requests were refused or broken off.
        """
        before = server.settled_cpu()
        seen = self._wrk(server.url, seconds)
        spent = server.settled_cpu() - before
        count = seen["requests"]
        if seen["refused"] or seen["broken"] > count * BROKEN_AT_MOST or not count:
            raise CannotMeasure(
                f"Of {count} requests ({self.arguments[0]} {self.path})"
                f" {seen['refused']} were refused and {seen['broken']} broken off.\n"
                f"{server.said()}"
            )
        return Round(
            cpu=spent / count * 1e6,
            rate=count / seen["microseconds"] * 1e6,
            p50=seen["p50"] / 1e3,
            p99=seen["p99"] / 1e3,
            requests=count,
        )

    def sample(self, server: Server) -> int:
        """The status that one such request is answered with."""
        extra = dict(header.split(": ", 1) for header in self.headers)
        fresh = f"/v2/service_instances/{uuid4()}"
        match self.arguments:
            case ("provision", query, body):
                return server.ask("PUT", fresh + query, body)
            case ("bind", query, body, file):
                instance, _ = first_of(file)
                path = f"/v2/service_instances/{instance}/service_bindings/{uuid4()}"
                return server.ask("PUT", path + query, body)
            case ("poll", file):
                instance, operation = first_of(file)
                path = f"/v2/service_instances/{instance}/last_operation"
                return server.ask("GET", f"{path}?operation={operation}")
            case _:
                return server.ask("GET", self.path, headers=extra)

    def _wrk(self, url: str, seconds: float) -> dict[str, int]:
        headers = [f"{name}: {value}" for name, value in workload.HEADERS.items()]
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--latency"]
        for header in (*headers, *self.headers):
            command += ["-H", header]
        command += ["-s", str(SCRIPT), url + self.path, "--", *self.arguments]
        done = subprocess.run(  # noqa: S603 (our own words)
            command, capture_output=True, text=True, check=False
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise CannotMeasure(f"wrk failed:\n{done.stdout}{done.stderr}")
        seen: dict[str, int] = json.loads(lines[-1])
        return seen


def first_of(file: str) -> tuple[str, str]:
    """The first instance id and operation id of a file."""
    with open(file) as lines:
        instance, operation = lines.readline().split()
    return instance, operation


def fixed(path: str, *headers: str) -> Load:
    """The same GET again and again."""
    return Load(("fixed",), path, headers)


def provision(plan: str, *, accepts_incomplete: bool) -> Load:
    """PUT of a new instance each time."""
    query = "?accepts_incomplete=true" if accepts_incomplete else ""
    return Load(("provision", query, workload.provision_body(plan)))


def bind(plan: str, ids: Path) -> Load:
    """PUT of a new binding each time, on one of the instances of a file."""
    return Load(("bind", "", workload.bind_body(plan), str(ids)))


def poll(ids: Path) -> Load:
    """GET of last_operation of one of the instances of a file."""
    return Load(("poll", str(ids)))


def measure(load: Load, server: Server, *, seconds: float, rounds: int) -> Measured:
    """Warm the server up, then measure."""
    load.on(server, 1)
    return Measured(tuple(load.on(server, seconds) for _ in range(rounds)))
