"""Deleting what is used up, for sure: at once if it can be, else again and again beside the work."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from infra.errors import Unavailable
from infra.tasks import end_tasks
from sandboxes.kubernetes.api import ApiError

log = structlog.get_logger(__name__)

_FIRST_S, _MOST_S = 0.5, 30.0


class Disposal:
    """What one handler has to delete."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def dispose(self, what: str, *steps: Callable[[], Awaitable[object]], wait_s: float = 5.0) -> None:
        """Take all steps, each until it succeeds; returns when they are done, or after `wait_s`."""
        task = asyncio.create_task(_insist(what, steps))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait((task,), timeout=wait_s)

    async def aclose(self, patience_s: float = 5.0) -> None:
        """Wait for what is under way, then leave the rest to the pool and to deadlines."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=patience_s)
        await end_tasks(*self._tasks)


async def _insist(what: str, steps: tuple[Callable[[], Awaitable[object]], ...]) -> None:
    for step in steps:
        pause_s = _FIRST_S
        while True:
            try:
                await step()
                break
            except (ApiError, Unavailable) as error:
                log.warning("not_disposed_of_yet", what=what, reason=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(_MOST_S, pause_s * 2)
