"""A task that is to end, and loses its cancellation."""

import asyncio

from osbkit.tasks import end


async def test_a_task_that_loses_a_cancellation_ends_all_the_same():
    lost = 0

    async def loses_two() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                lost += 1
                if lost > 2:
                    raise

    task = asyncio.create_task(loses_two())
    await asyncio.sleep(0)
    await end(task, again=0.001)

    assert task.cancelled()
    assert lost == 3


async def test_what_a_task_raises_is_not_raised_by_its_end():
    async def fails() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ValueError("while it cleaned up")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await end(task)

    assert isinstance(task.exception(), ValueError)


async def test_nothing_is_to_be_ended():
    await end(None)
