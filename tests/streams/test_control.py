"""Control commands reach the handler, also when they overtake the request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from infra.errors import Unavailable
from schemas.commands import CancelExecution, EndSession, SendInput
from schemas.ids import ExecutionId, SessionId
from schemas.wire import encode
from streams.protocol import Begun, Consumer, Control
from streams.redis import control
from tests.streams.conftest import RedisWorld, World
from tests.streams.helpers import begin, command, eventually, killed, submit, take

JOB = ExecutionId("job-1")


@contextlib.asynccontextmanager
async def listening(consumer: Consumer) -> AsyncIterator["asyncio.Queue[Control]"]:
    """Hear control commands into a queue."""
    heard: asyncio.Queue[Control] = asyncio.Queue()

    async def hear(control: Control) -> None:
        heard.put_nowait(control)

    task = asyncio.create_task(consumer.listen(hear))
    try:
        # Listening begins some time after the task does: ask until the first command is heard.
        async with asyncio.timeout(20):
            while heard.empty():
                await consumer.send(EndSession(session_id=SessionId("warm-up")))  # type: ignore[attr-defined]
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
        while not heard.empty():
            heard.get_nowait()
        yield heard
    finally:
        await killed(task)


async def next_about(heard: "asyncio.Queue[Control]", execution_id: str) -> Control:
    """Return the next command about an execution."""
    async with asyncio.timeout(20):
        while True:
            control = await heard.get()
            if getattr(control.command, "execution_id", None) == execution_id:
                return control


async def test_every_handler_hears_every_command(world: World) -> None:
    """Whoever holds the execution is among them."""
    edge, one, two = [await world.transport() for _ in range(3)]
    async with listening(one) as heard, listening(two) as also_heard:
        await edge.send(CancelExecution(execution_id=JOB, reason="enough"))
        for queue in (heard, also_heard):
            control = await next_about(queue, JOB)
            assert control.command == CancelExecution(execution_id=JOB, reason="enough")


async def test_a_handler_goes_on_listening_though_the_broker_was_away_for_a_moment(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it woke what was cancelled; one that heard nothing more would stop, and did."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    calls = 0

    async def away_at_first(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Unavailable("a failover")

    async def is_parked(*_: object) -> bool:
        return True

    monkeypatch.setattr(control, "deposit", is_parked)
    monkeypatch.setattr(control, "wake_cancelled", away_at_first)
    async with listening(handler) as heard:
        await redis_world.client.xadd(
            redis_world.names.control, {"data": encode(CancelExecution(execution_id=JOB))}
        )
        assert (await next_about(heard, JOB)).command == CancelExecution(execution_id=JOB)
        await edge.send(CancelExecution(execution_id=ExecutionId("job-2")))
        await next_about(heard, "job-2")
    assert calls > 1


@pytest.mark.everywhere
async def test_a_command_that_overtakes_the_request_waits_in_the_mail(world: World) -> None:
    """Cancel may come before the execution does; nothing is lost, and the order is kept."""
    edge, handler = await world.transport(), await world.transport()
    async with listening(handler) as heard:
        await edge.send(SendInput(execution_id=JOB, data="1\n"))
        await edge.send(SendInput(execution_id=JOB, data="2\n"))
        first, second = await next_about(heard, JOB), await next_about(heard, JOB)
    await submit(edge, command())
    begun = await begin(handler, await take(handler))
    assert isinstance(begun, Begun)
    assert begun.mail == (first, second)
    assert first.entry != second.entry


async def test_a_command_in_mail_and_ear_is_known_for_the_same(world: World) -> None:
    """Its `entry` is the same wherever it comes from."""
    edge, one, two = [await world.transport() for _ in range(3)]
    async with listening(one) as heard, listening(two) as also_heard:
        await edge.send(CancelExecution(execution_id=JOB))
        entries = {(await next_about(queue, JOB)).entry for queue in (heard, also_heard)}
        await submit(edge, command())
        begun = await begin(one, await take(one))
        assert isinstance(begun, Begun)
        entries |= {control.entry for control in begun.mail}
    assert len(entries) == 1


async def test_a_command_that_no_handler_lives_to_hear_is_not_lost(world: World) -> None:
    """Whoever takes the execution later finds it in the mail."""
    edge = await world.transport()
    await submit(edge, command())
    await edge.send(CancelExecution(execution_id=JOB, reason="enough"))
    handler = await world.transport()
    begun = await begin(handler, await take(handler))
    assert isinstance(begun, Begun)
    assert [control.command for control in begun.mail] == [CancelExecution(execution_id=JOB, reason="enough")]


async def test_a_handler_need_not_hear_what_does_not_concern_it(redis_world: RedisWorld) -> None:
    """Others' commands cost it no more than skipping them; what everybody must hear it hears."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    heard: asyncio.Queue[Control] = asyncio.Queue()

    async def hear(control: Control) -> None:
        heard.put_nowait(control)

    listening = asyncio.create_task(handler.listen(hear, lambda execution_id: execution_id == JOB))
    try:

        async def began() -> bool:
            await edge.send(EndSession(session_id=SessionId("warm-up")))
            return not heard.empty()

        await eventually(began, "the end of a session")
        await edge.send(SendInput(execution_id=ExecutionId("other"), data="x"))
        await edge.send(SendInput(execution_id=JOB, data="x"))
        control = await next_about(heard, JOB)
        assert isinstance(control.command, SendInput)
        assert heard.empty()
        await redis_world.client.xadd(
            redis_world.names.control, {"data": b'{"type":"cancel_execution","execution_id":"bare"}'}
        )
        # Published past us it is in nobody's mail yet: every handler hears it, and leaves it there.
        assert (await next_about(heard, "bare")).entry
    finally:
        await killed(listening)


async def test_there_is_no_mail_for_a_stranger(world: World) -> None:
    """An execution nobody wrote to has none."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    begun = await begin(handler, await take(handler))
    assert isinstance(begun, Begun)
    assert begun.mail == ()


async def test_a_handler_that_fails_at_one_command_hears_the_next(world: World) -> None:
    """One bad command does not deafen the process."""
    edge, handler = await world.transport(), await world.transport()
    heard: list[Control] = []

    async def hear(control: Control) -> None:
        heard.append(control)
        if isinstance(control.command, CancelExecution):
            raise RuntimeError("an accident")

    task = asyncio.create_task(handler.listen(hear))
    try:

        async def both_are_heard() -> bool:
            await edge.send(CancelExecution(execution_id=JOB))
            await edge.send(SendInput(execution_id=JOB, data="x"))
            return any(isinstance(control.command, SendInput) for control in heard)

        await eventually(both_are_heard, "a command after the one that failed")
        assert not task.done()
    finally:
        await killed(task)
