"""A Redis afterwards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from infra.connect import redis_config
from infra.redis import build_redis
from schemas.ids import ExecutionId
from schemas.wire import decode_result
from streams.topology import HANDLERS_GROUP, Topology
from tests.chaos.afterwards import Afterwards

LASTING = ("results", "control", "dead", "handlers", "session-ends", "file-s", "state-idle", "state-archived")
"""What may be there without an end: streams that are bounded, and lists that are swept."""


class RedisAfterwards(Afterwards):
    """See `Afterwards`."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__(settings)
        config = redis_config(self._settings)
        self._prefix = f"{config.prefix}millrace:"
        self._names = Topology(config.prefix)
        self._client: Any = build_redis(config)

    async def publish(self, body: bytes) -> None:
        await self._client.xadd(self._names.requests, {"data": body})

    async def results(self) -> Counter[str]:
        entries = await self._client.xrange(self._names.results)
        return Counter(decode_result(fields[b"data"]).execution_id for _, fields in entries)

    async def left_behind(self) -> Sequence[str]:
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
            if name.startswith("line:"):
                # On a cluster a crash may come between an acknowledgement and leaving the line.
                for member in [one.decode() for one in await self._client.zrange(key, 0, -1)]:
                    if not await self._has_ended(member):
                        yield f"{key} with {member}"
            elif waits or name.startswith("parked"):
                yield key
            elif await self._client.pttl(key) == -1 and not name.startswith((*LASTING, "requests")):
                yield f"{key} without an end"

    async def _has_ended(self, execution_id: str) -> bool:
        record = await self._transport.record(ExecutionId(execution_id))
        return record is not None and record.status == "finished"

    async def close(self) -> None:
        await super().close()
        await self._client.aclose()
