"""Saying "come back later" before the queue grows without bound."""

import time

from edge.refusals import try_later
from streams.protocol import Publisher


class BackPressure:
    """Knows roughly how many executions wait: looked up now and then, counted on in between.

    Looking at every request would cost each of them a round trip. Between two looks every admitted
    request counts as waiting, so a burst is bounded as well, a little too strictly.
    """

    def __init__(self, publisher: Publisher, waiting_max: int, look_every_s: float = 0.5) -> None:
        self._publisher = publisher
        self._waiting_max = waiting_max
        self._look_every_s = look_every_s
        self._waiting = 0
        self._look_again_at = 0.0

    async def admit(self) -> None:
        """Count one more. Raises `Refusal` when too many wait, `Unavailable` when that cannot be known."""
        if time.monotonic() >= self._look_again_at:
            self._look_again_at = time.monotonic() + self._look_every_s
            self._waiting = (await self._publisher.depth()).waiting
        if self._waiting >= self._waiting_max:
            message = f"{self._waiting} executions wait already, the limit is {self._waiting_max}."
            raise try_later(503, "queue_full", message, retry_after_s=5)
        self._waiting += 1
