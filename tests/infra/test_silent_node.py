"""One primary of a cluster that no client reaches, and nobody replaces: the others are as quick as ever."""

import asyncio
from dataclasses import replace

import pytest

from infra.redis import AWAY, build_redis
from infra.redis_cluster import ClusterCommands, WaitingCluster
from tests.proxy import Trouble, Wire
from tests.redis_network import RedisNetwork
from tests.redis_servers import Cluster

KEYS = ("blue", "green", "red")
"""A third of the slots each."""
SILENT_S = 2.0
FAILURES = 30
pytestmark = [pytest.mark.brokers, pytest.mark.timeout(240)]


@pytest.mark.parametrize("trouble", [Wire.cut, Wire.silence], ids=["cut off", "half open"])
@pytest.mark.parametrize("key", KEYS)
async def test_a_node_nobody_reaches_holds_up_nothing_that_others_are_asked(
    key: str, trouble: Trouble
) -> None:
    """Though it is asked all the time, and each failure makes the client look at the cluster anew."""
    many = Cluster(secure=False, behind_proxies=True)
    client = build_redis(replace(many.config(), socket_timeout_s=SILENT_S))
    assert isinstance(client, WaitingCluster)
    commands = ClusterCommands(client, SILENT_S)
    failures: list[Exception] = []

    async def ask_in_vain(later_s: float) -> None:
        await asyncio.sleep(later_s)  # so that they do not fail all at once
        while True:
            try:
                await commands.execute_command("EXISTS", key)
            except AWAY as failure:
                failures.append(failure)

    async with RedisNetwork(many, key, "clients") as network:
        try:
            await asyncio.to_thread(many.start)
            for each in KEYS:
                await commands.execute_command("XADD", each, "*", "data", each)
            await network.suffer(trouble)
            async with asyncio.TaskGroup() as asking:
                tasks = [asking.create_task(ask_in_vain(number / 4)) for number in range(10)]
                while len(failures) < FAILURES:
                    for other in set(KEYS) - {key}:
                        assert await commands.alone("XREAD", "STREAMS", other, 0)
                for task in tasks:
                    task.cancel()
        finally:
            await client.aclose()
            many.close()
