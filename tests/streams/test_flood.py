"""Ten thousand of one tenant wait, and the next of another one is next."""

import asyncio

import pytest

from schemas.commands import RunCode
from schemas.wire import decode_run_code, encode
from streams.protocol import Delivery
from tests.streams.conftest import World
from tests.streams.helpers import command, killed, run_to_the_end, submit

pytestmark = pytest.mark.brokers
FLOOD = 10_000
SLOTS = 4
QUIET = 3


def _job(name: str, tenant: str) -> RunCode:
    return command(name, tenant=tenant)


async def test_ten_thousand_of_one_tenant_delay_the_next_of_another_by_one_for_each_slot(
    world: World,
) -> None:
    """At most; whether it comes over HTTP or not, and one after the other."""
    edge, handler = await world.transport(), await world.transport()
    await world.publish_all([encode(_job(f"flood-{number}", "loud")) for number in range(FLOOD)])
    handed: asyncio.Queue[str] = asyncio.Queue()
    may_end = asyncio.Semaphore(0)

    async def run(delivery: Delivery) -> None:
        handed.put_nowait(decode_run_code(delivery.body).tenant)
        await may_end.acquire()
        await run_to_the_end(handler, delivery)

    consuming = asyncio.create_task(handler.consume(run, SLOTS))
    try:
        async with asyncio.timeout(60):
            assert [await handed.get() for _ in range(SLOTS)] == ["loud"] * SLOTS
            for number in range(QUIET):
                quiet = _job(f"quiet-{number}", "quiet")
                await (submit(edge, quiet) if number % 2 else world.publish(encode(quiet)))
                started_before = 0
                may_end.release()
                while await handed.get() == "loud":
                    started_before += 1
                    may_end.release()
                assert started_before <= SLOTS
    finally:
        await killed(consuming)
    await world.flush()
