"""Three servers with three copies of everything: the leader dies under load, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest

from streams.protocol import DeliveryPolicy, Transport
from tests.nats_servers import NatsCluster
from tests.streams.conftest import NatsWorld
from tests.streams.helpers import (
    command,
    consuming,
    eventually,
    run_to_the_end,
    submit,
    types,
    whole_log,
)

pytestmark = pytest.mark.brokers
POLICY = DeliveryPolicy(lease_s=20.0)


@pytest.fixture
async def cluster(nats_binary: Path) -> AsyncIterator[NatsCluster]:
    """A cluster of this test's own."""
    servers = NatsCluster(nats_binary)
    try:
        await asyncio.to_thread(servers.start)
        yield servers
    finally:
        await asyncio.to_thread(servers.close)


async def leaders(world: NatsWorld) -> dict[str, str]:
    """Return who leads each stream."""
    jetstream = (await world.outsider()).jetstream()
    streams = await jetstream.streams_info()
    return {info.config.name or "": (info.cluster and info.cluster.leader) or "" for info in streams}


async def ready(cluster: NatsCluster) -> None:
    """Wait until the servers have elected who makes streams."""

    async def makes_streams() -> bool:
        client = await nats.connect(list(cluster.config.servers))
        try:
            await client.jetstream().account_info()
        except nats.errors.Error:
            return False
        finally:
            await client.close()
        return True

    await eventually(makes_streams, "the cluster to elect a leader", 60)


async def _submit_all(edge: Transport, names: list[str]) -> None:
    for name in names:
        async with asyncio.timeout(60):
            while True:
                try:
                    await submit(edge, command(name))
                    break
                except Exception:
                    await asyncio.sleep(0.1)
        await asyncio.sleep(0.02)


async def test_the_leader_of_the_logs_dies_under_load(cluster: NatsCluster) -> None:
    """All that was accepted is finished, once; readers go on, and the handler consumes at once."""
    await ready(cluster)
    world = NatsWorld(cluster.config)
    edge, handler = await world.transport(POLICY), await world.transport(POLICY)
    names = [f"job-{number:03}" for number in range(60)]
    ran: dict[str, int] = {}

    async def run(delivery: Any) -> None:
        lease = await run_to_the_end(handler, delivery, "some", "output")
        ran[lease.execution_id] = ran.get(lease.execution_id, 0) + 1

    async with consuming(handler, run, slots=8):
        readers = [asyncio.create_task(whole_log(edge, name)) for name in names]
        submitting = asyncio.create_task(_submit_all(edge, names))
        await readers[10]
        leader = (await leaders(world))[world.names.stream("LOG")]
        await asyncio.to_thread(cluster.named(leader).kill)
        async with asyncio.timeout(120):
            await submitting
            logs = await asyncio.gather(*readers)
        for log in logs:
            assert types(log) == ["queued", "started", "output", "output", "finished"]
            assert [event.seq for event in log] == [1, 2, 3, 4, 5]
        await asyncio.to_thread(cluster.named(leader).start)
        await edge.ping()
    assert set(ran) == set(names)
    assert {result.execution_id for result in await world.results()} == set(names)
    await world.close()
