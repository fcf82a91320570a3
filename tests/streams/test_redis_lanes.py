"""Lanes on Redis: what is left of them, what they cost, and who mends them when something of them is lost."""

import asyncio
from typing import Any

import pytest

from schemas.wire import encode
from streams.protocol import Begun, Delivery, Transport
from streams.redis.scripts import TAKE
from tests.streams.conftest import SHORT, RedisWorld
from tests.streams.helpers import (
    begin,
    command,
    consuming,
    eventually,
    finished,
    killed,
    run_to_the_end,
    started,
    submit,
    types,
    whole_log,
)

JOBS = 9


async def some_wait(world: RedisWorld, edge: Transport) -> None:
    """Publish jobs of three tenants and sort them, while nobody consumes."""
    for number in range(JOBS):
        asked = command(f"job-{number}", tenant=f"tenant-{number % 3}", session_id=f"session-{number % 2}")
        await (submit(edge, asked) if number % 2 else world.publish(encode(asked)))
    depth = await edge.depth()
    assert sum(depth.tenants.values()) == JOBS


async def all_run(world: RedisWorld, edge: Transport, handler: Transport) -> None:
    """Let a handler end all of them, each once."""
    async with consuming(handler, lambda delivery: end(handler, delivery), slots=2):
        for number in range(JOBS):
            assert types(await whole_log(edge, f"job-{number}")) == ["queued", "started", "finished"]
        await eventually(lambda: _nothing_left(edge), "everything to be acknowledged")
    assert len(await world.results()) == JOBS


async def keys_of_lanes(world: RedisWorld) -> list[bytes]:
    """Return all keys that lanes are made of."""
    return [key async for key in world.client.scan_iter(match=f"*{world.names.lanes}*")]


async def test_nothing_of_lanes_is_left_when_nothing_waits(redis_world: RedisWorld) -> None:
    """Neither a lane nor a mark, a bell or a session's list."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    await some_wait(redis_world, edge)
    assert await keys_of_lanes(redis_world)
    await all_run(redis_world, edge, handler)
    left = await keys_of_lanes(redis_world)
    assert not [key for key in left if await redis_world.client.type(key) != b"hash"], left
    assert await redis_world.client.xlen(redis_world.names.requests) == 0


@pytest.mark.parametrize("lost", ["lanes", "one list", "marks"])
async def test_lanes_that_were_lost_are_made_anew(redis_world: RedisWorld, lost: str) -> None:
    """By whoever looks for abandoned entries next: what waits is pending for a consumer that is nobody."""
    edge, handler = await redis_world.transport(SHORT), await redis_world.transport(SHORT)
    await some_wait(redis_world, edge)
    keys = await keys_of_lanes(redis_world)
    wanted = {
        "lanes": lambda key: True,
        "one list": lambda key: key.endswith(b":interactive:tenant-1"),
        "marks": lambda key: b":order:" in key,
    }[lost]
    for key in filter(wanted, keys):
        await redis_world.client.delete(key)
    await all_run(redis_world, edge, handler)


async def test_a_bell_that_a_dead_handler_heard_rings_again(redis_world: RedisWorld) -> None:
    """It is found among what was abandoned, and is no request."""
    edge, dying, alive = [await redis_world.transport(SHORT) for _ in range(3)]
    await redis_world.client.sadd(f"{redis_world.names.lanes}:idle", "dead")
    await some_wait(redis_world, edge)
    bell = await redis_world.client.hget(redis_world.names.lanes, "bell")
    assert bell is not None
    heard = await redis_world.client.xreadgroup(
        "handlers", "dead", {redis_world.names.requests: ">"}, count=10
    )
    assert [entry for entry, _ in heard[0][1]] == [bell]
    await killed(asyncio.create_task(dying.consume(_hang, 1)))
    await all_run(redis_world, edge, alive)
    assert await redis_world.dead() == []


async def test_an_entry_that_was_deleted_while_it_waited_is_passed_over(redis_world: RedisWorld) -> None:
    """By an operator's hand; the others are handed out."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    await some_wait(redis_world, edge)
    entries = await redis_world.client.xrange(redis_world.names.requests)
    doomed = next(entry for entry, fields in entries if b'"job-4"' in fields.get(b"data", b""))
    await redis_world.client.xdel(redis_world.names.requests, doomed)
    async with consuming(handler, lambda delivery: end(handler, delivery), slots=2):
        for number in set(range(JOBS)) - {4}:
            assert types(await whole_log(edge, f"job-{number}"))[-1] == "finished"
        await eventually(lambda: _nothing_left(edge), "everything to be acknowledged")


async def test_a_taker_that_dies_between_asking_and_the_answer_loses_nothing(redis_world: RedisWorld) -> None:
    """What was claimed for it is reclaimed like anything it had."""
    edge, alive = await redis_world.transport(SHORT), await redis_world.transport(SHORT)
    await some_wait(redis_world, edge)
    link: Any = alive._link  # type: ignore[attr-defined]
    keys = [redis_world.names.requests, redis_world.names.lanes]
    _, _, handed = await link.run(TAKE, keys, ["dead.1", 3, 0])
    assert len(handed) == 3
    await all_run(redis_world, edge, alive)


async def test_while_slots_are_free_no_script_is_asked(redis_world: RedisWorld) -> None:
    """Fairness costs the uncontended path no round trip."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    link: Any = handler._link  # type: ignore[attr-defined]
    link.block_s = 600.0
    really, asked = link.run, []

    async def run(script: Any, *rest: Any) -> Any:
        asked.append(script)
        return await really(script, *rest)

    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery), slots=4):
        await submit(edge, command("warm"))
        await whole_log(edge, "warm")
        link.run = run
        for number in range(5):
            await submit(edge, command(f"job-{number}"))
            await whole_log(edge, f"job-{number}")
        assert TAKE not in asked
    link.run = really


async def test_what_waits_costs_the_broker_a_bounded_number_of_bytes(redis_world: RedisWorld) -> None:
    """Beside its body; docs/delivery.md says how many."""
    edge = await redis_world.transport()
    body = encode(command("job-000000", tenant="loud"))

    async def used() -> int:
        return int((await redis_world.client.info("memory"))["used_memory"])

    before = await used()
    for _ in range(20):
        pipeline = redis_world.client.pipeline(transaction=False)
        for _ in range(100):
            pipeline.xadd(redis_world.names.requests, {"data": body})
        await pipeline.execute()
    for _ in range(20):
        depth = await edge.depth()
    assert depth.tenants == {"loud": 2000}
    each = (await used() - before) / 2000
    assert each < len(body) + 400, f"{each:.0f} bytes for a body of {len(body)}"


async def test_waiting_in_the_edge_takes_no_connection(redis_world: RedisWorld) -> None:
    """Hundreds follow over one, each an object of its own and nothing else."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    await submit(edge, command())
    known = [asyncio.create_task(whole_log(edge, "job-1")) for _ in range(300)]
    unknown = [asyncio.create_task(whole_log(edge, f"unknown-{number}")) for number in range(300)]
    await eventually(lambda: _watched(redis_world, 300), "all to be followed")
    clients = await redis_world.client.client_list()
    assert sum(client["cmd"] == "xread" for client in clients) == 1
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        for log in known:
            assert types(await log)[-1] == "finished"
    for log in unknown:
        await killed(log)


async def _watched(world: RedisWorld, count: int) -> bool:
    keys = [key async for key in world.client.scan_iter(match=f"*{world.config.prefix}*watchers", count=1000)]
    return len(keys) > count


async def end(handler: Transport, delivery: Delivery) -> None:
    """Run what may run; what is parked comes again."""
    begun = await begin(handler, delivery)
    if isinstance(begun, Begun):
        await handler.append(begun.lease, [started(begun.lease)])
        await handler.finish(begun.lease, [], finished(begun.lease.execution_id))


async def _hang(_: object) -> None:
    await asyncio.Event().wait()


async def _nothing_left(edge: Transport) -> bool:
    depth = await edge.depth()
    return depth.waiting == depth.pending == 0
