"""The one place that builds Redis clients: standalone, cluster or sentinel, with or without TLS.

A client made here survives what a broker does to its clients: dropped connections, a demoted primary,
a server that is loading. It retries with capped and jittered back-off for about a second and then raises;
translate that with `reaching`. Commands may so be sent twice: whoever sends one makes sure that this
does no harm. Connections are never more than `connections_max`; whoever needs one more waits.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, UnixDomainSocketConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from infra.cancellation import cancellation_kept
from infra.closed_connection import is_closed
from infra.errors import Unavailable
from infra.redis_cluster import WaitingCluster
from infra.redis_sentinel import Primary
from infra.redis_tls import RedisTls, TlsConnection

RedisClient = Redis | RedisCluster

AWAY = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.ClusterDownError,
    redis_errors.TryAgainError,
    redis_errors.RedisClusterException,
    TimeoutError,
)
"""What a client raises when the server is away, loading, demoted, or fails over."""


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """Where Redis is and how to reach it.

    `url` (`redis://`, `rediss://`, `unix:///path`) wins over `host`, `port` and `db`; what the URL does
    not say is taken from the fields. `nodes` are (host, port) of the cluster's or the sentinels' nodes.
    """

    mode: Literal["standalone", "cluster", "sentinel"] = "standalone"
    url: str | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = "mymaster"
    """The name the sentinels know the primary by."""
    sentinel_password: str | None = field(default=None, repr=False)
    tls: RedisTls | None = None
    prefix: str = ""
    """Before every key."""
    connections_max: int = 64
    connect_timeout_s: float = 2.0
    socket_timeout_s: float | None = 5.0
    """A server that is silent for so long is away; blocking commands must block for less. None leaves it
    to the caller to bound every wait: faster, and on Python 3.11 no cancellation is ever swallowed by a
    timeout around the write. A vanished host is noticed all the same, by the kernel. Not for a cluster:
    by this timeout its client learns that a node is gone, and looks for who took its place."""
    connection_wait_s: float = 5.0
    """How long a command waits for one of `connections_max`."""

    def where(self) -> str:
        """Return where this looks for Redis, for logs and errors: no user, no password."""
        if self.mode != "standalone":
            nodes = ",".join(f"{host}:{port}" for host, port in self._nodes())
            return f"{self.mode} {nodes}" + (f" master {self.master}" if self.mode == "sentinel" else "")
        if self.url is None:
            return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.db}"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[-1]}{parts.path}"

    def _nodes(self) -> tuple[tuple[str, int], ...]:
        return self.nodes or ((self.host, self.port),)


def build_redis(config: RedisConfig) -> RedisClient:
    """Return a client for `config`. It connects on first use; close it with `aclose`.

    Raises `Misconfigured` for files of TLS that cannot be used. Answers come in the shapes of protocol 2,
    as bytes.
    """
    match config.mode:
        case "cluster":
            return _cluster(config)
        case "sentinel":
            return _sentinel(config)
        case "standalone":
            return _standalone(config)


@contextlib.asynccontextmanager
async def reaching(config: RedisConfig, within_s: float | None = None) -> AsyncIterator[None]:
    """Turn the failure to reach Redis, also within `within_s` seconds, into `Unavailable`."""
    try:
        async with asyncio.timeout(within_s):
            with cancellation_kept():
                yield
    except AWAY as error:
        raise Unavailable(f"Redis at {config.where()} cannot be reached") from error
    except RuntimeError as error:
        if not is_closed(error):
            raise
        raise Unavailable(f"Redis at {config.where()} cannot be reached") from error


@contextlib.asynccontextmanager
async def commanding(config: RedisConfig, within_s: float | None = None) -> AsyncIterator[None]:
    """As `reaching`; and what Redis refuses (out of memory, no permission) is `Unavailable` too."""
    try:
        async with reaching(config, within_s):
            yield
    except redis_errors.RedisError as error:
        # What Redis says may quote the command, so it is not repeated.
        refused = f"refused what was asked ({type(error).__name__})"
        raise Unavailable(f"Redis at {config.where()} {refused}") from error


async def ping(asked: Awaitable[Any], config: RedisConfig, within_s: float = 2.0) -> float:
    """Return the seconds that the answer to `asked`, one PING, takes. Raises `Unavailable`."""
    started = time.perf_counter()
    async with reaching(config, within_s):
        await asked
    return time.perf_counter() - started


def _retry() -> Retry:
    backoff = ExponentialWithJitterBackoff(base=0.02, cap=0.5)
    return Retry(backoff, retries=4, supported_errors=AWAY[:3])


_KEEPALIVE: dict[str, Any] = {
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value
        for name, value in (
            ("TCP_KEEPIDLE", 3),
            ("TCP_KEEPINTVL", 1),
            ("TCP_KEEPCNT", 3),
            ("TCP_USER_TIMEOUT", 6000),
        )
        if hasattr(socket, name)
    },
}
"""The kernel gives up on a host that answers nothing for about six seconds (tcp(7))."""


def _options(config: RedisConfig) -> dict[str, Any]:
    """Return what every connection of every mode has in common."""
    return {
        "username": config.username,
        "password": config.password,
        "socket_timeout": config.socket_timeout_s,
        "socket_connect_timeout": config.connect_timeout_s,
        "protocol": 2,
        "retry": _retry(),
    }


def _standalone(config: RedisConfig) -> Redis:
    options = _options(config) | {"db": config.db}
    if config.url is not None:
        options |= parse_url(config.url)
    else:
        options |= {"host": config.host, "port": config.port}
    options.setdefault("connection_class", SSLConnection if config.tls else Connection)
    if config.tls and options["connection_class"] is SSLConnection:
        options |= {"connection_class": TlsConnection, "tls": config.tls.context()}
    if options["connection_class"] is not UnixDomainSocketConnection:
        options |= _KEEPALIVE
    pool = BlockingConnectionPool(
        max_connections=config.connections_max, timeout=config.connection_wait_s, **options
    )
    return Redis.from_pool(pool)


def _cluster(config: RedisConfig) -> RedisCluster:
    options = _options(config)
    return WaitingCluster(
        tls=config.tls.context() if config.tls else None,
        startup_nodes=[ClusterNode(host, port) for host, port in config._nodes()],
        connections_max=config.connections_max,
        connection_wait_s=config.connection_wait_s,
        require_full_coverage=False,
        **_KEEPALIVE,
        **options,
    )


def _sentinel(config: RedisConfig) -> Redis:
    return Primary.of(
        config._nodes(),
        config.master,
        {"protocol": 2, "password": config.sentinel_password},
        tls=config.tls.context() if config.tls else None,
        db=config.db,
        max_connections=config.connections_max,
        timeout=config.connection_wait_s,
        **_KEEPALIVE,
        **_options(config),
    )
