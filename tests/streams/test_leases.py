"""Leases: one writer at a time, whoever dies or wakes up late."""

import asyncio
import time
from dataclasses import replace

import pytest

from infra.errors import LeaseLost
from schemas.commands import CancelExecution
from schemas.ids import ExecutionId
from schemas.wire import encode
from streams.log_errors import LogFull
from streams.protocol import Begun, Consumer, Delivery, Ended, HeldElsewhere, Lease
from tests.streams.conftest import PATIENT, SHORT, World
from tests.streams.helpers import (
    as_started,
    begin,
    begin_once_free,
    command,
    consuming,
    eventually,
    finished,
    killed,
    lease_of,
    output,
    run_to_the_end,
    started,
    submit,
    submit_and_follow,
    take,
    taking,
    types,
    whole_log,
)

JOB = ExecutionId("job-1")


async def test_who_slept_with_a_duplicate_cannot_take_all_there_is_with_him(world: World) -> None:
    """Others acknowledged it meanwhile; he takes the lease under it, the first entry is seen, and he dies."""
    edge, asleep, dying, seeing, alive = [await world.transport(SHORT) for _ in range(5)]
    for _ in range(2):
        await submit(edge, command())
    async with taking(asleep, 2) as deliveries:
        first, second = [await deliveries.get() for _ in range(2)]
        await lease_of(dying, first)
        assert isinstance(await begin(dying, second), HeldElsewhere)
        await begin_once_free(asleep, second)
        assert isinstance(await begin(seeing, first), HeldElsewhere)
    async with consuming(alive, lambda delivery: run_to_the_end(alive, delivery)):
        assert types(await whole_log(edge, JOB))[-1] == "finished"


async def test_no_more_entries_are_taken_than_there_are_slots(world: World) -> None:
    """The rest stays for others: nothing is prefetched."""
    edge, handler = await world.transport(), await world.transport()
    for number in range(5):
        await submit(edge, command(f"job-{number}"))
    async with taking(handler, 2) as deliveries:
        await deliveries.get()
        await deliveries.get()
        assert (await edge.depth()).pending == 2
        async with taking(edge, 3) as others:
            for _ in range(3):
                await others.get()
        assert deliveries.empty()


async def test_every_entry_runs_though_there_are_fewer_slots(world: World) -> None:
    """A slot that becomes free takes the next entry, and at no time do more run than there are slots."""
    edge, handler = await world.transport(), await world.transport()
    running, most = 0, 0
    three_at_once = asyncio.Barrier(3)

    async def run(delivery: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await three_at_once.wait()
        await run_to_the_end(handler, delivery)
        running -= 1

    async with consuming(handler, run, slots=3):
        await asyncio.gather(*(submit(edge, command(f"job-{number}")) for number in range(30)))
        for number in range(30):
            await whole_log(edge, f"job-{number}")
    assert most == 3


@pytest.mark.everywhere
async def test_the_entry_of_a_dead_handler_goes_to_another_one(world: World) -> None:
    """It comes back once nobody renewed it for a lease, and says that it was delivered before."""
    edge, dead, alive = [await world.transport(SHORT) for _ in range(3)]
    await submit(edge, command())
    first = await take(dead)
    await lease_of(dead, first)
    async with taking(alive) as deliveries:
        second = await deliveries.get()
        assert second.entry == first.entry
        assert second.deliveries == 2
        begun = await begin_once_free(alive, second)
    assert isinstance(begun, Begun)
    assert begun.lease.attempt == 2
    assert not begun.started_before


async def test_an_execution_that_was_started_before_is_told_apart(world: World) -> None:
    """`retry` is decided by what is known: it had started, and this is where its log stands."""
    edge, dead, alive = [await world.transport(SHORT) for _ in range(3)]
    await submit(edge, command())
    lease = await lease_of(dead, await take(dead))
    await dead.append(lease, [started(lease), output(lease, "half", 1)])
    async with taking(alive) as deliveries:
        begun = await begin_once_free(alive, await deliveries.get())
    assert isinstance(begun, Begun)
    assert begun.started_before
    assert begun.lease.seq == 3
    assert begun.lease.token > lease.token


@pytest.mark.everywhere
async def test_who_lost_the_lease_can_write_nothing_more(world: World) -> None:
    """A handler that wakes late is fenced off in every way."""
    edge, late, alive = [await world.transport(SHORT) for _ in range(3)]
    await submit(edge, command())
    old = await lease_of(late, await take(late))
    async with taking(alive) as deliveries:
        new = await lease_of(alive, await deliveries.get())
        for write in (
            late.append(old, [started(old)]),
            late.finish(old, [], finished(JOB)),
            late.renew(old),
            late.release(old),
        ):
            with pytest.raises(LeaseLost):
                await write
        await alive.append(new, [started(new)])
        await alive.finish(new, [], finished(JOB))
    assert types(await whole_log(edge, JOB)) == ["queued", "started", "finished"]


async def test_a_live_lease_is_not_taken_and_a_second_entry_for_it_is_acknowledged(world: World) -> None:
    """Duplicates end at once; the leased entry itself stays pending until it is finished."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    await submit(edge, command())
    async with taking(handler) as deliveries:
        first, second = await deliveries.get(), await deliveries.get()
        lease = await lease_of(handler, first)
        assert isinstance(await begin(handler, first), HeldElsewhere)
        assert (await edge.depth()).pending == 2
        assert isinstance(await begin(handler, second), HeldElsewhere)
        assert (await edge.depth()).pending == 1
        await handler.finish(lease, [], finished(JOB))
    assert (await edge.depth()).pending == 0


async def test_renewing_keeps_entry_and_lease_for_longer_than_one_lease(world: World) -> None:
    """A live handler is not taken for dead, however long its code runs."""
    edge, handler, other = [await world.transport(SHORT) for _ in range(3)]
    await submit(edge, command())
    async with taking(handler) as deliveries:
        lease = await lease_of(handler, await deliveries.get())
        async with taking(other) as others:
            for _ in range(5):
                await _renew_in_time(handler, lease)
            assert others.empty()
        await handler.finish(lease, [], finished(JOB))


async def _renew_in_time(handler: Consumer, lease: Lease) -> None:
    """Renew after a heartbeat. Whoever is kept from it by a busy machine may lose the lease, and rightly."""
    before = time.monotonic()
    await asyncio.sleep(SHORT.heartbeat_s)
    try:
        await handler.renew(lease)
    finally:
        if time.monotonic() - before > SHORT.lease_s:
            pytest.skip("this machine is too busy to renew in time")


@pytest.mark.everywhere
async def test_an_execution_given_back_is_handed_out_at_once_and_counts_no_attempt(world: World) -> None:
    """Release is for a handler that stops before it could start."""
    edge = await world.transport()
    first, second = await world.transport(), await world.transport()
    await submit(edge, command())
    async with taking(first, 1) as deliveries:
        lease = await lease_of(first, await deliveries.get())
        await first.release(lease)
        async with taking(second) as others, asyncio.timeout(20):
            again = await begin(second, await others.get())
    assert isinstance(again, Begun)
    assert again.lease.attempt == 1
    assert again.lease.token > lease.token


async def test_attempts_beyond_the_limit_are_told(world: World) -> None:
    """Poison work is not tried for ever."""
    policy = replace(SHORT, attempts_max=2)
    edge = await world.transport(policy)
    await submit(edge, command())
    told = []
    for _ in range(3):
        handler = await world.transport(policy)
        outcome = await begin_once_free(handler, await take(handler))
        assert isinstance(outcome, Begun)
        told.append((outcome.lease.attempt, outcome.over_limit))
    assert told == [(1, False), (2, False), (3, True)]


async def test_a_finished_execution_that_comes_back_is_only_acknowledged(world: World) -> None:
    """Nothing runs twice, and no second result appears."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    await submit(edge, command())
    async with taking(handler) as deliveries:
        first, second = await deliveries.get(), await deliveries.get()
        lease = await lease_of(handler, first)
        await handler.finish(lease, [], finished(JOB))
        assert isinstance(await begin(handler, second), Ended)
    depth = await edge.depth()
    assert (depth.waiting, depth.pending) == (0, 0)
    assert len(await world.results()) == 1


async def test_draining_ends_after_what_runs_and_leaves_the_rest(world: World) -> None:
    """SIGTERM takes nothing new."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command("job-1"))
    may_end, began = asyncio.Event(), asyncio.Event()

    async def run(delivery: Delivery) -> None:
        began.set()
        await may_end.wait()
        await run_to_the_end(handler, delivery)

    async with consuming(handler, run, slots=2) as task:
        await began.wait()
        handler.drain()
        await submit(edge, command("job-2"))
        assert not task.done()
        may_end.set()
        await task
    assert types(await whole_log(edge, "job-1"))[-1] == "finished"
    assert (await edge.depth()).waiting == 1


async def test_an_entry_whose_handler_raised_is_retried(world: World) -> None:
    """An accident in our own code loses no work."""
    edge, handler = await world.transport(SHORT), await world.transport(SHORT)
    await submit(edge, command())
    deliveries: list[int] = []

    async def fail_once(delivery: Delivery) -> None:
        deliveries.append(delivery.deliveries)
        if len(deliveries) == 1:
            raise RuntimeError("an accident")
        await run_to_the_end(handler, delivery)

    async with consuming(handler, fail_once):
        await whole_log(edge, JOB)
    assert deliveries == [1, 2]


async def test_a_full_log_refuses_output_and_nothing_else(world: World) -> None:
    """Bounded in entries, and `finished` is never lost."""
    policy = replace(PATIENT, log_entries_max=4)
    edge, handler = await world.transport(policy), await world.transport(policy)
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    await handler.append(lease, [started(lease), output(lease, "a", 1), output(lease, "b", 2)])
    with pytest.raises(LogFull):
        await handler.append(lease, [output(lease, "c")])
    assert lease.seq == 4
    await handler.append(lease, [started(lease)])
    await handler.finish(lease, [output(lease, "tail")], finished(JOB))
    assert types(await whole_log(edge, JOB)) == [
        "queued",
        "started",
        "output",
        "output",
        "started",
        "output",
        "finished",
    ]


async def test_a_log_is_bounded_in_bytes_as_well(world: World) -> None:
    """Few large events fill it as many small ones do."""
    policy = replace(PATIENT, log_bytes_max=2000)
    edge, handler = await world.transport(policy), await world.transport(policy)
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    await handler.append(lease, [output(lease, "x" * 1000)])
    with pytest.raises(LogFull):
        await handler.append(lease, [output(lease, "x" * 1000)])
    await handler.finish(lease, [], finished(JOB))


async def test_a_cancelled_write_is_known_before_the_cancellation_goes_on(world: World) -> None:
    """So that whoever writes next knows where the log stands."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    writing = asyncio.create_task(handler.append(lease, [started(lease)]))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    assert lease.seq == 2
    await handler.finish(lease, [], finished(JOB))
    assert types(await whole_log(edge, JOB)) == ["queued", "started", "finished"]


async def test_misnumbered_events_are_our_own_mistake(world: World) -> None:
    """A gap never gets into a log."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    with pytest.raises(AssertionError, match="must be 2"):
        await handler.append(lease, [output(lease, "too far", 1)])


async def test_a_consumer_that_is_killed_leaves_what_it_held_to_others(world: World) -> None:
    """Also in the middle of running several at once, each ends exactly once."""
    edge, dying, alive = [await world.transport(SHORT) for _ in range(3)]
    for number in range(6):
        await submit(edge, command(f"job-{number}"))
    held = asyncio.Semaphore(0)

    async def hang(delivery: Delivery) -> None:
        await lease_of(dying, delivery)
        held.release()
        await asyncio.Event().wait()

    task = asyncio.create_task(dying.consume(hang, 3))
    for _ in range(3):
        await held.acquire()
    await killed(task)
    async with consuming(alive, lambda delivery: run_to_the_end(alive, delivery)):
        for number in range(6):
            assert types(await whole_log(edge, f"job-{number}")).count("finished") == 1
        await eventually(lambda: _nothing_left(edge), "everything to be acknowledged")
    assert len(await world.results()) == 6


async def _nothing_left(edge: object) -> bool:
    depth = await edge.depth()  # type: ignore[attr-defined]
    return bool(depth.waiting == depth.pending == 0)


async def test_started_is_written_with_the_lease_or_left_to_append(world: World) -> None:
    """One step where a transport can; and whoever follows hears it in its place either way."""
    edge, handler = await world.transport(), await world.transport()

    async def run(delivery: Delivery) -> None:
        begun = await begin(handler, delivery, as_started(JOB))
        assert isinstance(begun, Begun)
        assert not begun.started_before
        assert begun.lease.seq == (2 if begun.has_started else 1)
        if not begun.has_started:
            await handler.append(begun.lease, [started(begun.lease)])
        await handler.append(begun.lease, [output(begun.lease, "1")])
        await handler.finish(begun.lease, [], finished(JOB))

    async with consuming(handler, run):
        events = await submit_and_follow(edge)
    assert types(events) == ["queued", "started", "output", "finished"]
    record = await edge.record(JOB)
    assert record is not None and record.started_at is not None


@pytest.mark.everywhere
async def test_what_was_started_with_its_lease_is_known_to_have_started(world: World) -> None:
    """Whoever takes over decides by `retry`, as ever, and does not write it again."""
    edge, dead, alive = [await world.transport(SHORT) for _ in range(3)]
    await submit(edge, command())
    begun = await begin(dead, await take(dead), as_started(JOB))
    assert isinstance(begun, Begun)
    async with taking(alive) as deliveries:
        again = await begin_once_free(alive, await deliveries.get(), as_started(JOB))
    assert isinstance(again, Begun)
    assert again.started_before == begun.has_started
    assert (again.has_started, again.lease.attempt) == (False, 2)
    assert types(await edge.read(JOB)) == (["queued", "started"] if begun.has_started else ["queued"])


async def test_what_was_cancelled_before_is_not_started_with_its_lease(world: World) -> None:
    """Its handler has to read its mail first."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, command())
    await edge.send(CancelExecution(execution_id=JOB))
    begun = await begin(handler, await take(handler), as_started(JOB))
    assert isinstance(begun, Begun)
    assert (len(begun.mail), begun.has_started, begun.lease.seq) == (1, False, 1)


async def test_a_bare_entry_is_started_with_its_lease(world: World) -> None:
    """Nobody wrote its record and its log before."""
    edge, handler = await world.transport(), await world.transport()
    await world.publish(encode(command()))
    begun = await begin(handler, await take(handler), as_started(JOB))
    assert isinstance(begun, Begun)
    expected = ["queued", "started"] if begun.has_started else ["queued"]
    assert types(await edge.read(JOB)) == expected
