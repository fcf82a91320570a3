"""What both sides of the Redis transport stand on: the client, the names, and how long to keep trying."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from infra.errors import Unavailable
from infra.redis import AWAY, RedisConfig, build_redis, reaching
from schemas.ids import ExecutionId
from streams.backoff import Backoff
from streams.protocol import DeliveryPolicy
from streams.redis.scripts import Argument, Script
from streams.topology import DATA, Topology

T = TypeVar("T")

PUBLISH_S = 10.0
"""How long a publisher keeps trying: long enough for most failovers, short enough for whoever waits."""
BLOCK_S = 2.0
_NOT_NOW = ("NOREPLICAS", "MASTERDOWN", "UNBLOCKED")
"""How a server begins that lost its replicas, its primary, or its place as one: another may be better off."""
_AFTER_CLIENT_S = 1.0
"""How much longer than a cluster's client we wait, so that it is the one that notices."""


class Link:
    """One process's way to one broker."""

    def __init__(self, config: RedisConfig, policy: DeliveryPolicy) -> None:
        self.config = config
        self.policy = policy
        self.topology = Topology(config.prefix)
        self.silent_s = config.socket_timeout_s or 5.0
        """A broker that does not answer for so long is away."""
        self.block_s = min(BLOCK_S, self.silent_s / 2)
        """How long a command may block that waits for entries."""
        # Every wait is bounded here, so that no timeout of the client's own is needed on top; but on a
        # cluster it is the client's that make it look for who took the place of a silent node.
        is_cluster = config.mode == "cluster"
        self.client = build_redis(replace(config, socket_timeout_s=self.silent_s if is_cluster else None))
        self._patience_s = self.silent_s + (_AFTER_CLIENT_S if is_cluster else 0)
        self.reach = "slot" if config.mode == "cluster" else "all"
        """What one script may touch: everything on one server, one slot on a cluster."""

    @property
    def retention_ms(self) -> int:
        """How long record, log and mail are kept after they were last touched."""
        return round(self.policy.log_retention_s * 1000)

    @property
    def lease_ms(self) -> int:
        """How long a lease lasts."""
        return round(self.policy.lease_s * 1000)

    def keys_of(self, execution_id: ExecutionId) -> list[str]:
        """Return the keys of one execution in the order all scripts expect: record, log, watchers, mail."""
        topology = self.topology
        makers = (topology.record, topology.log, topology.watchers, topology.mail)
        return [make(execution_id) for make in makers]

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run one script. Raises redis-py's `TimeoutError` when the broker falls silent."""
        return await self.bounded(script.run(self.client, keys, arguments))

    async def call(self, *command: Argument) -> Any:
        """Run one command; as `run`."""
        return await self.bounded(self.client.execute_command(*command))

    async def block(self, *command: Argument, seconds: float) -> Any:
        """Run one command that blocks for at most `seconds`; as `run`."""
        return await self.bounded(self.client.execute_command(*command), seconds)

    async def bounded(self, answer: Awaitable[T], blocks_s: float = 0.0) -> T:
        """Return what Redis answers, which may take `blocks_s` longer than usual; as `run`."""
        patience_s = self._patience_s + blocks_s
        try:
            async with asyncio.timeout(patience_s):
                return await answer
        except TimeoutError:
            raise redis_errors.TimeoutError(f"no answer within {patience_s} s") from None
        except redis_errors.ResponseError as refused:
            if str(refused).startswith(_NOT_NOW):
                raise redis_errors.ConnectionError(str(refused)) from refused
            raise

    async def add(self, stream: str, fields: Mapping[str, Argument], entries_max: int = 0) -> Any:
        """Put an entry on a stream, which keeps about `entries_max` of the newest (0: all). Return its id."""
        bound = ("MAXLEN", "~", entries_max) if entries_max else ()
        flat = [part for item in fields.items() for part in item]
        return await self.call("XADD", stream, *bound, "*", *flat)

    async def answer(self, operation: Awaitable[T]) -> T:
        """Return what `operation` does. Raises `Unavailable` after a few seconds."""
        async with reaching(self.config, self._patience_s):
            return await operation

    async def publish(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeat `operation` while the broker is away or fails over. Raises `Unavailable` at last."""
        return await self._repeat(operation, PUBLISH_S)

    def backoff(self) -> Backoff:
        """Return fresh pauses for one thing that is tried again and again."""
        return Backoff(self.config.where())

    async def persist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeat `operation` while the broker is away, until a lease taken now has run out.

        Raises `Unavailable` then.
        """
        return await self._repeat(operation, self.policy.lease_s)

    async def _repeat(self, operation: Callable[[], Awaitable[T]], within_s: float) -> T:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + within_s
        backoff = self.backoff()
        while True:
            try:
                async with asyncio.timeout_at(give_up_at):
                    return await operation()
            except AWAY as error:
                if clock() >= give_up_at:
                    raise Unavailable(f"Redis at {self.config.where()} is away for too long") from error
                await backoff.pause(error)


def is_missing_group(error: BaseException) -> bool:
    """Whether the consumer group is not there: never made, or flushed away."""
    return isinstance(error, redis_errors.ResponseError) and "NOGROUP" in str(error)


def body_of(fields: Mapping[bytes, bytes] | None) -> bytes | None:
    """Return the JSON an entry carries, or None if it has no such field."""
    return (fields or {}).get(DATA.encode())
