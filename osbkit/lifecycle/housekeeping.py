"""What has to be done from time to time, by one process of all.

    every      chore
    5 s        expired bindings are removed, as if their platform had asked for it
    1 min      jobs of killed workers are deleted
    1 h        finished operations and tombstones beyond their time are forgotten
    1 h        halted calls whose process never came back count as ended
    start, 1 h values that an older key sealed are sealed again

Every chore may be broken off, and done twice. Who does them holds a lease
(`store.leadership`) on a database that others share. Units: seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from osbkit.domain import DAY, MICROSECONDS, Caller
from osbkit.errors import DatabaseUnusable, RequestRejected, Unavailable
from osbkit.lifecycle.bindings import Bindings
from osbkit.lifecycle.house import House
from osbkit.operations.claiming import settle_forsaken
from osbkit.store import (
    bindings,
    identity,
    jobs,
    leadership,
    resealing,
    retention,
    tables,
)
from osbkit.store.bindings import Expired
from osbkit.store.rows import now
from osbkit.tasks import end
from osbkit.telemetry import log, trouble

TICK = 5.0
TERM = 20.0
"""How long another process waits for one that stopped without a word."""
MINUTE = 60.0
HOUR = 3600.0
RETRY = 60.0
"""Between two attempts to remove an expired binding."""
TOMBSTONE_DAYS = 90
HOUSEKEEPER = "osbkit:expiry"


@dataclass(slots=True)
class Chore:
    """Something to do, and when again (seconds; a moment of the event loop)."""

    do: Callable[[], Awaitable[None]]
    every: float
    due: float = 0.0


class Housekeeping:
    """Does the chores while it is open, if nobody else does."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._bindings = Bindings(house)
        self._task: asyncio.Task[None] | None = None
        self._chores = [
            Chore(self.expire, TICK),
            Chore(self.tidy_jobs, MINUTE),
            Chore(self.forget, HOUR),
            Chore(self.settle, HOUR),
            Chore(self.reseal, HOUR),
        ]

    def open(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Break off, and let another process begin."""
        if self._task is None:
            return
        await end(self._task)
        self._task = None
        if not self._house.store.alone:
            try:
                await self._house.store.write(
                    partial(leadership.leave, owner=self._house.engine.owner)
                )
            except Unavailable:
                return  # its lease runs out

    async def _run(self) -> None:
        lead = Chore(self._do_what_is_due, TICK)
        while True:
            await self._try(lead)
            await asyncio.sleep(TICK)

    async def _do_what_is_due(self) -> None:
        if not await self._leads():
            return
        loop = asyncio.get_running_loop()
        for chore in self._chores:
            if chore.due <= loop.time():
                chore.due = loop.time() + chore.every
                await self._try(chore)

    async def _leads(self) -> bool:
        """Whether this process is the one."""
        store = self._house.store
        if store.alone:
            return True
        owner = self._house.engine.owner
        until = now() + int(TERM * MICROSECONDS)
        led: bool = await store.write(
            partial(leadership.take, owner=owner, until=until)
        )
        return led

    async def _try(self, chore: Chore) -> None:
        """One chore that fails is no reason to leave out the others."""
        try:
            await chore.do()
        except Unavailable:
            chore.due = 0.0
        except Exception as error:  # noqa: BLE001 (it is tried again)
            name = getattr(chore.do, "__name__", "chore")
            log.error("housekeeping.failed", chore=name, **trouble(error))

    # --- the chores -----------------------------------------------------------------

    async def expire(self) -> None:
        """Remove bindings whose `expires_at` has passed."""
        tried_before = now() - int(RETRY * MICROSECONDS)
        over: list[Expired] = await self._house.store.read(
            partial(bindings.expired, now=now(), tried_before=tried_before)
        )
        await asyncio.gather(*map(self._expire, over))

    async def _expire(self, binding: Expired) -> None:
        """As the platform's DELETE with `accepts_incomplete` would."""
        about = {
            "instance_id": binding.instance_id,
            "binding_id": binding.binding_id,
        }
        try:
            await self._bindings.unbind(
                Caller(label=HOUSEKEEPER, platform=binding.platform),
                binding.instance_id,
                binding.binding_id,
                {"service_id": binding.service_id, "plan_id": binding.plan_id},
                accepts_incomplete=True,
            )
        except RequestRejected as rejected:
            log.info("binding.expiry_waits", why=type(rejected).__name__, **about)
        else:
            log.info("binding.expired", **about)

    async def tidy_jobs(self) -> None:
        """Delete jobs of operations that are over."""
        await self._house.store.write(jobs.forget, long=True)

    async def forget(self) -> None:
        """Drop what is older than its retention."""
        store, days = self._house.store, self._house.settings.retention_days
        while await store.write(partial(forget, days=days), long=True):
            await self._leads()

    async def settle(self) -> None:
        """End halted calls of processes that are long gone."""
        if not self._house.store.alone:
            await self._house.store.write(settle_forsaken, long=True)

    async def reseal(self) -> None:
        """Seal again what another key than the first of the ring sealed."""
        ring = self._house.store.ring
        if len(ring.labels) == 1:
            return
        sealed = 0
        try:
            for table in resealing.TABLES:
                sealed += await self._reseal(table)
            await self._house.store.write(identity.reseal)
        except DatabaseUnusable as damaged:
            log.error("reseal.stopped", sealed=sealed, problem=str(damaged))
            return
        if sealed:
            log.info("reseal.finished", sealed=sealed, unused=ring.labels[1:])

    async def _reseal(self, table: sa.Table) -> int:
        sealed, after = 0, None
        while True:
            portion: resealing.Portion = await self._house.store.write(
                partial(resealing.reseal, table=table, after=after), long=True
            )
            sealed += portion.sealed
            if portion.last is None:
                return sealed
            after = portion.last
            await self._leads()


def forget(db: sa.Connection, days: float, moment: Callable[[], int] = now) -> int:
    """Drop ended operations after `days`, tombstones after 90 days; a portion of each.

    Returns:
        how many rows; 0 when none is left.
    """
    dropped = retention.drop(db, tables.operations, int(moment() - days * DAY))
    dropped += retention.drop(db, tables.bindings, moment() - TOMBSTONE_DAYS * DAY)
    dropped += retention.drop(db, tables.instances, moment() - TOMBSTONE_DAYS * DAY)
    return dropped
