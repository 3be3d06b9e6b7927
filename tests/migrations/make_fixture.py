"""Makes the database that this version leaves behind: `fixtures/VERSION/`.

    python -m tests.migrations.make_fixture

By requests alone, then a copy while operations run, as a `kill -9` leaves it:

    live        made, updated to another plan, three bindings: one removed, one
                that was succeeded, one successor
    theirs      another platform's, with a binding
    gone        made and deleted
    failed      its creation failed, and was rolled back
    left        its creation failed, the roll-back as well: a clean-up waits
    running     its creation runs, a step is taken, a secret is drawn
    owed        the same, and the platform waits for the answer
    halted      its creation was halted by a DELETE, and its call has not returned
    bound       made; its binding `making` is being made

The fixture of a version is made once, at its release. It is never made anew.
"""

import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

from osbkit import Catalog
from osbkit.backends.scripted import Hold
from osbkit.version import VERSION
from tests.flows.serving import Served, serving
from tests.migrations.past import (
    FIXTURES,
    LARGE,
    PLATFORMS,
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
    write_catalog,
    write_credentials,
)

IDS = {"service_id": QUEUE, "plan_id": SMALL}
HELD = ("running", "owed", "halted", "making")
SETTLED = ("live", "theirs", "gone", "failed", "bound")
WHO = b64encode(b'{"username": "ann", "uid": "u-1"}').decode()


async def main(folder: Path) -> None:
    """Make the fixture in an empty folder."""
    write_catalog(folder / "catalog.yaml")
    holds = {name: Hold(deaf=name == "halted") for name in HELD}
    cloud = Cloud(holds)
    with tempfile.TemporaryDirectory() as place:
        workshop = Path(place)
        file = workshop / "credentials.yaml"
        passwords = write_credentials(file)
        catalog = Catalog.from_yaml(folder / "catalog.yaml")
        async with serving(
            workshop, {"queue": cloud}, catalog, credentials_file=file
        ) as broker:
            seen = as_platforms(broker, passwords)
            operations = await settled(seen, cloud)
            owed = asyncio.ensure_future(
                seen["cluster"].ask("PUT", instance("owed"), json=wanted(SMALL))
            )
            operations |= await begun(seen["cluster"], holds)
            answers = [
                await told(seen, platform, path, operation)
                for path, operation in paths(operations)
                for platform in PLATFORMS
            ]
            known = {
                "operations": operations,
                "secrets": cloud.secrets,
                "names": {call.of: call.name for call in cloud.calls},
                "answers": answers,
            }
            copy(workshop / "osbkit.db", folder / "state.sqlite")
            shutil.copy(workshop / "osbkit.db.key", folder / "state.key")
            cloud.away = False
            for hold in holds.values():
                hold.release()
            await owed
    (folder / "answers.json").write_text(json.dumps(known, indent=1) + "\n")


async def settled(seen: dict[str, Served], cloud: Cloud) -> dict[str, str]:
    """Everything that has ended."""
    cluster = seen["cluster"].with_headers(
        X_Broker_API_Originating_Identity=f"kubernetes {WHO}"
    )
    foundry = seen["foundry"]
    live = instance("live")
    await sent(cluster, "PUT", live, 201, json=wanted(SMALL, size=3))
    change = {"service_id": QUEUE, "plan_id": LARGE, "parameters": {"size": 5}}
    await sent(cluster, "PATCH", live, 200, json=change)
    await bound(cluster, "old", "live", keys(LARGE, role="writer"))
    await bound(cluster, "removed", "live", keys(LARGE))
    await sent(cluster, "DELETE", binding("removed", "live"), 200, params=IDS)
    successor = {"service_id": QUEUE, "plan_id": LARGE, "predecessor_binding_id": "old"}
    await bound(cluster, "new", "live", successor)
    theirs = wanted(SMALL, "cloudfoundry", size=9)
    await sent(foundry, "PUT", instance("theirs"), 201, json=theirs)
    await bound(foundry, "key", "theirs", keys(SMALL))
    await sent(cluster, "PUT", instance("gone"), 201, json=wanted(LARGE))
    await sent(cluster, "DELETE", instance("gone"), 200, params=IDS)
    fails = wanted(SMALL, fails=True)
    await sent(cluster, "PUT", instance("failed"), 500, json=fails)
    made = await sent(cluster, "PUT", instance("bound"), 202, True, json=wanted(SLOW))
    await cluster.quiet()
    cloud.away = True
    await sent(cluster, "PUT", instance("left"), 500, json=fails)
    return {"bound": made["operation"]}


async def begun(cluster: Served, holds: dict[str, Hold]) -> dict[str, str]:
    """Everything that runs when the copy is taken; gives the operations."""
    slow = wanted(SLOW, size=2)
    running = await sent(cluster, "PUT", instance("running"), 202, True, json=slow)
    halted = await sent(cluster, "PUT", instance("halted"), 202, True, json=slow)
    making = await sent(
        cluster, "PUT", binding("making", "bound"), 202, True, json=keys(SLOW)
    )
    for hold in holds.values():
        await hold.entered.wait()
    deletion = await sent(cluster, "DELETE", instance("halted"), 202, True, params=IDS)
    await holds["halted"].cancelled.wait()
    return {
        "running": running["operation"],
        "halted": halted["operation"],
        "deletion": deletion["operation"],
        "making": making["operation"],
    }


async def sent(
    broker: Served,
    method: str,
    path: str,
    status: int,
    flag: bool | None = None,
    **more: Any,
) -> Json:
    """The body of an answer whose status is known."""
    answer = await broker.ask(method, path, flag, **more)
    body: Json = answer.json()
    assert answer.status_code == status, (path, answer.status_code, body)
    return body


async def bound(broker: Served, name: str, of: str, body: Json) -> None:
    """Bind while the platform waits."""
    await sent(broker, "PUT", binding(name, of), 201, json=body)


def paths(operations: dict[str, str]) -> list[tuple[str, str | None]]:
    """What can be asked of everything that has ended, and by which operation."""
    resources = [instance(name) for name in SETTLED]
    resources += [binding(name, "live") for name in ("old", "removed", "new")]
    resources += [binding("key", "theirs"), binding("making", "live")]
    asked: list[tuple[str, str | None]] = [(path, None) for path in resources]
    asked += [(f"{path}/last_operation", None) for path in resources]
    asked.append((f"{instance('bound')}/last_operation", operations["bound"]))
    return asked


async def told(
    seen: dict[str, Served], platform: str, path: str, operation: str | None
) -> Json:
    """A question and its answer."""
    query = {} if operation is None else {"operation": operation}
    answer = await seen[platform].ask("GET", path, params=query)
    return {
        "platform": platform,
        "path": path,
        "query": query,
        "status": answer.status_code,
        "body": answer.json(),
    }


def copy(database: Path, target: Path) -> None:
    """A database that is being served, as one file."""
    with (
        closing(sqlite3.connect(database)) as source,
        closing(sqlite3.connect(target)) as kept,
    ):
        source.backup(kept)
        kept.execute("PRAGMA journal_mode=DELETE")
        kept.execute("VACUUM")


if __name__ == "__main__":
    made = FIXTURES / VERSION
    if made.exists():
        sys.exit(f"{made.name} is there already; a fixture is made once.")
    made.mkdir(parents=True)
    asyncio.run(main(made))
