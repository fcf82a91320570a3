"""What outsiders with a plain Redis client may rely on, and may do wrong."""

import asyncio
from typing import Any

from schemas.commands import CancelExecution
from schemas.ids import ExecutionId
from schemas.wire import decode_event, encode
from tests.streams.conftest import RedisWorld
from tests.streams.helpers import (
    command,
    consuming,
    eventually,
    killed,
    run_to_the_end,
    submit,
    types,
    whole_log,
)

JOB = ExecutionId("job-1")


async def test_an_outsider_needs_nothing_but_xadd_and_xread(redis_world: RedisWorld) -> None:
    """One XADD starts it, XREAD from 0 reads it, and the entry ids of the log are the seqs."""
    handler, outsider, names = await redis_world.transport(), redis_world.client, redis_world.names
    await outsider.xadd(names.requests, {"data": '{"language":"py","code":"print(6*7)","id":"job-1"}'})
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery, "42\n")):
        last, read = b"0", []
        while not read or decode_event(read[-1][1][b"data"]).__struct_config__.tag != "finished":
            [[_, entries]] = await outsider.xread({names.log(JOB): last}, block=20_000)
            read += entries
            last = entries[-1][0]
    assert [entry for entry, _ in read] == [b"1-0", b"2-0", b"3-0", b"4-0"]
    assert [list(fields) for _, fields in read] == [[b"data"]] * 4
    assert decode_event(read[2][1][b"data"]).raw() == b"42\n"  # type: ignore[union-attr]


async def test_an_entry_without_data_becomes_a_dead_letter(redis_world: RedisWorld) -> None:
    """Whatever an outsider writes, the handler lives on."""
    handler = await redis_world.transport()
    await redis_world.client.xadd(redis_world.names.requests, {"body": "oops"})
    await submit(handler, command())
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        assert types(await whole_log(handler, JOB))[-1] == "finished"
    [letter] = await redis_world.dead()
    assert letter["reason"] == "The entry has no field `data`."
    assert letter["data"] == "body oops"
    assert await redis_world.client.xlen(redis_world.names.requests) == 0


async def test_a_malformed_control_entry_becomes_one_dead_letter(redis_world: RedisWorld) -> None:
    """Every handler reads it, one letter says so, and the next command is heard."""
    handlers = [await redis_world.transport() for _ in range(3)]
    heard: list[Any] = []

    async def hear(control: Any) -> None:
        heard.append(control)

    tasks = [asyncio.create_task(handler.listen(hear)) for handler in handlers]
    try:

        async def all_listen() -> bool:
            await handlers[0].send(CancelExecution(execution_id=ExecutionId("warm-up")))
            return len(heard) >= 30

        await eventually(all_listen, "all to listen")
        heard.clear()
        await redis_world.client.xadd(redis_world.names.control, {"data": '{"type":"cancel_execution"}'})
        await redis_world.client.xadd(
            redis_world.names.control, {"data": encode(CancelExecution(execution_id=JOB))}
        )

        async def heard_after() -> bool:
            return sum(control.command.execution_id == JOB for control in heard) == 3

        await eventually(heard_after, "the command after it")
    finally:
        for task in tasks:
            await killed(task)
    [letter] = await redis_world.dead()
    assert "execution_id" in letter["reason"]
    assert letter["stream"] == redis_world.names.control


async def test_a_reply_stream_that_is_none_harms_nobody(redis_world: RedisWorld) -> None:
    """`reply_to` is the publisher's choice; the result is published all the same."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    reply_to = f"{redis_world.config.prefix}a-string"
    await redis_world.client.set(reply_to, "no stream")
    await submit(edge, command(reply_to=reply_to))
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        await whole_log(edge, JOB)
    assert len(await redis_world.results()) == 1
    assert (await edge.depth()).pending == 0
