"""Control commands that come while an execution is being begun: none is lost, none is carried out twice."""

import asyncio

import pytest

from handlers.running import HEARD_MAX, INPUT_BYTES_MAX, SEEN_MAX, Registry, Running
from sandboxes.fake_script import End, Write, script
from sandboxes.protocol import Program
from schemas.commands import CancelExecution, RunCode, SendInput
from schemas.digest import digest_of
from schemas.events import Finished, Output, Started
from schemas.ids import ExecutionId
from schemas.wire import encode
from streams.protocol import Control

JOB = ExecutionId("job-1")


class HeardMeanwhile:
    """A consumer whose `begin` takes so long that a command is heard before it returns."""

    def __init__(self, transport, registry, *controls):
        self._transport = transport
        self._registry = registry
        self._controls = controls

    def __getattr__(self, name):
        return getattr(self._transport, name)

    async def begin(self, delivery, command, digest, started=None):
        begun = await self._transport.begin(delivery, command, digest, started)
        for control in self._controls:
            await self._registry.on_control(control)
        return begun


@pytest.mark.parametrize("ready", [1000, 0])
async def test_a_cancellation_heard_between_the_lease_and_the_run_counts(  # noqa: PLR0917 - fixtures
    transport, registry, delivery_of, events_of, handler, sandboxes, ready
):
    """It is in no mail that `begin` brought, and nobody is registered yet.

    Where a sandbox was ready it was said to have started: it does not run either.
    """
    sandboxes._sandboxes_max = ready
    cancel = Control("1-0", CancelExecution(execution_id=JOB, reason="not wanted"))
    handler._consumer = HeardMeanwhile(transport, registry, cancel, cancel)
    command = RunCode(id=JOB, language="py", code=script(Write("ran"), End(0)))
    await transport.submit(command, digest_of(command))
    await handler.on_delivery(delivery_of(encode(command)))
    events = await events_of(JOB)
    assert not any(isinstance(event, Output) for event in events)
    assert any(isinstance(event, Started) for event in events) == bool(ready)
    assert not sandboxes.open
    assert isinstance(events[-1], Finished)
    assert (events[-1].outcome, events[-1].message) == ("cancelled", "not wanted")
    assert not registry.concerns(JOB)


async def test_what_was_heard_meanwhile_comes_after_the_mail(registry):
    """Input keeps its order, and what is in both counts once."""
    first, second = [
        Control(f"{number}-0", SendInput(execution_id=JOB, data=f"{number}\n")) for number in (1, 2)
    ]
    with registry.expecting(JOB) as heard:
        await registry.on_control(first)
        await registry.on_control(second)
        with registry.holding(JOB, 0) as running:
            for control in (first, *heard):  # the mail had the first one
                await running.apply(control)
            program = running.enter(None, Program(code=""))
    assert program.stdin == b"1\n2\n"


class Deaf:
    """A sandbox whose program reads no input, and whose agent takes its time."""

    def __init__(self):
        self.cancelled = asyncio.Event()
        self.taken: list[bytes] = []
        self.reads = asyncio.Event()

    async def send_input(self, data, *, eof=False):
        await self.reads.wait()
        self.taken.append(data)

    async def cancel(self):
        self.cancelled.set()
        await asyncio.Event().wait()


async def test_a_program_that_reads_nothing_keeps_nobody_from_being_cancelled(registry):
    """Neither itself nor what runs beside it: all hear through one reader."""
    other = ExecutionId("job-2")
    with registry.holding(JOB, 1) as deaf, registry.holding(other, 1) as beside:
        deaf.enter(sandbox := Deaf(), Program(code=""))
        beside.enter(neighbour := Deaf(), Program(code=""))
        async with asyncio.timeout(20):
            for number in range(3):
                await registry.on_control(
                    Control(f"{number}-0", SendInput(execution_id=JOB, data=f"{number}"))
                )
            await registry.on_control(Control("8-0", CancelExecution(execution_id=JOB)))
            await registry.on_control(Control("9-0", CancelExecution(execution_id=other)))
            await sandbox.cancelled.wait()
            await neighbour.cancelled.wait()
        assert deaf.cancelled.is_set()
        assert beside.cancelled.is_set()


async def test_input_that_waited_is_passed_on_in_order(registry):
    """Once the program reads."""
    with registry.holding(JOB, 1) as running:
        running.enter(sandbox := Deaf(), Program(code=""))
        for number in range(50):
            await registry.on_control(Control(f"{number}-0", SendInput(execution_id=JOB, data=f"{number}\n")))
        sandbox.reads.set()
        async with asyncio.timeout(20):
            while len(sandbox.taken) < 50:
                await asyncio.sleep(0)
    assert sandbox.taken == [b"%d\n" % number for number in range(50)]


async def test_input_that_came_early_is_for_every_sandbox_that_is_tried(registry):
    """The first one may break before anything ran."""
    with registry.holding(JOB, 0) as running:
        await registry.on_control(Control("1-0", SendInput(execution_id=JOB, data="early")))
        for _ in range(2):
            assert running.enter(Deaf(), Program(code="")).stdin == b"early"


async def test_a_registry_is_concerned_with_what_it_holds_or_expects(registry):
    """And with nothing else; of two deliveries of one execution each hears."""
    assert not registry.concerns(JOB)
    with registry.expecting(JOB) as one:
        with registry.expecting(JOB) as other:
            await registry.on_control(Control("1-0", CancelExecution(execution_id=JOB)))
            assert [len(one), len(other)] == [1, 1]
        assert registry.concerns(JOB)
    assert not registry.concerns(JOB)


async def test_what_is_kept_for_an_execution_is_bounded():
    """In commands and in bytes, whatever is sent to it."""
    registry, running = Registry(), Running(JOB)
    large = "x" * (1024 * 1024)
    for number in range(INPUT_BYTES_MAX // len(large) + 5):
        await running.apply(Control(f"{number}-0", SendInput(execution_id=JOB, data=large)))
    assert len(running.enter(None, Program(code="")).stdin) == INPUT_BYTES_MAX
    with registry.expecting(JOB) as heard:
        for number in range(HEARD_MAX + 5):
            await registry.on_control(Control(f"{number}-0", CancelExecution(execution_id=JOB)))
        assert len(heard) == HEARD_MAX
    for number in range(SEEN_MAX + 5):
        await running.apply(Control(f"{number}-1", CancelExecution(execution_id=JOB)))
    assert len(running._seen) == SEEN_MAX
