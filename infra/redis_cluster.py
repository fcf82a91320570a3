"""A cluster client that waits for a free connection, as the other clients do, instead of failing.

The library's own refuses the command that finds all connections of a node in use. Here commands wait for
their turn before they start, so that a node has always room for them and for a look at the cluster.
"""

import asyncio
import ssl
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from infra.cancellation import cancellation_kept
from infra.redis_tls import TlsConnection

_SPARE = 4
"""Connections a node may have beside those of commands: for looks at the cluster and redirections."""


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
        finally:
            self._turns.release()
