"""Commands that share a line, against a real server and in a network that fails."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from infra.redis import RedisConfig, build_redis
from infra.redis_lines import RedisLines
from tests.conftest import StartBroker

MakeLines = Callable[..., Awaitable[RedisLines]]


@pytest.fixture
async def lines_to() -> AsyncIterator[MakeLines]:
    """Make lines to where a configuration says, closed after the test."""
    made: list[tuple[RedisLines, Redis]] = []

    async def make(config: RedisConfig, silent_s: float = 5.0, connections_max: int = 8) -> RedisLines:
        client = build_redis(replace(config, socket_timeout_s=None))
        assert isinstance(client, Redis)
        made.append((RedisLines(client, silent_s, connections_max), client))
        return made[-1][0]

    yield make
    for lines, client in made:
        await lines.aclose()
        await client.aclose()


async def test_commands_of_many_share_one_connection(lines_to: MakeLines, redis_config: RedisConfig) -> None:
    """Each gets its own answer, in whatever order they ask."""
    lines = await lines_to(redis_config)
    echoes = await asyncio.gather(*(lines.execute_command("ECHO", f"word {n}") for n in range(200)))
    assert echoes == [f"word {n}".encode() for n in range(200)]
    clients = await lines.execute_command("CLIENT LIST")
    assert len(lines._idle) == 0
    own = await lines.execute_command("CLIENT ID")
    assert sum(client["id"] == str(own) for client in clients) == 1


async def test_a_cancelled_command_disturbs_nobody(lines_to: MakeLines, redis_config: RedisConfig) -> None:
    """Its answer comes all the same and belongs to nobody; the others' stay in order."""
    lines = await lines_to(redis_config)
    own = await lines.execute_command("CLIENT ID")
    tasks = [asyncio.create_task(lines.execute_command("ECHO", str(n))) for n in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answer for answer in answers if isinstance(answer, bytes)] == [b"%d" % n for n in range(1, 50, 2)]
    assert await lines.execute_command("CLIENT ID") == own


async def test_what_blocks_keeps_nobody_waiting(lines_to: MakeLines, redis_config: RedisConfig) -> None:
    """It has a line of its own, which is closed if it is cancelled and used again if not."""
    lines = await lines_to(redis_config)
    key = f"{redis_config.prefix}lines"
    blocked = asyncio.create_task(lines.alone("BLPOP", key, 30, blocks_s=30))
    for _ in range(100):
        assert await lines.execute_command("PING")
    assert not blocked.done()
    blocked.cancel()
    await asyncio.wait([blocked])
    assert blocked.cancelled()
    again = asyncio.create_task(lines.alone("BLPOP", key, 30, blocks_s=30))
    await asyncio.sleep(0.05)
    await lines.execute_command("RPUSH", key, "given")
    assert await again == (key.encode(), b"given")


async def test_a_refused_command_says_why_and_the_next_one_is_answered(
    lines_to: MakeLines, redis_config: RedisConfig
) -> None:
    """Errors are redis-py's."""
    lines = await lines_to(redis_config)
    with pytest.raises(ResponseError, match="wrong number of arguments"):
        await lines.execute_command("ECHO")
    assert await lines.execute_command("ECHO", b"x" * 1_000_000) == b"x" * 1_000_000


async def test_a_demoted_primary_is_left(lines_to: MakeLines, redis_config: RedisConfig) -> None:
    """The next command goes over a new connection, which asks anew who the primary is."""
    lines = await lines_to(redis_config)
    own = await lines.execute_command("CLIENT ID")
    demoted = "return redis.error_reply('READONLY You can not write against a read only replica.')"
    with pytest.raises(ReadOnlyError):
        await lines.execute_command("EVAL", demoted, 0)
    assert await lines.execute_command("CLIENT ID") != own


async def test_a_silent_server_is_away_for_all_who_wait(
    lines_to: MakeLines, start_broker: StartBroker
) -> None:
    """After that it is asked over a new line."""
    server = start_broker()
    lines = await lines_to(RedisConfig(url=server.url), silent_s=0.3)
    await lines.execute_command("CLIENT PAUSE", 1500, "ALL")
    answers = await asyncio.gather(
        lines.execute_command("SET", "a", 1),
        lines.execute_command("GET", "a"),
        lines.alone("XREAD", "BLOCK", 10, "STREAMS", "s", "$", blocks_s=0.01),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [RedisTimeoutError] * 3
    server.kill()
    server.start()
    assert await lines.execute_command("GET", "a") in (None, b"1")


async def test_commands_on_their_way_survive_a_server_that_is_started_again(
    lines_to: MakeLines, start_broker: StartBroker
) -> None:
    """They are sent once more; while nobody is there at all, that is told."""
    server = start_broker()
    lines = await lines_to(RedisConfig(url=server.url))
    await lines.execute_command("SET", "a", 1)
    waiting = asyncio.create_task(lines.alone("BLPOP", "list", 20, blocks_s=20))
    await asyncio.sleep(0.05)
    server.kill()
    with pytest.raises(RedisConnectionError):
        await lines.execute_command("GET", "a")
    server.start()
    assert await lines.execute_command("RPUSH", "list", "x") == 1
    answers = await asyncio.gather(waiting, return_exceptions=True)
    assert answers == [(b"list", b"x")] or isinstance(answers[0], RedisConnectionError)


async def test_a_cancellation_is_never_lost(lines_to: MakeLines, redis_config: RedisConfig) -> None:
    """Wherever in a command it strikes, the making of the connection included."""
    outlived = 0
    for attempt in range(200):
        if attempt % 40 == 0:
            lines = await lines_to(redis_config)
        command = lines.alone("PING") if attempt % 2 else lines.execute_command("PING")
        task = asyncio.create_task(command)
        for _ in range(attempt % 40):
            await asyncio.sleep(0)
        if task.cancel():
            await asyncio.wait([task])
            outlived += not task.cancelled()
    assert outlived == 0
