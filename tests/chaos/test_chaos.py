"""The small chaos: every fault of the large one, in a minute; and a fault of ours.

How many lifecycles meet which fault depends on the machine; what must hold does not.
"""

import asyncio
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.chaos import cloud, judge, plants, scale
from tests.chaos.__main__ import lines, options_of
from tests.chaos.chaos import Report
from tests.chaos.judge import Finding, Store
from tests.chaos.platforms import CloudFoundry, Platform, World
from tests.chaos.proxy import Proxy
from tests.chaos.wire import Client, NoAnswer

ROOT = Path(__file__).parents[2]


def chaos(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """`scripts/chaos`, without its look at the environment."""
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def figures(told: str) -> dict[str, int]:
    """The four of the table."""
    rows = re.findall(r"^(lost|doubled|orphaned|not final) +(\d+)$", told, re.MULTILINE)
    return {name: int(count) for name, count in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "database"),
    [("embedded", "sqlite"), ("distributed", "postgresql")],
)
def test_nothing_is_lost_doubled_or_orphaned_and_everything_ends(engine, database):
    if database != "sqlite":
        servers.require(database)
    run = chaos(
        *("--engine", engine, "--database", database, "--seed", "1"),
        *("--lifecycles", "300", "--at-once", "60", "--scenes", "3"),
    )

    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-5_000:]
    assert figures(run.stdout) == dict.fromkeys(judge.COUNTS, 0)


@pytest.mark.slow
def test_a_runner_without_a_fence_is_found():
    """Frozen at the end of a provision that another one is taking back, it wakes, and
    says that it is done."""
    servers.require("postgresql")
    run = chaos(
        *("--engine", "embedded", "--database", "postgresql", "--seed", "1"),
        *("--lifecycles", "100", "--scenes", "3", "--plant", "no-fence"),
    )

    assert run.returncode == 1, run.stdout[-20_000:] + run.stderr[-5_000:]
    assert figures(run.stdout)["lost"] > 0
    assert "timeline of" in run.stdout


# --- what judges must itself be right ----------------------------------------------


@pytest.fixture
def lifecycle() -> Platform:
    """One that holds an instance with a binding."""
    found = CloudFoundry(World(0, "1", Counter()), 1)
    found.has({"size": 1})
    found.held.bindings["b"] = {"user": "osb-b", "password": "secret"}
    found.done = True
    return found


def thing(lifecycle: Platform, name: str = "osb-i", **more: Any) -> dict[str, Any]:
    kind = cloud.CREDENTIAL if "binding_id" in more else cloud.INSTANCE
    return {
        "name": name,
        "kind": kind,
        "instance_id": lifecycle.id,
        "values": {"size": 1},
    } | more


def credential(lifecycle: Platform, name: str = "osb-b", **more: Any) -> dict[str, Any]:
    values = {"values": {"password": "secret"}}
    return thing(lifecycle, name, **({"binding_id": "b"} | values | more))


def stored(lifecycle: Platform, **more: Any) -> Store:
    values: dict[str, Any] = {
        "instances": {lifecycle.id: "ready"},
        "bindings": {lifecycle.id: {"b": "ready"}},
        "operations": {},
    }
    return Store(**values | more)


def counted(
    lifecycle: Platform, store: Store, things: list[dict[str, Any]], **shown: Any
) -> list[str]:
    given = {lifecycle.id: shown.get("shown", {"size": 1})}
    return [one.count for one in judge.judge([lifecycle], store, things, given)]


def test_three_views_that_agree_are_good(lifecycle):
    things = [thing(lifecycle), credential(lifecycle)]

    assert counted(lifecycle, stored(lifecycle), things) == []


def test_what_the_cloud_has_not_is_lost(lifecycle):
    whole = [thing(lifecycle), credential(lifecycle)]
    other = credential(lifecycle, values={"password": "another"})

    assert counted(lifecycle, stored(lifecycle), whole[1:]) == ["lost"]
    assert counted(lifecycle, stored(lifecycle), whole[:1]) == ["lost"]
    assert counted(lifecycle, stored(lifecycle), [whole[0], other]) == ["lost"]
    changed = [thing(lifecycle, values={"size": 2}), whole[1]]
    assert set(counted(lifecycle, stored(lifecycle), changed)) == {"lost"}


def test_what_the_store_has_not_is_lost(lifecycle):
    things = [thing(lifecycle), credential(lifecycle)]
    gone = stored(lifecycle, instances={lifecycle.id: "gone"})
    unbound = stored(lifecycle, bindings={})

    assert counted(lifecycle, gone, things) == ["lost"]
    assert counted(lifecycle, unbound, things) == ["lost"]
    assert counted(lifecycle, stored(lifecycle), things, shown=None) == ["lost"]


def test_two_for_one_id_are_doubled(lifecycle):
    whole = [thing(lifecycle), credential(lifecycle)]
    twice = [*whole, thing(lifecycle, "osb-j")]
    bound = [*whole, credential(lifecycle, "osb-c")]

    assert counted(lifecycle, stored(lifecycle), twice) == ["doubled"]
    assert counted(lifecycle, stored(lifecycle), bound) == ["doubled"]


def test_what_no_platform_holds_is_orphaned(lifecycle):
    whole = [thing(lifecycle), credential(lifecycle)]
    lifecycle.held = type(lifecycle.held)()
    nothing = stored(lifecycle, instances={lifecycle.id: "gone"}, bindings={})

    assert counted(lifecycle, nothing, []) == []
    assert counted(lifecycle, nothing, whole) == ["orphaned", "orphaned"]
    assert counted(lifecycle, stored(lifecycle), []) == ["orphaned", "orphaned"]


def test_a_thing_that_nobody_asked_for_is_orphaned(lifecycle):
    whole = [thing(lifecycle), credential(lifecycle)]
    stranger = thing(lifecycle) | {"instance_id": "somebody's"}

    assert counted(lifecycle, stored(lifecycle), [*whole, stranger]) == ["orphaned"]


def test_what_has_not_ended_is_not_final(lifecycle):
    things = [thing(lifecycle), credential(lifecycle)]
    row = {"id": "o", "kind": "update", "state": "failed", "ended_at": None}
    open_ = stored(lifecycle, operations={lifecycle.id: [row]})
    halfway = CloudFoundry(World(0, "1", Counter()), 2)

    assert counted(lifecycle, open_, things) == ["not final"]
    assert counted(halfway, stored(halfway), []) == ["not final"]


def test_a_table_tells_the_four_figures_and_fails_for_one():
    options = options_of(["--engine", "embedded", "--database", "sqlite"])
    good, bad = Report(options), Report(options)
    bad.findings = [Finding("orphaned", "i", "the cloud has it")]

    assert good.good
    assert not bad.good
    assert figures("\n".join(lines(good))) == dict.fromkeys(judge.COUNTS, 0)
    assert figures("\n".join(lines(bad)))["orphaned"] == 1


def test_every_plant_and_every_constant_is_still_there():
    """In a process of its own: both change osbkit."""
    code = (
        "from tests.chaos import plants, scale; scale.shrink();"
        " [plants.plant(one) for one in plants.PLANTS]"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)

    assert run.returncode == 0
    assert "no-fence" in plants.PLANTS
    assert scale.LEASE < scale.TIMEOUT


async def test_a_cut_connection_is_no_answer():
    """Before the request went on, after it, and in the middle of the answer."""

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    proxy = Proxy([server.sockets[0].getsockname()[1]], "1")
    await proxy.open()
    client = Client(proxy.port, "cf", Counter())
    whole = await client.ask("GET", "/v2/catalog", within=20)
    proxy.cuts = 1.0
    for _ in range(20):
        with pytest.raises(NoAnswer):
            await client.ask("GET", "/v2/catalog", within=20)
    proxy.close()
    server.close()

    assert whole.status == 200
    assert len(proxy.counts) == 3
