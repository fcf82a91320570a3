"""A Redis as an outsider sees it: publishes bare entries, and afterwards reads everything that is left."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from infra.connect import redis_config
from infra.redis import build_redis
from infra.settings import load_settings
from schemas.events import Event
from schemas.ids import ExecutionId
from schemas.wire import decode_event, decode_result
from streams.protocol import DeliveryPolicy
from streams.redis import RedisTransport
from streams.topology import HANDLERS_GROUP, Topology

LASTING = ("results", "control", "dead", "handlers", "session-ends", "file-s", "state-idle", "state-archived")
"""What may be there without an end: streams that are bounded, and lists that are swept."""


class RedisAfterwards:
    """One client beside those of the crew."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        config = redis_config(load_settings({"MILLRACE_ENV_FILE": "/dev/null", "HOME": "/", **settings}))
        self._prefix = f"{config.prefix}millrace:"
        self._names = Topology(config.prefix)
        self._client: Any = build_redis(config)
        self._transport = RedisTransport(config, DeliveryPolicy(), consumer="afterwards")

    async def publish(self, body: bytes) -> None:
        """Put a bare entry on the requests."""
        await self._client.xadd(self._names.requests, {"data": body})

    async def settled(self, within_s: float) -> bool:
        """Wait until nothing waits and nothing is held."""
        give_up_at = asyncio.get_running_loop().time() + within_s
        while asyncio.get_running_loop().time() < give_up_at:
            try:
                depth = await self._transport.depth()
            except Exception:  # it is coming back
                depth = None
            if depth and depth.waiting == depth.pending == 0:
                return True
            await asyncio.sleep(0.5)
        return False

    async def log(self, execution_id: str) -> list[Event]:
        """Return the whole log of an execution."""
        logged = await self._transport.read(ExecutionId(execution_id), count=100_000)
        return [decode_event(event.data) for event in logged]

    async def results(self) -> Counter[str]:
        """Return how often each execution is on the results."""
        entries = await self._client.xrange(self._names.results)
        return Counter(decode_result(fields[b"data"]).execution_id for _, fields in entries)

    async def left_behind(self) -> Sequence[str]:
        """Return the keys that should not be there when nothing runs and nobody is there."""
        left = [f"key {key}" async for key in self._odd_keys()]
        if held := await self._client.xlen(self._names.requests):
            left.append(f"{held} entries on the requests")
        groups = await self._client.xinfo_groups(self._names.requests)
        if pending := sum(group["pending"] for group in groups if group["name"] == HANDLERS_GROUP.encode()):
            left.append(f"{pending} pending entries")
        return left

    async def _odd_keys(self) -> Any:
        async for found in self._client.scan_iter(match=f"*{self._prefix}*", count=1000):
            key = found.decode()
            name = key.partition(self._prefix)[2]
            waits = any(part in name for part in (":lanes:interactive", ":lanes:batch", ":lanes:session"))
            if waits or name.startswith(("parked", "line:")):
                yield key
            elif await self._client.pttl(key) == -1 and not name.startswith((*LASTING, "requests")):
                yield f"{key} without an end"

    async def close(self) -> None:
        """Let go of everything."""
        await self._transport.close()
        await self._client.aclose()
