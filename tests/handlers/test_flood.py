"""A handler on a real Redis with ten thousand of one tenant waiting: the next of another one is next."""

import asyncio

import pytest

from infra.redis import build_redis
from sandboxes.fake_script import End, script
from schemas.commands import RunCode
from schemas.digest import digest_of
from schemas.ids import ExecutionId, TenantId
from schemas.wire import decode_run_code, encode
from streams.redis import RedisTransport
from streams.topology import Topology
from tests.handlers.conftest import finished_log

FLOOD = 10_000
SLOTS = 4


@pytest.fixture
async def transport(redis_config, policy):
    """In place of the one in memory."""
    made = RedisTransport(redis_config, policy, consumer="test")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def flood(redis_config):
    """As a backend publishes it that knows neither us nor any bound."""
    client, requests = build_redis(redis_config), Topology(redis_config.prefix).requests
    pipeline = client.pipeline(transaction=False)
    for number in range(FLOOD):
        pipeline.xadd(requests, {"data": encode(_asked(f"flood-{number}", "loud"))})
    await pipeline.execute()
    yield
    await client.delete(requests)
    await client.aclose()


def _asked(name: str, tenant: str) -> RunCode:
    return RunCode(id=ExecutionId(name), language="py", code=script(End()), tenant=TenantId(tenant))


@pytest.mark.usefixtures("flood")
async def test_one_of_another_tenant_is_run_before_more_than_slots_of_ten_thousand(
    transport, handler
) -> None:
    """While the flood is run as fast as it goes."""
    handed: list[str] = []
    runs = asyncio.Event()

    async def run(delivery):
        handed.append(decode_run_code(delivery.body).tenant)
        if len(handed) > 2 * SLOTS:
            runs.set()
        await handler.on_delivery(delivery)

    consuming = asyncio.create_task(transport.consume(run, SLOTS))
    async with asyncio.timeout(60):
        await runs.wait()
        quiet = _asked("quiet", "quiet")
        await transport.submit(quiet, digest_of(quiet))
        before = len(handed)
        events = await finished_log(transport, "quiet")
    consuming.cancel()
    await asyncio.wait([consuming])
    assert events[-1].outcome == "exited"
    assert handed[before:].index("quiet") <= SLOTS
