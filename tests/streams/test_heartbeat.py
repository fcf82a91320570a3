"""A heartbeat keeps a lease while its work runs, and stops the work when the lease is lost."""

import asyncio
from typing import cast

import pytest

from infra.errors import LeaseLost, Unavailable
from streams.heartbeat import heartbeat
from streams.protocol import Consumer, DeliveryPolicy, Lease
from tests.streams.conftest import MemoryWorld
from tests.streams.helpers import command, eventually, lease_of, submit, take

POLICY = DeliveryPolicy(lease_s=0.15)


class Renewing:
    """As much of a consumer as a heartbeat uses; each renewal takes the next of `answers`."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.renewed = asyncio.Event()

    async def renew(self, _: Lease) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.renewed.set()
        if answer is not None:
            raise answer


async def a_lease() -> Lease:
    """Return a lease on some execution."""
    world = MemoryWorld()
    transport = await world.transport()
    await submit(transport, command())
    return await lease_of(transport, await take(transport))


async def hold(renewing: Renewing, work: "asyncio.Future[str] | asyncio.Event") -> str:
    """Work under a heartbeat."""
    async with heartbeat(cast("Consumer", renewing), await a_lease(), POLICY):
        return str(await (work.wait() if isinstance(work, asyncio.Event) else work))


async def test_the_work_goes_on_while_the_lease_is_renewed() -> None:
    """And renewing ends with it."""
    renewing, work = Renewing(None), asyncio.Event()
    holding = asyncio.create_task(hold(renewing, work))
    for _ in range(3):
        renewing.renewed.clear()
        await renewing.renewed.wait()
    work.set()
    assert await holding == "True"
    await eventually(_nothing_beats, "the heartbeat to end")


async def _nothing_beats() -> bool:
    return not any(task.get_name().startswith("lease") for task in asyncio.all_tasks())


async def test_a_lost_lease_stops_the_work() -> None:
    """What wakes late must not go on."""
    with pytest.raises(LeaseLost):
        await hold(Renewing(None, LeaseLost("gone")), asyncio.Event())


async def test_a_broker_that_is_away_for_a_whole_lease_stops_the_work() -> None:
    """For then somebody else may hold it."""
    with pytest.raises(LeaseLost):
        await hold(Renewing(Unavailable("away")), asyncio.Event())


async def test_a_broker_that_is_away_for_a_moment_does_not() -> None:
    """One renewal in three is enough."""
    renewing, work = Renewing(Unavailable("away"), None, Unavailable("away"), None), asyncio.Event()
    holding = asyncio.create_task(hold(renewing, work))
    for _ in range(5):
        renewing.renewed.clear()
        await renewing.renewed.wait()
    work.set()
    assert await holding == "True"


async def test_a_cancellation_from_outside_stays_one() -> None:
    """It is not mistaken for a lost lease."""
    renewing = Renewing(None)
    holding = asyncio.create_task(hold(renewing, asyncio.Event()))
    await renewing.renewed.wait()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding


async def test_the_tasks_own_errors_pass_through() -> None:
    """A heartbeat adds nothing to them."""
    failing: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    failing.set_exception(RuntimeError("its own"))
    with pytest.raises(RuntimeError, match="its own"):
        await hold(Renewing(None), failing)


async def test_a_fenced_off_holder_is_stopped() -> None:
    """With a real transport: the work of a holder with an old token ends."""
    world = MemoryWorld()
    handler = await world.transport(POLICY)
    await submit(handler, command())
    lease = await lease_of(handler, await take(handler))
    lease.token -= 1  # as if another handler had begun since
    with pytest.raises(LeaseLost):
        async with heartbeat(handler, lease, POLICY):
            await asyncio.Event().wait()
