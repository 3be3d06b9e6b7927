"""A broker in a process of its own, on a free port of this machine.

    server = Server(folder)
    server.start()              returns when it is ready
    server.kill()               SIGKILL, to this process only
    server.terminate()          SIGTERM; returns the exit status
    server.cloud                the ledger of what its backend did

Files of a server are in its folder: database, key, cloud, log.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.flows.crash.cloud import Cloud

ROOT = Path(__file__).parents[3]
TARGET = "tests.flows.crash.app:app"
TOKEN = "a-token-for-tests"
HEADERS = {"authorization": f"Bearer {TOKEN}", "x-broker-api-version": "2.17"}
PATIENCE = 90.0
FLAG: dict[str, Any] = {"accepts_incomplete": "true"}

Runner = Literal["uvicorn", "osbkit serve", "osbkit worker"]
Json = dict[str, Any]


class Server:
    """See the module.

    Args:
        folder: two servers on one folder share the database.
        runner: which command serves, or works.
        name: of its log.
        settings: further environment.

    Attributes:
        cwd: where the process is started.
    """

    cwd = ROOT

    def __init__(
        self,
        folder: Path,
        runner: Runner = "uvicorn",
        *,
        name: str = "server",
        **settings: str,
    ) -> None:
        self.folder = folder
        self.runner = runner
        self.settings = settings
        self.log = folder / f"{name}.log"
        self.cloud = Cloud(folder / "cloud.db")
        self.port = free_port()
        self.http = httpx.Client(headers=HEADERS, timeout=PATIENCE)
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    # --- the process ----------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start the process and wait for nothing."""
        assert self._process is None
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.cwd,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _command(self) -> list[str]:
        port = str(self.port)
        if self.runner == "uvicorn":
            return [
                *(sys.executable, "-m", "uvicorn", TARGET),
                *("--port", port, "--no-access-log"),
            ]
        command = ["serve", TARGET, "--port", port]
        if self.runner == "osbkit worker":
            command = ["worker", TARGET]
        return [sys.executable, "-c", "from osbkit.cli import main; main()", *command]

    def _environment(self) -> Mapping[str, str]:
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ
        }
        return kept | {
            "PYTHONPATH": str(ROOT),
            "OSBKIT_DATABASE_URL": f"sqlite:///{self.folder / 'broker.db'}",
            "OSBKIT_BEARER_TOKEN": TOKEN,
            "CRASH_CLOUD": str(self.folder / "cloud.db"),
            **self.settings,
        }

    def start(self) -> None:
        """Start it and return when it is ready; the port may have to change."""
        for _ in range(3):
            self.spawn()
            if self._comes_up():
                return
            if "address already in use" not in self.told():
                break
            self.port = free_port()
        raise AssertionError(f"the server did not start:\n{self.told()[-4000:]}")

    def _comes_up(self) -> bool:
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            if self.ended() is not None:
                return False
            if self.ready():
                return True
            time.sleep(0.02)
        return False

    def ready(self) -> bool:
        """What `/health/ready` says; of a worker its log."""
        if self.runner == "osbkit worker":
            return len(self.events("worker.started")) == self.starts
        try:
            return self.http.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ended(self) -> int | None:
        """The exit status of a process that has ended; None while it runs."""
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            self._process = None
        return status

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit status, within so many seconds."""
        assert self._process is not None
        status = self._process.wait(seconds)
        self._process = None
        return status

    def dies_or(self, claim: Callable[[], bool]) -> bool:
        """Whether the process ended by itself before a claim held."""
        died = False

        def over() -> bool:
            nonlocal died
            died = self.ended() is not None
            return died or claim()

        until(over, "it died, or the claim holds")
        return died

    def kill(self) -> None:
        """As a crash or the kernel would."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()
        self.http.close()
        self.http = httpx.Client(headers=HEADERS, timeout=PATIENCE)

    def freeze(self) -> None:
        """It stands still, as on a paused machine."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        os.kill(self.pid, signal.SIGCONT)

    def terminate(self, seconds: float = PATIENCE) -> int:
        """As an orchestrator would; the exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(seconds)

    def close(self) -> None:
        """Leave nothing of it running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.http.close()
        self.cloud.close()

    def told(self) -> str:
        """Its log."""
        return self.log.read_text() if self.log.exists() else ""

    def events(self, name: str) -> list[Json]:
        """The events of one name in its log."""
        found = []
        for line in self.told().splitlines():
            if line.startswith("{") and name in line:
                event = json.loads(line)
                if event.get("event") == name:
                    found.append(event)
        return found

    # --- requests -------------------------------------------------------------------

    def ask(
        self, method: str, path: str, body: Json | None = None, **query: Any
    ) -> httpx.Response:
        """One request; its answer is checked to be a JSON object."""
        answer = self.http.request(method, self.url + path, params=query, json=body)
        assert isinstance(answer.json(), dict)
        return answer

    def accepted(
        self, method: str, path: str, body: Json | None = None, **query: Any
    ) -> str:
        """Ask for something that goes on by itself; its operation."""
        answer = self.ask(method, path, body, **FLAG, **query)
        assert answer.status_code == 202, answer.text
        operation: str = answer.json()["operation"]
        return operation

    def ends(self, path: str, operation: str = "") -> Json:
        """Poll until an operation has ended; the last answer."""
        found: Json = {}

        def over() -> bool:
            nonlocal found
            poll = self.ask("GET", f"{path}/last_operation", operation=operation)
            assert poll.status_code == 200, poll.text
            found = poll.json()
            return bool(found["state"] != "in progress")

        until(over, f"{path} has ended")
        return found


class Asking:
    """A request in a thread of its own, whose answer may never come."""

    def __init__(self, url: str, body: Json) -> None:
        self._answer: httpx.Response | None = None
        self._thread = threading.Thread(target=self._ask, args=(url, body))
        self._thread.start()

    def _ask(self, url: str, body: Json) -> None:
        with contextlib.suppress(httpx.TransportError):
            self._answer = httpx.put(url, json=body, headers=HEADERS, timeout=PATIENCE)

    def answer(self) -> httpx.Response | None:
        """The answer; None where the connection broke."""
        self._thread.join()
        return self._answer


def until(claim: Callable[[], bool], what: str) -> None:
    """Wait until a claim holds; a test that waits too long fails with `what`."""
    give_up = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < give_up, f"still not so: {what}"
        time.sleep(0.005)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
