"""What is told to end does end."""

import asyncio
import threading

import pytest

from infra.tasks import end_tasks, made_in_thread


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


async def test_what_a_thread_made_for_nobody_is_undone() -> None:
    """Whoever waits may be cancelled; the thread cannot be."""
    begun, go_on = threading.Event(), threading.Event()
    kept: list[str] = []

    def make() -> str:
        begun.set()
        assert go_on.wait(20)
        kept.append("a group")
        return "a group"

    making = asyncio.create_task(made_in_thread(make, kept.remove))
    await asyncio.to_thread(begun.wait, 20)
    making.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert kept == []


async def test_what_a_thread_made_for_somebody_is_kept() -> None:
    """And what it raised is raised."""
    undone: list[str] = []
    assert await made_in_thread(lambda: "a group", undone.append) == "a group"
    with pytest.raises(ZeroDivisionError):
        await made_in_thread(lambda: str(1 // 0), undone.append)
    assert undone == []
