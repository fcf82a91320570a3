"""A client of whichever server the sentinels name as the primary, now and after every failover.

Beside what the library does: a pool that waits for a free connection instead of failing, no patience with
a sentinel that is silent, for there are others, and no connection to a sentinel left open at the end.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff

from infra.redis_tls import TlsConnection

_SILENT_S = 1.0
"""A sentinel that does not answer for so long is passed over."""


class _WaitingPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the primary; one more than there may be waits. Who connect together ask together."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()
        self._answers = 0

    async def get_master_address(self) -> Any:
        answers_before = self._answers
        async with self._asking:
            if self._answers == answers_before:
                await super().get_master_address()  # type: ignore[no-untyped-call]
                self._answers += 1
            return self.master_address


class _TlsConnection(SentinelManagedConnection, TlsConnection):
    """A connection to the primary over TLS."""


class Primary(Redis):
    """A client of the primary that the sentinels know as `master`."""

    _sentinels: Sentinel

    @classmethod
    def of(
        cls,
        sentinels: Sequence[tuple[str, int]],
        master: str,
        sentinel_options: dict[str, Any],
        tls: ssl.SSLContext | None,
        **options: Any,
    ) -> Self:
        """Return a client; `options` are those of connections to the primary, and of their pool."""
        impatient = {
            "socket_timeout": _SILENT_S,
            "socket_connect_timeout": _SILENT_S,
            "retry": Retry(NoBackoff(), retries=0),
        }
        known = Sentinel(  # type: ignore[no-untyped-call]
            list(sentinels), sentinel_kwargs=sentinel_options | impatient
        )
        if tls is not None:
            options |= {"connection_class": _TlsConnection, "tls": tls}
            for sentinel in known.sentinels:
                sentinel.connection_pool.connection_class = TlsConnection
                sentinel.connection_pool.connection_kwargs["tls"] = tls
        client: Self = known.master_for(
            master, redis_class=cls, connection_pool_class=_WaitingPool, **options
        )
        client._sentinels = known
        return client

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        await self._sentinels.aclose()
