"""Which handlers and pools are alive and what they do, kept in Redis while they say so."""

from typing import Any, Protocol

import msgspec

from infra.redis import RedisConfig, commanding
from schemas.presence import HandlerPresence, PoolPresence

PRESENCE_TTL_S = 15
PRESENCE_EVERY_S = 5
_WITHIN_S = 5.0


class Presence(Protocol):
    """Where handlers and pools announce themselves and edges look."""

    async def announce(self, who: HandlerPresence | PoolPresence) -> None:
        """Say that `who` is alive, for `PRESENCE_TTL_S`. Raises `Unavailable`."""

    async def leave(self, handler_id: str) -> None:
        """Say that a handler is gone. Raises `Unavailable`."""

    async def leave_pool(self, pool_id: str) -> None:
        """Say that a pool process is gone. Raises `Unavailable`."""

    async def handlers(self) -> list[HandlerPresence]:
        """Return those alive. Raises `Unavailable`."""

    async def pools(self) -> list[PoolPresence]:
        """Return those alive. Raises `Unavailable`."""


class RedisPresence:
    """One key per process, which expires when the process falls silent.

    | key | type | holds |
    |---|---|---|
    | `{P}millrace:handlers`, `{P}millrace:pools` | set | ids that were seen lately |
    | `{P}millrace:handler:<id>` | string, expires | `HandlerPresence` as JSON |
    | `{P}millrace:pool:<id>` | string, expires | `PoolPresence` as JSON |
    """

    def __init__(self, client: Any, config: RedisConfig) -> None:
        self._client = client
        self._config = config
        self._base = f"{config.prefix}millrace:"

    async def announce(self, who: HandlerPresence | PoolPresence) -> None:
        """Refresh its key and its place in the set."""
        kind = "handler" if isinstance(who, HandlerPresence) else "pool"
        async with commanding(self._config, _WITHIN_S):
            await self._client.set(self._key(kind, who.id), msgspec.json.encode(who), ex=PRESENCE_TTL_S)
            await self._client.sadd(self._ids(kind), who.id)

    async def leave(self, handler_id: str) -> None:
        """Remove both at once, so that nobody waits for the key to expire."""
        await self._leave("handler", handler_id)

    async def leave_pool(self, pool_id: str) -> None:
        """Likewise."""
        await self._leave("pool", pool_id)

    async def handlers(self) -> list[HandlerPresence]:
        """Read all keys; ids whose key expired are dropped from the set on the way."""
        return [msgspec.json.decode(data, type=HandlerPresence) for data in await self._alive("handler")]

    async def pools(self) -> list[PoolPresence]:
        """Likewise."""
        return [msgspec.json.decode(data, type=PoolPresence) for data in await self._alive("pool")]

    async def _leave(self, kind: str, id_: str) -> None:
        async with commanding(self._config, _WITHIN_S):
            await self._client.srem(self._ids(kind), id_)
            await self._client.delete(self._key(kind, id_))

    async def _alive(self, kind: str) -> list[bytes]:
        async with commanding(self._config, _WITHIN_S):
            ids = sorted(_text(member) for member in await self._client.smembers(self._ids(kind)))
            found = {id_: await self._client.get(self._key(kind, id_)) for id_ in ids}
            gone = [id_ for id_, data in found.items() if data is None]
            if gone:
                await self._client.srem(self._ids(kind), *gone)
        return [data for data in found.values() if data is not None]

    def _ids(self, kind: str) -> str:
        return f"{self._base}{kind}s"

    def _key(self, kind: str, id_: str) -> str:
        return f"{self._base}{kind}:{id_}"


def _text(member: bytes | str) -> str:
    return member.decode() if isinstance(member, bytes) else member
