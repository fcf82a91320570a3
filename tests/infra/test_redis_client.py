"""The one builder of Redis clients: every mode, no secret in sight, `Unavailable` when nobody is there."""

import asyncio
import contextlib

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster

from infra.errors import Misconfigured, Unavailable
from infra.redis import RedisConfig, build_redis, ping, reaching
from infra.redis_cluster import ClusterCommands
from infra.redis_tls import RedisTls
from tests.conftest import StartBroker


async def test_a_url_of_a_unix_socket_reaches_the_server(redis_config: RedisConfig) -> None:
    """The embedded broker listens on nothing else."""
    client = build_redis(redis_config)
    assert await ping(client.ping(), redis_config) > 0
    await client.aclose()


async def test_host_port_and_database_reach_the_server(start_broker: StartBroker) -> None:
    """Without a URL the fields say where it is."""
    server = start_broker(cluster=True)
    config = RedisConfig(host="127.0.0.1", port=server.port)
    client = build_redis(config)
    assert await ping(client.ping(), config) > 0
    await client.aclose()


async def test_a_cluster_is_found_by_any_of_its_nodes(start_broker: StartBroker) -> None:
    """The rest is learnt from that node."""
    server = start_broker(cluster=True)
    client = build_redis(server.config)
    assert isinstance(client, RedisCluster)
    await client.set("key", "value")
    assert await client.get("key") == b"value"
    await client.aclose()


async def test_a_blocking_command_on_a_cluster_ends_although_its_cancellation_is_lost() -> None:
    """Python before 3.12 may lose one in the middle of sending; the command would block to its end."""

    class Deaf:
        async def execute_command(self, *_: object) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    commands = ClusterCommands(Deaf(), silent_s=600.0)  # type: ignore[arg-type]
    blocking = asyncio.create_task(commands.alone("XREAD", blocks_s=600.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    blocking.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([blocking])
    assert blocking.cancelled()


async def test_more_commands_than_connections_wait_for_their_turn(redis_config: RedisConfig) -> None:
    """A burst is slowed down, not refused."""
    client = build_redis(RedisConfig(url=redis_config.url, connections_max=2))
    assert all(await asyncio.gather(*(client.ping() for _ in range(100))))
    await client.aclose()


async def test_who_is_away_is_named_without_user_and_password() -> None:
    """What is told to people may end up in logs."""
    config = RedisConfig(url="redis://someone:hunter2@127.0.0.1:1/3", connect_timeout_s=0.2)
    client = build_redis(config)
    with pytest.raises(Unavailable) as raised:
        await ping(client.ping(), config)
    assert raised.value.message == "Redis at redis://127.0.0.1:1/3 cannot be reached"
    assert "hunter2" not in repr(config)
    await client.aclose()


async def test_a_server_that_never_answers_is_away_after_the_time_allowed(redis_config: RedisConfig) -> None:
    """Half a connection is none."""
    with pytest.raises(Unavailable):
        async with reaching(redis_config, within_s=0.05):
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (RedisConfig(host="redis.internal", port=6380, db=2), "redis://redis.internal:6380/2"),
        (RedisConfig(tls=RedisTls()), "rediss://127.0.0.1:6379/0"),
        (RedisConfig(mode="cluster", nodes=(("a", 1), ("b", 2))), "cluster a:1,b:2"),
        (RedisConfig(mode="sentinel", nodes=(("a", 1),), master="main"), "sentinel a:1 master main"),
        (RedisConfig(url="unix:///run/broker.sock"), "unix:///run/broker.sock"),
    ],
)
def test_it_says_where_it_looks(config: RedisConfig, where: str) -> None:
    """In every mode, for people."""
    assert config.where() == where


@pytest.mark.parametrize("mode", ["standalone", "cluster", "sentinel"])
def test_files_of_tls_that_cannot_be_used_are_named_before_anything_connects(mode: str) -> None:
    """In every mode. What they do on real servers is in test_redis_settings.py."""
    for tls in (RedisTls(ca_file="/nowhere/ca.pem"), RedisTls(certificate_file=__file__, key_file=__file__)):
        config = RedisConfig(mode=mode, tls=tls, nodes=(("127.0.0.1", 1),))  # type: ignore[arg-type]
        with pytest.raises(Misconfigured, match=r"/nowhere/ca\.pem|test_redis_client\.py"):
            build_redis(config)


async def test_a_standalone_client_has_a_pool_that_waits() -> None:
    """The library's own default refuses the hundred-and-first."""
    client = build_redis(RedisConfig())
    assert isinstance(client, Redis)
    assert isinstance(client.connection_pool, BlockingConnectionPool)
    await client.aclose()
