"""Lanes: however much one tenant has waiting, the next of another is next; batch waits, but not for ever."""

import asyncio
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from schemas.commands import CancelExecution, RunCode
from schemas.ids import ExecutionId
from schemas.wire import decode_event, decode_run_code, encode
from streams.lanes import BATCH_EVERY, FairOrder, lane_of
from streams.protocol import Begun, Delivery, Parked, Transport
from tests.streams.conftest import SHORT, MemoryWorld, NatsWorld, RedisWorld, World
from tests.streams.helpers import (
    begin,
    command,
    consuming,
    eventually,
    finished,
    killed,
    lease_of,
    run_to_the_end,
    started,
    submit,
    take,
    taking,
    types,
    whole_log,
)

FLOOD = 40


def job(name: str, tenant: str, priority: str = "interactive", **fields: Any) -> RunCode:
    """Return a request of a tenant."""
    return command(name, tenant=tenant, priority=priority, **fields)


class OneSlot:
    """A handler with one slot, which runs its next execution only when told to."""

    def __init__(self, handler: Transport) -> None:
        self._handler = handler
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue()
        self._ended = asyncio.Semaphore(0)

    async def on_delivery(self, delivery: Delivery) -> None:
        self._deliveries.put_nowait(delivery)
        await self._ended.acquire()

    async def held(self) -> RunCode:
        """Return what is in the slot."""
        async with asyncio.timeout(20):
            delivery = await self._deliveries.get()
        self._deliveries.put_nowait(delivery)
        return decode_run_code(delivery.body)

    async def next(self) -> RunCode:
        """End what is in the slot; return what it was."""
        async with asyncio.timeout(20):
            delivery = await self._deliveries.get()
        await run_to_the_end(self._handler, delivery)
        self._ended.release()
        return decode_run_code(delivery.body)


async def publish(world: World, edge: Transport, asked: RunCode, *, bare: bool) -> None:
    """Publish in either way."""
    if bare:
        await world.publish(encode(asked))
    else:
        await submit(edge, asked)


@pytest.mark.parametrize("bare", [False, True], ids=["submitted", "bare"])
async def test_the_next_of_another_tenant_is_next_however_much_one_has_waiting(
    world: World, bare: bool
) -> None:
    """It is delayed by what runs in the slot, and by nothing of what was published before it."""
    edge, handler = await world.transport(), await world.transport()
    slot = OneSlot(handler)
    async with consuming(handler, slot.on_delivery, slots=1):
        for number in range(FLOOD):
            await publish(world, edge, job(f"flood-{number:02}", "loud"), bare=bare)
        assert (await slot.next()).id == "flood-00"
        order = []
        for number in range(4):
            await publish(world, edge, job(f"quiet-{number}", "quiet"), bare=bare)
            # One of the flood may be in the slot already.
            order += [(await slot.next()).id, (await slot.next()).id]
            assert f"quiet-{number}" in order[-2:]
        rest = [(await slot.next()).id for _ in range(FLOOD - 1 - 4)]
    loud = [name for name in [*order, *rest] if name.startswith("flood")]
    assert loud == [f"flood-{number:02}" for number in range(1, FLOOD)], "a lane is first in, first out"


async def test_tenants_that_wait_take_turns(world: World) -> None:
    """Three floods of different size: as long as all wait, each gets a third."""
    edge, handler = await world.transport(), await world.transport()
    slot = OneSlot(handler)
    async with consuming(handler, slot.on_delivery, slots=1):
        await submit(edge, job("first", "first"))
        for tenant, size in (("a", 30), ("b", 20), ("c", 9)):
            for number in range(size):
                await world.publish(encode(job(f"{tenant}-{number}", tenant)))
        await slot.next()
        tenants = [(await slot.next()).tenant for _ in range(59)]
    # Whatever was in the slot before the others came is one more of its tenant.
    first = Counter(tenants[:28])
    assert max(first.values()) - min(first.values()) <= 2, first
    assert Counter(tenants) == {"a": 30, "b": 20, "c": 9}


async def test_interactive_goes_first_and_batch_does_not_starve(world: World) -> None:
    """Of what waits every eighth is batch, though there is more that is interactive."""
    edge, handler = await world.transport(), await world.transport()
    slot = OneSlot(handler)
    async with consuming(handler, slot.on_delivery, slots=1):
        for number in range(6):
            await publish(world, edge, job(f"batch-{number}", "one", "batch"), bare=number % 2 == 0)
        for number in range(30):
            await publish(world, edge, job(f"now-{number}", "one"), bare=number % 2 == 0)
        order = [(await slot.next()).priority for _ in range(36)]
    # The first batch job was in the slot before anything waited, and one more may have been read with it.
    places = [place for place, priority in enumerate(order) if priority == "batch"]
    assert len(places) == 6
    steps = [after - before for before, after in pairwise(places[1:])]
    assert BATCH_EVERY in steps, places
    assert max(steps[:-1], default=0) <= BATCH_EVERY, places


async def test_what_cannot_be_read_waits_in_the_default_lane(world: World) -> None:
    """And is handed out to be refused, without hurting anybody."""
    edge, handler = await world.transport(), await world.transport()
    bodies: list[bytes] = []
    strange = [
        b"no json",
        b'{"tenant": {"a": 1}, "priority": 7}',
        b'{"tenant": "has space", "language": "py"}',
        b'{"tenant": "' + b"x" * 200 + b'"}',
        b'{"session_id": "a b", "id": 3}',
        b"[1, 2]",
        b"\xff\xfe",
    ]

    async def note(delivery: Delivery) -> None:
        bodies.append(delivery.body)
        await handler.bury(delivery, "not readable")

    async with taking(handler, 1) as deliveries:
        await submit(edge, job("holds-the-slot", "one"))
        await deliveries.get()
        for body in strange:
            await world.publish(body)
        depth = await edge.depth()
        assert depth.tenants == {"default": len(strange)}
    other = await world.transport()
    async with consuming(other, note, slots=1):
        await eventually(lambda: _holds_all(bodies, strange), "all of them")


async def test_depth_tells_what_waits_by_priority_and_tenant(world: World) -> None:
    """Whether it was published over HTTP or not, and before any handler came."""
    edge = await world.transport()
    for number in range(5):
        await world.publish(encode(job(f"a-{number}", "acme", "batch")))
    for number in range(3):
        await submit(edge, job(f"b-{number}", "beta"))
    depth = await edge.depth()
    assert (depth.waiting, depth.pending, depth.parked) == (8, 0, 0)
    assert depth.priorities == {"interactive": 3, "batch": 5}
    assert depth.tenants == {"acme": 5, "beta": 3}
    assert depth.finished == 0
    handler = await world.transport()
    async with taking(handler, 2) as deliveries:
        await deliveries.get()
        await deliveries.get()
        depth = await edge.depth()
        assert (depth.waiting, depth.pending) == (6, 2)
        assert 0.0 <= depth.oldest_s < 60.0


async def test_what_is_finished_is_counted(world: World) -> None:
    """By which the edge measures how fast work is done."""
    edge, handler = await world.transport(), await world.transport()
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        for number in range(3):
            await submit(edge, job(f"job-{number}", "one"))
            await whole_log(edge, f"job-{number}")
    depth = await edge.depth()
    assert (depth.finished, depth.waiting, depth.pending, depth.oldest_s) == (3, 0, 0, 0.0)
    assert not depth.tenants


async def test_an_idle_handler_takes_what_another_one_sorted(world: World) -> None:
    """Nothing waits while there is a free slot anywhere, whoever sorted it into lanes."""
    edge, busy, idle = [await world.transport() for _ in range(3)]
    if isinstance(world, RedisWorld):
        idle._link.block_s = 600.0  # type: ignore[attr-defined] # it is told, it does not just look now and then
    slot = OneSlot(busy)
    async with consuming(busy, slot.on_delivery, slots=1):
        for number in range(10):
            await submit(edge, job(f"job-{number}", "one"))
        assert (await slot.next()).id == "job-0"
        assert (await slot.held()).id == "job-1"  # the rest is sorted
        async with consuming(idle, lambda delivery: run_to_the_end(idle, delivery), slots=2):
            for number in range(2, 10):
                assert types(await whole_log(edge, f"job-{number}"))[-1] == "finished"
            await slot.next()


async def test_a_session_keeps_its_order_across_lanes(world: World) -> None:
    """What is interactive waits for the batch job that was published before it."""
    edge, handler = await world.transport(), await world.transport()
    async with taking(handler, 1) as deliveries:
        await submit(edge, job("holds-the-slot", "one"))
        await deliveries.get()
        await submit(edge, job("slow", "one", "batch", session_id="notebook"))
        await submit(edge, job("quick", "one", session_id="notebook"))
        await edge.depth()  # both are sorted
        other = await world.transport()
        async with taking(other, 3) as taken:
            quick, slow = await taken.get(), await taken.get()
            assert decode_run_code(quick.body).id == "quick"
            assert isinstance(await begin(other, quick), Parked)
            lease = await lease_of(other, slow)
            await other.finish(lease, [], finished(lease.execution_id))
            lease = await lease_of(other, await taken.get())
            assert lease.execution_id == "quick"
            await other.finish(lease, [], finished(lease.execution_id))


async def test_a_handler_that_dies_leaves_what_waits_to_others(world: World) -> None:
    """Whatever it had sorted; nothing runs twice."""
    edge, dying, alive = [await world.transport(SHORT) for _ in range(3)]
    slot = OneSlot(dying)
    task = asyncio.create_task(dying.consume(slot.on_delivery, 1))
    for number in range(12):
        await submit(edge, job(f"job-{number}", f"tenant-{number % 3}"))
    for _ in range(3):
        await slot.next()
    await killed(task)
    async with consuming(alive, lambda delivery: _run_if_mine(alive, delivery), slots=2):
        for number in range(12):
            assert types(await whole_log(edge, f"job-{number}")) == ["queued", "started", "finished"]
        await eventually(lambda: _nothing_left(edge), "everything to be acknowledged")
    assert len(await world.results()) == 12


async def test_draining_gives_back_what_was_taken_from_lanes(world: World) -> None:
    """Nobody has to wait for a lease to run out."""
    edge, leaving, staying = [await world.transport() for _ in range(3)]
    for number in range(8):
        await submit(edge, job(f"job-{number}", f"tenant-{number % 2}"))
    async with consuming(leaving, lambda delivery: run_to_the_end(leaving, delivery), slots=2):
        await whole_log(edge, "job-0")
    async with consuming(staying, lambda delivery: run_to_the_end(staying, delivery), slots=2):
        for number in range(8):
            assert types(await whole_log(edge, f"job-{number}"))[-1] == "finished"
    depth = await edge.depth()
    assert (depth.waiting, depth.pending) == (0, 0)


async def test_queued_tells_the_position_in_the_lane(world: World) -> None:
    """As it was when it was submitted; a cluster and NATS know none, as the lanes are elsewhere."""
    edge = await world.transport()
    for number in range(3):
        await submit(edge, job(f"one-{number}", "one"))
    await edge.depth()
    await submit(edge, job("two", "two"))
    logs = [await edge.read(ExecutionId(name)) for name in ("one-0", "one-1", "one-2", "two")]
    queued = [decode_event(log[0].data) for log in logs]
    if isinstance(world, NatsWorld) or (isinstance(world, RedisWorld) and world.config.mode == "cluster"):
        assert b"position" not in logs[0][0].data
    else:
        assert [event.position for event in queued] == [1, 2, 3, 1]  # type: ignore[union-attr]


async def test_cancelling_what_waits_costs_no_run(world: World) -> None:
    """The mail is there when its turn comes."""
    edge, handler = await world.transport(), await world.transport()
    listening = asyncio.create_task(handler.listen(_ignore))
    await submit(edge, job("job-1", "one"))

    async def mailed() -> bool:
        # Listening begins some time after the task does; a repeat of a cancellation does no harm.
        await edge.send(CancelExecution(execution_id=ExecutionId("job-1")))
        other = await world.transport()
        begun = await begin(other, await take(other))
        return isinstance(begun, Begun) and bool(begun.mail)

    await eventually(mailed, "the cancellation in the mail")
    await killed(listening)


# What is pure


def test_whoever_comes_back_at_once_does_not_go_before_who_waits() -> None:
    """An empty lane gathers no credit, and loses no debt."""
    order: FairOrder[str] = FairOrder()
    for number in range(10):
        order.add(("interactive", "loud"), f"loud-{number}")  # type: ignore[arg-type]
    taken = []
    for number in range(5):
        order.add(("interactive", "quiet"), f"quiet-{number}")  # type: ignore[arg-type]
        taken += [order.take(), order.take()]
    assert sum(str(name).startswith("quiet") for name in taken) == 5


def test_newcomers_without_end_do_not_starve_who_waits() -> None:
    """Every newcomer goes first, but not for ever."""
    order: FairOrder[str] = FairOrder()
    order.add(("interactive", "patient"), "patient")  # type: ignore[arg-type]
    order.add(("interactive", "patient"), "patient")  # type: ignore[arg-type]
    served = 0
    for number in range(200):
        order.add(("interactive", f"new-{number}"), "new")  # type: ignore[arg-type]
        served += order.take() == "patient"
    assert served == 2


def test_no_more_is_remembered_than_waits() -> None:
    """Marks of tenants that are gone are forgotten."""
    order: FairOrder[int] = FairOrder()
    dice = random.Random(1)
    for number in range(5000):
        order.add(("batch" if dice.random() < 0.3 else "interactive", f"tenant-{number % 977}"), number)  # type: ignore[arg-type]
        if dice.random() < 0.9:
            order.take()
    while order.take() is not None:
        pass
    assert len(order) == 0
    assert not order.per_tenant()
    assert all(not ring.marks and not ring.lanes for ring in order._rings.values())


@pytest.mark.parametrize(
    ("body", "lane"),
    [
        (encode(job("a", "acme", "batch")), ("batch", "acme")),
        (b'{"code": "x"}', ("interactive", "default")),
        (b'{"tenant": "a b"}', ("interactive", "default")),
        (b"{", ("interactive", "default")),
        (b'{"priority": "urgent", "tenant": "acme"}', ("interactive", "acme")),
    ],
)
def test_the_lane_is_read_from_the_body(body: bytes, lane: tuple[str, str]) -> None:
    """Also where it is to be refused."""
    assert lane_of(body) == lane


async def test_redis_and_memory_hand_out_in_the_same_order(redis_world: RedisWorld) -> None:
    """The arithmetic is written twice, in Python and in Lua."""
    dice = random.Random(3)
    memory = MemoryWorld()
    handlers = [await redis_world.transport(), await memory.transport()]
    slots = [OneSlot(handler) for handler in handlers]
    sizes = [dice.choice([0, 1, 1, 2, 5]) for _ in range(60)]
    waiting = 1
    async with (
        consuming(handlers[0], slots[0].on_delivery, 1),
        consuming(handlers[1], slots[1].on_delivery, 1),
    ):
        await _publish_to(redis_world, memory, job("first", "first"))
        for number, size in enumerate(sizes):
            # What is in the slots has been chosen: what comes now can change the next choice only.
            names = [(await slot.held()).id for slot in slots]
            assert names[0] == names[1]
            for extra in range(size):
                asked = job(
                    f"job-{number}-{extra}",
                    f"tenant-{dice.randrange(6)}",
                    dice.choice(["batch", "interactive"]),
                )
                await _publish_to(redis_world, memory, asked)
            waiting += size
            if waiting > 1:
                await asyncio.gather(*(slot.next() for slot in slots))
                waiting -= 1
        for _ in range(waiting):
            names = [(await slot.next()).id for slot in slots]
            assert names[0] == names[1]
    await memory.close()


async def _publish_to(one: World, other: World, asked: RunCode) -> None:
    for world in (one, other):
        await world.publish(encode(asked))


async def _run_if_mine(handler: Transport, delivery: Delivery) -> None:
    begun = await begin(handler, delivery)
    if isinstance(begun, Begun):
        if not begun.started_before:
            await handler.append(begun.lease, [started(begun.lease)])
        await handler.finish(begun.lease, [], finished(begun.lease.execution_id))


async def _nothing_left(edge: Transport) -> bool:
    depth = await edge.depth()
    return depth.waiting == depth.pending == 0


async def _holds_all(things: list[bytes], wanted: list[bytes]) -> bool:
    return set(wanted) <= set(things)


async def _ignore(_: object) -> None:
    pass
