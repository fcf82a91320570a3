"""Which tool calls of an execution are answered, and who answers just now: known to every edge.

| key | type | holds |
|---|---|---|
| `{P}millrace:tools:{<id>}:answers` | hash, expires | the digest of each answered call's result |
| `{P}millrace:tools:{<id>}:turn` | string, expires soon | who waits for what the program does next |
| `{P}millrace:tools:request:<owner>:<name>` | string, expires | which execution, or that it was cancelled |

A result counts once. The same one again is welcome, for whoever lost an answer sends it again; another one
for the same call is not.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from infra.errors import MillraceError, Unavailable
from infra.redis import RedisClient, RedisConfig, reaching
from infra.redis_script import Script
from infra.tasks import end_tasks
from schemas.ids import CallId, ExecutionId, TenantId

TURN_S = 10.0
"""How long a turn outlives an edge that died with it."""
REQUEST_NAME_S = 3600
_CANCELLED = b"-"

_CLAIM = Script("""
local other = {}
for at = 2, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[at])
  if known and known ~= ARGV[at + 1] then other[#other + 1] = ARGV[at] end
end
if #other == 0 then
  for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return other
""")
_KEEP = Script("return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2])")
_LEAVE = Script("return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])")


class TurnTaken(MillraceError):
    """Somebody else waits for what the program does next."""


class ToolAnswers:
    """Answered calls, turns and names of requests."""

    def __init__(self, client: RedisClient, config: RedisConfig, ttl_s: float) -> None:
        self._client = client
        self._config = config
        self._ttl_ms = round(ttl_s * 1000)

    async def claim(self, execution_id: ExecutionId, digests: Mapping[CallId, str]) -> list[CallId]:
        """Note calls as answered, all or none; return those that another result has answered before.

        Raises `Unavailable`.
        """
        flat = [word for item in digests.items() for word in item]
        async with reaching(self._config):
            key = self._key(execution_id, "answers")
            other = await _CLAIM.run(self._client, [key], [self._ttl_ms, *flat])
        return [CallId(call.decode()) for call in other]

    async def release(self, execution_id: ExecutionId, calls: Sequence[CallId]) -> None:
        """Take calls for not answered again. Raises `Unavailable`."""
        async with reaching(self._config):
            await self._client.execute_command("HDEL", self._key(execution_id, "answers"), *calls)

    async def answered(self, execution_id: ExecutionId) -> set[CallId]:
        """Return the calls that are answered. Raises `Unavailable`."""
        async with reaching(self._config):
            calls = await self._client.execute_command("HKEYS", self._key(execution_id, "answers"))
        return {CallId(call.decode()) for call in calls}

    @asynccontextmanager
    async def turn(self, execution_id: ExecutionId) -> AsyncIterator[None]:
        """Be the only one who waits for an execution within the block. Raises `TurnTaken`."""
        key, own = self._key(execution_id, "turn"), secrets.token_hex(8)
        async with reaching(self._config):
            taken = await self._client.execute_command("SET", key, own, "NX", "PX", round(TURN_S * 1000))
        if not taken:
            raise TurnTaken("Another request waits for what this program does next.")
        keeping = asyncio.create_task(self._keep(key, own))
        try:
            yield
        finally:
            await end_tasks(keeping)
            with suppress(Unavailable):
                async with reaching(self._config):
                    await _LEAVE.run(self._client, [key], [own])

    async def name(self, owner: TenantId, request: str, execution_id: ExecutionId) -> bool:
        """Remember what a request of `owner` waits for; False if it was cancelled before it came."""
        key = self._request(owner, request)
        async with reaching(self._config):
            if await self._client.execute_command("GET", key) == _CANCELLED:
                return False
            await self._client.execute_command("SET", key, execution_id, "EX", REQUEST_NAME_S)
        return True

    async def cancelled(self, owner: TenantId, request: str) -> ExecutionId | None:
        """Return what a cancelled request waits for, if it came already; else remember that it was."""
        key = self._request(owner, request)
        async with reaching(self._config):
            known = await self._client.execute_command("GET", key)
            if known is None:
                await self._client.execute_command("SET", key, _CANCELLED, "EX", REQUEST_NAME_S)
        return None if known in (None, _CANCELLED) else ExecutionId(known.decode())

    async def _keep(self, key: str, own: str) -> None:
        while True:
            await asyncio.sleep(TURN_S / 3)
            with suppress(Unavailable):
                async with reaching(self._config):
                    await _KEEP.run(self._client, [key], [own, round(TURN_S * 1000)])

    def _key(self, execution_id: ExecutionId, what: str) -> str:
        return f"{self._config.prefix}millrace:tools:{{{execution_id}}}:{what}"

    def _request(self, owner: TenantId, request: str) -> str:
        return f"{self._config.prefix}millrace:tools:request:{owner}:{request}"
