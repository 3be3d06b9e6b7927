"""What goes wrong while a run is on: processes, database, network, service.

    kill      kill -9 of a replica or worker, started again at once
    freeze    SIGSTOP for longer than a lease and the grace after it, then SIGCONT
    database  PostgreSQL stopped as by a power cut of the process, and started again

Every choice comes from the seed; what it meets does not. Scenes spare the processes
that they need themselves.

Units: seconds.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from tests.chaos import scale
from tests.chaos.database import Database
from tests.chaos.processes import Member

EVERY = 2.2
LONG = scale.LEASE + 1.5
RESTARTS = 16.0


class Faults:
    """See the module.

    Attributes:
        counts: how often what happened.
        held_back: whether nothing is to be begun at the moment.
    """

    def __init__(
        self, members: list[Member], database: Database | None, seed: str
    ) -> None:
        self.held_back: Callable[[], bool] = lambda: False
        self.counts: Counter[str] = Counter()
        self._members = members
        self._database = database
        self._rng = random.Random(f"{seed}/faults")
        self._tasks: set[asyncio.Task[None]] = set()
        self._restarting = asyncio.Lock()

    async def go_on(self) -> None:
        """Until cancelled."""
        restart = self._rng.uniform(0.3, 0.7) * RESTARTS
        while True:
            wait = self._rng.uniform(0.5, 1.5) * EVERY
            await asyncio.sleep(wait)
            restart -= wait
            if self.held_back():
                continue
            if self._database is not None and restart < 0:
                restart = self._rng.uniform(0.7, 1.3) * RESTARTS
                self._begin(self._restart(self._database))
            else:
                self._strike()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _strike(self) -> None:
        freezes = self._rng.random() < 0.25
        free = [one for one in self._members if not one.spared and not one.frozen]
        if not free:
            return
        member = self._rng.choice(free)
        if freezes:
            self._begin(self._freeze(member))
        elif member.kill():
            self.counts[f"kill -9, {member.role}"] += 1

    async def _freeze(self, member: Member) -> None:
        if not member.freeze():
            return
        pid = member.pid
        self.counts[f"SIGSTOP, {member.role}"] += 1
        await asyncio.sleep(LONG * self._rng.uniform(1.0, 1.4))
        if member.pid == pid and member.frozen:
            member.thaw()

    async def _restart(self, database: Database) -> None:
        """No checkpoint, no farewell; its log is played back at the start."""
        async with self._restarting:
            self.counts["PostgreSQL stopped"] += 1
            await asyncio.to_thread(database.crash)
            await asyncio.sleep(self._rng.uniform(0.0, 1.0))
            await asyncio.to_thread(database.start)

    async def calm(self) -> None:
        """End what was begun: everything runs afterwards."""
        for task in tuple(self._tasks):
            await task
        for member in self._members:
            if member.frozen:
                member.thaw()
