"""What stands in the files: nothing that a request or a backend wanted kept."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from osbkit.store import operations
from osbkit.store.tables import SEALED, metadata
from tests.api.brokers import Queues, serving

PARAMETER = "a-parameter-that-nobody-may-read"
CONTEXT = "a-context-that-nobody-may-read"
IDENTITY = "eyJ1c2VyIjogImFuLWlkZW50aXR5LXRoYXQtbm9ib2R5LW1heS1yZWFkIn0="
SECRETS = [PARAMETER, CONTEXT, "an-identity-that-nobody-may-read", "hidden-fact"]
ALLOWED = {
    "instances": {
        *("instance_id", "uid", "platform", "service_id", "plan_id", "offering"),
        *("plan", "backend", "generation", "state", "organization_guid"),
        *("space_guid", "maintenance_version", "residue", "usable", "revision"),
        *("latest", "created_at", "ended_at"),
    },
    "bindings": {
        *("instance_id", "binding_id", "uid", "platform", "service_id", "plan_id"),
        *("generation", "instance_generation", "state", "app_guid", "predecessor"),
        *("expires_at", "residue", "revision", "latest", "created_at", "ended_at"),
    },
    "operations": {
        *("id", "kind", "instance_id", "binding_id", "platform", "backend"),
        *("generation", "binding_generation", "state", "phase", "live_key", "fence"),
        *("owner", "run_at", "attempt", "claims", "answer_owed", "deadline"),
        *("description", "percent", "poll_after", "refused", "status"),
        *("instance_usable", "update_repeatable", "parked", "stop_asked"),
        *("halted_by", "begun_at", "created_at", "ended_at", "version"),
    },
    "meta": {"name", "value"},
}


class Keeping(Queues):
    """Keeps facts and steps, and fails to bind for good when it is told to."""

    async def provision(self, request: Any, run: Any) -> Any:
        async def step() -> str:
            return "hidden-fact-of-a-step"

        await run.step("make", step)
        return {"password": "hidden-fact-of-an-instance"}


def everything(folder: Path) -> bytes:
    """The bytes of every file of the store but the keys."""
    files = [file for file in folder.iterdir() if file.suffix != ".key"]
    return b"".join(file.read_bytes() for file in files)


async def test_files_hold_no_secret_in_the_clear_at_any_time(tmp_path):
    async with serving(tmp_path, backend=Keeping()) as served:
        identity = {"X-Broker-API-Originating-Identity": f"cf {IDENTITY}"}
        more: Any = {"context": {"platform": "cf", "note": CONTEXT}}
        made = await served.client.put(
            served.instance(),
            json=served.provision(parameters={"note": PARAMETER}, **more),
            headers=identity,
        )
        bound = await served.client.put(
            served.binding(), json=served.bind(**more), headers=identity
        )
        shown = await served.client.get(served.instance())
        token = bound.json()["credentials"]["token"]
        while_it_runs = everything(tmp_path)
    after = everything(tmp_path)

    assert made.status_code == 201
    assert shown.json()["parameters"] == {"note": PARAMETER}
    for secret in [*SECRETS, token]:
        assert secret.encode() not in while_it_runs
        assert secret.encode() not in after
    assert b"i-1" in after  # the search finds what is there


async def test_operation_that_ended_keeps_nothing_sealed(tmp_path):
    async with serving(tmp_path, backend=Keeping()) as served:
        await served.client.put(served.instance(), json=served.provision())
        assert served.broker.running is not None
        left = await served.broker.running.house.store.read(
            lambda db: db.exec_driver_sql(
                "SELECT count(*) FROM operations"
                " WHERE asked IS NOT NULL OR steps IS NOT NULL"
            ).scalar_one()
        )

    assert left == 0


def test_every_column_is_sealed_or_known_to_hold_nothing_secret():
    sealed = {str(column) for column in SEALED}

    for table in metadata.tables.values():
        clear = {one.name for one in table.c if str(one) not in sealed}
        assert clear == ALLOWED[table.name], table.name
    for column in SEALED:
        assert isinstance(column.type, sa.LargeBinary)


def test_what_an_operation_is_shown_with_holds_nothing_sealed():
    sealed = {column.name for column in SEALED}

    assert not sealed & {column.name for column in operations.SHOWN}
