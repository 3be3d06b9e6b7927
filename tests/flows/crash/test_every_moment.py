"""A crash at every moment of every verb, one after the other.

Before and after each effect of the backend, and between each two of its writes,
the world is copied as a crash would leave it: the database as committed, the cloud
as it is. A broker that starts on the copy must come to the same end.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flows.crash.backend import attempts, judge
from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.scene import (
    Answer,
    Scene,
    binding_path,
    instance_path,
)

PLAN = "slow"
INSTANCE = instance_path("i")
BINDING = binding_path("i", "b")


class Moments:
    """Copies the world at every moment while `on`."""

    def __init__(self) -> None:
        self.on = False
        self.scene: Scene | None = None
        self.copies: list[Scene] = []

    async def pause(self, place: str) -> None:
        """Between two effects of the backend."""
        self.take()
        await asyncio.sleep(0)

    def take(self) -> None:
        """Now."""
        if self.on:
            assert self.scene is not None
            self.copies.append(self.scene.crashed(len(self.copies)))

    def watch(self, store: Any) -> None:
        """After every COMMIT as well."""
        write = store.write

        async def watched(unit: Any, committed: Any = None) -> Any:
            def told(result: Any) -> None:
                self.take()
                if committed is not None:
                    committed(result)

            return await write(unit, told)

        store.write = watched


async def ready(scene: Scene) -> None:
    answer = await scene.put("i", instance_body(PLAN), accepts_incomplete="true")
    assert answer.status == 202
    await scene.settled()


async def bound(scene: Scene) -> None:
    await ready(scene)
    body = binding_body(PLAN)
    answer = await scene.bind("i", "b", body, accepts_incomplete="true")
    assert answer.status == 202
    await scene.settled()


async def nothing(scene: Scene) -> None:
    """Nothing has to be there."""


async def provision(scene: Scene) -> Answer:
    return await scene.put("i", instance_body(PLAN, size=1), accepts_incomplete="true")


async def update(scene: Scene) -> Answer:
    body = instance_body(PLAN, size=2)
    return await scene.ask("PATCH", INSTANCE, body, accepts_incomplete="true")


async def bind(scene: Scene) -> Answer:
    return await scene.bind("i", "b", binding_body(PLAN), accepts_incomplete="true")


async def unbind(scene: Scene) -> Answer:
    query = deletion(PLAN)
    return await scene.ask("DELETE", BINDING, accepts_incomplete="true", **query)


async def deprovision(scene: Scene) -> Answer:
    query = deletion(PLAN)
    return await scene.ask("DELETE", INSTANCE, accepts_incomplete="true", **query)


CASES = {
    "provision": (nothing, provision, INSTANCE, 200),
    "update": (ready, update, INSTANCE, 200),
    "bind": (ready, bind, BINDING, 200),
    "unbind": (bound, unbind, BINDING, 404),
    "deprovision": (bound, deprovision, INSTANCE, 404),
}


@pytest.mark.parametrize("verb", CASES)
async def test_an_operation_that_was_killed_at_any_moment_ends_as_if_it_were_not(
    tmp_path: Path, verb: str
) -> None:
    """LOP-05: the same operation id polls on, and nothing is doubled."""
    prepare, act, path, found = CASES[verb]
    moments = Moments()
    scene = moments.scene = Scene(tmp_path, pause=moments.pause)
    async with scene.running():
        await prepare(scene)
        moments.watch(scene.house.store)
        moments.on = True
        accepted = await act(scene)
        await scene.settled()
        moments.on = False
        await scene.agree()
    operation = accepted.body["operation"]
    assert len(moments.copies) >= 4

    resumed = 0
    for copy in moments.copies:
        before = attempts(copy.cloud, operation)
        async with copy.running():
            await copy.settled()
            poll = path + "/last_operation"
            polled = await copy.ask("GET", poll, operation=operation)
            shown = await copy.ask("GET", path)
            await copy.agree()

        assert polled.body["state"] == "succeeded"
        assert shown.status == found
        assert judge(copy.cloud, operation) == []
        later = attempts(copy.cloud, operation)[len(before) :]
        assert all(attempt > max(before, default=1) for attempt in later)
        resumed += bool(later)
        copy.cloud.close()
    assert resumed >= len(moments.copies) - 1  # all but the one after the end


async def test_an_answer_that_was_never_given_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    """A synchronous PUT that was killed: the platform saw an error, keeps nothing."""
    await never_answered(
        tmp_path,
        nothing,
        lambda scene: scene.put("i", instance_body("quick")),
        INSTANCE,
        kept=0,
    )


async def test_a_binding_that_was_never_answered_leaves_no_credential(
    tmp_path: Path,
) -> None:
    async def quick(scene: Scene) -> None:
        assert (await scene.put("i", instance_body("quick"))).status == 201

    await never_answered(
        tmp_path,
        quick,
        lambda scene: scene.bind("i", "b", binding_body("quick")),
        BINDING,
        kept=1,
    )


async def never_answered(
    folder: Path, prepare: Callable[..., Any], act: Any, path: str, *, kept: int
) -> None:
    moments = Moments()
    scene = moments.scene = Scene(folder, pause=moments.pause)
    async with scene.running():
        await prepare(scene)
        moments.watch(scene.house.store)
        moments.on = True
        assert (await act(scene)).status == 201
        moments.on = False
    *unanswered, _ = moments.copies  # the last one was taken after the end
    assert len(unanswered) >= 3

    for copy in unanswered:
        async with copy.running():
            await copy.settled()
            polled = await copy.ask("GET", path + "/last_operation")
            shown = await copy.ask("GET", path)
            await copy.agree()
            left = len(copy.cloud.things())
            again = await act(copy)
            await copy.agree()

        assert polled.body["state"] == "failed"
        assert shown.status == 404
        assert left == kept
        assert again.status == 201
        copy.cloud.close()
