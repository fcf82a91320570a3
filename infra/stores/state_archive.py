"""Moves states that nobody uses from Redis into the object store, and deletes what lay there too long.

One process of all does it at a time. A state is dropped from Redis only after it lies whole in the store,
and only if it is still the same; what fails is tried again with the next look.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from infra.errors import Unavailable
from infra.stores.state import PREFIX, StateStore, in_chunks, object_key

_MS = 1000
_AT_ONCE_MAX = 10_000
"""How many states one look moves; the rest waits for the next."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Archived:
    """What one look did."""

    archived: int = 0
    expired: int = 0


class StateArchive:
    """Archives what was idle for `after_s`, or would expire before the next two looks."""

    def __init__(self, states: StateStore, *, after_s: float, every_s: float) -> None:
        self._states = states
        self._every_s = every_s
        self._after_s = max(0.0, min(after_s, states.terms.ttl_s - 2 * every_s))

    async def forever(self) -> None:
        """Look again and again, in whichever process comes first; until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                if await self._lead():
                    await self.once()
            except Unavailable as error:
                log.warning("state_archive_postponed", reason=error.message)

    async def once(self) -> Archived:
        """Look now. Raises `Unavailable`."""
        done = Archived()
        for name in await self._idle():
            done.archived += await self._archive(name)
        done.expired = await self._expire()
        if done != Archived():
            log.info("states_archived", archived=done.archived, expired=done.expired)
        return done

    async def _idle(self) -> list[str]:
        """Return the names of states not used for a while."""
        before_ms = int((time.time() - self._after_s) * _MS)
        states = self._states
        async with states.reaching():
            names = await states.client.zrangebyscore(
                states.idle_key, "-inf", before_ms, start=0, num=_AT_ONCE_MAX
            )
        return [name.decode() for name in names]

    async def _archive(self, name: str) -> bool:
        states = self._states
        hot = await states.hot(name)
        if hot is not None:
            key = object_key(name, hot.record.etag)
            await states.objects.put(key, in_chunks(hot.data))
            if not await states.drop(name, hot.record.etag):
                await states.objects.delete(key)  # a newer one was saved meanwhile
                return False
            await self._keep_only(name, key)
        async with states.reaching():
            await states.client.zrem(states.idle_key, name)
        return hot is not None

    async def _keep_only(self, name: str, key: str) -> None:
        older = [found.key async for found in self._states.objects.listing(f"{PREFIX}{name}/")]
        for other in older:
            if other != key:
                await self._states.objects.delete(other)

    async def _expire(self) -> int:
        ttl = self._states.terms.archive_ttl
        if ttl is None:
            return 0
        before, expired = datetime.now(UTC) - ttl, 0
        async for found in self._states.objects.listing(PREFIX):
            if found.modified_at < before:
                await self._states.objects.delete(found.key)
                expired += 1
        return expired

    async def _lead(self) -> bool:
        """Whether nobody began a look lately: in a little less than the interval, as clocks differ."""
        async with self._states.reaching():
            key = f"{self._states.config.prefix}millrace:state-archived"
            return bool(await self._states.client.set(key, "1", nx=True, px=int(self._every_s * 900)))
