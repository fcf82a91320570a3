"""Following a log: every event once, in order, for any number of readers at any time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from schemas.ids import ExecutionId
from streams.log_errors import LogGone
from streams.protocol import Begun, LoggedEvent
from streams.redis import following
from tests.streams.conftest import PATIENT, RedisWorld, World
from tests.streams.helpers import (
    begin_once_free,
    command,
    finished,
    lease_of,
    output,
    started,
    submit,
    take,
    types,
    whole_log,
)

JOB = ExecutionId("job-1")


async def test_a_late_reader_gets_the_whole_log(world: World) -> None:
    """Before, during and after are the same to a reader."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    await handler.append(lease, [started(lease)])
    await handler.finish(lease, [output(lease, "x")], finished(JOB))
    for transport in (edge, handler, await world.transport()):
        assert types(await whole_log(transport, JOB)) == ["queued", "started", "output", "finished"]
        assert types(await transport.read(JOB)) == ["queued", "started", "output", "finished"]


async def test_a_returning_reader_gets_what_it_has_not_seen(world: World) -> None:
    """`after` is the seq of the last event a reader has."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    async with edge.follow(JOB, after=1) as batches:
        reading = asyncio.create_task(anext(batches))
        await handler.append(lease, [started(lease)])
        assert types(await reading) == ["started"]
    await handler.finish(lease, [], finished(JOB))
    assert [event.seq for event in await whole_log(edge, JOB, after=2)] == [3]
    assert [event.seq for event in await edge.read(JOB, after=1, count=1)] == [2]


async def test_a_reader_that_has_seen_the_end_is_done(world: World) -> None:
    """Nothing more will come, so it does not wait."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    await handler.finish(lease, [], finished(JOB))
    async with asyncio.timeout(20):
        assert await whole_log(edge, JOB, after=2) == []


@pytest.mark.everywhere
async def test_many_readers_on_several_edges_see_the_same(world: World) -> None:
    """Readers share one inbox per process and do not disturb each other."""
    edges = [await world.transport() for _ in range(2)]
    handler = await world.transport()
    readers = [asyncio.create_task(whole_log(edge, JOB)) for edge in edges for _ in range(10)]
    await submit(edges[0], command())
    lease = await lease_of(handler, await take(handler))
    await handler.append(lease, [started(lease)])
    for number in range(20):
        await handler.append(lease, [output(lease, str(number))])
    await handler.finish(lease, [], finished(JOB))
    logs = await asyncio.gather(*readers)
    assert [event.seq for event in logs[0]] == list(range(1, 24))
    assert all(log == logs[0] for log in logs)


async def test_a_slow_reader_gets_thousands_of_events_each_once(world: World) -> None:
    """It falls behind, holds nobody up, and misses nothing."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    seen: list[LoggedEvent] = []
    async with edge.follow(JOB) as batches:
        seen += await anext(batches)
        for _ in range(60):
            await handler.append(lease, [output(lease, "x" * 50, place) for place in range(50)])
        await handler.finish(lease, [], finished(JOB))
        async for batch in batches:
            seen += batch
            await asyncio.sleep(0)
    assert [event.seq for event in seen] == list(range(1, 3003))


@pytest.mark.everywhere
@pytest.mark.parametrize("size", [3, 50_000])
async def test_who_only_waits_for_the_end_has_all_of_it_then(world: World, size: int) -> None:
    """Whatever it was spared before, small or large, and whoever else looks on from the same process."""
    edge, other, handler = [await world.transport() for _ in range(3)]
    async with edge.follow(JOB, until_end=True) as batches, other.follow(JOB, until_end=True) as late:
        await submit(edge, command())
        readers = [asyncio.create_task(_all_of(reader)) for reader in (batches, late)]
        readers.append(asyncio.create_task(whole_log(edge, JOB)))
        lease = await lease_of(handler, await take(handler))
        await handler.append(lease, [started(lease)])
        await handler.append(lease, [output(lease, "x" * size)])
        await handler.finish(lease, [output(lease, "y" * size)], finished(JOB))
        async with asyncio.timeout(20):
            logs = await asyncio.gather(*readers)
    assert types(logs[0]) == ["queued", "started", "output", "output", "finished"]
    assert logs[1:] == [logs[0], logs[0]]


async def test_a_handler_is_told_whether_somebody_watches_every_step(redis_world: RedisWorld) -> None:
    """So that it knows for whom a line must leave at once; who only waits for the end is none of them."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    async with edge.follow(JOB, until_end=True):
        await submit(edge, command())
        begun = await begin_once_free(handler, await take(handler))
        assert isinstance(begun, Begun) and not begun.is_watched
    async with edge.follow(ExecutionId("job-2")):
        await submit(edge, command("job-2"))
        begun = await begin_once_free(handler, await take(handler))
        assert isinstance(begun, Begun) and begun.is_watched


async def _all_of(batches: AsyncIterator[list[LoggedEvent]]) -> list[LoggedEvent]:
    return [event async for batch in batches for event in batch]


async def test_large_events_arrive_like_small_ones(world: World) -> None:
    """Whatever is too large to travel with the news is fetched."""
    edge, handler = await world.transport(), await world.transport()
    reading = asyncio.create_task(whole_log(edge, JOB))
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    for size in (10, 100_000, 10, 500_000):
        await handler.append(lease, [output(lease, "x" * size)])
    await handler.finish(lease, [], finished(JOB))
    events = await reading
    assert [event.seq for event in events] == list(range(1, 7))
    assert len(events[4].data) > 500_000


async def test_a_reader_may_come_before_anybody_knows_the_execution(world: World) -> None:
    """It waits, and then sees everything."""
    edge, other, handler = [await world.transport() for _ in range(3)]
    async with other.follow(JOB) as early:
        reading = asyncio.create_task(anext(early))
        await asyncio.sleep(0.05)
        await submit(edge, command())
        async with asyncio.timeout(20):
            assert types(await reading) == ["queued"]
    assert await handler.record(JOB) is not None


async def test_a_log_that_expires_while_it_is_followed_ends_with_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with silence."""
    monkeypatch.setattr(following, "RECHECK_S", 0.1)
    policy = replace(PATIENT, log_retention_s=0.3)
    edge = await world.transport(policy)
    await submit(edge, command())
    with pytest.raises(LogGone, match="job-1"):
        async with asyncio.timeout(20):
            await whole_log(edge, JOB)
    assert await edge.record(JOB) is None


async def test_leaving_early_leaves_the_others_alone(world: World) -> None:
    """A client that disconnects is nobody else's trouble."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    staying = asyncio.create_task(whole_log(edge, JOB))
    async with edge.follow(JOB) as batches:
        await anext(batches)
    lease = await lease_of(handler, await take(handler))
    await handler.finish(lease, [], finished(JOB))
    assert types(await staying) == ["queued", "finished"]
