"""What both sides of the Redis transport stand on: the client, the names, and how long to keep trying."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from redis import exceptions as redis_errors
from redis.asyncio import RedisCluster

from infra.errors import Unavailable
from infra.redis import AWAY, RedisConfig, build_redis, reaching
from infra.redis_cluster import ClusterCommands
from infra.redis_line import has_lost_its_place
from infra.redis_lines import RedisLines
from schemas.ids import ExecutionId
from streams.backoff import Backoff, repeated
from streams.protocol import DeliveryPolicy
from streams.redis.scripts import Argument, Script
from streams.topology import DATA, Topology

T = TypeVar("T")

PUBLISH_S = 10.0
"""How long a publisher keeps trying: long enough for most failovers, short enough for whoever waits."""
BLOCK_S = 2.0
_ANSWER_S = 1.0
"""How much longer than the broker may be silent we wait for what it answers in the end."""


class Link:
    """One process's way to one broker."""

    def __init__(self, config: RedisConfig, policy: DeliveryPolicy) -> None:
        self.config = config
        self.policy = policy
        self.topology = Topology(config.prefix)
        self._where = config.where()
        self.silent_s = config.socket_timeout_s or 5.0
        """A broker that does not answer for so long is away."""
        self.block_s = min(BLOCK_S, self.silent_s / 2)
        """How long a command may block that waits for entries."""
        # On lines every wait is bounded already; on a cluster it is the client's timeouts that make it look
        # for who took the place of a silent node.
        is_cluster = config.mode == "cluster"
        self.client = build_redis(replace(config, socket_timeout_s=self.silent_s if is_cluster else None))
        self.commands = (
            ClusterCommands(self.client, self.silent_s)
            if isinstance(self.client, RedisCluster)
            else RedisLines(self.client, self.silent_s, config.connections_max)
        )
        self._try_s = math.inf if is_cluster else 2 * self.silent_s
        """By then a command on a line has failed by itself, silent server and new connection included."""
        self.unreached: dict[bytes, float] = {}
        """Inboxes that did not hear us, and until when they are left alone, by the clock of the loop."""
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
        return self.topology.of_execution(execution_id)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run one script. Raises redis-py's `TimeoutError` when the broker falls silent."""
        try:
            return await script.run(self.commands, keys, arguments)
        except redis_errors.ResponseError as refused:
            raise _as_away(refused) from refused

    async def call(self, *command: Argument) -> Any:
        """Run one command; as `run`."""
        try:
            return await self.commands.execute_command(*command)
        except redis_errors.ResponseError as refused:
            raise _as_away(refused) from refused

    async def alone(self, *command: Argument, blocks_s: float = 0.0) -> Any:
        """Run one command that blocks for at most `blocks_s`, or whose answer may be large; as `run`."""
        try:
            return await self.commands.alone(*command, blocks_s=blocks_s)
        except redis_errors.ResponseError as refused:
            raise _as_away(refused) from refused

    async def add(self, stream: str, fields: Mapping[str, Argument], entries_max: int = 0) -> Any:
        """Put an entry on a stream, which keeps about `entries_max` of the newest (0: all). Return its id."""
        bound = ("MAXLEN", "~", entries_max) if entries_max else ()
        flat = [part for item in fields.items() for part in item]
        return await self.call("XADD", stream, *bound, "*", *flat)

    async def answer(self, operation: Awaitable[T]) -> T:
        """Return what `operation` does. Raises `Unavailable` after a few seconds."""
        async with reaching(self.config, self.silent_s + _ANSWER_S):
            return await operation

    async def publish(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeat `operation` while the broker is away or fails over. Raises `Unavailable` at last."""
        return await self._repeat(operation, PUBLISH_S)

    async def aclose(self) -> None:
        """Let go of all connections."""
        await self.commands.aclose()
        await self.client.aclose()

    def backoff(self) -> Backoff:
        """Return fresh pauses for one thing that is tried again and again."""
        return Backoff(self._where)

    async def persist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeat `operation` while the broker is away, until a lease taken now has run out.

        Raises `Unavailable` then.
        """
        return await self._repeat(operation, self.policy.lease_s)

    async def _repeat(self, operation: Callable[[], Awaitable[T]], within_s: float) -> T:
        ends_by_itself = within_s >= self._try_s
        try:
            return await repeated(
                operation, within_s, AWAY, self.backoff().pause, ends_by_itself=ends_by_itself
            )
        except AWAY as error:
            raise Unavailable(f"Redis at {self._where} is away for too long") from error


def _as_away(refused: redis_errors.ResponseError) -> redis_errors.RedisError:
    """Return what a refusal means: that another server may be better off, or what it says."""
    return redis_errors.ConnectionError(str(refused)) if has_lost_its_place(refused) else refused


def is_missing_group(error: BaseException) -> bool:
    """Whether the consumer group is not there: never made, or flushed away."""
    return isinstance(error, redis_errors.ResponseError) and "NOGROUP" in str(error)


def body_of(fields: Mapping[bytes, bytes] | None) -> bytes | None:
    """Return the JSON an entry carries, or None if it has no such field."""
    return (fields or {}).get(DATA.encode())
