"""`make bench-cluster`: what pods cost, as ratios measured in one run on the cluster of the tests.

Leave the machine alone meanwhile. Speed is shown, not tested; that no claim is lost and no pod left is.
"""

import asyncio
import os
import sys
import time
from collections import Counter

import uvloop

from infra.cluster import lifecycle
from infra.cluster.home import home
from tests.bench_cluster.execution import SPEC, beside_others, by_itself, by_the_size_of_the_pool, run_once
from tests.bench_cluster.pods import exec_by_the_api, slot_comes_back
from tests.bench_cluster.scene import Scene, scene
from tests.cluster.images import load
from tests.cluster.kubernetes import Cluster

POOL, EXECUTIONS = 5, 200
STEPS = (by_itself, beside_others, by_the_size_of_the_pool, slot_comes_back, exec_by_the_api)


async def main() -> int:
    """Measure everything; 1 if a claim was lost or a pod is left."""
    if lifecycle.running_tier() != "pods":
        print("There is no cluster with a node: make cluster")
        return 1
    load(["sidecar", "py"])
    async with scene(Cluster(home(), "pods"), POOL) as begun:
        if os.environ.get("FIGURES") != "false":
            await _show(begun)
        return await _nothing_is_lost(begun, int(os.environ.get("EXECUTIONS", EXECUTIONS)))


async def _show(begun: Scene) -> None:
    print(f"{'':58}{'p50':>10}")
    for step in STEPS:
        for figure in await step(begun):
            print(figure, flush=True)


async def _nothing_is_lost(begun: Scene, count: int) -> int:
    """Run `count` executions through the pool: each ends in a pod of its own, and the pool alone is left."""
    slots, turn = asyncio.Semaphore(POOL), asyncio.Lock()
    used: Counter[str] = Counter()

    async def one() -> None:
        async with slots:
            async with turn:  # they are to go through the pool, not past it by Jobs
                await begun.until_ready(1)
                sandbox = await begun.sandboxes.acquire(SPEC)
            used[sandbox.pod_name] += 1
            await run_once(sandbox)
            await sandbox.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    took = time.perf_counter() - began
    await begun.until_at_rest()
    left, jobs = begun.left(), sum("-job-" in name for name in used)
    print(
        f"{count} executions through a pool of {POOL}: {took:.0f} s, {jobs} by Jobs; left: {len(left)} pods"
    )
    fine = len(used) == count == used.total() and len(left) == POOL
    if not fine:
        print(f"LOST OR LEFT: {len(used)} pods used, {used.total()} executions, left {left}")
    return 0 if fine else 1


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main()))
