"""Sessions: whose they are, when they were last used, and how many one owner may have.

A session is opened by `POST /sessions`, or by its first use under an id of the caller's choice. It ends when
somebody ends it, or `ttl_s` after its last use. Its files and its state are the business of other stores;
what ended is listed here until all of them have forgotten it (`SessionSweep`).

A session too many is refused, not bought with the end of an older one: somebody may be about to come back
to that one, and would find his files gone. The runs of the compatible contract, of which each is a session
of its own, are no sessions here: their files end by themselves, after the same time.

| key | type | holds |
|---|---|---|
| `{P}millrace:session:<id>` | string, expires | its owner: an id belongs to one owner at a time |
| `{P}millrace:sessions:{<owner>}` | sorted set, by last use in ms | ids |
| `{P}millrace:sessions:{<owner>}:opened` | hash, by id | when it was opened, in ms |
| `{P}millrace:session-ends` | sorted set, by when to look in ms | `<owner> <id>`, until all is forgotten |

What stands in `session-ends` is written before a session can be found, and removed after everything else,
so that a crash between two steps leaves something to look at, never something to find. All times are
the server's.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any, Protocol

from infra.errors import RequestRefused
from infra.redis import RedisClient, RedisConfig, commanding
from infra.redis_script import Argument, Script
from schemas.ids import SessionId, TenantId, new_id

_WITHIN_S = 10.0
_MS = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """A live session."""

    id: SessionId
    opened_at: datetime
    used_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """A session of which something may be left."""

    owner: TenantId
    id: SessionId
    on_purpose: bool
    """Somebody ended it, not time."""


class UnknownSession(RequestRefused):
    """The session is another owner's."""

    def __init__(self, session_id: SessionId) -> None:
        super().__init__(f"There is no session {session_id!r} of yours.", field="session_id")


class TooManySessions(RequestRefused):
    """The owner has as many as he may."""

    def __init__(self, sessions_max: int) -> None:
        message = (
            f"There may be {sessions_max} sessions at a time (MAX_SESSIONS_PER_ENTITY). "
            "End one that is not needed any more."
        )
        super().__init__(message, field="session_id", limit=sessions_max)
        self.sessions_max = sessions_max


class Sessions(Protocol):
    """Where sessions are known. Everything raises `Unavailable`."""

    async def open(self, owner: TenantId) -> Session:
        """Open a session under a new id. Raises `TooManySessions`."""

    async def use(self, owner: TenantId, session_id: SessionId) -> Session:
        """Let a session live for another TTL; one that is not there is opened.

        Raises:
            UnknownSession: it is another owner's.
            TooManySessions: it would have to be opened, and there is no room.
        """

    async def find(self, owner: TenantId, session_id: SessionId) -> Session | None:
        """Return a session of `owner`, or None. It is no use of it."""

    async def listing(self, owner: TenantId, skip: int, count: int) -> tuple[int, list[Session]]:
        """Return how many there are, and at most `count` after the first `skip`, the last used first."""

    async def owner_of(self, session_id: SessionId) -> TenantId | None:
        """Return whose it is, or None if it is not there."""

    async def end(self, owner: TenantId, session_id: SessionId) -> None:
        """Let nobody find it any more, and list it as ended until `cleared`. It need not be there."""

    async def ended(self, count: int) -> list[Ended]:
        """Return sessions that have ended and were not cleared yet."""

    async def cleared(self, owner: TenantId, session_id: SessionId) -> None:
        """Note that nothing is left of it."""

    async def lead(self, for_s: float) -> bool:
        """Return whether this process may sweep: one of all does, for `for_s` seconds."""


class RedisSessions:
    """Sessions in Redis, in any mode."""

    def __init__(
        self, client: RedisClient, config: RedisConfig, *, ttl_s: float, sessions_max: int, id_length: int
    ) -> None:
        self._client: Any = client
        self._config = config
        self._base = f"{config.prefix}millrace:session"
        self._ends = f"{self._base}-ends"
        self._ttl_ms = int(ttl_s * _MS)
        self._sessions_max = sessions_max
        self._id_length = id_length

    async def open(self, owner: TenantId) -> Session:
        return await self.use(owner, SessionId(new_id(self._id_length)))

    async def use(self, owner: TenantId, session_id: SessionId) -> Session:
        claim = f"{self._base}:{session_id}"
        async with self._reaching():
            claimed, used = await asyncio.gather(  # of a session that is there, all in one round trip
                self._run(_CLAIM, [claim], owner, self._ttl_ms),
                self._run(_USE, self._of(owner), session_id, self._ttl_ms, ""),
            )
            if not claimed:
                raise UnknownSession(session_id)
            if used == b"absent":
                used = await self._open(owner, session_id, claim)
        return self._session(session_id, *used)

    async def _open(self, owner: TenantId, session_id: SessionId, claim: str) -> tuple[int, int]:
        member = f"{owner} {session_id}"
        await self._run(_NOTE, [self._ends], member, self._ttl_ms)
        opened = await self._run(_USE, self._of(owner), session_id, self._ttl_ms, self._sessions_max)
        if opened == b"full":
            await self._run(_UNCLAIM, [claim], owner)
            await self._client.zrem(self._ends, member)
            raise TooManySessions(self._sessions_max)
        return opened[0], opened[1]

    async def find(self, owner: TenantId, session_id: SessionId) -> Session | None:
        async with self._reaching():
            _, _, *found = await self._run(_LIST, self._of(owner), self._ttl_ms, session_id, 0, 1)
        return self._session(session_id, found[1], found[2]) if found else None

    async def listing(self, owner: TenantId, skip: int, count: int) -> tuple[int, list[Session]]:
        async with self._reaching():
            total, _, *found = await self._run(_LIST, self._of(owner), self._ttl_ms, "", skip, count)
        pages = zip(found[::3], found[1::3], found[2::3], strict=True)
        return total, [self._session(SessionId(name.decode()), opened, used) for name, opened, used in pages]

    async def owner_of(self, session_id: SessionId) -> TenantId | None:
        async with self._reaching():
            owner = await self._client.get(f"{self._base}:{session_id}")
        return None if owner is None else TenantId(owner.decode())

    async def end(self, owner: TenantId, session_id: SessionId) -> None:
        async with self._reaching():
            await self._run(_NOTE, [self._ends], f"{owner} {session_id}", "")
            await self._run(_FORGET, self._of(owner), session_id, 0)
            await self._run(_UNCLAIM, [f"{self._base}:{session_id}"], owner)

    async def ended(self, count: int) -> list[Ended]:
        async with self._reaching():
            due = await self._run(_DUE, [self._ends], count)
            looked_at = [_ended(member, look_at) for member, look_at in zip(due[::2], due[1::2], strict=True)]
            return [session for session in looked_at if not await self._lives_on(session.owner, session.id)]

    async def _lives_on(self, owner: TenantId, session_id: SessionId) -> bool:
        """Whether a session was used since it was noted when to look; then this is noted anew."""
        _, now, *found = await self._run(_LIST, self._of(owner), self._ttl_ms, session_id, 0, 1)
        if found:
            left_ms = found[2] + self._ttl_ms - now
            await self._run(_NOTE, [self._ends], f"{owner} {session_id}", left_ms)
        return bool(found)

    async def cleared(self, owner: TenantId, session_id: SessionId) -> None:
        async with self._reaching():
            await self._run(_FORGET, self._of(owner), session_id, self._ttl_ms)
            await self._run(_CLEARED, [self._ends], f"{owner} {session_id}")

    async def lead(self, for_s: float) -> bool:
        async with self._reaching():
            lock = f"{self._base}-sweep"
            return bool(await self._client.set(lock, "1", nx=True, px=max(1, int(for_s * _MS))))

    def _session(self, session_id: SessionId, opened_ms: int, used_ms: int) -> Session:
        used_at = datetime.fromtimestamp(used_ms / _MS, UTC)
        expires_at = used_at + timedelta(milliseconds=self._ttl_ms)
        return Session(session_id, datetime.fromtimestamp(opened_ms / _MS, UTC), used_at, expires_at)

    def _of(self, owner: TenantId) -> list[str]:
        sessions = f"{self._base}s:{{{owner}}}"
        return [sessions, f"{sessions}:opened"]

    async def _run(self, script: Script, keys: list[str], *arguments: Argument) -> Any:
        return await script.run(self._client, keys, arguments)

    def _reaching(self) -> AbstractAsyncContextManager[None]:
        """Turn every failure of Redis into `Unavailable`."""
        return commanding(self._config, _WITHIN_S)


def _ended(member: bytes, look_at: bytes) -> Ended:
    owner, _, session_id = member.decode().partition(" ")
    return Ended(TenantId(owner), SessionId(session_id), on_purpose=look_at == b"0")


def _script(name: str) -> Script:
    folder = resources.files(__package__).joinpath("lua")
    return Script(
        "".join(folder.joinpath(f"{part}.lua").read_text() for part in ("clock", f"session_{name}"))
    )


_CLAIM, _UNCLAIM, _USE = _script("claim"), _script("unclaim"), _script("use")
_LIST, _FORGET = _script("list"), _script("forget")
_NOTE, _DUE, _CLEARED = _script("note"), _script("due"), _script("cleared")
