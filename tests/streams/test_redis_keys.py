"""What the transport leaves on a Redis, for how long, and under which names."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from schemas.commands import CancelExecution, ResolveToolCalls, ToolResult
from schemas.ids import CallId, ExecutionId, SessionId
from streams.protocol import DeliveryPolicy
from streams.redis import requests
from streams.redis.scripts import SWEEP
from tests.conftest import StartBroker
from tests.streams.conftest import SHORT, RedisWorld
from tests.streams.helpers import (
    command,
    consuming,
    eventually,
    run_to_the_end,
    submit,
    submit_and_follow,
    take,
    whole_log,
)
from tests.streams.test_control import listening, next_about

JOB = ExecutionId("job-1")


async def test_everything_of_an_execution_expires(redis_world: RedisWorld) -> None:
    """No key of it is without an end."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        await submit_and_follow(edge)
        keys = [key async for key in redis_world.client.scan_iter(match=f"*{redis_world.config.prefix}*")]
        lives = {key: await redis_world.client.pttl(key) for key in keys if b"log:" in key or b"inbox" in key}
    assert len(lives) >= 3
    assert all(life > 0 for life in lives.values()), lives


async def test_closing_leaves_no_inbox_and_draining_no_consumer(redis_world: RedisWorld) -> None:
    """What a process made for itself goes with it."""
    transport = await redis_world.transport()
    async with consuming(transport, lambda delivery: run_to_the_end(transport, delivery)):
        await submit_and_follow(transport)
    await transport.close()
    names = redis_world.names
    assert await redis_world.client.xinfo_consumers(names.requests, "handlers") == []
    assert [key async for key in redis_world.client.scan_iter(match=f"{names.inbox('')}*")] == []


async def test_names_of_dead_consumers_are_forgotten_but_never_what_they_hold(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that holds entries keeps its name until they are reclaimed."""
    monkeypatch.setattr(requests, "CONSUMER_FORGOTTEN_AFTER_S", 0.0)
    dead, handler = await redis_world.transport(SHORT), await redis_world.transport(SHORT)
    await submit(dead, command())
    await take(dead)

    async def names() -> list[bytes]:
        found = await redis_world.client.xinfo_consumers(redis_world.names.requests, "handlers")
        return [consumer["name"] for consumer in found if consumer["name"] != b"waiting"]

    [dead_name] = await names()
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        await whole_log(handler, JOB)

    async def forgotten() -> bool:
        return dead_name not in await names()

    # A name is forgotten after ten leases of silence at the earliest.
    impatient = await redis_world.transport(DeliveryPolicy(lease_s=0.02))
    async with consuming(impatient, lambda delivery: run_to_the_end(impatient, delivery)):
        await eventually(forgotten, "the dead name to go")


async def test_following_before_submitting_costs_no_round_trip(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`submit` tells the broker who follows."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    called: list[object] = []
    link: Any = edge._link  # type: ignore[attr-defined]
    really: Callable[..., Awaitable[Any]] = link.call

    async def call(*arguments: Any) -> Any:
        called.append(arguments[0])
        return await really(*arguments)

    monkeypatch.setattr(link, "call", call)
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        await submit_and_follow(edge)
    assert set(called) <= {"XREAD"}


async def test_the_prefix_is_before_every_key(redis_world: RedisWorld) -> None:
    """Nothing is written outside it."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        await submit_and_follow(edge)
    prefix = redis_world.config.prefix.encode()
    keys = [key async for key in redis_world.client.scan_iter(match=b"*" + prefix + b"*")]
    assert keys
    assert all(key.removeprefix(b"{").startswith(prefix + b"millrace:") for key in keys), keys


async def test_a_silent_consumer_that_holds_an_entry_is_not_forgotten(redis_world: RedisWorld) -> None:
    """Its pending entries would go with its name."""
    dead, alive = await redis_world.transport(), await redis_world.transport()
    await submit(dead, command())
    await take(dead)
    link = alive._link  # type: ignore[attr-defined]
    assert await link.run(SWEEP, [redis_world.names.requests], ["handlers", -1, ""]) == 0
    assert (await alive.depth()).pending == 1


async def test_large_results_of_tools_do_not_pile_up(redis_world: RedisWorld) -> None:
    """They are for whoever holds the execution now: not in any mail, and gone from control after a while."""
    edge = await redis_world.transport(DeliveryPolicy(lease_s=0.05))
    handler = await redis_world.transport()
    control = f"{redis_world.config.prefix}millrace:control"
    async with listening(handler) as heard:
        for number in range(5):
            results = [ToolResult(call_id=CallId(str(number)), result="x" * 100_000)]
            await edge.send(ResolveToolCalls(execution_id=JOB, results=results))
            assert (await next_about(heard, JOB)).command.results == results
            await asyncio.sleep(0.3)
    assert await redis_world.client.xlen(control) <= 2
    mails = f"*{redis_world.config.prefix}*{JOB}*mail*"
    assert not [key async for key in redis_world.client.scan_iter(match=mails)]


async def test_every_key_is_below_the_prefix(start_broker: StartBroker) -> None:
    """REDIS_KEY_PREFIX, for a server shared with others: sessions among them."""
    world = RedisWorld(replace(start_broker().config, prefix="theirs:"))
    edge, handler = await world.transport(), await world.transport()
    await edge.send(CancelExecution(execution_id=JOB))
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        await submit_and_follow(edge, "one")
        await submit(edge, command("two", session_id=SessionId("s" * 21)))
        await whole_log(edge, "two")
        keys = [key.decode() async for key in world.client.scan_iter()]
    assert len(keys) > 3
    assert [key for key in keys if not key.lstrip("{").startswith("theirs:millrace:")] == []
    await world.close()
