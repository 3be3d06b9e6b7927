"""A call that was halted and does not return: waited for, given up, swept.

DESIGN "Halting": the delete's call starts when the halted call has really returned,
or its lease ran out plus five seconds. What a call does after that meets its own
generation's name only, and a sweep removes it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from osbkit.domain import resource_name
from osbkit.store import tables
from osbkit.store.rows import now
from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.gates import Gate, Gates
from tests.flows.crash.scene import (
    Json,
    Scene,
    binding_path,
    instance_path,
    until,
)

FLAG: Json = {"accepts_incomplete": "true"}
INSTANCE = instance_path("i")
BINDING = binding_path("i", "b")
LEASE_AND_GRACE = 20 * 1_000_000


@pytest.fixture
def leases_ran_out(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets who waits for halted calls believe that their time is over."""

    def jump() -> None:
        later = LEASE_AND_GRACE + 1_000_000
        monkeypatch.setattr("osbkit.operations.halting.now", lambda: now() + later)

    return jump


async def delete(scene: Scene, path: str, plan: str = "slow") -> Json:
    answer = await scene.ask("DELETE", path, **FLAG, **deletion(plan))
    assert answer.status == 202
    return answer.body


async def state(scene: Scene, path: str, operation: str) -> str:
    poll = await scene.ask("GET", path + "/last_operation", operation=operation)
    found: str = poll.body["state"]
    return found


async def comes(scene: Scene, path: str, operation: str, wanted: str) -> None:
    """Wait until an operation is in a state."""

    async def there() -> bool:
        return await state(scene, path, operation) == wanted

    await until(there, f"{operation} {wanted}", scene.open_operations)


async def kinds(scene: Scene) -> list[tuple[str, str]]:
    """Every operation's kind and state, oldest first."""
    column = tables.operations.c
    rows = await scene.rows(
        sa.select(column.kind, column.state).order_by(column.created_at)
    )
    return [(row.kind, row.state) for row in rows]


def name(scene: Scene, *of: Any) -> str:
    return resource_name(scene.house.store.broker_id, "i", *of)


def events(scene: Scene) -> list[tuple[str, Any]]:
    return [(entry.event, entry.name) for entry in scene.cloud.ledger()]


async def test_a_delete_waits_until_the_halted_call_has_really_returned(
    tmp_path: Path,
) -> None:
    """However late: the call makes its thing after it was told to stop."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    frozen = gates.shut("provision.2", stubborn=True)
    async with scene.running():
        put = await scene.put("i", instance_body("slow"), **FLAG)
        await frozen.reached()
        operation = (await delete(scene, INSTANCE))["operation"]
        await frozen.asked()
        old = await state(scene, INSTANCE, put.body["operation"])
        busy = await state(scene, INSTANCE, operation)
        calls = [entry.detail for entry in scene.cloud.ledger("call")]
        frozen.open()
        await comes(scene, INSTANCE, operation, "succeeded")
        await scene.settled()

        assert (old, busy, calls) == ("failed", "in progress", ["provision"])
        made = events(scene).index(("made", name(scene, 1)))
        removed = events(scene).index(("removed", name(scene, 1)))
        assert made < removed
        assert scene.cloud.things() == {}
        assert await kinds(scene) == [
            ("provision", "failed"),
            ("deprovision", "succeeded"),
        ]


async def taken_over(scene: Scene, gates: Gates, jump: Any) -> Gate:
    """A provision stands frozen, its instance was deleted over its head."""
    frozen = gates.shut("provision.2", stubborn=True)
    await scene.put("i", instance_body("slow"), **FLAG)
    await frozen.reached()
    operation = (await delete(scene, INSTANCE))["operation"]
    await frozen.asked()
    jump()
    await comes(scene, INSTANCE, operation, "succeeded")
    gates.forget("provision.2")
    return frozen


async def test_the_late_effect_of_a_frozen_provision_is_swept(
    tmp_path: Path, leases_ran_out: Any
) -> None:
    """PUT, DELETE, PUT with the same id, and only then the first call goes on."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        frozen = await taken_over(scene, gates, leases_ran_out)
        again = await scene.put("i", instance_body("slow", size=2), **FLAG)
        await comes(scene, INSTANCE, again.body["operation"], "succeeded")
        before = set(scene.cloud.things())
        frozen.open()
        await until(lambda: swept(scene), "it is swept", scene.open_operations)
        await scene.settled()
        await scene.agree()

        assert before == {name(scene, 2)}
        assert ("made", name(scene, 1)) in events(scene)
        assert ("removed", name(scene, 1)) in events(scene)
        assert set(scene.cloud.things()) == {name(scene, 2)}
        assert scene.cloud.things()[name(scene, 2)].detail["size"] == 2


async def swept(scene: Scene) -> bool:
    return ("sweep", "succeeded") in await kinds(scene)


async def test_a_sweep_meets_no_generation_but_its_own_while_others_come_and_go(
    tmp_path: Path, leases_ran_out: Any
) -> None:
    """The instance was deleted again before the first call went on."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        frozen = await taken_over(scene, gates, leases_ran_out)
        again = await scene.put("i", instance_body("slow"), **FLAG)
        await comes(scene, INSTANCE, again.body["operation"], "succeeded")
        operation = (await delete(scene, INSTANCE))["operation"]
        await comes(scene, INSTANCE, operation, "succeeded")
        frozen.open()
        await until(lambda: swept(scene), "it is swept", scene.open_operations)
        await scene.settled()

        assert scene.cloud.things() == {}
        shown = await scene.poll("i")
        assert shown.body["state"] == "succeeded"  # the delete's, not the sweep's


async def test_the_late_effect_of_a_frozen_bind_is_swept(
    tmp_path: Path, leases_ran_out: Any
) -> None:
    """Never a live credential that nobody knows of."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        made = await scene.put("i", instance_body("slow"), **FLAG)
        await comes(scene, INSTANCE, made.body["operation"], "succeeded")
        frozen = gates.shut("bind.2", stubborn=True)
        await scene.bind("i", "b", binding_body("slow"), **FLAG)
        await frozen.reached()
        operation = (await delete(scene, BINDING))["operation"]
        await frozen.asked()
        leases_ran_out()
        await comes(scene, BINDING, operation, "succeeded")
        gates.forget("bind.2")
        again = await scene.bind("i", "b", binding_body("slow"), **FLAG)
        await comes(scene, BINDING, again.body["operation"], "succeeded")
        frozen.open()
        await until(lambda: swept(scene), "it is swept", scene.open_operations)
        await scene.settled()
        await scene.agree()

        assert set(scene.cloud.things("credential")) == {name(scene, 1, "b", 2)}
        assert ("removed", name(scene, 1, "b", 1)) in events(scene)


async def test_a_frozen_bind_leaves_no_credential_on_a_deleted_instance(
    tmp_path: Path, leases_ran_out: Any
) -> None:
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        made = await scene.put("i", instance_body("slow"), **FLAG)
        await comes(scene, INSTANCE, made.body["operation"], "succeeded")
        frozen = gates.shut("bind.2", stubborn=True)
        await scene.bind("i", "b", binding_body("slow"), **FLAG)
        await frozen.reached()
        operation = (await delete(scene, INSTANCE))["operation"]
        await frozen.asked()
        leases_ran_out()
        await comes(scene, INSTANCE, operation, "succeeded")
        frozen.open()
        await until(lambda: swept(scene), "it is swept", scene.open_operations)
        await scene.settled()

        assert ("made", name(scene, 1, "b", 1)) in events(scene)
        assert scene.cloud.things() == {}


async def test_what_a_frozen_call_did_before_its_process_died_is_swept(
    tmp_path: Path, leases_ran_out: Any
) -> None:
    """The effect is there, the call never returned, and the process was killed."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        frozen = await taken_over(scene, gates, leases_ran_out)
        still = gates.shut("provision.made", stubborn=True)
        frozen.open()
        await still.reached()
        copy = scene.crashed(1)
        assert len(copy.cloud.things()) == 1
        still.open()
        await scene.settled()
    async with copy.running():
        await copy.settled()

        assert copy.cloud.things() == {}
        assert await swept(copy)


@pytest.mark.parametrize("path", [INSTANCE, BINDING], ids=["instance", "binding"])
async def test_a_delete_halts_a_roll_back_too(tmp_path: Path, path: str) -> None:
    """Nobody waited any longer, what was begun is taken back; then comes DELETE."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        verb, undo = "provision", "deprovision"
        if path == BINDING:
            verb, undo = "bind", "unbind"
            assert (await scene.put("i", instance_body("quick"))).status == 201
        late = gates.shut(f"{verb}.last")
        back = gates.shut(f"{undo}.1", stubborn=True)
        impatient(scene, late.reached)
        body = instance_body("quick") if path == INSTANCE else binding_body("quick")
        put = asyncio.ensure_future(scene.ask("PUT", path, body))
        await back.reached()
        gone = asyncio.ensure_future(scene.ask("DELETE", path, **deletion("quick")))
        await back.asked()
        gates.forget(f"{undo}.1")
        back.open()
        answers = await asyncio.gather(put, gone)
        await scene.settled()
        await scene.agree()

        assert [answer.status for answer in answers] == [503, 200]
        assert not scene.cloud.things("credential")


def impatient(scene: Scene, reached: Callable[[], Awaitable[None]]) -> None:
    """The budget of the next request is over when a place is reached."""
    engine = scene.house.engine
    wait = engine.wait

    async def over(operation: Any, seconds: float) -> Any:
        engine.wait = wait
        await reached()
        return operation

    engine.wait = over


async def test_a_call_that_ignores_its_stop_ends_with_what_it_did_or_undoes_it(
    tmp_path: Path,
) -> None:
    """Given up by its caller, the call ends well nevertheless: it is taken back."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        frozen = gates.shut("provision.last", stubborn=True)
        impatient(scene, frozen.reached)
        put = asyncio.ensure_future(scene.put("i", instance_body("quick")))
        await frozen.asked()
        frozen.open()
        answer = await put
        await scene.settled()
        await scene.agree()

        assert answer.status == 503
        assert scene.cloud.things() == {}
