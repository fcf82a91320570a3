"""Clears away what a crash, an ended session or a lost bucket leaves: bytes without record, and the reverse.

Safe beside writers and beside other sweeps. An id is condemned in one step with the look whether it is
whole or being written, and a condemned id can never be committed. So bytes go only when nobody can want
them, however slow anybody is. The lease on the sweep only saves work.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from redis.exceptions import LockError, RedisError

from infra.errors import Unavailable
from infra.redis import RedisClient, RedisConfig, reaching
from infra.stores.files import FILES_PREFIX, FileStore, ids_of, object_key
from infra.stores.objects import StoredObject
from schemas.ids import FileId, SessionId

GRACE_S = 3600.0
"""Bytes younger than this are left alone: whoever wrote them may still clear them away himself."""
_LEASE_S = 120.0
_SESSION_KEPT_LISTED_S = 3600.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Swept:
    """What one sweep cleared away."""

    orphans: int = 0
    """Objects that no record knew."""
    lost: int = 0
    """Records whose bytes were gone."""
    unfinished: int = 0
    """Writes that had died."""


class FileSweep:
    """Sweeps one `FileStore`; of any number of processes one at a time."""

    def __init__(
        self, store: FileStore, client: RedisClient, config: RedisConfig, grace_s: float = GRACE_S
    ) -> None:
        self._objects = store.objects
        self._records = store.records
        self._client: Any = client
        self._config = config
        self._grace = timedelta(seconds=grace_s)

    async def forever(self, every_s: float) -> None:
        """Sweep every `every_s` seconds, in whichever process comes first; until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                if await self._is_due(every_s):
                    await self.once()
            except Unavailable as error:
                log.warning("sweep_postponed", reason=error.message)

    async def once(self) -> Swept | None:
        """Sweep now; returns None if somebody else is at it. Raises `Unavailable`."""
        swept = Swept()
        async with self._lease() as held:
            if not held:
                return None
            await self._sweep_unfinished(swept)
            seen = await self._sweep_objects(swept)
            for session_id in set(await self._records.sessions()) - seen:
                await self._sweep_records(session_id, set(), swept)
        if swept != Swept():
            log.info("files_swept", orphans=swept.orphans, lost=swept.lost, unfinished=swept.unfinished)
        return swept

    async def _sweep_unfinished(self, swept: Swept) -> None:
        before = datetime.now(UTC) - self._grace
        async for write in self._objects.unfinished(FILES_PREFIX):
            ids = ids_of(write.key)
            if ids and write.active_at < before and await self._records.condemn(ids[0], [ids[1]]):
                await self._objects.discard(write)
                swept.unfinished += 1

    async def _sweep_objects(self, swept: Swept) -> set[SessionId]:
        """Go through all objects, session by session; returns the sessions there were."""
        seen: set[SessionId] = set()
        session_id: SessionId
        async for session_id, found in _by_session(self._objects.listing(FILES_PREFIX)):
            seen.add(session_id)
            before = datetime.now(UTC) - self._grace
            await self._sweep_orphans(session_id, [i for i, at in found.items() if at < before], swept)
            await self._sweep_records(session_id, set(found), swept)
        return seen

    async def _sweep_orphans(self, session_id: SessionId, old: list[FileId], swept: Swept) -> None:
        for file_id in await self._records.condemn(session_id, old) if old else ():
            await self._objects.delete(object_key(session_id, file_id))
            swept.orphans += 1

    async def _sweep_records(self, session_id: SessionId, found: set[FileId], swept: Swept) -> None:
        """Forget records without bytes; `found` are ids that had some when it was last looked."""
        listed = await self._records.ids(session_id)
        if not listed:
            await self._records.drop_session(session_id, _SESSION_KEPT_LISTED_S)
        if listed <= found:
            return
        # Files may be newer than `found`. But bytes come before the record: of what was listed above,
        # what is not there now is lost.
        there = {ids_of(one.key) async for one in self._objects.listing(f"{FILES_PREFIX}{session_id}/")}
        lost = [file_id for file_id in listed if (session_id, file_id) not in there]
        if lost:
            await self._records.forget(session_id, lost)
            swept.lost += len(lost)

    @contextlib.asynccontextmanager
    async def _lease(self) -> AsyncIterator[bool]:
        """Yield whether this process may sweep. Whoever dies while sweeping is followed after the lease."""
        lock = self._client.lock(
            f"{self._config.prefix}millrace:file-sweep", timeout=_LEASE_S, blocking=False, thread_local=False
        )
        async with reaching(self._config):
            held = bool(await lock.acquire())
        renewing = asyncio.create_task(_renew(lock)) if held else None
        try:
            yield held
        finally:
            if renewing:
                renewing.cancel()
                with contextlib.suppress(LockError, Unavailable):
                    async with reaching(self._config):
                        await lock.release()

    async def _is_due(self, every_s: float) -> bool:
        """Whether nobody began a sweep lately: in a little less than the interval, as clocks differ."""
        async with reaching(self._config):
            key = f"{self._config.prefix}millrace:file-swept"
            return bool(await self._client.set(key, "1", nx=True, px=int(every_s * 900)))


async def _renew(lock: Any) -> None:
    while True:
        await asyncio.sleep(_LEASE_S / 3)
        # Lost or out of reach: another may sweep beside us, which does no harm.
        with contextlib.suppress(LockError, RedisError):
            await lock.reacquire()


async def _by_session(
    objects: AsyncIterator[StoredObject],
) -> AsyncIterator[tuple[SessionId, dict[FileId, datetime]]]:
    """Yield, for each run of objects of one session, the ids with their times; other keys are not ours."""
    session_id, gathered = None, {}
    async for found in objects:
        ids = ids_of(found.key)
        if ids is None:
            continue
        if session_id is not None and ids[0] != session_id:
            yield session_id, gathered
            gathered = {}
        session_id = ids[0]
        gathered[ids[1]] = found.modified_at
    if session_id is not None:
        yield session_id, gathered
