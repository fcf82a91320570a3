"""What the edge leans on, and how each of it is doing."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from infra.errors import Unavailable
from infra.stores.presence import Presence
from schemas.http import DependencyHealth
from schemas.presence import HandlerPresence, PoolPresence
from streams.depth import QueueDepth
from streams.protocol import Publisher

T = TypeVar("T")


class Dependencies:
    """Each look tells how a dependency is doing, and takes no longer than `timeout_s`."""

    def __init__(self, publisher: Publisher, presence: Presence, timeout_s: float) -> None:
        self._publisher = publisher
        self._presence = presence
        self._timeout_s = timeout_s

    async def broker(self) -> DependencyHealth:
        """Look whether the broker answers."""
        return (await self._look(self._publisher.ping()))[0]

    async def handlers(self) -> tuple[DependencyHealth, list[HandlerPresence]]:
        """Look for handlers where they make themselves known."""
        presence, handlers = await self._look(self._presence.handlers())
        return presence, handlers or []

    async def pools(self) -> list[PoolPresence]:
        """Return the processes that keep pods ready, where sandboxes are pods."""
        return (await self._look(self._presence.pools()))[1] or []

    async def depth(self) -> QueueDepth | None:
        """Return how much waits, if the broker answers."""
        return (await self._look(self._publisher.depth()))[1]

    async def _look(self, asked: Awaitable[T]) -> tuple[DependencyHealth, T | None]:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await asked
        except Unavailable as error:
            return DependencyHealth(status="unavailable", message=error.message), None
        except TimeoutError:
            message = f"No answer within {self._timeout_s:g} seconds."
            return DependencyHealth(status="unavailable", message=message), None
        return DependencyHealth(status="ok", latency_s=round(time.perf_counter() - began, 6)), answer
