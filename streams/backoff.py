"""Waiting for a broker that is away: short, capped, jittered, and said once."""

import asyncio
import random

from streams.delivery import log


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
