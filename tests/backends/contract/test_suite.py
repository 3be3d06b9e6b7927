"""The suite notices what a backend gets wrong: one mistake each, and who finds it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from osbkit import BindRequest, Bound, Found
from osbkit.backends.converging import QueueAccess
from osbkit.backends.postgresql import (
    PostgresQueues,
    QueueLimits,
    QueueParameters,
    has_database,
    marks,
    no_login,
    on_server,
    step,
)
from tests import servers
from tests.backends.contract import test_postgresql as suites


class CutsNobody(PostgresQueues):
    async def revoke(self, name: str, instance_name: str) -> None:
        async with self._session() as db:
            await step(db, [no_login(on_server(name))])


class LetsEveryRoleDoAll(PostgresQueues):
    def _groups(self, name: str, parameters: QueueAccess) -> tuple[str, ...]:
        return (f"{name}_readwrite",)


class LetsNeighboursIn(PostgresQueues):
    async def converge(self, wanted: Any) -> None:
        await super().converge(wanted)
        async with self._session() as db:
            name = on_server(wanted.name)
            await db.execute(f"GRANT CONNECT ON DATABASE {name} TO PUBLIC".encode())


class LeavesRoles(PostgresQueues):
    async def _drop(self, db: Any, roles: Any, heir: str | None = None) -> None:
        if heir is not None:
            await super()._drop(db, roles, heir)


class MendsNothing(PostgresQueues):
    async def converge(self, wanted: Any) -> None:
        async with self._session() as db:
            there = await has_database(db, on_server(wanted.name))
        if not there:
            await super().converge(wanted)


class FailsIfItExists(PostgresQueues):
    async def converge(self, wanted: Any) -> None:
        async with self._session() as db:
            assert not await has_database(db, on_server(wanted.name))
        await super().converge(wanted)


class ForgetsThePassword(PostgresQueues):
    calls = 0

    async def grant(
        self, request: BindRequest[QueueParameters, QueueAccess], password: str
    ) -> Bound:
        self.calls += 1
        return await super().grant(request, f"{password}{self.calls}")


class LosesMessages(PostgresQueues):
    async def revoke(self, name: str, instance_name: str) -> None:
        await super().revoke(name, instance_name)
        database = on_server(instance_name)
        async with self._session() as db:
            there = await has_database(db, database)
        if there:
            async with self._session(database) as db:
                await db.execute(f"SET ROLE {database}".encode())
                await db.execute("DELETE FROM queue.messages")


class ListsWhatOthersMade(PostgresQueues):
    async def inventory(self) -> AsyncIterator[Found]:
        async with self._session() as db:
            for _, mark in await marks(db):
                yield Found(name=mark["name"], instance_id=mark["instance"])


class AlwaysWell(PostgresQueues):
    async def ping(self) -> None:
        return


class OutlivesItsRights(PostgresQueues):
    async def revoke(self, name: str, instance_name: str) -> None:
        return


@pytest.mark.parametrize(
    ("backend", "finder"),
    [
        (CutsNobody, "unbind_cuts_live_connections_and_no_others"),
        (LetsEveryRoleDoAll, "each_role_is_refused_what_it_lacks"),
        (LetsNeighboursIn, "a_neighbour_is_refused"),
        (LeavesRoles, "unbind_and_deprovision_twice_and_out_of_order"),
        (LeavesRoles, "deprovision_with_live_connections"),
        (MendsNothing, "provision_broken_off_anywhere_is_mended_by_the_next"),
        (MendsNothing, "plan_up_and_down_ends_where_it_began_and_keeps_what_is_stored"),
        (FailsIfItExists, "provision_twice_ends_in_the_same_state"),
        (ForgetsThePassword, "bind_twice_gives_the_same_credentials"),
        (LosesMessages, "data_survives_unbind"),
        (ListsWhatOthersMade, "inventory_lists_its_own_with_their_ids"),
        (AlwaysWell, "ping_raises_when_the_server_cannot_be_reached"),
        (OutlivesItsRights, "rotation_keeps_both_alive"),
        (OutlivesItsRights, "bind_broken_off_anywhere_can_be_taken_back"),
    ],
)
def test_a_wrong_backend_is_found(backend: type[PostgresQueues], finder: str):
    servers.require("postgresql")
    suite = suites.TestQueues()
    suite.server = suites.prepared()
    limits = {
        "queue": QueueLimits(connections=5, messages=100),
        "queue-large": QueueLimits(connections=50, messages=100_000),
    }
    suite.backend = lambda host, port: backend(  # type: ignore[method-assign]
        suite.reached(host, port), limits
    )
    with pytest.raises(AssertionError):
        getattr(suite, f"test_{finder}")()
