"""Turns: executions of one session one at a time, in the order of publication, whoever dies."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.errors import Unavailable
from schemas.commands import CancelExecution, RunCode
from schemas.wire import decode_event, decode_run_code, encode
from streams.protocol import Begun, Delivery, Parked, Transport
from streams.redis import turns
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


def member(name: str, session: str = "notebook", **fields: Any) -> RunCode:
    """Return a request of a session."""
    return command(name, session_id=session, **fields)


async def end(handler: Transport, delivery: Delivery) -> None:
    """Run what may run; what is parked comes again."""
    await ended_by(handler, delivery)


async def ended_by(handler: Transport, delivery: Delivery) -> str | None:
    """Run what may run; return what this very delivery has ended, if anything."""
    begun = await begin(handler, delivery)
    if not isinstance(begun, Begun):
        return None
    await handler.append(begun.lease, [started(begun.lease)])
    await handler.finish(begun.lease, [], finished(begun.lease.execution_id))
    return begun.lease.execution_id


async def forget_requests(world: World) -> None:
    """Lose the requests stream, as by an operator's hand."""
    if isinstance(world, MemoryWorld):
        world.broker.entries.clear()
    elif isinstance(world, NatsWorld):
        await (await world.outsider()).jetstream().purge_stream(world.names.stream("REQUESTS"))
    else:
        assert isinstance(world, RedisWorld)
        await world.client.delete(world.names.requests)


async def nothing_left(transport: Transport) -> bool:
    """Whether all work is acknowledged."""
    depth = await transport.depth()
    return depth.waiting == depth.pending == 0


async def test_the_second_of_a_session_waits_without_holding_anything(world: World) -> None:
    """Its entry is acknowledged, and it still counts as waiting."""
    edge, handler = await world.transport(), await world.transport()
    for name in ("one", "two"):
        await submit(edge, member(name))
    async with taking(handler) as deliveries:
        lease = await lease_of(handler, await deliveries.get())
        assert isinstance(await begin(handler, await deliveries.get()), Parked)
        depth = await edge.depth()
        assert (depth.pending, depth.waiting) == (1, 1)
        await handler.finish(lease, [], finished(lease.execution_id))


@pytest.mark.everywhere
async def test_the_next_one_is_published_again_when_its_turn_has_come(world: World) -> None:
    """At once, and still known to be as old as it is."""
    edge, handler = await world.transport(), await world.transport()
    for name in ("one", "two"):
        await submit(edge, member(name))
    async with taking(handler) as deliveries:
        lease = await lease_of(handler, await deliveries.get())
        first_time = await deliveries.get()
        assert isinstance(await begin(handler, first_time), Parked)
        await handler.finish(lease, [], finished(lease.execution_id))
        again = await deliveries.get()
        assert again.entry != first_time.entry
        assert abs(again.published_at - first_time.published_at) < timedelta(milliseconds=2)
        begun = await begin(handler, again)
        assert isinstance(begun, Begun)
        assert (begun.lease.execution_id, begun.lease.attempt) == ("two", 1)


async def test_whoever_begins_first_the_turn_is_of_what_was_published_first(world: World) -> None:
    """Also for those who publish without asking us."""
    handler = await world.transport()
    for name in ("one", "two", "three"):
        await world.publish(encode(member(name)))
    async with taking(handler, 8) as deliveries:
        one, two, three = [await deliveries.get() for _ in range(3)]
        assert isinstance(await begin(handler, three), Parked)
        assert isinstance(await begin(handler, two), Parked)
        lease = await lease_of(handler, one)
        for name in ("two", "three"):
            await handler.finish(lease, [], finished(lease.execution_id))
            lease = await lease_of(handler, await deliveries.get())
            assert lease.execution_id == name


async def test_a_handler_that_died_before_it_began_keeps_the_place_of_its_entry(world: World) -> None:
    """What comes later waits until it was reclaimed and has ended."""
    edge, dead, alive = [await world.transport(SHORT) for _ in range(3)]
    await submit(edge, member("one"))
    await take(dead)
    await submit(edge, member("two"))
    ended: list[str] = []

    async def run(delivery: Delivery) -> None:
        # Not told by the record: of an entry that was parked, its next delivery may have ended it meanwhile.
        if name := await ended_by(alive, delivery):
            ended.append(name)

    async with consuming(alive, run):
        for name in ("one", "two"):
            assert types(await whole_log(edge, name)) == ["queued", "started", "finished"]
        await eventually(lambda: nothing_left(edge), "everything to be acknowledged")
    assert ended == ["one", "two"]


async def test_the_turn_of_a_handler_that_died_passes_on_when_its_execution_has_ended(world: World) -> None:
    """The lease runs out, another handler ends it, and the next one follows."""
    edge, dead, alive = [await world.transport(SHORT) for _ in range(3)]
    await submit(edge, member("one"))
    await lease_of(dead, await take(dead))
    await submit(edge, member("two"))
    async with consuming(alive, lambda delivery: end(alive, delivery)):
        one, two = await whole_log(edge, "one"), await whole_log(edge, "two")
        assert types(one) == types(two) == ["queued", "started", "finished"]
        await eventually(lambda: nothing_left(edge), "everything to be acknowledged")


class Members:
    """Handlers of one session's executions, which notice when two of them run at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._dice = random.Random(7)
        self._running = 0
        self.overlaps = 0
        self.handlers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start one more handler, of three slots."""
        handler = await self._world.transport(SHORT)

        async def on_delivery(delivery: Delivery) -> None:
            begun = await begin(handler, delivery)
            if isinstance(begun, Begun):
                await self._run(handler, begun)

        self.handlers.append(asyncio.create_task(handler.consume(on_delivery, 3)))

    async def _run(self, handler: Transport, begun: Begun) -> None:
        self._running += 1
        self.overlaps += self._running > 1
        try:
            await handler.append(begun.lease, [started(begun.lease)])
            await asyncio.sleep(self._dice.choice([0.0, 0.003]))
        finally:  # a process that is killed runs nothing any more
            self._running -= 1
        await handler.finish(begun.lease, [], finished(begun.lease.execution_id))


async def test_order_and_exclusion_hold_among_three_handlers_that_are_killed(world: World) -> None:
    """Thirty executions of one session, published in both ways; handlers die holding any of them."""
    edge, members = await world.transport(SHORT), Members(world)
    for _ in range(3):
        await members.start()
    names = [f"job-{number:02}" for number in range(30)]
    for number, name in enumerate(names):
        asked = member(name)
        await (submit(edge, asked) if number % 3 else world.publish(encode(asked)))
    for victim in (0, 1, 2):
        await whole_log(edge, names[4 + 8 * victim])
        await killed(members.handlers[victim])
        await members.start()
    logs = [await whole_log(edge, name) for name in names]
    await eventually(lambda: nothing_left(edge), "everything to be acknowledged")
    for handler in members.handlers:
        await killed(handler)
    times = [decode_event(log[-1].data).time for log in logs]
    assert times == sorted(times)
    assert members.overlaps == 0


async def test_other_sessions_and_other_tenants_do_not_wait(world: World) -> None:
    """A hundred sessions beside one that is stuck, one of them of the same name."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, member("stuck"))
    async with taking(handler, 1) as deliveries:
        lease = await lease_of(handler, await deliveries.get())
        other = await world.transport()
        async with consuming(other, lambda delivery: run_to_the_end(other, delivery)):
            await submit(edge, member("theirs", tenant="acme"))
            for number in range(100):
                await submit(edge, member(f"job-{number}", f"session-{number}"))
            for name in ["theirs", *(f"job-{number}" for number in range(100))]:
                assert types(await whole_log(edge, name))[-1] == "finished"
        await handler.finish(lease, [], finished(lease.execution_id))


async def test_an_execution_that_opens_its_session_waits_for_nobody_and_others_for_it(world: World) -> None:
    """It is named like the session, as every run of the compatible contract is."""
    edge, handler = await world.transport(), await world.transport()
    await submit(edge, member("fresh", "fresh"))
    await submit(edge, member("next", "fresh"))
    async with taking(handler) as deliveries:
        lease = await lease_of(handler, await deliveries.get())
        assert isinstance(await begin(handler, await deliveries.get()), Parked)
        await handler.finish(lease, [], finished(lease.execution_id))


async def test_a_cancel_reaches_an_execution_that_waits_for_its_turn(world: World) -> None:
    """It may begin at once, to say that it was cancelled, and the next one keeps its place."""
    edge, handler = await world.transport(), await world.transport()
    for name in ("one", "two", "three"):
        await submit(edge, member(name))
    listening = asyncio.create_task(handler.listen(_ignore))
    async with taking(handler, 8) as deliveries:
        lease = await lease_of(handler, await deliveries.get())
        keeping = asyncio.create_task(_renew(handler, lease))
        for _ in range(2):
            assert isinstance(await begin(handler, await deliveries.get()), Parked)

        async def woken() -> bool:
            await edge.send(CancelExecution(execution_id="two"))  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            return not deliveries.empty()

        await eventually(woken, "the cancelled one to come again")
        begun = await begin(handler, await deliveries.get())
        assert isinstance(begun, Begun)
        assert begun.lease.execution_id == "two"
        assert any(isinstance(control.command, CancelExecution) for control in begun.mail)
        await handler.finish(begun.lease, [], finished(begun.lease.execution_id, "cancelled"))
        await killed(keeping)
        await handler.finish(lease, [], finished(lease.execution_id))
        assert (await lease_of(handler, await _next_of(deliveries, "three"))).execution_id == "three"
    await killed(listening)


async def test_a_deadline_reaches_an_execution_that_waits_for_its_turn(world: World) -> None:
    """It comes again once it has passed, and begins without its turn to say so, not to run."""
    edge, handler = await world.transport(SHORT), await world.transport(SHORT)
    await submit(edge, member("one"))
    await submit(edge, member("late", deadline=datetime.now(UTC) + timedelta(seconds=0.3)))
    async with taking(handler, 8) as deliveries:
        lease = await lease_of(handler, await deliveries.get())
        keeping = asyncio.create_task(_renew(handler, lease))
        assert isinstance(await begin(handler, await deliveries.get()), Parked)
        begun = await begin(handler, await deliveries.get())
        assert isinstance(begun, Begun)
        assert begun.overdue
        await killed(keeping)


async def test_a_line_goes_on_when_the_entry_of_its_first_is_gone(world: World) -> None:
    """Somebody deleted the requests; those that were parked are not lost with it."""
    edge, dead, alive = [await world.transport(SHORT) for _ in range(3)]
    for name in ("one", "two"):
        await submit(edge, member(name))
    async with taking(dead) as deliveries:
        await lease_of(dead, await deliveries.get())
        assert isinstance(await begin(dead, await deliveries.get()), Parked)
    await forget_requests(world)
    async with consuming(alive, lambda delivery: end(alive, delivery)):
        assert types(await whole_log(edge, "two")) == ["queued", "started", "finished"]


async def test_a_request_published_again_while_it_is_parked_runs_once(world: World) -> None:
    """Joining is publishing once more."""
    edge, handler = await world.transport(SHORT), await world.transport(SHORT)
    for name in ("one", "two", "two", "two"):
        await submit(edge, member(name))
    async with consuming(handler, lambda delivery: end(handler, delivery), slots=8):
        assert types(await whole_log(edge, "two")) == ["queued", "started", "finished"]
        await eventually(lambda: nothing_left(edge), "everything to be acknowledged")
    results = [result.execution_id for result in await world.results()]
    assert set(results) == {"one", "two"}
    # Where the end is several steps, a repeated entry may find it half done and publish its result once more.
    is_one_step = isinstance(world, MemoryWorld) or (
        isinstance(world, RedisWorld) and world.config.mode != "cluster"
    )
    assert len(results) == 2 or not is_one_step


# What only Redis can do: die between two steps


@pytest.fixture(params=["redis", "cluster"])
async def redis_like(request: pytest.FixtureRequest, redis_prefix: str) -> Any:
    """Redis in one place and as a cluster."""
    server = request.getfixturevalue("redis_server" if request.param == "redis" else "redis_cluster")
    made = RedisWorld(replace(server.config, prefix=redis_prefix))
    yield made
    await made.close()


async def test_a_wake_that_was_lost_is_made_good_by_another_handler(redis_like: RedisWorld) -> None:
    """The handler died right after its `finished`."""
    edge, dying, alive = [await redis_like.transport(SHORT) for _ in range(3)]
    for name in ("one", "two"):
        await submit(edge, member(name))
    async with taking(dying) as deliveries:
        lease = await lease_of(dying, await deliveries.get())
        assert isinstance(await begin(dying, await deliveries.get()), Parked)
        dying._turns.wake = _fail  # type: ignore[method-assign]
        await dying.finish(lease, [], finished(lease.execution_id))
    async with consuming(alive, lambda delivery: end(alive, delivery)):
        assert types(await whole_log(edge, "two")) == ["queued", "started", "finished"]


@pytest.mark.parametrize("step", ["acknowledge", "NOTE", "PARK"])
async def test_a_handler_that_dies_while_it_parks_loses_nothing(
    redis_like: RedisWorld, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever step: the entry is pending still, and everything runs once."""
    edge, dying, alive = [await redis_like.transport(SHORT) for _ in range(3)]
    for name in ("one", "two"):
        await submit(edge, member(name))
    async with taking(dying) as deliveries:
        lease = await lease_of(dying, await deliveries.get())
        with monkeypatch.context() as patched:
            patched.setattr(turns, step, _Dying() if step.isupper() else _fail)
            with pytest.raises(Unavailable):
                await begin(dying, await deliveries.get())
        await dying.finish(lease, [], finished(lease.execution_id))
    async with consuming(alive, lambda delivery: end(alive, delivery)):
        assert types(await whole_log(edge, "two")) == ["queued", "started", "finished"]
        await eventually(lambda: nothing_left(edge), "everything to be acknowledged")
    assert len(await redis_like.results()) == 2


async def test_dying_between_publishing_again_and_forgetting_the_park_runs_nothing_twice(
    redis_like: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is published twice then, and known by its id."""
    edge, dying, alive = [await redis_like.transport(SHORT) for _ in range(3)]
    for name in ("one", "two"):
        await submit(edge, member(name))
    async with taking(dying) as deliveries:
        lease = await lease_of(dying, await deliveries.get())
        assert isinstance(await begin(dying, await deliveries.get()), Parked)
        with monkeypatch.context() as patched:
            patched.setattr(turns, "WAKE", _Dying())
            await dying.finish(lease, [], finished(lease.execution_id))
    async with consuming(alive, lambda delivery: end(alive, delivery)):
        assert types(await whole_log(edge, "two")) == ["queued", "started", "finished"]
        await eventually(lambda: nothing_left(edge), "everything to be acknowledged")
    assert len(await redis_like.results()) == 2


async def test_who_slept_with_an_entry_that_was_parked_cannot_take_the_request_with_him(world: World) -> None:
    """He begins in the turn of the request that nobody woke, under an entry that is gone, and dies."""
    edge, asleep, dying, alive = [await world.transport(SHORT) for _ in range(4)]
    for name in ("one", "two"):
        await submit(edge, member(name))
    async with taking(asleep) as deliveries:
        one, two = [await deliveries.get() for _ in range(2)]
        lease = await lease_of(dying, one)
        assert isinstance(await begin(dying, two), Parked)
        dying._turns.wake = _ignore
        await dying.finish(lease, [], finished(lease.execution_id))
        assert isinstance(await begin(asleep, two), Begun)
    async with consuming(alive, lambda delivery: end(alive, delivery)):
        assert types(await whole_log(edge, "two"))[-1] == "finished"


async def test_a_session_that_nobody_shares_costs_no_round_trip(
    redis_world: RedisWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn is taken by the script that takes the lease, and given back by the one that finishes."""
    edge, handler = await redis_world.transport(), await redis_world.transport()
    calls = 0
    really: Callable[..., Awaitable[Any]] = handler._link.commands.execute_command

    async def count(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += "XREADGROUP" not in arguments
        return await really(*arguments, **options)

    counts = []
    async with taking(handler) as deliveries:
        await run_to_the_end(handler, await _after(submit(edge, command("warm")), deliveries))
        monkeypatch.setattr(handler._link.commands, "execute_command", count)
        for asked in (command("alone"), member("fresh", "fresh"), member("shared")):
            delivery = await _after(submit(edge, asked), deliveries)
            calls = 0
            await run_to_the_end(handler, delivery)
            counts.append(calls)
    assert counts == [3, 3, 3]


async def test_nothing_of_a_line_is_left_when_all_have_ended(redis_like: RedisWorld) -> None:
    """Neither a line nor a parked request."""
    edge, handler = await redis_like.transport(SHORT), await redis_like.transport(SHORT)
    for number in range(5):
        await submit(edge, member(f"job-{number}"))
    async with consuming(handler, lambda delivery: end(handler, delivery), slots=8):
        for number in range(5):
            await whole_log(edge, f"job-{number}")
        await eventually(lambda: nothing_left(edge), "everything to be acknowledged")
    found = [key async for key in redis_like.client.scan_iter(match=f"*{redis_like.config.prefix}*")]
    assert not [key for key in found if b":line:" in key or key.endswith(b":parked")]


class _Dying:
    """A script that is never sent."""

    async def run(self, *_: object) -> None:
        raise Unavailable("the process died")


async def _fail(*_: object) -> None:
    raise Unavailable("the process died")


async def _ignore(_: object) -> None:
    pass


async def _after(doing: Awaitable[object], deliveries: "asyncio.Queue[Delivery]") -> Delivery:
    await doing
    return await deliveries.get()


async def _next_of(deliveries: "asyncio.Queue[Delivery]", name: str) -> Delivery:
    """Return the next delivery of an execution; a cancel sent several times wakes it more than once."""
    while True:
        delivery = await deliveries.get()
        if decode_run_code(delivery.body).id == name:
            return delivery


async def _renew(handler: Transport, lease: Any) -> None:
    while True:
        await asyncio.sleep(SHORT.heartbeat_s)
        await handler.renew(lease)
