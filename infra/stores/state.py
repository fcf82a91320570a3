"""Python state of sessions: opaque bytes, hot in Redis, in the object store once nobody uses them.

| key | type | holds |
|---|---|---|
| `{P}millrace:state:{<name>}` | hash, expires | `data`, `etag` (SHA-256), `size`, `saved` (ms), `claim` |
| `{P}millrace:state-idle` | sorted set, by last use in ms | names, if there is an archive |

A name is a digest of owner and session, so that no owner can name another's. The archive's objects are
`state/<name>/<etag>`: they alone are enough to restore a session when Redis has lost everything. A state that
is brought back stays in the archive too, until a newer one is archived; Redis always wins.

A *claim* fences attempts off, as tokens do at a log: who claimed a state last alone may save it as his.
Whoever proves that he holds his lease after he claimed can be sure that nobody of before saves any more.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import structlog

from infra.redis import RedisClient, RedisConfig, commanding
from infra.redis_script import Script
from infra.stores.objects import CHUNK_BYTES, ObjectMissing, ObjectStore, StoredObject
from infra.stores.recent import Recent
from infra.stores.saved_state import State, StateChanged, StateClaimed, StateRecord
from schemas.ids import SessionId, TenantId

PREFIX = "state/"
ANY = "*"
"""An expected ETag that is true of every state, and of none."""
NONE = ""
"""One that is true where there is no state."""
_WITHIN_S = 20.0
_MS = 1000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTerms:
    """How long states are kept."""

    ttl_s: float
    """In Redis, after the last use."""
    archive_ttl: timedelta | None
    """In the archive, after archiving. None: there is no archive."""
    recent_bytes_max: int = 0
    """How much is kept in this process too, so that a state it knows is not fetched again."""


class StateStore:
    """States by owner and session. Everything raises `Unavailable`."""

    def __init__(
        self, client: RedisClient, config: RedisConfig, objects: ObjectStore, terms: StateTerms
    ) -> None:
        self.client: Any = client
        self.config = config
        self.objects = objects
        self.terms = terms
        self.idle_key = f"{config.prefix}millrace:state-idle"
        self._ttl_ms = int(terms.ttl_s * _MS)
        self._recent = Recent(terms.recent_bytes_max)

    async def load(self, owner: TenantId, session_id: SessionId, claim: str = "") -> State | None:
        """Return a session's state and count that as a use; one from the archive is hot again.

        `claim` names an attempt that may save it from now on, and takes that from all others.
        """
        name = name_of(owner, session_id)
        hot, _ = await asyncio.gather(self._take(name, claim), self._note_use(name))
        if hot is not None:
            self._recent.keep(name, hot.record.etag, hot.data)
            return hot
        return await self._bring_back(name)

    async def claim(self, owner: TenantId, session_id: SessionId, claim: str) -> None:
        """Take from all others that they may save a session's state; `load` does so too."""
        arguments = (claim, self._ttl_ms, ANY)
        async with self.reaching():
            await _TAKE.run(self.client, [self.key(name_of(owner, session_id))], arguments)

    async def read(self, owner: TenantId, session_id: SessionId) -> State | None:
        """Return a session's state, which is no use of it."""
        name = name_of(owner, session_id)
        return await self.hot(name) or await self._archived(name)

    async def find(self, owner: TenantId, session_id: SessionId) -> StateRecord | None:
        """Return what is known of a session's state."""
        name = name_of(owner, session_id)
        async with self.reaching():
            etag, size, saved = await self.client.hmget(self.key(name), "etag", "size", "saved")
            left_ms = await self.client.pttl(self.key(name))
        if etag is None:
            found = await self._newest(name)
            return None if found is None else self._record_of(found)
        return self._hot_record(etag, size, saved, max(0, left_ms))

    async def save(
        self, owner: TenantId, session_id: SessionId, data: bytes, expected: str = ANY, claim: str = ""
    ) -> StateRecord:
        """Replace the state with the ETag `expected` in one step; with a `claim`, only if it is the newest.

        Raises `StateChanged` and `StateClaimed`.
        """
        name = name_of(owner, session_id)
        if expected != ANY and not await self._is_hot(name):
            await self._bring_back(name)  # so that what is compared is in Redis
        return await self._swap(name, data, expected, datetime.now(UTC), claim)

    async def delete(self, owner: TenantId, session_id: SessionId) -> bool:
        """Forget a session's state, wherever it is; returns whether there was any."""
        name = name_of(owner, session_id)
        archived = [found async for found in self._objects_of(name)]
        for found in archived:
            await self.objects.delete(found.key)
        was_hot = await self._is_hot(name)
        async with self.reaching():
            await self.client.delete(self.key(name))
            await self.client.zrem(self.idle_key, name)
        return bool(was_hot or archived)

    async def delete_session(self, owner: TenantId, session_id: SessionId) -> None:
        """Forget what a session that was ended had."""
        await self.delete(owner, session_id)

    async def hot(self, name: str) -> State | None:
        """Return the state that is in Redis."""
        async with self.reaching():
            data, etag, size, saved = await self.client.hmget(self.key(name), "data", "etag", "size", "saved")
        return None if data is None else State(self._hot_record(etag, size, saved, self._ttl_ms), data)

    async def _take(self, name: str, claim: str) -> State | None:
        """Return the state that is in Redis; its bytes are not sent if they are here."""
        arguments = (claim, self._ttl_ms, self._recent.etag(name))
        async with self.reaching():
            etag, size, saved, data = await _TAKE.run(self.client, [self.key(name)], arguments)
        if etag is None:
            return None
        if data is None:
            data = self._recent.get(name, etag.decode())
        if data is None:  # let go of in between
            return await self.hot(name)
        return State(self._hot_record(etag, size, saved, self._ttl_ms), data)

    async def _is_hot(self, name: str) -> bool:
        async with self.reaching():
            return bool(await self.client.hexists(self.key(name), "etag"))

    async def drop(self, name: str, etag: str) -> bool:
        """Forget the hot state that is in the archive now; returns False if another took its place."""
        async with self.reaching():
            return bool(await _DROP.run(self.client, [self.key(name)], [etag]))

    def key(self, name: str) -> str:
        """Return where a hot state lies."""
        return f"{self.config.prefix}millrace:state:{{{name}}}"

    def reaching(self) -> AbstractAsyncContextManager[None]:
        """Turn every failure of Redis into `Unavailable`."""
        return commanding(self.config, _WITHIN_S)

    async def _swap(
        self, name: str, data: bytes, expected: str, saved_at: datetime, claim: str = ""
    ) -> StateRecord:
        etag = hashlib.sha256(data).hexdigest()
        saved_ms = int(saved_at.timestamp() * _MS)
        sent = b"" if expected == etag else data  # a run that changed nothing leaves what it found
        arguments = (expected, sent, etag, len(data), saved_ms, self._ttl_ms, claim)
        await self._note_use(name)  # first: a name too many is found out, one too few never
        async with self.reaching():
            answer = await _SWAP.run(self.client, [self.key(name)], arguments)
        if answer == b"changed":
            raise StateChanged("Another state is there by now.")
        if answer == b"claimed":
            raise StateClaimed("Another attempt has the session by now.")
        self._recent.keep(name, etag, data)
        return StateRecord(etag, len(data), "hot", saved_at, self._expiry(self._ttl_ms))

    async def _note_use(self, name: str) -> None:
        if self.terms.archive_ttl is not None:
            async with self.reaching():
                await self.client.zadd(self.idle_key, {name: int(time.time() * _MS)})

    async def _bring_back(self, name: str) -> State | None:
        """Return the archived state, in Redis again."""
        archived = await self._archived(name)
        if archived is not None:
            with contextlib.suppress(StateChanged):  # somebody was quicker
                await self._swap(name, archived.data, NONE, archived.record.saved_at)
        return archived

    async def _archived(self, name: str) -> State | None:
        found = await self._newest(name)
        if found is None:
            return None
        try:
            async with contextlib.aclosing(self.objects.get(found.key)) as chunks:
                data = b"".join([chunk async for chunk in chunks])
        except ObjectMissing:
            return None  # it was ended at this moment
        record = self._record_of(found)
        if hashlib.sha256(data).hexdigest() != record.etag:
            log.error("archived_state_damaged", key=found.key)
            return None
        return State(record, data)

    async def _newest(self, name: str) -> StoredObject | None:
        if self.terms.archive_ttl is None:
            return None
        alive_since = datetime.now(UTC) - self.terms.archive_ttl
        alive = [found async for found in self._objects_of(name) if found.modified_at > alive_since]
        return max(alive, key=lambda found: found.modified_at, default=None)

    def _objects_of(self, name: str) -> AsyncIterator[StoredObject]:
        return self.objects.listing(f"{PREFIX}{name}/")

    def _record_of(self, found: StoredObject) -> StateRecord:
        etag = found.key.rpartition("/")[2]
        expires_at = found.modified_at + (self.terms.archive_ttl or timedelta())
        return StateRecord(etag, found.size_bytes, "archived", found.modified_at, expires_at)

    def _hot_record(self, etag: bytes, size: bytes, saved: bytes, left_ms: int) -> StateRecord:
        saved_at = datetime.fromtimestamp(int(saved) / _MS, UTC)
        return StateRecord(etag.decode(), int(size), "hot", saved_at, self._expiry(left_ms))

    def _expiry(self, left_ms: int) -> datetime:
        return datetime.now(UTC) + timedelta(milliseconds=left_ms)


def name_of(owner: TenantId, session_id: SessionId) -> str:
    """Return the name of a session's state."""
    return hashlib.sha256(f"{owner}\0{session_id}".encode()).hexdigest()


def object_key(name: str, etag: str) -> str:
    """Return where an archived state lies."""
    return f"{PREFIX}{name}/{etag}"


async def in_chunks(data: bytes) -> AsyncIterator[bytes]:
    """Yield `data` in pieces, so that nobody has to hold two copies."""
    view = memoryview(data)
    for start in range(0, len(view), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])


def _script(name: str) -> Script:
    return Script(resources.files(__package__).joinpath("lua", f"{name}.lua").read_text())


_TAKE, _SWAP, _DROP = _script("state_take"), _script("state_swap"), _script("state_drop")
