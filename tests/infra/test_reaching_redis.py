"""What `reaching` turns the troubles of a Redis client into."""

import asyncio

import pytest

from infra.errors import Unavailable
from infra.redis import RedisConfig, build_redis, reaching


async def test_a_cancellation_is_never_lost(redis_config: RedisConfig) -> None:
    """Wherever in a command it strikes: a loop of commands must end when its task is told to."""
    client = build_redis(redis_config)

    async def command() -> None:
        async with reaching(redis_config):
            await client.get("nothing")

    outlived = 0
    for attempt in range(600):
        task = asyncio.create_task(command())
        for _ in range(attempt % 30):
            await asyncio.sleep(0)
        if task.cancel():
            await asyncio.wait([task])
            outlived += not task.cancelled()
    await client.aclose()
    assert outlived == 0


async def test_a_connection_closed_under_a_command_is_a_redis_that_is_away(redis_config: RedisConfig) -> None:
    """uvloop says so in a RuntimeError, which took a whole process with it; others are our own mistakes."""
    said = "unable to perform operation on <TCPTransport closed=True reading=False>; the handler is closed"
    with pytest.raises(Unavailable):
        async with reaching(redis_config):
            raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="ours"):
        async with reaching(redis_config):
            raise RuntimeError("ours")
