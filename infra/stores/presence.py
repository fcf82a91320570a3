"""Which handlers are alive and what runs on them, kept in Redis while they say so."""

from typing import Any, Protocol

import msgspec
from redis.exceptions import RedisError

from infra.errors import Unavailable
from schemas.presence import HandlerPresence

PRESENCE_TTL_S = 15
PRESENCE_EVERY_S = 5


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

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._ids = f"{prefix}millrace:handlers"
        self._key = f"{prefix}millrace:handler:"

    async def announce(self, handler: HandlerPresence) -> None:
        """Refresh the handler's key and its place in the set."""
        try:
            await self._client.set(self._key + handler.id, msgspec.json.encode(handler), ex=PRESENCE_TTL_S)
            await self._client.sadd(self._ids, handler.id)
        except RedisError as error:
            raise Unavailable("Redis is away: presence could not be announced.") from error

    async def leave(self, handler_id: str) -> None:
        """Remove both at once, so that nobody waits for the key to expire."""
        try:
            await self._client.srem(self._ids, handler_id)
            await self._client.delete(self._key + handler_id)
        except RedisError as error:
            raise Unavailable("Redis is away: presence could not be withdrawn.") from error

    async def handlers(self) -> list[HandlerPresence]:
        """Read all keys; ids whose key expired are dropped from the set on the way."""
        try:
            ids = sorted(_text(member) for member in await self._client.smembers(self._ids))
            found = {handler_id: await self._client.get(self._key + handler_id) for handler_id in ids}
            gone = [handler_id for handler_id, data in found.items() if data is None]
            if gone:
                await self._client.srem(self._ids, *gone)
        except RedisError as error:
            raise Unavailable("Redis is away: it is not known which handlers live.") from error
        return [
            msgspec.json.decode(data, type=HandlerPresence) for data in found.values() if data is not None
        ]


def _text(member: bytes | str) -> str:
    return member.decode() if isinstance(member, bytes) else member
