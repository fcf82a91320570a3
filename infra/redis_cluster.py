"""A cluster client that waits for a free connection, as the other clients do, instead of failing.

The library's own refuses the command that finds all connections of a node in use. Here commands wait for
their turn before they start, so that a node has always room for them and for a look at the cluster.

And a node that is silent, and whose place nobody takes, holds up only what is asked of itself. After each
command that failed the library looks at the cluster anew, while all others wait: there it may ask that very
node, who has which slots and which commands there are.
"""

import asyncio
import random
import ssl
from collections.abc import Coroutine
from typing import Any, TypeVar

from redis._parsers import AsyncCommandsParser
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from infra.cancellation import cancellation_kept
from infra.closed_connection import is_closed
from infra.redis_tls import TlsConnection
from infra.tasks import end_tasks

T = TypeVar("T")

_SPARE = 4
"""Connections a node may have beside those of commands: for looks at the cluster and redirections."""

_AFTER_CLIENT_S = 1.0
"""How much longer than the client we wait, so that it is the one that notices."""


class WaitingCluster(RedisCluster):
    """At most `connections_max` commands at a time; one more waits for up to `connection_wait_s`."""

    def __init__(
        self, *, tls: ssl.SSLContext | None, connections_max: int, connection_wait_s: float, **options: Any
    ) -> None:
        super().__init__(max_connections=connections_max + _SPARE, ssl=tls is not None, **options)
        if tls is not None:
            self.connection_kwargs |= {"connection_class": TlsConnection, "tls": tls}
            for node in self.startup_nodes:
                node.connection_class = TlsConnection
                node.connection_kwargs["tls"] = tls
        self.commands_parser = _Keys(self)
        self._turns = asyncio.Semaphore(connections_max)
        self._wait_s = connection_wait_s
        self._failed: str | None = None
        """The node that failed last."""

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> Any:
        """Look at the cluster; the node that failed last is asked after all the others."""
        failed = last_failed_node_name or self._failed
        return await super().initialize(additional_startup_nodes_info, failed)

    async def _execute_command(self, target_node: ClusterNode, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._execute_command(target_node, *args, **kwargs)
        except (RedisConnectionError, RedisTimeoutError):
            self._failed = target_node.name
            raise

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise RedisConnectionError("no connection became free in time") from None
        try:
            with cancellation_kept():
                # Else the first commands would go to nodes at random, and their wanderings end connections.
                if self.get_default_node() is None:
                    await self.initialize()
                return await super().execute_command(*args, **kwargs)
        except AttributeError as lost:
            # The library, where one command's failure closes the connection that another is about to use.
            raise RedisConnectionError("the connection was closed under a command") from lost
        except RuntimeError as error:
            if not is_closed(error):
                raise
            raise RedisConnectionError("the connection was closed under a command") from error
        finally:
            self._turns.release()


class _Keys(AsyncCommandsParser):
    """Knows which of a command's arguments are keys, and asks some node once for what it needs for that."""

    def __init__(self, cluster: RedisCluster) -> None:
        super().__init__()
        self._cluster = cluster

    async def initialize(self, node: ClusterNode | None = None) -> None:
        if not self.commands:
            known = self._cluster.get_nodes()
            await super().initialize(random.choice(known) if known else node)  # noqa: S311 - no secret

    async def get_keys(self, *args: Any) -> Any:
        if args[0] in ("XREAD", "XREADGROUP"):  # about which the library asks a node each time
            first = next(place for place, word in enumerate(args, 1) if word in ("STREAMS", b"STREAMS"))
            return args[first : first + (len(args) - first) // 2]
        return await super().get_keys(*args)


class ClusterCommands:
    """Commands to a cluster, with the promises of `infra/redis_lines.py`.

    redis-py sends them: it knows which node has which keys, follows redirections and finds who took over.
    """

    def __init__(self, cluster: RedisCluster, silent_s: float) -> None:
        self._cluster = cluster
        self._silent_s = silent_s + _AFTER_CLIENT_S

    async def execute_command(self, *command: Any) -> Any:
        """Return the answer to one command."""
        return await self.alone(*command)

    async def alone(self, *command: Any, blocks_s: float = 0.0) -> Any:
        """Return the answer to one command, which has a connection for itself, as on a cluster all have."""
        within_s = self._silent_s + blocks_s
        try:
            async with asyncio.timeout(within_s):
                if not blocks_s:
                    return await self._cluster.execute_command(*command)
                return await _while_wanted(self._cluster.execute_command(*command))
        except TimeoutError:
            raise RedisTimeoutError(f"no answer within {within_s} s") from None

    async def aclose(self) -> None:
        """Do nothing: the connections are the client's."""


async def _while_wanted(blocking: Coroutine[Any, Any, T]) -> T:
    """Return what `blocking` does. A cancellation that the library loses is repeated."""
    task = asyncio.create_task(blocking)
    try:
        await asyncio.wait([task])
    finally:
        await end_tasks(task, patience_s=0.05)
    return task.result()
