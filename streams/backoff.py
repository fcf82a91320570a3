"""Waiting for a broker that is away: short, capped, jittered, and said once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streams.delivery import log

T = TypeVar("T")


async def repeated(
    operation: Callable[[], Awaitable[T]],
    within_s: float,
    passing: tuple[type[Exception], ...],
    pause: Callable[[Exception], Awaitable[None]],
    *,
    ends_by_itself: bool = False,
) -> T:
    """Return what `operation` does, tried again and again while what it raises is `passing`.

    Between two tries `pause` is awaited with that; what it raises is not passing after all. What was raised
    last, a TimeoutError included, is raised when `within_s` is over. Where `operation` ends by itself in that
    time, the first try, which mostly succeeds, is not timed: a timer costs as much as a command.
    """
    clock = asyncio.get_running_loop().time
    give_up_at = clock() + within_s
    is_timed = not ends_by_itself
    while True:
        try:
            if not is_timed:
                return await operation()
            async with asyncio.timeout_at(give_up_at):
                return await operation()
        except passing as error:
            is_timed = True
            if clock() >= give_up_at:
                raise
            await pause(error)


class Backoff:
    """Pauses between tries; the log says when the broker at `where` went away and when it was back."""

    def __init__(self, where: str, cap_s: float = 0.5) -> None:
        self._where = where
        self._cap_s = cap_s
        self._failures = 0

    async def pause(self, error: BaseException) -> None:
        """Wait before the next try, never longer than the cap."""
        if self._failures == 0:
            log.warning("broker_away", broker=self._where, error=str(error) or type(error).__name__)
        self._failures += 1
        await asyncio.sleep(random.uniform(0.2, 1.0) * min(self._cap_s, 0.05 * 2**self._failures))  # noqa: S311

    def reset(self) -> bool:
        """Note a success; return whether the broker had been away."""
        was_away, self._failures = self._failures > 0, 0
        if was_away:
            log.info("broker_is_back", broker=self._where)
        return was_away
