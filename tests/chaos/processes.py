"""The processes of a run: replicas, workers, the cloud, the database.

Everything that is started here is stopped here, by its process id.

Units: seconds.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from tests.chaos import scale
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
TARGET = "tests.chaos.app:app"
PATIENCE = 120.0
USER, PASSWORD = "chaos", "a-password-for-chaos"
SKEWS = (0.0, 2.0, -3.5, 30.0, -400.0, 0.4)
SMALL_SKEWS = (0.0, 0.7, -1.2)
"""On SQLite a process counts by its own clock: what is due waits for a clock that was
set back."""

PROBE = b"GET /health/ready HTTP/1.1\r\nhost: chaos\r\nconnection: close\r\n\r\n"

Role = Literal["api", "worker"]


class DidNotStart(Exception):
    """A process of the run ended before it was ready."""


async def python(*arguments: str) -> asyncio.subprocess.Process:
    """Start a module of ours, with pipes to talk to it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


@contextlib.asynccontextmanager
async def ending(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """It ends when its standard input does; else it is made to."""
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


class Nursery:
    """The other end of `nursery`: starts children, and hears of their end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ended: dict[int, asyncio.Event] = {}
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._turn = asyncio.Lock()
        self._ready = asyncio.Event()

    async def listen(self) -> None:
        """Hear what it tells, until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "ended" in said:
                self._ended[said["pid"]].set()
            elif "pid" in said:
                self._ended[said["pid"]] = asyncio.Event()
                self._born.put_nowait(said["pid"])
            else:
                self._ready.set()

    async def ready(self) -> None:
        """Return once it has imported everything."""
        await asyncio.wait_for(self._ready.wait(), PATIENCE)

    async def child(self, argv: list[str], env: dict[str, str], log: Path) -> int:
        """Start one; returns its pid."""
        order = {"argv": argv, "env": env, "log": str(log)}
        async with self._turn:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            return await self._born.get()

    def gone(self, pid: int) -> bool:
        """Whether a child has ended."""
        return self._ended[pid].is_set()

    async def end_of(self, pid: int) -> None:
        """Wait for a child's end."""
        await self._ended[pid].wait()


class Member:
    """A replica or a worker, started again whenever it has ended.

    Attributes:
        pid: of the present process.
        spared: a scene needs it: nobody else is to touch it.
        frozen: it was told to stand still.
    """

    def __init__(
        self,
        role: Role,
        number: int,
        nursery: Nursery,
        env: dict[str, str],
        folder: Path,
        seed: str,
        *,
        alone: bool,
    ) -> None:
        self.role = role
        self.name = f"{role}-{number}"
        self.port = free_port() if role == "api" else 0
        self.pid = 0
        self.spared = False
        self.frozen = False
        self.starts = 0
        self.log = folder / f"{self.name}.log"
        self._nursery = nursery
        self._env = env
        self._skews = random.Random(f"{seed}/{self.name}")
        self._choices = SMALL_SKEWS if alone else SKEWS
        self._wanted = True
        self.up = asyncio.Event()

    async def live(self) -> None:
        """Start it, and again, until told otherwise."""
        failures = 0
        while self._wanted:
            self.starts += 1
            self.pid = await self._nursery.child(self._argv(), self._given(), self.log)
            began = asyncio.get_running_loop().time()
            self.up.set()
            await self._nursery.end_of(self.pid)
            self.up.clear()
            lasted = asyncio.get_running_loop().time() - began
            failures = failures + 1 if lasted < 1.0 else 0
            if failures > 5:
                await asyncio.sleep(0.5)

    def _argv(self) -> list[str]:
        if self.role == "api":
            return ["serve", TARGET, "--port", str(self.port)]
        return ["worker", TARGET]

    def _given(self) -> dict[str, str]:
        skew = self._skews.choice(self._choices)
        return {**self._env, "CHAOS_SKEW": str(skew)}

    def send(self, what: signal.Signals) -> bool:
        """Signal the process, if it lives."""
        if not self.pid or self._nursery.gone(self.pid):
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, what)
            return True
        return False

    def kill(self) -> bool:
        """End it as it stands."""
        self.frozen = False
        return self.send(signal.SIGKILL)

    def freeze(self) -> bool:
        """Let it stand still."""
        self.frozen = self.send(signal.SIGSTOP)
        return self.frozen

    def thaw(self) -> None:
        """Let it go on."""
        self.frozen = False
        self.send(signal.SIGCONT)

    async def retire(self) -> None:
        """End it for good."""
        self._wanted = False
        self.kill()

    async def stands(self) -> None:
        """Return when it runs and is ready."""
        while self.frozen or not await self.says_ready():  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def says_ready(self) -> bool:
        """What `/health/ready` says."""
        if not self.port:
            return self.up.is_set()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(PROBE)
            line = await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()
        return line.startswith(b"HTTP/1.1 200")


def environment(
    url: str, keys: str, cloud: int, more: dict[str, str]
) -> dict[str, str]:
    """What a process of the broker is given."""
    return {
        **scale.settings(),
        "OSBKIT_DATABASE_URL": url,
        "OSBKIT_ENCRYPTION_KEYS": keys,
        "OSBKIT_BASIC_USER": USER,
        "OSBKIT_BASIC_PASSWORD": PASSWORD,
        "OSBKIT_LOG_FORMAT": "json",
        "CHAOS_CLOUD": str(cloud),
        **more,
    }
