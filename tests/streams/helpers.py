"""Small parts that tests of streams are made of: commands, events, and a handler that does as it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

from schemas.commands import RunCode
from schemas.digest import digest_of
from schemas.events import Finished, Output, Started
from schemas.ids import ExecutionId
from schemas.wire import decode_run_code
from streams.protocol import (
    BeginOutcome,
    Begun,
    Consumer,
    Delivery,
    HeldElsewhere,
    Lease,
    LoggedEvent,
    Publisher,
    Submission,
)


def command(name: str = "job-1", code: str = "print(1)", **fields: object) -> RunCode:
    """Return a request with an id."""
    return RunCode(id=ExecutionId(name), language="py", code=code, **fields)  # type: ignore[arg-type]


async def submit(publisher: Publisher, asked: RunCode) -> Submission:
    """Submit it with the digest of its body."""
    return await publisher.submit(asked, digest_of(asked))


def started(lease: Lease) -> Started:
    """Return the next event of a log: it began to run."""
    return Started(
        execution_id=lease.execution_id,
        seq=lease.seq + 1,
        time=datetime.now(UTC),
        attempt=lease.attempt,
        sandbox="fake",
        language="py",
    )


def output(lease: Lease, text: str, after: int = 0) -> Output:
    """Return output, as the event `after` + 1 places behind the end of the log."""
    seq = lease.seq + 1 + after
    return Output(
        execution_id=lease.execution_id, seq=seq, time=datetime.now(UTC), stream="stdout", data=text
    )


def finished(execution_id: ExecutionId, outcome: str = "exited") -> Finished:
    """Return an end; the transport numbers it."""
    return Finished(execution_id=execution_id, seq=0, time=datetime.now(UTC), outcome=outcome)  # type: ignore[arg-type]


def as_started(execution_id: ExecutionId) -> Started:
    """Return what is written together with the lease of a first attempt."""
    return Started(
        execution_id=execution_id, seq=2, time=datetime.now(UTC), attempt=1, sandbox="fake", language="py"
    )


async def begin(consumer: Consumer, delivery: Delivery, to_start: Started | None = None) -> BeginOutcome:
    """Begin what a delivery asks for."""
    asked = decode_run_code(delivery.body)
    return await consumer.begin(delivery, asked, digest_of(asked), to_start)


async def begin_once_free(
    consumer: Consumer, delivery: Delivery, to_start: Started | None = None
) -> BeginOutcome:
    """Begin when its lease is over: one that was taken later than its entry may still have a while to go."""
    async with asyncio.timeout(20):
        while isinstance(outcome := await begin(consumer, delivery, to_start), HeldElsewhere):
            await asyncio.sleep(0.05)
    return outcome


async def lease_of(consumer: Consumer, delivery: Delivery) -> Lease:
    """Begin, and take it for granted that nobody else holds it for good."""
    begun = await begin_once_free(consumer, delivery)
    assert isinstance(begun, Begun), begun
    return begun.lease


async def run_to_the_end(consumer: Consumer, delivery: Delivery, *texts: str) -> Lease:
    """Be a handler: take the lease, start, write each of `texts`, finish."""
    lease = await lease_of(consumer, delivery)
    await consumer.append(lease, [started(lease)])
    for text in texts:
        await consumer.append(lease, [output(lease, text)])
    await consumer.finish(lease, [], finished(lease.execution_id))
    return lease


async def run_halted(
    consumer: Consumer, delivery: Delivery, written: asyncio.Event, go_on: asyncio.Event, lines: int
) -> None:
    """Be a handler that tells when it has started, and writes the rest when it may go on."""
    lease = await lease_of(consumer, delivery)
    await consumer.append(lease, [started(lease)])
    written.set()
    await go_on.wait()
    for number in range(lines):
        await consumer.append(lease, [output(lease, str(number))])
    await consumer.finish(lease, [], finished(lease.execution_id))


@contextlib.asynccontextmanager
async def consuming(
    consumer: Consumer, on_delivery: Callable[[Delivery], Awaitable[object]], slots: int = 4
) -> AsyncIterator[asyncio.Task[None]]:
    """Consume while the block runs, then drain."""

    async def handle(delivery: Delivery) -> None:
        await on_delivery(delivery)

    task = asyncio.create_task(consumer.consume(handle, slots))
    try:
        yield task
        consumer.drain()
        await task
    finally:
        await killed(task)


async def killed(task: "asyncio.Task[None]") -> None:
    """End a task with everything it started, as far as a process can die inside a test."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.asynccontextmanager
async def taking(consumer: Consumer, slots: int = 4) -> AsyncIterator["asyncio.Queue[Delivery]"]:
    """Consume into a queue; the slots stay taken until the block ends, and then nothing is given back."""
    queue: asyncio.Queue[Delivery] = asyncio.Queue()

    async def hold(delivery: Delivery) -> None:
        queue.put_nowait(delivery)
        await asyncio.Event().wait()

    task = asyncio.create_task(consumer.consume(hold, slots))
    try:
        yield queue
    finally:
        await killed(task)


async def take(consumer: Consumer) -> Delivery:
    """Take one entry and die holding it."""
    async with taking(consumer, 1) as queue:
        return await queue.get()


async def whole_log(publisher: Publisher, execution_id: str, after: int = 0) -> list[LoggedEvent]:
    """Follow a log to its end."""
    events: list[LoggedEvent] = []
    async with publisher.follow(ExecutionId(execution_id), after) as batches:
        async for batch in batches:
            events += batch
    return events


async def submit_and_follow(publisher: Publisher, name: str = "job-1") -> list[LoggedEvent]:
    """Do as a synchronous request does: follow first, then submit, then wait for the end."""
    events: list[LoggedEvent] = []
    async with publisher.follow(ExecutionId(name)) as batches:
        await submit(publisher, command(name))
        async for batch in batches:
            events += batch
    return events


def types(events: list[LoggedEvent]) -> list[str]:
    """Return the types of events, in order."""
    return [event.type for event in events]


async def eventually(condition: Callable[[], Awaitable[object]], what: str, within_s: float = 60.0) -> None:
    """Wait until `condition` holds."""
    try:
        async with asyncio.timeout(within_s):
            while not await condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {within_s} s in vain for {what}") from None
