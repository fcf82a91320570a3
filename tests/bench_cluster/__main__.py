"""`make bench-cluster`: what pods cost, as ratios measured in one run on the cluster of the tests.

Leave the machine alone meanwhile. Speed is shown, not tested; that no claim is lost and no pod left is.
"""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from infra.cluster import build, lifecycle
from infra.cluster.home import home
from infra.process.broker import find_server
from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.pod_manifest import pod_manifest
from sandboxes.kubernetes.pod_names import Identity
from sandboxes.kubernetes.pod_state import pod_state
from sandboxes.kubernetes.sandbox import KubernetesSandbox
from sandboxes.protocol import OutputFrame, Program, SandboxSpec
from schemas.limits import SandboxLimits
from tests.brokers import BrokerProcess
from tests.cluster.images import load
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import RealBench, open_api, real_config

T = TypeVar("T")
POOL, EXECUTIONS = 5, 200
LIMITS = SandboxLimits(timeout_s=30.0, memory_bytes_max=128 << 20)
SPEC = SandboxSpec("bench", "py", LIMITS)


@dataclass(frozen=True)
class Figure:
    """One line of the table; `budget` in the unit of `value`, None where there is none."""

    name: str
    value: float
    unit: str
    budget: float | None = None

    def __str__(self) -> str:
        verdict = (
            ""
            if self.budget is None
            else f"≤ {self.budget:g}  " + ("met" if self.value <= self.budget else "MISSED")
        )
        return f"{self.name:58}{self.value:>10.2f} {self.unit:6}{verdict}"


async def main() -> int:
    """Measure everything; 1 if a claim was lost or a pod is left."""
    if lifecycle.running_tier() != "pods":
        print("There is no cluster with a node: make cluster")
        return 1
    cluster = Cluster(home(), "pods")
    load(["sidecar", "py"])
    async with _bench(cluster) as bench:
        print(f"{'':58}{'p50':>10}")
        for step in (_in_a_warm_pod, _bare_pods, _exec_by_the_api, _slot_comes_back):
            for figure in await step(bench):
                print(figure, flush=True)
        return await _nothing_is_lost(bench)


@contextlib.asynccontextmanager
async def _bench(cluster: Cluster) -> AsyncIterator[RealBench]:
    namespace = f"test-bench-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", namespace)
    broker = BrokerProcess(find_server())
    broker.start()
    bench = RealBench(real_config(namespace, {"py": POOL}), broker.config, cluster)
    try:
        apis = [await open_api(cluster.kubeconfig, namespace) for _ in range(2)]
        await bench.start(*apis)
        await bench.until_ready(POOL)
        yield bench
    finally:
        await bench.close()
        broker.close()
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


async def _in_a_warm_pod(bench: RealBench) -> list[Figure]:
    """Claim, the whole of an empty execution, and the way of the first byte."""
    claims, alone, registers, whole, process, first = [], [], [], [], [], []
    for _ in range(40):
        await bench.until_ready(1)
        took, sandbox = await _timed(lambda: bench.sandboxes.acquire(SPEC))
        claims.append(took)
        ran, seen = await _timed(partial(_run, sandbox, _STAMPED))
        whole.append(ran)
        process.append(seen[1] * 1000)
        first.append(seen[0])
        await sandbox.close()
    for _ in range(20):
        took, _ = await _timed(lambda: asyncio.to_thread(_bare_python))
        alone.append(took)
    for _ in range(100):
        took, _ = await _timed(lambda: bench.claims.claim("none", "bench", trigger=False))
        registers.append(took)
    p50 = statistics.median
    return [
        Figure("claim of a warm pod, its sidecar included", p50(claims), "ms", 5.0),
        Figure("of that, asking the register", p50(registers), "ms"),
        Figure("an execution in a warm pod, asked to ended", p50(whole), "ms"),
        Figure("the process in the pod, by its agent", p50(process), "ms"),
        Figure("overhead over that process", p50(whole) - p50(process), "ms", 15.0),
        Figure("first frame after the program wrote it", p50(first), "ms", 10.0),
        Figure("a bare python3 -c on this machine", p50(alone), "ms"),
    ]


_STAMPED = "import sys, time\nsys.stdout.write(str(time.clock_gettime(time.CLOCK_MONOTONIC)) + '\\n')"
"""The pod has this machine's clock: what the program says is when it wrote."""


async def _run(sandbox: KubernetesSandbox, code: str) -> tuple[float, float]:
    """Return the milliseconds that the first frame was on its way, and the seconds that the process took."""
    delay = 0.0
    async for frame in sandbox.run(Program(code)):
        if isinstance(frame, OutputFrame):
            delay = delay or (time.monotonic() - float(frame.data)) * 1000
        else:
            assert frame.outcome == "exited", frame
            return delay, frame.wall_s
    raise AssertionError("a run has an end")


async def _bare_pods(bench: RealBench) -> list[Figure]:
    """Create a pod for each execution, as without a pool."""
    api = await open_api(bench.cluster.kubeconfig, str(bench.config.namespace))
    took = [(await _timed(lambda: _create_until_ready(api, bench)))[0] / 1000 for _ in range(5)]
    await api.aclose()
    _BARE.append(statistics.median(took))
    return [Figure("a pod made for one execution, until it is ready", _BARE[0], "s")]


_BARE: list[float] = []


async def _create_until_ready(api: KubernetesApi, bench: RealBench) -> None:
    name = f"bare-{uuid.uuid4().hex[:8]}"
    identity = Identity(name=name, secret_sha256="0" * 64, deadline_s=300)
    manifest = pod_manifest("py", bench.config.pod, identity)
    manifest["metadata"]["labels"] = {"bare": "yes"}
    await api.create("pods", manifest)
    while not pod_state(await api.get("pods", name)).is_ready:
        await asyncio.sleep(0.02)
    await api.delete("pods", name)


async def _exec_by_the_api(bench: RealBench) -> list[Figure]:
    """Run the same by `kubectl exec` in a pod that waits: through API server and kubelet."""
    names = [name for name, state in (await bench.claims.states()).items() if state == "ready"]
    kube = [str(build.programs() / "kube"), "kubectl", "--kubeconfig", bench.cluster.kubeconfig]
    command = [*kube, "-n", str(bench.config.namespace), "exec", names[0], "-c", "language", "--"]
    took = []
    for _ in range(10):
        one, _ = await _timed(lambda: asyncio.to_thread(_quietly, [*command, "python3", "-c", "print(1)"]))
        took.append(one)
    return [Figure("the same by exec through the API, kubectl included", statistics.median(took), "ms")]


async def _slot_comes_back(bench: RealBench) -> list[Figure]:
    """How long the pool is one short after an execution took a pod."""
    await bench.until_ready(POOL)
    took = []
    for _ in range(5):
        sandbox = await bench.sandboxes.acquire(SPEC)
        began = time.perf_counter()
        await _run(sandbox, _STAMPED)
        await sandbox.close()
        await bench.until_ready(POOL)
        took.append(time.perf_counter() - began)
    back = statistics.median(took)
    return [
        Figure("a used slot is back after", back, "s"),
        Figure("that over a bare pod's time", back / _BARE[0], "times", 1.5),
    ]


async def _nothing_is_lost(bench: RealBench) -> int:
    """Two hundred executions through five pods: each ends, and all that is left is the pool."""
    slots, used = asyncio.Semaphore(POOL), []

    async def one() -> None:
        async with slots:
            sandbox = await bench.sandboxes.acquire(SPEC)
            used.append(sandbox.pod_name)
            await _run(sandbox, _STAMPED)
            await sandbox.close()

    count = int(os.environ.get("EXECUTIONS", EXECUTIONS))
    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    took = time.perf_counter() - began
    await bench.until_ready(POOL)
    left = bench.cluster.kubectl("get", "pods,jobs", "-n", str(bench.config.namespace), "-o", "name").split()
    jobs = sum("-job-" in name for name in used)
    print(f"{count} executions through a pool of {POOL}: {took:.0f} s, {jobs} by Jobs")
    fine = len(set(used)) == count and len(left) == POOL
    print(
        f"left: {len(left)} pods of the pool" if fine else f"LOST OR LEFT: {len(set(used))} used, left {left}"
    )
    return 0 if fine else 1


async def _timed(act: Callable[[], Awaitable[T]]) -> tuple[float, T]:
    began = time.perf_counter()
    result = await act()
    return (time.perf_counter() - began) * 1000, result


def _bare_python() -> None:
    _quietly([sys.executable, "-c", "print(1)"])


def _quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
