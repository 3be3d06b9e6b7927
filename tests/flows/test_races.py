"""Requests that meet: a thousand rounds each, in one event loop.

A round is two requests on the same ids, each begun a seeded number of turns of the
loop after the other, against a backend that gives way a seeded number of times.
Many rounds run side by side, so that their commits share batches as well.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from osbkit.domain import resource_name
from osbkit.store import tables
from tests.flows.crash.catalog import binding_body, deletion, instance_body
from tests.flows.crash.scene import (
    Answer,
    Json,
    Scene,
    binding_path,
    instance_path,
    until,
)

pytestmark = pytest.mark.slow

ROUNDS = 1000
SIDE_BY_SIDE = 64
TURNS = (0, 0, 1, 3, 10, 40)


class Dice:
    """Seeded turns of the event loop."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    async def pause(self, place: str) -> None:
        """Give way some times."""
        for _ in range(self._random.choice(TURNS)):
            await asyncio.sleep(0)

    def choice(self, *of: Any) -> Any:
        """One of them."""
        return self._random.choice(of)


class Stubborn(Dice):
    """The same, but every third call ends what it is doing when it is cancelled."""

    async def pause(self, place: str) -> None:
        """Give way some times, cancelled or not."""
        if self.choice(True, False, False):
            patient = asyncio.ensure_future(super().pause(place))
            try:
                await asyncio.shield(patient)
            except asyncio.CancelledError:
                await patient
        else:
            await super().pause(place)


async def rounds(play: Callable[[int], Awaitable[None]]) -> None:
    """Play every round, some of them at a time."""
    numbers = iter(range(ROUNDS))

    async def player() -> None:
        for number in numbers:
            await play(number)

    async with asyncio.TaskGroup() as players:
        for _ in range(SIDE_BY_SIDE):
            players.create_task(player())


def flag(sent: bool) -> Json:
    return {"accepts_incomplete": "true"} if sent else {}


@pytest.mark.parametrize("dice", [Dice, Stubborn])
async def test_a_deleted_instance_never_keeps_a_credential(
    tmp_path: Path, dice: type[Dice]
) -> None:
    """Bind raced with DELETE of its instance, on every mode."""
    luck = dice(4)
    scene = Scene(tmp_path, pause=luck.pause)
    statuses: Counter[tuple[int, int]] = Counter()

    def live(instance: str) -> list[str]:
        parent = resource_name(scene.house.store.broker_id, instance, 1)
        return [
            thing.name
            for thing in scene.cloud.things("credential").values()
            if thing.parent == parent
        ]

    async def ready(instance: str) -> bool:
        return bool((await scene.poll(instance)).body["state"] == "succeeded")

    async def race(number: int) -> None:
        instance, plan = f"i{number}", luck.choice("quick", "auto", "slow")
        made = await scene.put(instance, instance_body(plan), **flag(plan == "slow"))
        if made.status == 202:
            await until(partial(ready, instance), f"{instance} is ready")
        sent = flag(plan == "slow" or luck.choice(True, False))

        async def bind() -> Answer:
            await luck.pause("")
            return await scene.bind(instance, "b", binding_body(plan), **sent)

        async def delete() -> Answer:
            await luck.pause("")
            path = instance_path(instance)
            answer = await scene.ask("DELETE", path, **sent, **deletion(plan))
            if answer.status == 200:
                assert live(instance) == []
            return answer

        bound, deleted = await asyncio.gather(bind(), delete())
        statuses[bound.status, deleted.status] += 1
        assert deleted.status in {200, 202}
        assert bound.status in {201, 202, 404, 422, 503}

    async with scene.running():
        await rounds(race)
        await scene.settled()
        await scene.agree()

    assert scene.cloud.things() == {}
    assert sum(statuses.values()) == ROUNDS
    won = sum(n for (bind, _), n in statuses.items() if bind in {201, 202})
    assert ROUNDS / 20 < won < ROUNDS * 19 / 20, statuses  # both ways happened


async def test_two_puts_of_one_id_never_make_two_operations(tmp_path: Path) -> None:
    """PROV-12 and 409: the same attributes join, others conflict."""
    luck = Dice(5)
    scene = Scene(tmp_path, pause=luck.pause)
    statuses: Counter[tuple[bool, tuple[int, ...]]] = Counter()
    winners: dict[str, int] = {}

    async def race(number: int) -> None:
        instance, plan = f"i{number}", luck.choice("quick", "auto", "slow")
        same = luck.choice(True, False)
        sizes = (1, 1) if same else (1, 2)

        async def put(size: int) -> Answer:
            await luck.pause("")
            sent = flag(plan == "slow" or luck.choice(True, False))
            return await scene.put(instance, instance_body(plan, size=size), **sent)

        answers = await asyncio.gather(*map(put, sizes))
        taken = [answer for answer in answers if answer.status in {200, 201, 202}]
        operations = {answer.body.get("operation") for answer in taken} - {None}
        assert len(operations) <= 1
        if same:
            assert len(taken) == 2
        else:
            assert [a.status for a in answers if a not in taken] == [409]
            winners[instance] = sizes[answers.index(taken[0])]
        statuses[same, tuple(sorted(a.status for a in answers))] += 1

    async with scene.running():
        await rounds(race)
        await scene.settled()
        await scene.agree()
        count = sa.func.count().label("number")
        column = tables.operations.c.instance_id
        most = await scene.rows(
            sa.select(column, count).group_by(column).order_by(count.desc())
        )

    assert len(most) == ROUNDS
    assert most[0].number == 1
    made = [entry.name for entry in scene.cloud.ledger("made")]
    assert len(made) == len(set(made)) == ROUNDS
    things = scene.cloud.things().values()
    sizes = {thing.detail["instance_id"]: thing.detail["size"] for thing in things}
    assert {instance: sizes[instance] for instance in winners} == winners
    assert {same for same, _ in statuses} == {True, False}


async def test_deletes_and_puts_of_one_id_leave_what_the_record_says(
    tmp_path: Path,
) -> None:
    """DELETE raced with the PUT it halts, and a PUT that follows: generations."""
    luck = Stubborn(6)
    scene = Scene(tmp_path, pause=luck.pause)
    statuses: Counter[int] = Counter()

    async def race(number: int) -> None:
        instance, plan = f"i{number}", luck.choice("quick", "auto", "slow")
        sent = flag(plan == "slow" or luck.choice(True, False))
        path = instance_path(instance)

        async def put() -> Answer:
            await luck.pause("")
            return await scene.put(instance, instance_body(plan), **sent)

        async def delete() -> Answer:
            await luck.pause("")
            return await scene.ask("DELETE", path, **sent, **deletion(plan))

        answers = await asyncio.gather(put(), delete(), delete(), put())
        statuses.update(answer.status for answer in answers)
        assert {answer.status for answer in answers} <= {200, 201, 202, 410, 422, 503}

    async with scene.running():
        await rounds(race)
        await scene.settled()
        await scene.agree()

    assert statuses[201] > 0
    assert statuses[410] > 0
    assert statuses[200] > 0


async def test_an_unbind_and_a_bind_of_one_id_leave_one_credential_or_none(
    tmp_path: Path,
) -> None:
    luck = Stubborn(7)
    scene = Scene(tmp_path, pause=luck.pause)

    async def race(number: int) -> None:
        instance, binding = f"i{number % 50}", f"b{number}"
        plan = "auto"
        sent = flag(luck.choice(True, False))
        path = binding_path(instance, binding)

        async def bind() -> Answer:
            await luck.pause("")
            return await scene.bind(instance, binding, binding_body(plan), **sent)

        async def unbind() -> Answer:
            await luck.pause("")
            return await scene.ask("DELETE", path, **sent, **deletion(plan))

        answers = await asyncio.gather(bind(), unbind(), bind())
        assert {answer.status for answer in answers} <= {200, 201, 202, 410, 422, 503}

    async with scene.running():
        for number in range(50):
            assert (await scene.put(f"i{number}", instance_body("auto"))).status == 201
        await rounds(race)
        await scene.settled()
        await scene.agree()
    assert len(scene.cloud.things("instance")) == 50
