"""A pool killed at any step: nothing is leaked, nothing handed out twice, and the next one goes on."""

import asyncio
from typing import Any

import pytest

from infra.tasks import end_tasks
from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.pool import PodPool
from tests.sandboxes.pods.conftest import config_of, eventually, running
from tests.sandboxes.pods.fake_cluster import FakeCluster
from tests.sandboxes.pods.steps import Steps

STEPS = range(1, 40)


async def churn(claims: Claims, taken: list[str], stop: asyncio.Event) -> None:
    """A handler that claims, uses and spends, and leaves every third pod claimed."""
    while not stop.is_set():
        await claims.hold("h")
        if pod := await claims.claim("py", "h", trigger=True):
            taken.append(pod[0])
            if len(taken) % 3:
                await claims.spend(pod[0])
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_leaves_nothing_behind(
    cluster: FakeCluster, api: KubernetesApi, claims: Claims, step: int, after: bool
) -> None:
    await crash_and_go_on(cluster, api, claims, step, after=after)


async def crash_and_go_on(
    cluster: Any, api: KubernetesApi, claims: Claims, step: int, *, after: bool
) -> None:
    """Kill a pool at a step, let another go on, and see that all is well; on a fake cluster or a real API."""
    steps = Steps(step, after=after)
    killed = PodPool(config_of({"py": 2}, every_s=0.02), steps.wrap(api), steps.wrap(claims), "p1")
    task = asyncio.create_task(killed.run())
    steps.crash = task.cancel
    taken: list[str] = []
    stop = asyncio.Event()
    handler = asyncio.create_task(churn(claims, taken, stop))
    await eventually(lambda: steps.over, f"step {step}")
    await end_tasks(task)
    await cluster.free_the_lease("millrace-pool")

    async with running(PodPool(config_of({"py": 2}, every_s=0.02), api, claims, "p2")):
        seen = len(taken)
        await eventually(lambda: len(taken) > seen, "claims to go on")
        stop.set()
        await handler
        kept = {name for number, name in enumerate(taken, 1) if number % 3 == 0}

        async def is_settled() -> bool:
            states = await claims.states()
            ready = {name for name, state in states.items() if state == "ready"}
            return len(ready) == 2 and set(cluster.pods()) == ready | kept == set(states)

        await eventually(is_settled, f"the pool to settle: {cluster.pods().keys()}, kept {kept}")
    assert len(taken) == len(set(taken)), "a pod was handed out twice"
