"""What is told to end does end."""

import asyncio

import pytest

from infra.tasks import end_tasks


async def test_a_task_that_swallows_a_cancel_is_cancelled_again() -> None:
    """As timeouts and client libraries do now and then."""

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_tasks(task, patience_s=0.01)
    assert task.cancelled()


async def test_what_a_task_raises_at_its_end_stops_nobody() -> None:
    """The others still have to be ended."""

    async def failing() -> None:
        raise ValueError("no")

    task, other = asyncio.create_task(failing()), asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    await end_tasks(task, other)
    assert other.cancelled()
    with pytest.raises(ValueError, match="no"):
        task.result()
