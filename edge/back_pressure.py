"""Saying "come back later" before the queue grows without bound: to all (503), or to one tenant (429)."""

from collections import Counter

from edge.queue import Queue
from edge.refusals import Refusal, try_later
from schemas.ids import TenantId

LOOK_EVERY_S = 0.5
"""By which steady traffic has it looked again without waiting for it."""
LOOK_S_MAX = 1.0
"""A look that is older counts for nothing."""
LOOK_AGAIN_S = 0.02
"""Before anybody is refused it is looked again, unless the newest look is younger."""
RETRY_S_MAX = 120.0
ASSUMED_PER_S = 1.0
"""How fast work is taken to be finished before that was measured."""


class BackPressure:
    """Knows roughly how many executions wait, and whose they are.

    Looking at every request would cost each of them a round trip. Between two looks every admitted request
    counts as waiting, so a burst is bounded as well; before anybody is refused it is looked again.
    """

    def __init__(self, queue: Queue, waiting_max: int, tenant_waiting_max: int) -> None:
        self._queue = queue
        self._waiting_max = waiting_max
        self._tenant_waiting_max = tenant_waiting_max
        self._admitted: Counter[TenantId] = Counter()
        """Since the newest look."""
        self._looks = 0

    async def admit(self, tenant: TenantId) -> None:
        """Count one more. Raises `Refusal` when too many wait, `Unavailable` when that cannot be known."""
        await self._look(LOOK_S_MAX)
        self._queue.look_aside(LOOK_EVERY_S)
        if self._refusal(tenant) is not None:
            await self._look(LOOK_AGAIN_S)
            if refusal := self._refusal(tenant):
                raise refusal
        self._admitted[tenant] += 1

    async def _look(self, older_than_s: float) -> None:
        await self._queue.look(older_than_s)
        if self._looks != self._queue.looks:
            self._looks = self._queue.looks
            self._admitted.clear()

    def _refusal(self, tenant: TenantId) -> Refusal | None:
        depth = self._queue.depth
        waiting = depth.waiting + self._admitted.total()
        if waiting >= self._waiting_max:
            message = f"{waiting} executions wait already, the limit is {self._waiting_max}."
            after_s = _until_room(waiting, self._waiting_max, self._finished_per_s())
            return try_later(503, "queue_full", message, after_s, limit=self._waiting_max)
        own = depth.tenants.get(tenant, 0) + self._admitted[tenant]
        if own >= self._tenant_waiting_max:
            message = (
                f"{own} executions of this tenant wait already, the limit is {self._tenant_waiting_max}."
            )
            # Tenants that wait share what is finished.
            rate = self._finished_per_s() / max(1, len(depth.tenants))
            after_s = _until_room(own, self._tenant_waiting_max, rate)
            return try_later(
                429, "rate_limited", message, after_s, field="tenant", limit=self._tenant_waiting_max
            )
        return None

    def _finished_per_s(self) -> float:
        """Return how fast work is done. Where nothing was in a while, one may have been the moment after."""
        measured = self._queue.finished_per_s
        if measured is None:
            return ASSUMED_PER_S
        return measured or 1 / self._queue.looked_over_s


def _until_room(waiting: int, most: int, per_s: float) -> float:
    """Return the seconds until a tenth of the room is free, so that not all come back for one place."""
    excess = waiting - most + max(1, most // 10)
    return RETRY_S_MAX if per_s * RETRY_S_MAX <= excess else excess / per_s
