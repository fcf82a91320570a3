"""What waits on the broker, looked at now and then, once for everybody who wants to know."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from streams.depth import QueueDepth
from streams.protocol import Publisher

RATE_OVER_S = 30.0
"""How far back the rate of finishing is measured: enough for a few executions, and still true."""
RATE_OVER_S_MIN = 2.0
LOOKS_MAX = 64


class Queue:
    """The newest look at the depth, and how fast work was finished between looks."""

    def __init__(self, publisher: Publisher, clock: Callable[[], float] = time.monotonic) -> None:
        self._publisher = publisher
        self._clock = clock
        self._looking: asyncio.Task[None] | None = None
        self._looks: deque[tuple[float, int]] = deque(maxlen=LOOKS_MAX)
        """When it was looked, and how much was finished by then."""
        self.looks = 0
        """How often it was looked."""
        self.depth = QueueDepth(0, 0)

    async def look(self, older_than_s: float) -> None:
        """Look again unless the newest look is younger. Those who come meanwhile wait for the same answer.

        Raises `Unavailable`.
        """
        if self._is_older(older_than_s):
            await asyncio.shield(self._begin())

    def look_aside(self, older_than_s: float) -> None:
        """Have it looked again, unless the newest look is younger, and wait for no answer."""
        if self._is_older(older_than_s):
            self._begin()

    def _is_older(self, age_s: float) -> bool:
        return not self._looks or self._clock() - self._looks[-1][0] >= age_s

    def _begin(self) -> "asyncio.Task[None]":
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="depth")
            # Where nobody waits, nobody is told; whoever needs the broker next will notice.
            self._looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._looking

    @property
    def finished_per_s(self) -> float | None:
        """How many executions are finished in a second; None if that was not looked at for long enough."""
        if self.looked_over_s < RATE_OVER_S_MIN:
            return None
        return (self._looks[-1][1] - self._looks[0][1]) / self.looked_over_s

    @property
    def looked_over_s(self) -> float:
        """Over how long it is known what was finished."""
        return self._looks[-1][0] - self._looks[0][0] if self._looks else 0.0

    async def _look(self) -> None:
        self.depth = await self._publisher.depth()
        self.looks += 1
        self._note(self._clock(), self.depth.finished)

    def _note(self, now: float, finished: int) -> None:
        if self._looks and finished < self._looks[-1][1]:
            self._looks.clear()  # the broker was emptied
        if len(self._looks) == LOOKS_MAX:
            # Every second one: as far back as before, with room for as many again.
            self._looks = deque(list(self._looks)[::2], maxlen=LOOKS_MAX)
        self._looks.append((now, finished))
        while len(self._looks) > 2 and self._looks[1][0] < now - RATE_OVER_S:
            self._looks.popleft()
