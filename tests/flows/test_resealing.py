"""After the first key changed: everything is sealed again, then the old key may go."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from osbkit import ServiceBackend
from osbkit.backends.scripted import ScriptedBackend
from osbkit.errors import DatabaseUnusable
from osbkit.lifecycle.housekeeping import Housekeeping
from osbkit.store import migrate, resealing
from osbkit.store.tables import SEALED, bindings, instances
from tests import servers
from tests.flows.serving import SYNC, Served, a_catalog, serving

OLD = "old:" + base64.b64encode(bytes(32)).decode()
NEW = "new:" + base64.b64encode(bytes([1] * 32)).decode()
HEAD = {"old": b"\x01\x03old", "new": b"\x01\x03new"}


@pytest.fixture(params=["sqlite", *servers.KINDS])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'osbkit.db'}"
    url = await asyncio.to_thread(servers.fresh, request.param)
    await asyncio.to_thread(migrate.upgrade, url)
    return str(url)


@asynccontextmanager
async def serving_with(keys: str, url: str, folder: Path) -> AsyncIterator[Served]:
    backend: ServiceBackend[Any, Any] = ScriptedBackend()
    async with serving(
        folder,
        {"queue": backend},
        a_catalog(),
        database_url=SecretStr(url),
        encryption_keys=SecretStr(keys),
    ) as served:
        yield served


async def labels(served: Served) -> set[bytes]:
    """The heads of every sealed value."""

    def unit(db: sa.Connection) -> set[bytes]:
        return {
            bytes(value)[:5]
            for column in SEALED
            for (value,) in db.execute(sa.select(column).where(column.is_not(None)))
        }

    return await served.read(unit)


async def filled(served: Served) -> Any:
    """Some instances and a binding; returns the binding as it is fetched."""
    for number in range(1, 4):
        await served.put(f"i-{number}", plan=SYNC, parameters={"size": number})
    await served.bind(plan=SYNC)
    return (await served.get_binding()).json()


async def test_what_an_old_key_sealed_is_sealed_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "PORTION", 2)
    async with serving_with(OLD, url, tmp_path) as served:
        before = await filled(served)
        assert await labels(served) == {HEAD["old"]}
    async with serving_with(f"{NEW},{OLD}", url, tmp_path) as served:
        await Housekeeping(served.running.house).reseal()
        assert await labels(served) == {HEAD["new"]}

    async with serving_with(NEW, url, tmp_path) as served:
        assert (await served.get_binding()).json() == before
        assert (await served.get("i-3")).json()["parameters"] == {"size": 3}


async def test_before_that_the_old_key_is_needed(url: str, tmp_path: Path) -> None:
    async with serving_with(OLD, url, tmp_path) as served:
        await filled(served)

    with pytest.raises(DatabaseUnusable, match="labelled 'old'"):
        async with serving_with(NEW, url, tmp_path):
            raise AssertionError("it started")


async def test_a_value_that_is_written_meanwhile_is_not_overwritten(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portion has read it; the update of the platform comes before its write."""
    async with serving_with(OLD, url, tmp_path) as served:
        await filled(served)
    async with serving_with(f"{NEW},{OLD}", url, tmp_path) as served:
        store = served.running.house.store
        fresh = store.ring.seal({"size": 9}, "instances.parameters", "any")
        honest = resealing._sealed_anew

        def unit(db: sa.Connection) -> None:
            column = instances.c.parameters

            def meanwhile(ring: Any, values: Any, uid: str) -> Any:
                changes = list(honest(ring, values, uid))
                (old,) = [was for one, was, _ in changes if one is column]
                change = sa.update(instances).where(column == old)
                db.execute(change.values(parameters=fresh))
                return changes

            monkeypatch.setattr(resealing, "_sealed_anew", meanwhile)
            assert resealing.reseal(db, instances, None).sealed == 0

        await store.write(unit)
        kept = await served.read(
            lambda read: read.execute(sa.select(instances.c.parameters)).all()
        )

    assert {bytes(row[0]) for row in kept} == {fresh}


async def test_one_key_needs_no_look(url: str, tmp_path: Path) -> None:
    async with serving_with(OLD, url, tmp_path) as served:
        await filled(served)
        before = await served.everything()
        await Housekeeping(served.running.house).reseal()
        after = await served.everything()

    assert after["bindings"] == before["bindings"]


async def test_a_value_that_no_key_opens_stops_it_and_is_named(
    url: str, tmp_path: Path
) -> None:
    async with serving_with(OLD, url, tmp_path) as served:
        await filled(served)
        await served.set(bindings, sa.true(), bound=b"\x01\x03old" + bytes(40))
    async with serving_with(f"{NEW},{OLD}", url, tmp_path) as served:
        await Housekeeping(served.running.house).reseal()  # says so, and goes on
        found = await labels(served)

    assert HEAD["old"] in found
    with pytest.raises(DatabaseUnusable, match="labelled 'old'"):
        async with serving_with(NEW, url, tmp_path):
            raise AssertionError("it started")
