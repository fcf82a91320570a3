"""Redis away, back, slow to answer or half done: accepted work goes on."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from schemas.ids import ExecutionId
from streams.protocol import Ended
from streams.redis import following, settling, telling
from streams.redis.scripts import TELL
from tests.brokers import BrokerProcess
from tests.conftest import StartBroker
from tests.streams.conftest import SHORT, RedisWorld
from tests.streams.helpers import (
    begin,
    command,
    consuming,
    eventually,
    finished,
    lease_of,
    run_to_the_end,
    started,
    submit,
    take,
    taking,
    types,
)

JOB = ExecutionId("job-1")


@pytest.mark.parametrize("step", ["result", "acknowledgement"])
async def test_a_crash_between_log_and_acknowledgement_is_healed(
    redis_cluster: BrokerProcess, redis_prefix: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Where one script cannot do it all, the next `begin` completes what was left undone."""
    world = RedisWorld(replace(redis_cluster.config, prefix=redis_prefix))
    edge, dying, alive = [await world.transport(SHORT) for _ in range(3)]
    reply_to = f"{redis_prefix}answers"
    await submit(edge, command(reply_to=reply_to))
    lease = await lease_of(dying, await take(dying))

    async def crash(*_: object) -> None:
        raise SystemError("killed here")

    with monkeypatch.context() as broken:
        broken.setattr(settling, "settle" if step == "result" else "acknowledge", crash)
        with pytest.raises(SystemError):
            await dying.finish(lease, [], finished(JOB))
    async with taking(alive) as deliveries:
        assert isinstance(await begin(alive, await deliveries.get()), Ended)
    assert {result.execution_id for result in await world.results()} == {JOB}
    assert len(await world.replies(reply_to)) >= 1
    depth = await edge.depth()
    assert (depth.waiting, depth.pending) == (0, 0)
    await world.close()


async def test_a_reader_whose_inbox_is_lost_still_gets_everything(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is the truth; the inbox only hastens it."""
    monkeypatch.setattr(following, "RECHECK_S", 0.05)
    edge, handler = await redis_world.transport(), await redis_world.transport()
    async with edge.follow(JOB) as batches:
        await submit(edge, command())
        seen = list(await anext(batches))
        await redis_world.client.delete(redis_world.names.watchers(JOB))
        lease = await lease_of(handler, await take(handler))
        await handler.append(lease, [started(lease)])
        await handler.finish(lease, [], finished(JOB))
        async with asyncio.timeout(20):
            async for batch in batches:
                seen += batch
    assert types(seen) == ["queued", "started", "finished"]


async def test_an_inbox_that_is_not_reached_holds_up_no_write_after_the_first(
    redis_cluster: BrokerProcess, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster it may be on a node that is silent. Whoever reads it looks into the log meanwhile."""
    monkeypatch.setattr(following, "RECHECK_S", 0.05)
    monkeypatch.setattr(telling, "LEFT_ALONE_S", 600.0)
    world = RedisWorld(replace(redis_cluster.config, prefix=redis_prefix))
    edge, handler = await world.transport(), await world.transport()
    link: Any = handler._link  # type: ignore[attr-defined]
    really, tried = link.run, []

    async def run(script: Any, *rest: Any) -> Any:
        if script is TELL:
            tried.append(rest)
            raise RedisTimeoutError("no answer in time")
        return await really(script, *rest)

    link.run = run
    async with edge.follow(JOB) as batches:
        await submit(edge, command())
        await run_to_the_end(handler, await take(handler), "a", "b", "c")
        async with asyncio.timeout(20):
            seen = [event async for batch in batches for event in batch]
    assert types(seen) == ["queued", "started", "output", "output", "output", "finished"]
    assert len(tried) == 1
    await world.close()


async def test_who_consumes_nothing_says_so(redis_world: RedisWorld) -> None:
    """A handler asks before it announces itself: health must not lie."""
    handler = await redis_world.transport()
    assert not handler.is_consuming()

    async def consumes() -> bool:
        return handler.is_consuming()

    async def consumes_nothing() -> bool:
        return not handler.is_consuming()

    requests = redis_world.names.requests
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        await eventually(consumes, "it to consume")
        await redis_world.client.set(requests, "something else")
        await eventually(consumes_nothing, "it to notice")
        await redis_world.client.delete(requests)
        await eventually(consumes, "it to consume again")


async def test_a_primary_without_its_replicas_counts_as_away(start_broker: StartBroker) -> None:
    """It refuses writes so that they are not lost; whoever tries goes on trying."""
    broker = start_broker()
    world = RedisWorld(broker.config)
    edge = await world.transport()
    await world.client.config_set("min-replicas-to-write", 1)
    submitting = asyncio.create_task(submit(edge, command()))
    await asyncio.sleep(0.5)
    assert not submitting.done()
    await world.client.config_set("min-replicas-to-write", 0)
    async with asyncio.timeout(20):
        assert (await submitting).result == "accepted"
    await world.close()
