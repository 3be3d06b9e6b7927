"""The process is told to leave while requests are open and operations run.

Told at once (`Running.leave`, what SIGTERM calls), open requests answer in JSON and
the server can go; calls are asked to return, and what is not done is left for the
next start. The tests start a second broker on the same file and the same cloud.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.flows.crash.backend import attempts, judge
from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.gates import Gates
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


def next_start(scene: Scene) -> Scene:
    """The same broker, started again after the first has left."""
    return Scene(scene.folder, cloud=scene.cloud)


@pytest.mark.parametrize("path", [INSTANCE, BINDING], ids=["instance", "binding"])
@pytest.mark.parametrize("plan", ["quick", "auto"])
async def test_an_open_put_is_told_to_try_again_and_what_it_began_is_taken_back(
    tmp_path: Path, path: str, plan: str
) -> None:
    """The platform saw an error and keeps nothing."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    body = instance_body(plan) if path == INSTANCE else binding_body(plan)
    async with scene.running() as running:
        if path == BINDING:
            assert (await scene.put("i", instance_body(plan))).status == 201
        verb = "provision" if path == INSTANCE else "bind"
        gate = gates.shut(f"{verb}.last")
        put = asyncio.ensure_future(scene.ask("PUT", path, body))
        await gate.reached()
        running.leave()
        answer = await put

        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
    after = next_start(scene)
    async with after.running():
        await after.settled()
        await after.agree()
        polled = await after.ask("GET", path + "/last_operation")
        shown = await after.ask("GET", path)
        again = await after.ask("PUT", path, body)

        assert polled.body["state"] == "failed"
        assert shown.status == 404
        assert again.status == 201


async def test_an_open_put_that_may_be_polled_is_accepted_and_goes_on_later(
    tmp_path: Path,
) -> None:
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running() as running:
        gate = gates.shut("provision.last")
        put = asyncio.ensure_future(scene.put("i", instance_body("auto"), **FLAG))
        await gate.reached()
        running.leave()
        answer = await put
    after = next_start(scene)
    async with after.running():
        await after.settled()
        await after.agree()
        operation = answer.body["operation"]
        polled = await after.poll("i", operation=operation)

        assert answer.status == 202
        assert polled.body["state"] == "succeeded"
        assert judge(after.cloud, operation) == []
        assert attempts(after.cloud, operation) == [1, 2]


@pytest.mark.parametrize("path", [INSTANCE, BINDING], ids=["instance", "binding"])
async def test_an_open_delete_is_told_to_try_again_and_goes_on_later(
    tmp_path: Path, path: str
) -> None:
    """The platform repeats it, and finds that it is done."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running() as running:
        await scene.put("i", instance_body("quick"))
        await scene.bind("i", "b", binding_body("quick"))
        verb = "deprovision" if path == INSTANCE else "unbind"
        gate = gates.shut(f"{verb}.1")
        gone = asyncio.ensure_future(scene.ask("DELETE", path, **deletion("quick")))
        await gate.reached()
        running.leave()
        answer = await gone

        assert answer.status == 503
        assert "retry-after" in answer.headers
    after = next_start(scene)
    async with after.running():
        await after.settled()
        await after.agree()
        again = await after.ask("DELETE", path, **deletion("quick"))

        assert again.status == 410
        assert not after.cloud.things("credential")


async def test_an_open_update_is_told_to_try_again_and_goes_on_later(
    tmp_path: Path,
) -> None:
    """Either end is right, the asked or the old one; half of it is not."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running() as running:
        await scene.put("i", instance_body("quick", size=1))
        gate = gates.shut("update.last")
        body = instance_body("quick", size=2)
        patch = asyncio.ensure_future(scene.ask("PATCH", INSTANCE, body))
        await gate.reached()
        running.leave()
        answer = await patch

        assert answer.status == 503
    after = next_start(scene)
    async with after.running():
        await after.settled()
        await after.agree()
        shown = await after.ask("GET", INSTANCE)
        [thing] = after.cloud.things().values()

        assert shown.body["parameters"]["size"] == thing.detail["size"]


async def test_what_runs_for_a_platform_that_polls_is_left_for_the_next_start(
    tmp_path: Path,
) -> None:
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    async with scene.running():
        gate = gates.shut("provision.2")
        put = await scene.put("i", instance_body("slow"), **FLAG)
        await gate.reached()
    operation = put.body["operation"]
    after = next_start(scene)
    async with after.running():
        await after.settled()
        await after.agree()

        assert (await after.poll("i")).body["state"] == "succeeded"
        assert judge(after.cloud, operation) == []
        assert attempts(after.cloud, operation) == [1, 2]


async def test_a_call_that_ends_while_the_process_leaves_counts(tmp_path: Path) -> None:
    """It ignored its stop and did its work: nothing is done a second time."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    gate = gates.shut("provision.last", stubborn=True)
    async with scene.running():
        put = await scene.put("i", instance_body("slow"), **FLAG)
        await gate.reached()
        opening = asyncio.ensure_future(open_when_asked(gate))
    await opening
    after = next_start(scene)
    async with after.running():
        await after.agree()

        assert (await after.poll("i")).body["state"] == "succeeded"
        assert attempts(after.cloud, put.body["operation"]) == [1]


async def open_when_asked(gate: Any) -> None:
    """Let a stubborn call go on once it has been told to stop."""
    await gate.asked()
    gate.open()


async def test_a_call_that_does_not_return_does_not_keep_the_process(
    tmp_path: Path,
) -> None:
    """Its grace is over: the next start takes the operation up."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    gate = gates.shut("provision.2", stubborn=True)
    async with scene.running():
        put = await scene.put("i", instance_body("slow"), **FLAG)
        await gate.reached()
        await scene.house.engine.close(grace=0.0)
        operation = put.body["operation"]
        copy = scene.crashed(1)
        gate.open()
    async with copy.running():
        await copy.settled()
        await copy.agree()

        assert (await copy.poll("i")).body["state"] == "succeeded"
        assert judge(copy.cloud, operation) == []


@pytest.mark.parametrize(
    ("plan", "status", "state"), [("quick", 503, "failed"), ("slow", 202, "succeeded")]
)
async def test_a_request_that_comes_while_the_process_leaves_is_not_lost(
    tmp_path: Path, plan: str, status: int, state: str
) -> None:
    """A connection that was open may bring one more: recorded, begun by the next."""
    scene = Scene(tmp_path)
    sent = FLAG if plan == "slow" else {}
    async with scene.running() as running:
        running.leave()
        answer = await scene.put("i", instance_body(plan), **sent)
        other = await scene.put("j", instance_body(plan), **sent)
        joined = await scene.put("j", instance_body(plan), **sent)
        begun = scene.cloud.ledger()
    after = next_start(scene)
    async with after.running():
        await after.settled()
        await after.agree()

        assert (answer.status, other.status) == (status, status)
        assert joined.status in {202, 422, 503}
        assert begun == []
        assert (await after.poll("i")).body["state"] == state
        assert (await after.poll("j")).body["state"] == state


async def test_a_delete_that_waits_for_a_halted_call_is_answered_at_once(
    tmp_path: Path,
) -> None:
    """Two requests wait, one for the other's call; both are told, neither is lost."""
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    frozen = gates.shut("provision.2", stubborn=True)
    async with scene.running() as running:
        put = asyncio.ensure_future(scene.put("i", instance_body("quick")))
        await frozen.reached()
        gone = asyncio.ensure_future(scene.ask("DELETE", INSTANCE, **deletion("quick")))
        await frozen.asked()
        running.leave()
        answers = await asyncio.gather(put, gone)
        frozen.open()
    after = next_start(scene)
    async with after.running():
        await after.settled()
        await after.agree()

        assert [answer.status for answer in answers] == [503, 503]
        assert after.cloud.things() == {}
        assert (await after.poll("i")).body["state"] == "succeeded"


async def test_a_process_that_leaves_is_not_ready_and_still_answers_polls(
    tmp_path: Path,
) -> None:
    gates = Gates()
    scene = Scene(tmp_path, pause=gates.pause)
    gates.shut("provision.2")
    async with scene.running() as running:
        await scene.put("i", instance_body("slow"), **FLAG)
        running.leave()
        ready = await scene.ask("GET", "/health/ready")
        live = await scene.ask("GET", "/health/live")
        polled = await scene.poll("i")

        assert ready.status == 503
        assert any("stopping" in problem for problem in ready.body["problems"])
        assert live.status == 200
        assert polled.body["state"] == "in progress"


async def test_after_the_end_every_request_is_told_that_nothing_is_started(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    async with scene.running():
        assert (await scene.put("i", instance_body("quick"))).status == 201
    answer = await scene.put("j", instance_body("quick"))

    assert answer.status == 503
    assert answer.body["description"]
    assert {"broker.db-wal", "broker.db-shm"}.isdisjoint(os.listdir(tmp_path))


async def test_a_retry_that_waits_for_its_time_does_not_keep_the_process(
    tmp_path: Path,
) -> None:
    """Passing trouble: the second attempt is due in a second, or at the next start."""
    broken = True

    async def pause(place: str) -> None:
        if broken and place == "provision.2":
            raise ConnectionError("the service is away")

    scene = Scene(tmp_path, pause=pause)
    async with scene.running():
        put = await scene.put("i", instance_body("slow"), **FLAG)
        operation = put.body["operation"]

        async def failed() -> bool:
            return len(attempts(scene.cloud, operation)) > 0

        await until(failed, "the first attempt has failed")
        broken = False
    first = attempts(scene.cloud, operation)
    after = next_start(scene)
    async with after.running():
        await after.settled()
        await after.agree()

        assert (await after.poll("i")).body["state"] == "succeeded"
        assert attempts(after.cloud, operation) == [*first, first[-1] + 1]
        assert judge(after.cloud, operation) == []
