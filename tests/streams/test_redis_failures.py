"""Redis away, back, slow to answer or half done: accepted work goes on."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest
from redis import exceptions as redis_errors

from infra.errors import LeaseLost, Unavailable
from infra.redis import RedisConfig
from schemas.ids import ExecutionId
from streams.protocol import Delivery, DeliveryPolicy, Ended
from streams.redis import RedisTransport, following, link, settling
from tests.brokers import BrokerProcess
from tests.conftest import StartBroker
from tests.streams.conftest import PATIENT, SHORT, RedisWorld
from tests.streams.helpers import (
    begin,
    command,
    consuming,
    eventually,
    finished,
    lease_of,
    output,
    run_to_the_end,
    started,
    submit,
    take,
    taking,
    types,
    whole_log,
)

JOB = ExecutionId("job-1")


async def test_a_broker_that_is_away_is_said_quickly_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A front door answers 503 within seconds; the message says where it looked."""
    monkeypatch.setattr(link, "PUBLISH_S", 0.5)
    config = RedisConfig(url="redis://user:hunter2@127.0.0.1:1/0", connect_timeout_s=0.2)
    transport = RedisTransport(config, PATIENT, consumer="test")
    await transport.start()
    async with asyncio.timeout(20):
        for call in (submit(transport, command()), transport.depth(), transport.ping(), transport.read(JOB)):
            with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1") as raised:
                await call
            assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(config)
    await transport.close()


async def test_work_goes_on_when_the_broker_comes_back(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle: the reader resumes, the writer repeats, the consumer takes new work."""
    broker = start_broker()
    world = RedisWorld(broker.config)
    policy = DeliveryPolicy(lease_s=15.0)
    edge, handler = await world.transport(policy), await world.transport(policy)
    written = asyncio.Event()

    async def run(delivery: Delivery) -> None:
        lease = await lease_of(handler, delivery)
        await handler.append(lease, [started(lease)])
        written.set()
        await asyncio.get_running_loop().run_in_executor(None, back.wait)
        for number in range(50):
            await handler.append(lease, [output(lease, str(number))])
        await handler.finish(lease, [], finished(lease.execution_id))

    back = threading.Event()
    async with consuming(handler, run):
        reading = asyncio.create_task(whole_log(edge, "job-1"))
        await submit(edge, command("job-1"))
        await written.wait()
        broker.kill()
        back.set()
        monkeypatch.setattr(link, "PUBLISH_S", 0.5)
        with pytest.raises(Unavailable):
            await submit(edge, command("job-2"))
        await asyncio.to_thread(broker.start)
        async with asyncio.timeout(30):
            events = await reading
            assert [event.seq for event in events] == list(range(1, 54))
            await submit(edge, command("job-2"))
            assert types(await whole_log(edge, "job-2"))[-1] == "finished"
    assert len(await world.results()) == 2
    await world.close()


async def test_a_process_may_start_before_its_broker(start_broker: StartBroker) -> None:
    """It keeps trying and works once the broker is there."""
    broker = start_broker()
    broker.kill()
    world = RedisWorld(broker.config)
    edge, handler = await world.transport(), await world.transport()
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        reading = asyncio.create_task(whole_log(edge, JOB))
        with pytest.raises(Unavailable):
            await edge.ping()
        await asyncio.to_thread(broker.start)
        await submit(edge, command())
        async with asyncio.timeout(20):
            assert types(await reading) == ["queued", "started", "finished"]
    await world.close()


async def test_a_writer_gives_up_when_its_lease_must_have_run_out(start_broker: StartBroker) -> None:
    """Then another handler may own the execution, and nothing more may be written."""
    broker = start_broker()
    world = RedisWorld(broker.config)
    edge, handler = await world.transport(SHORT), await world.transport(SHORT)
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    broker.kill()
    with pytest.raises(LeaseLost, match="ran out"):
        async with asyncio.timeout(20):
            await handler.append(lease, [started(lease)])
    await world.close()


async def test_a_write_whose_answer_was_lost_is_not_written_twice(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeat finds its own events at the end of the log."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    await submit(edge, command())
    delivery = await take(handler)
    _lose_every_first_answer(handler, monkeypatch)
    lease = await lease_of(handler, delivery)
    assert lease.attempt == 1
    await handler.append(lease, [started(lease), output(lease, "x", 1)])
    await handler.append(lease, [output(lease, "x")])
    await handler.finish(lease, [output(lease, "y")], finished(JOB))
    assert types(await whole_log(edge, JOB)) == [
        "queued",
        "started",
        "output",
        "output",
        "output",
        "finished",
    ]
    assert len(await redis_world.results()) == 1


def _lose_every_first_answer(transport: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    link = transport._link
    really, lost = link.run, set()

    async def run(script: Any, keys: Any, arguments: Any) -> Any:
        answer = await really(script, keys, arguments)
        call = (script, tuple(arguments))
        if call not in lost:
            lost.add(call)
            raise redis_errors.ConnectionError("the answer was lost")
        return answer

    monkeypatch.setattr(link, "run", run)


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
