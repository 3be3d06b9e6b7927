"""One row that cannot be opened is told of, and keeps nobody else from working."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from osbkit import telemetry
from osbkit.backends.scripted import Hold, ScriptedBackend, succeed
from tests.flows.serving import ASYNC, serving


@pytest.mark.parametrize(
    ("table", "column"), [("operations", "asked"), ("instances", "parameters")]
)
async def test_start_goes_on_without_the_operation_whose_row_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, column: str
) -> None:
    """ORPH-01."""
    backend, hold = ScriptedBackend(), Hold()
    backend.always("provision", succeed(hold=hold))
    async with serving(tmp_path, {"queue": backend}) as broker:
        for name in ("bad", "good"):
            await broker.put(name, plan=ASYNC, flag=True, parameters={"size": 1})
    damage(tmp_path / "osbkit.db", table, column)
    said: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        telemetry.log, "error", lambda event, **more: said.append((event, more))
    )
    hold.release()
    async with serving(tmp_path, {"queue": backend}) as broker:
        await broker.quiet()
        good = await broker.poll("good")

    assert good.json()["state"] == "succeeded"
    assert "operation.unreadable" in {event for event, _ in said}


def damage(file: Path, table: str, column: str) -> None:
    """Flip the last byte of what is sealed for the instance `bad`."""
    db = sqlite3.connect(file)
    found = db.execute(
        f"SELECT {column} FROM {table} WHERE instance_id = 'bad'"  # noqa: S608
    ).fetchone()[0]
    spoilt = found[:-1] + bytes([found[-1] ^ 1])
    db.execute(
        f"UPDATE {table} SET {column} = ? WHERE instance_id = 'bad'",  # noqa: S608
        (spoilt,),
    )
    db.commit()
    db.close()
