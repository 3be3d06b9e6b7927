"""Places of a backend at which a test lets its calls wait.

gates = Gates()
scene = Scene(folder, pause=gates.pause)
gate = gates.shut("provision.3")      or shut(…, stubborn=True)
await gate.reached()                  a call stands there
gate.open()                           and goes on
"""

import asyncio

PATIENCE = 60.0


class Gate:
    """One place, shut.

    Attributes:
        stubborn: a call that waits here ignores that it is cancelled.
        cancelled: how often it was.
    """

    def __init__(self, *, stubborn: bool) -> None:
        self.stubborn = stubborn
        self.cancelled = 0
        self._there = asyncio.Event()
        self._open = asyncio.Event()
        self._asked = asyncio.Event()

    def open(self) -> None:
        """Let every call go on, those to come as well."""
        self._open.set()

    async def reached(self) -> None:
        """Return when a call waits here."""
        async with asyncio.timeout(PATIENCE):
            await self._there.wait()

    async def asked(self) -> None:
        """Return when a stubborn call was cancelled and has not heard."""
        async with asyncio.timeout(PATIENCE):
            await self._asked.wait()

    async def wait(self) -> None:
        """Wait here, on behalf of a backend."""
        self._there.set()
        while not self._open.is_set():
            try:
                await self._open.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                self._asked.set()
                if not self.stubborn:
                    raise


class Gates:
    """See the module."""

    def __init__(self) -> None:
        self._shut: dict[str, Gate] = {}

    def shut(self, place: str, *, stubborn: bool = False) -> Gate:
        """Let calls wait at a place from now on."""
        gate = self._shut[place] = Gate(stubborn=stubborn)
        return gate

    def forget(self, place: str) -> None:
        """Calls to come pass; those that wait still wait."""
        del self._shut[place]

    async def pause(self, place: str) -> None:
        """What a backend awaits between its effects."""
        await asyncio.sleep(0)
        gate = self._shut.get(place)
        if gate is not None:
            await gate.wait()
