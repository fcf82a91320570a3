"""A cluster client that waits for a free connection, as the other clients do, instead of failing.

The library's own refuses the command that finds all connections of a node in use. Here commands wait for
their turn before they start, so that a node has always room for them and for a look at the cluster.
"""

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Any, TypeVar

from redis.asyncio import RedisCluster
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
        self._turns = asyncio.Semaphore(connections_max)
        self._wait_s = connection_wait_s

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
