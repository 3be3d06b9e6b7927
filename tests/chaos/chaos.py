"""One run: everything is started, things go wrong, it calms down, and is judged.

    Options ─► run ─► Report

Units: seconds.
"""

import asyncio
import base64
import contextlib
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import sqlalchemy as sa

from osbkit.store import migrate
from osbkit.store.address import server_of
from tests import servers
from tests.chaos import cloud, judge, platforms, processes
from tests.chaos.database import Database
from tests.chaos.faults import Faults
from tests.chaos.judge import Finding, Store
from tests.chaos.lines import Json, ask
from tests.chaos.platforms import KINDS, Platform, World
from tests.chaos.processes import Member, Nursery
from tests.chaos.proxy import CUT, Proxy
from tests.chaos.scenes import Stage
from tests.chaos.wire import Client, NoAnswer

KEYS = "chaos:" + base64.b64encode(bytes(range(32))).decode()
CALM = 180.0
READY = 60.0
CULPRITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is to be.

    Attributes:
        at_once: lifecycles side by side.
        scenes: batches of `scenes`; none where there is one process only.
        faults: False for a run in which nothing goes wrong.
        plant: a fault of `plants`.
        keep: where ledger and logs stay; None removes them.
    """

    lifecycles: int
    seed: str
    engine: Literal["embedded", "distributed"] = "embedded"
    database: Literal["sqlite", "postgresql"] = "postgresql"
    replicas: int = 3
    workers: int = 0
    at_once: int = 40
    scenes: int = 3
    faults: bool = True
    plant: str = ""
    keep: Path | None = None


@dataclass
class Report:
    """What became of it."""

    options: Options
    findings: list[Finding] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    held: int = 0
    seconds: float = 0.0
    calm: float = 0.0
    timelines: dict[str, list[str]] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """The four figures that must be 0."""
        told = Counter(finding.count for finding in self.findings)
        return {name: told[name] for name in judge.COUNTS}

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not self.findings and not self.wrong


class Run:
    """What is running."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.ledger = folder / "ledger.jsonl"
        self.report = Report(options)
        self.members: list[Member] = []
        self.cloud = 0
        self.url = ""
        self.database: Database | None = None
        self.lifecycles: list[Platform] = []

    # --- starting -----------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[Proxy]:
        """Cloud, database, replicas, workers and the proxy."""
        options = self.options
        async with AsyncExitStack() as stack:
            self.cloud = await self._cloud(stack)
            await self._database(stack)
            nursery = await self._nursery(stack)
            env = processes.environment(self.url, KEYS, self.cloud, self._more())
            roles: list[processes.Role] = ["api"] * options.replicas
            roles += ["worker"] * options.workers
            for number, role in enumerate(roles, 1):
                member = Member(
                    role, number, nursery, env, self.folder, options.seed,
                    alone=options.database == "sqlite",
                )  # fmt: skip
                self.members.append(member)
                life = asyncio.create_task(member.live())
                stack.push_async_callback(_ended, member, life)
            proxy = Proxy([one.port for one in self.members if one.port], options.seed)
            await proxy.open()
            stack.callback(proxy.close)
            await self.all_up()
            yield proxy

    def _more(self) -> dict[str, str]:
        options = self.options
        more = {"CHAOS_PLANT": options.plant} if options.plant else {}
        if options.engine == "distributed":
            worker = "none" if options.workers else "inline"
            more |= {"OSBKIT_ENGINE": "distributed", "OSBKIT_WORKER": worker}
        else:
            more |= {"OSBKIT_ENGINE": "embedded"}
        return more

    async def _cloud(self, stack: AsyncExitStack) -> int:
        process = await processes.python(
            "tests.chaos.cloud", str(self.ledger), self.options.seed
        )
        await stack.enter_async_context(processes.ending(process))
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise processes.DidNotStart("the cloud did not start")
        return int(line)

    async def _nursery(self, stack: AsyncExitStack) -> Nursery:
        process = await processes.python("tests.chaos.nursery")
        await stack.enter_async_context(processes.ending(process))
        nursery = Nursery(process)
        hearing = asyncio.create_task(nursery.listen())
        stack.callback(hearing.cancel)
        await nursery.ready()
        return nursery

    async def _database(self, stack: AsyncExitStack) -> None:
        if self.options.database == "sqlite":
            self.url = f"sqlite:///{self.folder / 'broker.db'}"
            return
        servers.require("postgresql")
        self.database = await asyncio.to_thread(Database)
        stack.callback(self.database.remove)
        self.url = await asyncio.to_thread(self.database.fresh)
        await asyncio.to_thread(migrate.upgrade, self.url)

    async def all_up(self) -> None:
        """Return when every process says that it is ready.

        Raises:
            DidNotStart: one does not within `READY`.
        """
        for member in self.members:
            try:
                await asyncio.wait_for(member.stands(), READY)
            except TimeoutError:
                told = member.log.read_text(errors="replace")[-3000:]
                problem = f"{member.name} is not up:\n{told}"
                raise processes.DidNotStart(problem) from None

    # --- the run ------------------------------------------------------------------

    async def go(self) -> Report:
        """All of it."""
        began = time.monotonic()
        async with self.started() as proxy:
            faults = Faults(self.members, self.database, self.options.seed)
            world = World(proxy.port, self.options.seed, self.report.requests)
            calmed = await self._live(world, faults, proxy)
            self.report.calm = time.monotonic() - calmed
            await self._judge(world)
            told = await ask(self.cloud, {"verb": "list"})
            for name, count in told["counts"].items():
                self.report.faults[f"cloud: {name}"] += count
            self.report.faults += proxy.counts + faults.counts
        self.report.wrong = world.wrong
        self.report.seconds = time.monotonic() - began
        return self.report

    async def _live(self, world: World, faults: Faults, proxy: Proxy) -> float:
        """Every lifecycle to its end; returns when the calm began."""
        options = self.options
        rng = random.Random(f"{options.seed}/kinds")
        self.lifecycles = [
            rng.choice(KINDS)(world, number) for number in range(options.lifecycles)
        ]
        if not options.faults:
            await self._all(self.lifecycles)
            calmed = time.monotonic()
            await self._settled()
            return calmed
        await ask(self.cloud, {"verb": "rates", "rates": cloud.RATES})
        proxy.cuts = CUT
        striking = asyncio.create_task(faults.go_on())
        embedded = options.engine == "embedded"
        ports = [one.port for one in self.members] if embedded else []
        stage = Stage(world, self.members, self.cloud, ports)
        faults.held_back = lambda: stage.quiet
        going = asyncio.create_task(self._everything(stage))
        try:
            await self._until_few_are_left(going, stage)
        finally:
            striking.cancel()
            await asyncio.wait({striking})
        proxy.cuts = 0.0
        await faults.calm()
        await ask(self.cloud, {"verb": "rates", "rates": {}})
        calmed = time.monotonic()
        await self.all_up()
        await asyncio.wait({going}, timeout=CALM)
        if not going.done():
            going.cancel()
            await asyncio.wait({going})
        else:
            going.result()
        self.lifecycles += stage.acts
        self.report.faults += stage.counts
        await self._settled()
        return calmed

    async def _everything(self, stage: Stage) -> None:
        """Lifecycles and scenes, side by side; scenes need more than one process."""
        batches = self.options.scenes if len(self.members) > 1 else 0
        async with asyncio.TaskGroup() as group:
            group.create_task(self._all(self.lifecycles[:]))
            group.create_task(stage.play(batches))

    async def _all(self, lifecycles: list[Platform]) -> None:
        room = asyncio.Semaphore(self.options.at_once)

        async def one(lifecycle: Platform) -> None:
            async with room:
                await lifecycle.run()

        async with asyncio.TaskGroup() as group:
            for lifecycle in lifecycles:
                group.create_task(one(lifecycle))

    async def _until_few_are_left(
        self, going: "asyncio.Task[None]", stage: Stage
    ) -> None:
        """The last ones come to their end in peace, or a storm would never end."""
        few = self.options.at_once // 2
        while not going.done():
            left = sum(not one.done for one in self.lifecycles)
            if left <= few and not stage.left:
                return
            await asyncio.sleep(0.1)

    async def _settled(self) -> None:
        """Wait until every operation is final and the cloud is quiet; not for ever."""
        give_up = time.monotonic() + CALM
        engine = self._engine()
        while time.monotonic() < give_up:
            left = await asyncio.to_thread(judge.open_operations, engine)
            busy = (await ask(self.cloud, {"verb": "list"}))["busy"]
            if not left and not busy:
                break
            await asyncio.sleep(0.3)
        engine.dispose()

    def _engine(self) -> sa.Engine:
        server = server_of(self.url)
        if server is None:
            return sa.create_engine(self.url)
        return sa.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))

    # --- judging ------------------------------------------------------------------

    async def _judge(self, world: World) -> None:
        report = self.report
        client = Client(world.port, "korifi", Counter())
        shown = {
            one.id: await _shown(client, one)
            for one in self.lifecycles
            if one.held.instance
        }
        engine = self._engine()
        store = await asyncio.to_thread(Store.read, engine)
        engine.dispose()
        things = (await ask(self.cloud, {"verb": "list"}))["things"]
        report.findings = judge.judge(self.lifecycles, store, things, shown)
        report.held = len(shown)
        for rows in store.operations.values():
            for row in rows:
                report.operations[row["kind"]] += 1
                report.operations["claimed again"] += row["attempt"] > 1
                report.operations["halted"] += bool(row["stop_asked"])
        known = {one.id: one for one in self.lifecycles}
        culprits = dict.fromkeys(one.instance_id for one in report.findings)
        for instance_id in tuple(culprits)[:CULPRITS]:
            report.timelines[instance_id] = judge.timeline(
                instance_id, known.get(instance_id), store, self.ledger
            )


async def _shown(client: Client, one: Platform) -> Json | None:
    """The parameters as GET tells them."""
    for _ in range(platforms.TRIES):
        with contextlib.suppress(NoAnswer):
            answer = await client.ask("GET", one.path, within=20)
            if answer.status < 500:
                found: Json | None = answer.body.get("parameters")
                return found if answer.status == 200 else None
        await asyncio.sleep(0.3)
    return None


async def _ended(member: Member, life: "asyncio.Task[None]") -> None:
    await member.retire()
    await asyncio.wait({life}, timeout=10)
    life.cancel()


async def run(options: Options) -> Report:
    """See the module."""
    folder = options.keep or Path(tempfile.mkdtemp(prefix="osbkit-chaos-", dir="/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return await Run(options, folder).go()
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
