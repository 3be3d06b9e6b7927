"""What a newer version recorded and this one does not know: left alone, told once.

It happens when a deployment is rolled back, or while both versions run.
"""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from osbkit.backends.scripted import Hold, ScriptedBackend, succeed
from osbkit.operations import leases
from osbkit.store import migrate, operations
from osbkit.store.tables import operations as table
from tests import servers
from tests.flows.serving import ASYNC, PATIENCE, Served, is_error, serving, soon, until
from tests.migrations.made_up import Log

KEYS = SecretStr("test:" + base64.b64encode(bytes(32)).decode())
NEWER = [
    pytest.param({"kind": "migrate"}, id="kind"),
    pytest.param({"phase": "sideways"}, id="phase"),
    pytest.param({"state": "paused"}, id="state"),
]


@pytest.fixture(params=["sqlite", *servers.KINDS])
async def settings(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Of a new database."""
    monkeypatch.setattr(leases, "WATCH", 0.05)
    if request.param == "sqlite":
        return {}
    url = await asyncio.to_thread(servers.fresh, request.param)
    await asyncio.to_thread(migrate.upgrade, url)
    return {"database_url": SecretStr(url), "encryption_keys": KEYS}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    kept = Log()
    monkeypatch.setattr(operations, "log", kept)
    return kept


async def begun(broker: Served, backend: ScriptedBackend, *instances: str) -> None:
    """Provisions that run when their process stops."""
    holds = {instance: Hold() for instance in instances}
    for instance, hold in holds.items():
        backend.next("provision", succeed(hold=hold))
        await broker.put(instance, plan=ASYNC, flag=True)
        await soon(hold.entered.wait())


async def ended(broker: Served, instance: str) -> None:
    """Return when its newest operation has ended well."""
    async with asyncio.timeout(PATIENCE):
        while (await broker.poll(instance)).json()["state"] != "succeeded":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def row_of(broker: Served, instance: str, kind: str | None = None) -> Any:
    """The columns of its operation, as they stand in the table."""
    wanted = sa.select(table).where(table.c.instance_id == instance)
    if kind is not None:
        wanted = wanted.where(table.c.kind == kind)
    return tuple(await broker.read(lambda db: db.execute(wanted).one()))


def told(log: Log) -> list[str]:
    """The operations that the log names as unreadable."""
    return [f["operation"] for name, f in log.events if name == "operation.unreadable"]


@pytest.mark.parametrize("newer", NEWER)
async def test_operation_of_a_newer_version_is_left_alone_and_others_go_on(
    tmp_path: Path, settings: dict[str, Any], newer: dict[str, str], log: Log
) -> None:
    backend = ScriptedBackend()
    async with serving(tmp_path, {"queue": backend}, **settings) as broker:
        await begun(broker, backend, "theirs", "ours")
        (theirs,) = await broker.operations("theirs")
        await broker.set(table, table.c.instance_id == "theirs", **newer)
    async with serving(tmp_path, {"queue": backend}, **settings) as broker:
        before = await row_of(broker, "theirs")
        await ended(broker, "ours")
        await broker.put("another", plan=ASYNC, flag=True)
        await ended(broker, "another")
        if tellable := "state" not in newer or not settings:  # what is due is live
            await until(lambda: told(log))
        after = await row_of(broker, "theirs")
        alive = await broker.http.get("/health/ready")

    assert after == before
    assert alive.status_code == 200
    assert [call.request.instance_id for call in backend.made("provision")] == [
        *("theirs", "ours"),
        *("ours", "another"),
    ]
    assert told(log) == [theirs.id] * tellable


@pytest.mark.parametrize("newer", NEWER)
async def test_request_that_meets_an_operation_of_a_newer_version_is_told_to_wait(
    tmp_path: Path, newer: dict[str, str]
) -> None:
    """GEN-02: 503, which no platform takes for an answer."""
    backend = ScriptedBackend()
    async with serving(tmp_path, {"queue": backend}) as broker:
        await begun(broker, backend, "theirs")
        await broker.set(table, table.c.instance_id == "theirs", **newer)

        for answer in (
            await broker.poll("theirs"),
            await broker.put("theirs", plan=ASYNC, flag=True),
            await broker.patch("theirs", flag=True, parameters={"size": 2}),
            await broker.delete("theirs", plan_id=ASYNC, flag=True),
            await broker.bind("b-1", "theirs", plan=ASYNC, flag=True),
        ):
            assert "being upgraded" in is_error(answer, 503)["description"]
            assert int(answer.headers["retry-after"]) > 0
        assert len(backend.made("provision")) == 1
        assert not backend.made("bind")


async def test_operation_beside_one_of_a_newer_version_is_not_held_up(
    tmp_path: Path,
) -> None:
    """Own account of a kind to come: it does not stand in a platform's way here."""
    backend = ScriptedBackend()
    async with serving(tmp_path, {"queue": backend}) as broker:
        await begun(broker, backend, "ours")
        (ours,) = await broker.operations("ours")
        strange = {"id": "f" * 32, "kind": "migrate", "live_key": None}

        def copy(db: sa.Connection) -> int:
            row = db.execute(sa.select(table).where(table.c.id == ours.id)).one()
            db.execute(sa.insert(table).values(row._asdict() | strange))
            return 1

        await broker.running.house.store.write(copy)
    async with serving(tmp_path, {"queue": backend}) as broker:
        await ended(broker, "ours")
        assert (await row_of(broker, "ours", "migrate"))[0] == "f" * 32
