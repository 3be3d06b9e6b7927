"""A database that a former version left behind is upgraded, served and emptied.

Each folder of `fixtures/` is one; `past` and `make_fixture` say what is in it.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from osbkit import Catalog
from osbkit.backends.scripted import Hold
from osbkit.cli import app
from osbkit.domain import MICROSECONDS
from osbkit.errors import CatalogUnsafe, DatabaseUnusable
from osbkit.store import migrate
from tests.flows.serving import Served, body_of, is_error, serving
from tests.migrations.past import (
    FIXTURES,
    LARGE,
    QUEUE,
    SLOW,
    SMALL,
    Cloud,
    Json,
    as_platforms,
    binding,
    instance,
    keys,
    wanted,
    write_credentials,
)

IDS = {"service_id": QUEUE, "plan_id": SMALL}
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())
MOMENTS = {
    "instances": ["created_at", "ended_at"],
    "bindings": ["expires_at", "created_at", "ended_at"],
    "operations": ["run_at", "deadline", "begun_at", "created_at", "ended_at"],
}
"""Columns of moments in the first schema; later ones add theirs."""


@dataclass(frozen=True)
class Left:
    """What a former version left: a copy to work on, and what it told and knew."""

    folder: Path
    catalog: Catalog
    operations: dict[str, str]
    secrets: dict[str, str]
    names: dict[str, str]
    answers: list[Json]

    @property
    def database(self) -> Path:
        return self.folder / "osbkit.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"


@pytest.fixture(params=VERSIONS)
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Left:
    """A copy of a fixture, as if that version had been killed a moment ago."""
    kept = FIXTURES / request.param
    shutil.copy(kept / "state.sqlite", tmp_path / "osbkit.db")
    shutil.copy(kept / "state.key", tmp_path / "osbkit.db.key")
    make_young(tmp_path / "osbkit.db")
    catalog = Catalog.from_yaml(kept / "catalog.yaml")
    return Left(tmp_path, catalog, **json.loads((kept / "answers.json").read_text()))


def make_young(path: Path) -> None:
    """Move every moment by the age of the file: deadlines and retention have not
    passed, whenever this test runs."""
    with closing(sqlite3.connect(path)) as db, db:
        (made,) = db.execute("SELECT max(created_at) FROM operations").fetchone()
        age = time.time_ns() * MICROSECONDS // 1_000_000_000 - made
        for table, columns in MOMENTS.items():
            for column in columns:
                db.execute(f"UPDATE {table} SET {column} = {column} + ?", [age])  # noqa: S608


@asynccontextmanager
async def served(left: Left, cloud: Cloud) -> AsyncIterator[dict[str, Served]]:
    """This version on that database, as each platform sees it."""
    file = left.folder / "credentials.yaml"
    passwords = write_credentials(file)
    async with serving(
        left.folder, {"queue": cloud}, left.catalog, credentials_file=file
    ) as broker:
        yield as_platforms(broker, passwords)


def upgrade(left: Left) -> str:
    """`osbkit db upgrade`; what it says."""
    result = CliRunner().invoke(app, ["db", "upgrade", "--database-url", left.url])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def held() -> Iterator[dict[str, Hold]]:
    """Everything that was running waits, so that it is still running."""
    holds = {name: Hold() for name in ("running", "making")}
    yield holds
    for hold in holds.values():
        hold.release()


def test_upgrade_brings_it_to_the_schema_of_today_and_is_repeatable(left):
    upgrade(left)
    again = upgrade(left)

    assert migrate.current(left.url) == migrate.head()
    assert "already" in again
    with closing(sqlite3.connect(left.database)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_start_upgrades_it_without_the_command(left):
    async with served(left, Cloud()):
        pass

    assert migrate.current(left.url) == migrate.head()


async def test_everything_that_was_told_is_told_again(left, held):
    """Bodies may have gained fields since; what they had stays."""
    upgrade(left)

    async with served(left, Cloud(held)) as seen:
        for told in left.answers:
            answer = await seen[told["platform"]].ask(
                "GET", told["path"], params=told["query"]
            )

            where = (told["platform"], told["path"])
            assert (*where, answer.status_code) == (*where, told["status"])
            assert told["body"].items() <= body_of(answer).items()


async def test_requests_of_then_are_recognised_and_others_are_conflicts(left):
    """What was sealed is compared: parameters, of instances and bindings."""
    upgrade(left)

    async with served(left, Cloud()) as seen:
        cluster, foundry = seen["cluster"], seen["foundry"]
        for path, same, other in [
            (instance("live"), wanted(LARGE, size=5), wanted(LARGE, size=3)),
            (
                binding("old", "live"),
                keys(LARGE, role="writer"),
                keys(LARGE, role="reader"),
            ),
        ]:
            assert (await cluster.ask("PUT", path, json=same)).status_code == 200
            is_error(await cluster.ask("PUT", path, json=other), 409)
        is_error(
            await foundry.ask("PUT", instance("live"), json=wanted(LARGE, size=5)), 409
        )


async def test_running_creation_goes_on_where_it_was(left):
    """One step was taken, one secret drawn: neither happens a second time."""
    upgrade(left)
    cloud = Cloud()

    async with served(left, cloud) as seen:
        cluster = seen["cluster"]
        await cluster.quiet()
        polled = await cluster.ask(
            "GET",
            instance("running") + "/last_operation",
            params={"operation": left.operations["running"]},
        )
        made = await cluster.row("running")

    assert body_of(polled)["state"] == "succeeded"
    (call,) = [one for one in cloud.made("provision") if one.of == "running"]
    assert (call.attempt, call.name) == (2, left.names["running"])
    assert cloud.secrets["running"] == left.secrets["running"]
    assert "running" not in cloud.users
    assert made.facts == {
        "name": left.names["running"],
        "user": {"user": "user-of-running", "secret": left.secrets["running"]},
    }


async def test_running_creation_is_polled_while_it_runs(left, held):
    upgrade(left)

    async with served(left, Cloud(held)) as seen:
        await held["running"].entered.wait()
        polled = await seen["cluster"].ask(
            "GET", instance("running") + "/last_operation"
        )

    assert body_of(polled) == {
        "state": "in progress",
        "description": "A user is there. (50 %)",
    }
    assert polled.headers["retry-after"] == "7"


async def test_binding_that_was_being_made_is_made(left):
    upgrade(left)
    cloud = Cloud()

    async with served(left, cloud) as seen:
        await seen["cluster"].quiet()
        fetched = body_of(await seen["cluster"].ask("GET", binding("making", "bound")))

    (call,) = cloud.made("bind")
    assert call.name == left.names["making"]
    assert fetched["credentials"]["uri"] == f"queue://{left.names['making']}"
    assert fetched["credentials"]["user"] == "user-of-bound"


async def test_creation_whose_platform_got_no_answer_is_taken_back(left):
    upgrade(left)
    cloud = Cloud()

    async with served(left, cloud) as seen:
        cluster = seen["cluster"]
        await cluster.quiet()
        is_error(await cluster.ask("GET", instance("owed")), 404)
        again = await cluster.ask("PUT", instance("owed"), json=wanted(SMALL))

    assert again.status_code == 201
    taken_back, made = [call for call in cloud.calls if call.of == "owed"]
    assert (taken_back.verb, taken_back.name) == ("deprovision", left.names["owed"])
    assert (made.verb, made.name == left.names["owed"]) == ("provision", False)


async def test_halted_creation_is_removed_by_the_delete_that_halted_it(left):
    upgrade(left)
    cloud = Cloud()
    path = instance("halted")

    async with served(left, cloud) as seen:
        cluster = seen["cluster"]
        await cluster.quiet()
        ended = {}
        for name in ("halted", "deletion"):
            query = {"operation": left.operations[name]}
            answer = await cluster.ask("GET", f"{path}/last_operation", params=query)
            ended[name] = body_of(answer)["state"]

    assert ended == {"halted": "failed", "deletion": "succeeded"}
    calls = [call for call in cloud.calls if call.of == "halted"]
    assert [(call.verb, call.name) for call in calls] == [
        ("deprovision", left.names["halted"])
    ]


async def test_clean_up_that_was_waiting_is_done(left):
    upgrade(left)
    cloud = Cloud()

    async with served(left, cloud) as seen:
        await seen["cluster"].hurry()
        row = await seen["cluster"].row("left")

    calls = [call for call in cloud.calls if call.of == "left"]
    assert [(call.verb, call.name) for call in calls] == [
        ("deprovision", left.names["left"])
    ]
    assert not row.residue


async def test_everything_can_be_removed_by_the_names_it_was_made_with(left):
    """Each binding and instance once, with the facts of then; then 410."""
    upgrade(left)
    cloud = Cloud()
    homes = {"live": "cluster", "theirs": "foundry", "bound": "cluster"}
    homes["running"] = "cluster"
    bindings = {"old": "live", "new": "live", "key": "theirs", "making": "bound"}

    async with served(left, cloud) as seen:
        await seen["cluster"].hurry()
        cloud.calls.clear()
        for name, of in bindings.items():
            await removed(seen[homes[of]], binding(name, of))
        for name, platform in homes.items():
            await removed(seen[platform], instance(name))

    calls = {call.of: call for call in cloud.calls}
    assert len(cloud.calls) == len(calls) == len(bindings) + len(homes)
    for name in bindings:
        call = calls[name]
        assert (call.verb, call.name) == ("unbind", left.names[name])
        assert call.facts == {"of": name}
    for name in homes:
        call = calls[name]
        assert (call.verb, call.name) == ("deprovision", left.names[name])
        assert call.facts is not None
        assert call.facts["name"] == left.names[name]
        assert call.facts["user"]["secret"] == left.secrets[name]
    assert calls["live"].facts is not None
    assert calls["live"].facts["size"] == 5
    with closing(sqlite3.connect(left.database)) as db:
        for table in ("instances", "bindings", "operations"):
            live = f"SELECT count(*) FROM {table} WHERE ended_at IS NULL"  # noqa: S608
            assert db.execute(live).fetchone() == (0,), table


async def removed(platform: Served, path: str) -> None:
    """DELETE until it is gone: at once, or polled."""
    first = await platform.ask("DELETE", path, True, params=IDS)
    assert first.status_code in {200, 202}, body_of(first)
    await platform.quiet()
    polled = await platform.ask("GET", f"{path}/last_operation")
    assert body_of(polled) == {"state": "succeeded"}
    again = await platform.ask("DELETE", path, True, params=IDS)
    assert (again.status_code, body_of(again)) == (410, {})


# --- what is refused ----------------------------------------------------------------


async def test_it_is_refused_without_its_key(left):
    left.folder.joinpath("osbkit.db.key").unlink()

    with pytest.raises(DatabaseUnusable, match="put the key file back"):
        async with served(left, Cloud()):
            pass


async def test_it_is_refused_with_a_catalog_that_strands_what_lives(left):
    """What was served then is remembered."""
    plans = left.catalog.services[0].plans
    kept = [one for one in plans if one.id != SLOW]
    offering = left.catalog.services[0].model_copy(update={"plans": tuple(kept)})
    smaller = left.catalog.model_copy(update={"services": (offering,)})

    with pytest.raises(CatalogUnsafe, match="slow"):
        async with serving(
            left.folder, {"queue": Cloud()}, smaller, bearer_token="a-token-for-tests"
        ):
            pass


# --- the fixtures themselves --------------------------------------------------------


def test_a_fixture_is_of_the_version_it_is_named_for(left, request):
    with closing(sqlite3.connect(left.database)) as db:
        versions = db.execute("SELECT DISTINCT version FROM operations").fetchall()

    assert versions == [(request.node.callspec.params["left"],)]


def test_a_fixture_holds_no_secret_in_the_open(left):
    """Not even what was told to platforms; the rest stands as digests only."""
    raw = left.database.read_bytes()
    shown: list[Any] = [
        told["body"]["credentials"]["password"]
        for told in left.answers
        if "credentials" in told["body"]
    ]

    assert len(shown) == 3
    for secret in shown:
        assert secret.encode() not in raw
