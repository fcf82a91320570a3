"""What is known of files, kept in Redis: which there are, whose they are, and which are being written.

Four keys a session, in one cluster slot, expire together `ttl_s` after the session's files were last used:

| key | type | holds |
|---|---|---|
| `{P}millrace:files:{<session>}` | hash | `owner`, `bytes` of all files, `written`: files there ever were |
| `…:records` | hash, by file id | `StoredFile` as JSON |
| `…:order` | sorted set, by when it was saved | file ids |
| `…:writing` | sorted set, by the end of the writer's lease in ms | ids of files that are being written |

And one for all:

| key | type | holds |
|---|---|---|
| `{P}millrace:file-sessions` | sorted set, by time of the last save in s | sessions that may have files |

And one for each file, which expires `ttl_s` after the file was saved or last found by it:

| key | type | holds |
|---|---|---|
| `{P}millrace:file-at:<file id>` | string | the session it is in |

A writer first reserves a place, says now and then that it still writes, and at the end commits. Whatever
takes the place away in between (its lease ran out, the session ended, a sweep) makes the commit fail, so
that no record can appear for bytes that somebody else believes to be rubbish. All times are the server's.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from importlib import resources
from typing import Any

import msgspec

from infra.errors import RequestRefused, Unavailable
from infra.redis import RedisClient, RedisConfig, commanding
from infra.redis_script import Argument, Script
from infra.stores.file_quota import FileQuota, too_many, too_much
from infra.stores.stored_file import StoredFile
from schemas.ids import FileId, SessionId, TenantId

_WITHIN_S = 10.0
_MS = 1000


class FileRecords:
    """The records of all sessions. Everything raises `Unavailable` while Redis is away or refuses us."""

    def __init__(
        self,
        client: RedisClient,
        config: RedisConfig,
        quota: FileQuota,
        *,
        ttl_s: float,
        lease_s: float = 60.0,
    ) -> None:
        self._client: Any = client
        self._config = config
        self._base = f"{config.prefix}millrace:files:"
        self.sessions_key = f"{config.prefix}millrace:file-sessions"
        self.quota = quota
        self._ttl_ms = int(ttl_s * _MS)
        self._lease_ms = int(lease_s * _MS)

    @contextlib.asynccontextmanager
    async def writing(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> AsyncIterator[int]:
        """Hold a place for a file inside the block; yields the bytes that the session's files take.

        Raises:
            QuotaExceeded: the session is full.
            RequestRefused: the session is somebody else's.
        """
        taken = await self._reserve(owner, session_id, file_id)
        renewing = asyncio.create_task(self._renew(session_id, file_id))
        try:
            yield taken
        finally:
            renewing.cancel()

    async def commit(self, stored: StoredFile) -> None:
        """List a file, whose place is still held. Raises `QuotaExceeded` and `Unavailable`."""
        ref = stored.ref
        async with self._reaching():
            # Before the record: a crash in between leaves a way to no file, never a file without its way.
            await self._client.set(self._place_key(ref.id), ref.session_id, px=self._ttl_ms)
        arguments = (ref.id, msgspec.json.encode(stored), ref.size_bytes, self.quota.session_bytes_max)
        answer = await self._run(_COMMIT, ref.session_id, *arguments, self._ttl_ms)
        if answer == b"full":
            raise too_much(self.quota)
        if answer != b"ok":
            raise Unavailable("The file was not stored: its session ended, or writing it took too long.")

    async def find(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> StoredFile | None:
        """Return a file of `owner`, or None. Keeps the session for another TTL."""
        found = await self._run(_FIND, session_id, owner, self._ttl_ms, file_id)
        return _decode(found[0]) if found else None

    async def session_of(self, file_id: FileId) -> SessionId | None:
        """Return the session that a file was saved in, of whoever it is, or None if that is not known."""
        async with self._reaching():
            found = await self._client.getex(self._place_key(file_id), px=self._ttl_ms)
            return None if found is None else SessionId(_text(found))

    async def keep(self, owner: TenantId, session_id: SessionId) -> None:
        """Let the files of a session live for another TTL."""
        await self._run(_FIND, session_id, owner, self._ttl_ms, "")

    async def listing(self, owner: TenantId, session_id: SessionId) -> list[StoredFile]:
        """Return the files of a session in the order in which they were saved, as `find` would."""
        return [_decode(record) for record in await self._run(_FIND, session_id, owner, self._ttl_ms)]

    async def owner_of(self, session_id: SessionId) -> TenantId | None:
        """Return whose files a session holds, or None if it holds none."""
        async with self._reaching():
            owner = await self._client.hget(self._keys(session_id)[0], "owner")
        return None if owner is None else TenantId(_text(owner))

    async def ids(self, session_id: SessionId) -> set[FileId]:
        """Return the ids of all whole files."""
        async with self._reaching():
            return {FileId(_text(name)) for name in await self._client.hkeys(self._keys(session_id)[1])}

    async def forget(self, session_id: SessionId, file_ids: Sequence[FileId]) -> None:
        """Remove files, or the places of files that are being written."""
        await self._run(_FORGET, session_id, *file_ids)

    async def clear(self, owner: TenantId, session_id: SessionId) -> list[FileId]:
        """Forget a session; returns the ids of the files it had."""
        return [FileId(_text(name)) for name in await self._run(_CLEAR, session_id, owner)]

    async def condemn(self, session_id: SessionId, file_ids: Sequence[FileId]) -> list[FileId]:
        """Return which of `file_ids` are no files, and now can never become any."""
        return [FileId(_text(name)) for name in await self._run(_CONDEMN, session_id, *file_ids)]

    async def sessions(self) -> list[SessionId]:
        """Return the sessions that may have files."""
        async with self._reaching():
            return [SessionId(_text(name)) for name in await self._client.zrange(self.sessions_key, 0, -1)]

    async def drop_session(self, session_id: SessionId, idle_s: float) -> None:
        """Take a session without files off the list if none was saved for `idle_s` seconds."""
        async with self._reaching():
            saved_at = await self._client.zscore(self.sessions_key, session_id)
            if saved_at is not None and float(saved_at) < time.time() - idle_s:
                await self._client.zrem(self.sessions_key, session_id)

    async def _reserve(self, owner: TenantId, session_id: SessionId, file_id: FileId) -> int:
        async with self._reaching():
            # Before the place: a crash in between leaves a name too many on the list, never one too few.
            await self._client.zadd(self.sessions_key, {session_id: int(time.time())})
        arguments = (owner, file_id, self.quota.files_max, self._lease_ms, self._ttl_ms)
        answer = await self._run(_RESERVE, session_id, *arguments)
        if answer == b"foreign":
            raise RequestRefused(f"There is no session {session_id!r}.", field="session_id")
        if answer == b"full":
            raise too_many(self.quota)
        return int(answer)

    async def _renew(self, session_id: SessionId, file_id: FileId) -> None:
        held = True
        while held:
            await asyncio.sleep(self._lease_ms / _MS / 3)
            with contextlib.suppress(Unavailable):  # there are two more tries within the lease
                held = bool(await self._run(_RENEW, session_id, file_id, self._lease_ms))

    async def _run(self, script: Script, session_id: SessionId, *arguments: Argument) -> Any:
        async with self._reaching():
            return await script.run(self._client, self._keys(session_id), arguments)

    def _reaching(self) -> AbstractAsyncContextManager[None]:
        """Turn every failure of Redis into `Unavailable`."""
        return commanding(self._config, _WITHIN_S)

    def _place_key(self, file_id: FileId) -> str:
        return f"{self._config.prefix}millrace:file-at:{file_id}"

    def _keys(self, session_id: SessionId) -> tuple[str, str, str, str]:
        about = f"{self._base}{{{session_id}}}"
        return about, f"{about}:records", f"{about}:order", f"{about}:writing"


def _script(name: str) -> Script:
    folder = resources.files(__package__).joinpath("lua")
    return Script("".join(folder.joinpath(f"{part}.lua").read_text() for part in ("common", name)))


_RESERVE, _RENEW, _COMMIT = _script("reserve"), _script("renew"), _script("commit")
_FIND, _FORGET, _CLEAR, _CONDEMN = _script("find"), _script("forget"), _script("clear"), _script("condemn")


def _decode(record: bytes) -> StoredFile:
    return msgspec.json.decode(record, type=StoredFile)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
