"""Which handlers are alive and what runs on them, kept in Redis while they say so."""

from typing import Any, Protocol

import msgspec

from infra.redis import RedisConfig, commanding
from schemas.presence import HandlerPresence

PRESENCE_TTL_S = 15
PRESENCE_EVERY_S = 5
_WITHIN_S = 5.0


class Presence(Protocol):
    """Where handlers announce themselves and edges look."""

    async def announce(self, handler: HandlerPresence) -> None:
        """Say that `handler` is alive, for `PRESENCE_TTL_S`. Raises `Unavailable`."""

    async def leave(self, handler_id: str) -> None:
        """Say that it is gone. Raises `Unavailable`."""

    async def handlers(self) -> list[HandlerPresence]:
        """Return those alive. Raises `Unavailable`."""


class RedisPresence:
    """One key per handler, which expires when the handler falls silent.

    | key | type | holds |
    |---|---|---|
    | `{P}millrace:handlers` | set | handler ids that were seen lately |
    | `{P}millrace:handler:<id>` | string, expires | `HandlerPresence` as JSON |
    """

    def __init__(self, client: Any, config: RedisConfig) -> None:
        self._client = client
        self._config = config
        self._ids = f"{config.prefix}millrace:handlers"
        self._key = f"{config.prefix}millrace:handler:"

    async def announce(self, handler: HandlerPresence) -> None:
        """Refresh the handler's key and its place in the set."""
        async with commanding(self._config, _WITHIN_S):
            await self._client.set(self._key + handler.id, msgspec.json.encode(handler), ex=PRESENCE_TTL_S)
            await self._client.sadd(self._ids, handler.id)

    async def leave(self, handler_id: str) -> None:
        """Remove both at once, so that nobody waits for the key to expire."""
        async with commanding(self._config, _WITHIN_S):
            await self._client.srem(self._ids, handler_id)
            await self._client.delete(self._key + handler_id)

    async def handlers(self) -> list[HandlerPresence]:
        """Read all keys; ids whose key expired are dropped from the set on the way."""
        async with commanding(self._config, _WITHIN_S):
            ids = sorted(_text(member) for member in await self._client.smembers(self._ids))
            found = {handler_id: await self._client.get(self._key + handler_id) for handler_id in ids}
            gone = [handler_id for handler_id, data in found.items() if data is None]
            if gone:
                await self._client.srem(self._ids, *gone)
        return [
            msgspec.json.decode(data, type=HandlerPresence) for data in found.values() if data is not None
        ]


def _text(member: bytes | str) -> str:
    return member.decode() if isinstance(member, bytes) else member
