"""What chance meets too seldom: a process stands still in the worst moment, and wakes.

A batch of lifecycles is begun; each comes to a call whose answer the cloud holds. The
process P that most of them run on is stopped, its answers are sent, and while its
lease runs out the others go on. Every other batch is left in peace by all other
faults, so that it gets as far as it is meant to. Then P wakes, in each of these:

    Halted     in provision; deleted, and made again under the same id
    Unbound    in bind; unbound, and bound again under the same id
    Overtaken  in update; another process finished it, and a later update
    Undone     at the end of provision; another process failed, and is taking it back
    Crossed    before the effect; another process failed, and is taking it back
    Failing    with a failure; another process has succeeded
    Relapsing  while it takes back what failed; another process has it, and succeeds

Those that run elsewhere go on as ordinary ones. Nothing may be left, lost or changed
in any of them.

Units: seconds.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable

from tests.chaos import offers, scale
from tests.chaos.lines import ask
from tests.chaos.platforms import FLAG, Body, Korifi, World
from tests.chaos.processes import Member
from tests.chaos.wire import Answer, Client, NoAnswer

HELD = 8.0
MEANWHILE = 16.0
AFTER = 0.6


class Act(Korifi):
    """One lifecycle of a batch.

    Attributes:
        script: what the cloud does with its calls, once it is prepared.
        at: the call whose answer is held.
        prepared: it may be begun.
        pid: of the process that waits for it; 0 while there is none.
        first: asks the replica that is to run it, where a replica does.
    """

    timeout = 4.0
    script: dict[str, list[str]]
    at = "look"

    def __init__(self, world: World, number: int, cloud: int, port: int) -> None:
        super().__init__(world, number)
        self.first = Client(port, self.kind, world.requests)
        self.plan = "background"
        self.cloud = cloud
        self.pid = 0
        self.prepared = False
        self.values: Body = {"size": self.rng.randrange(100)}
        self.body = self._wanted(self.values)
        self.binding_id = self._uuid()

    async def begin(self) -> None:
        """Up to the held answer, or not that far."""
        steps = {verb: list(each) for verb, each in self.script.items()}
        await self._tell("script", steps=steps)
        usual, self.client = self.client, self.first
        try:
            await _at_most(self.start(), HELD)
        finally:
            self.client = usual
        self.pid = await self._reached(self.at, HELD)
        self.note(f"scene {type(self).__name__}: held in pid {self.pid}")

    async def prepare(self) -> None:
        """Make what must be there before."""
        self.prepared = True

    async def start(self) -> None:
        """The request whose call is held."""
        await self._sent("PUT", self.path, self.body)

    async def meanwhile(self) -> None:
        """What happens while P stands still."""

    async def finish(self) -> None:
        """Find out what the platform has; by the way of Korifi."""
        told = await self._rounds(self.path, self.body)
        if told is not None:
            self.has(self.values)

    async def forget_script(self) -> None:
        """From here on an ordinary lifecycle."""
        await self._tell("unscript")

    async def _tell(self, verb: str, **more: object) -> dict[str, list[int]]:
        return await ask(self.cloud, {"verb": verb, "instance_id": self.id, **more})

    async def release(self) -> None:
        """Send the held answer: P reads it when it wakes."""
        await self._tell("release", of=self.at)

    async def _reached(self, verb: str, seconds: float) -> int:
        """The pid of the process whose call is held; 0 if none comes."""
        give_up = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < give_up:
            pids = (await self._tell("reached", of=verb))["pids"]
            if pids:
                return pids[0]
            await asyncio.sleep(0.05)
        return 0

    async def _sent(self, method: str, path: str, body: Body) -> Answer:
        """Until it is answered by the broker itself."""
        while True:
            with contextlib.suppress(NoAnswer):
                answer = await self.ask(method, path, body, FLAG)
                if answer.status < 500:
                    return answer
            await self.pause(0.2)


class Halted(Act):
    """See the module."""

    script = {"look": ["hold"]}  # noqa: RUF012

    async def meanwhile(self) -> None:
        await self.remove(self.path)
        await self._sent("PUT", self.path, self.body)


class Unbound(Act):
    """See the module."""

    script = {"look": ["hold"]}  # noqa: RUF012

    @property
    def _bind_body(self) -> Body:
        return {**self.ids, "parameters": {}}

    async def prepare(self) -> None:
        self.prepared = await self.provision(self.body, self.values)

    async def start(self) -> None:
        await self._sent("PUT", self.path_of(self.binding_id), self._bind_body)

    async def meanwhile(self) -> None:
        await self.remove(self.path_of(self.binding_id))
        await self.start()

    async def finish(self) -> None:
        await self.bind(self.binding_id, self._bind_body)


class Overtaken(Act):
    """See the module."""

    script = {"look": ["hold"]}  # noqa: RUF012

    async def prepare(self) -> None:
        self.prepared = await self.provision(self.body, self.values)

    async def start(self) -> None:
        await self._patch({"size": 200 + self.rng.randrange(100)})

    async def meanwhile(self) -> None:
        await self._settled()
        await self._patch(self.last)
        await self._settled()

    async def finish(self) -> None:
        await self._settled()
        for _ in range(20):
            answer = await self._patch(self.last)
            if answer.status == 200:
                self.held.values = self.last
                return
            await self._settled()
        self.held.values = None

    @property
    def last(self) -> Body:
        """The values that count in the end."""
        return {"size": 999}

    async def _patch(self, values: Body) -> Answer:
        body = {"service_id": offers.SERVICE, "parameters": values}
        self.held.values = None
        return await self._sent("PATCH", self.path, body)

    async def _settled(self) -> None:
        await self.polled(self.path, "", 0.2)


class Undone(Act):
    """See the module."""

    script = {"configure": ["hold", "failed"], "delete": ["hold"]}  # noqa: RUF012
    at = "configure"

    async def meanwhile(self) -> None:
        await self._reached("delete", MEANWHILE)

    async def finish(self) -> None:
        state = await self.polled(self.path, "", 0.2)
        if state == "succeeded":
            self.has(self.values)
        elif state == "late":
            await self.remove(self.path)


class Crossed(Undone):
    """See the module."""

    script = {  # noqa: RUF012
        "look": ["hold"],
        "configure": ["failed"],
        "delete": ["hold"],
    }
    at = "look"


class Failing(Undone):
    """See the module."""

    script = {"configure": ["hold failed"]}  # noqa: RUF012
    at = "configure"

    async def meanwhile(self) -> None:
        await self.polled(self.path, "", 0.2)


class Relapsing(Failing):
    """See the module."""

    script = {"look": ["go", "hold"], "configure": ["failed"]}  # noqa: RUF012
    at = "look"


ACTS: tuple[type[Act], ...] = (
    Halted,
    Unbound,
    Overtaken,
    Undone,
    Crossed,
    Failing,
    Relapsing,
)


class Stage:
    """Plays batches, one after the other.

    Args:
        ports: of the replicas that run what they are asked; none where workers do.

    Attributes:
        quiet: nothing else is to go wrong at the moment.
        acts: every lifecycle that was begun.
        left: batches that are still to be played.
        counts: how many were in P when it stood still, by scene.
    """

    def __init__(
        self,
        world: World,
        members: list[Member],
        cloud: int,
        ports: list[int],
    ) -> None:
        self.quiet = False
        self.acts: list[Act] = []
        self.left = 0
        self.counts: Counter[str] = Counter()
        self._world = world
        self._members = members
        self._cloud = cloud
        self._ports = ports

    async def play(self, batches: int) -> None:
        """So many batches."""
        self.left = batches
        async with asyncio.TaskGroup() as over:
            while self.left:
                self.quiet = self.left % 2 == 1
                if self.quiet:
                    await self._all_up()
                await self.batch(over)
                self.quiet = False
                self.left -= 1

    async def _all_up(self) -> None:
        """Wait for those that are starting or standing still; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MEANWHILE):
                for member in self._members:
                    await member.stands()

    async def batch(self, over: asyncio.TaskGroup) -> None:
        """One; its lifecycles come to their end in a group of tasks."""
        first = 1_000_000 + len(self.acts)
        ports = self._ports
        port = ports[self.left % len(ports)] if ports else self._world.port
        width = 1 if ports else 2
        acts = [
            kind(self._world, first + number, self._cloud, port)
            for number, kind in enumerate(ACTS * width)
        ]
        self.acts += acts
        await asyncio.gather(*(_at_most(act.prepare(), HELD) for act in acts))
        ready = [act for act in acts if act.prepared]
        await asyncio.gather(*(act.begin() for act in ready))
        member = self._busiest(acts)
        if member is not None:
            inside = [act for act in acts if act.pid == member.pid]
            for act in acts:
                if act not in inside:
                    await act.forget_script()
            await self._stand_still(member, inside)
        for act in acts:
            over.create_task(self._over(act))

    async def _stand_still(self, member: Member, inside: list[Act]) -> None:
        pid, member.spared = member.pid, True
        try:
            if not member.freeze():
                return
            self.counts.update(f"scene {type(act).__name__}" for act in inside)
            began = asyncio.get_running_loop().time()
            await asyncio.gather(*(act.release() for act in inside))
            async with asyncio.TaskGroup() as group:
                for act in inside:
                    group.create_task(_at_most(act.meanwhile(), MEANWHILE))
            left = began + scale.LEASE + 1.0 - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, left))
        finally:
            if member.pid == pid:
                member.thaw()
            await asyncio.sleep(AFTER)
            member.spared = False

    def _busiest(self, acts: list[Act]) -> Member | None:
        pids = Counter(act.pid for act in acts if act.pid)
        for pid, _ in pids.most_common():
            for member in self._members:
                if member.pid == pid and not member.frozen and not member.spared:
                    return member
        return None

    async def _over(self, act: Act) -> None:
        await act.forget_script()
        if act.prepared:
            await act.finish()
        else:
            await act.deprovision()
        act.done = True


async def _at_most(work: Awaitable[None], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(work, seconds)
