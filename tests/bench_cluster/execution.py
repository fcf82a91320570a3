"""One execution in a warm pod, taken apart; by itself, and while the cluster makes other pods."""

import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

from sandboxes.kubernetes.claims import Claims, PodRecord
from sandboxes.kubernetes.sandbox import KubernetesSandbox
from sandboxes.protocol import OutputFrame, Program, SandboxSpec
from schemas.limits import SandboxLimits
from tests.bench_cluster.figure import Figure, timed
from tests.bench_cluster.scene import Scene

SPEC = SandboxSpec("bench", "py", SandboxLimits(timeout_s=30.0, memory_bytes_max=128 << 20))
_STAMPED = "import sys, time\nsys.stdout.write(str(time.clock_gettime(time.CLOCK_MONOTONIC)) + '\\n')"
"""The pod has this machine's clock: what the program says is when it wrote."""
_AT_REST, _BESIDE, _ASKED, _MANY = 15, 25, 200, 5000


async def run_once(sandbox: KubernetesSandbox) -> tuple[float, float]:
    """Return the milliseconds that the first frame was on its way, and those that the process took."""
    delay = 0.0
    async for frame in sandbox.run(Program(_STAMPED)):
        if isinstance(frame, OutputFrame):
            delay = delay or (time.monotonic() - float(frame.data)) * 1000
        else:
            assert getattr(frame, "outcome", "") == "exited", frame
            return delay, frame.wall_s * 1000
    raise AssertionError("a run has an end")


async def by_itself(scene: Scene) -> list[Figure]:
    """With the pool full and nothing else going on."""
    return await _executions(scene, scene.until_at_rest, _AT_REST, "")


async def beside_others(scene: Scene) -> list[Figure]:
    """While the node makes and deletes pods, on the same cores."""
    return await _executions(scene, partial(scene.until_ready, 1), _BESIDE, ", while pods are made")


async def _executions(
    scene: Scene, wait: Callable[[], Awaitable[None]], count: int, when: str
) -> list[Figure]:
    claims, whole, process, first = [], [], [], []
    for _ in range(count):
        await wait()
        took, sandbox = await timed(lambda: scene.sandboxes.acquire(SPEC))
        if "-job-" in sandbox.pod_name:  # the one that was ready has failed meanwhile
            await sandbox.close()
            continue
        claims.append(took)
        ran, (delay, inside) = await timed(partial(run_once, sandbox))
        whole.append(ran)
        process.append(inside)
        first.append(delay)
        await sandbox.close()
    p50 = statistics.median
    overheads = [all_of_it - inside for all_of_it, inside in zip(whole, process, strict=True)]
    return [
        Figure(f"claim of a warm pod{when}", p50(claims), "ms", 5.0),
        Figure(f"execution, asked to ended{when}", p50(whole), "ms"),
        Figure(f"its overhead over the process{when}", p50(overheads), "ms", 15.0),
        Figure(f"first frame after the write{when}", p50(first), "ms", 10.0),
    ]


async def by_the_size_of_the_pool(scene: Scene) -> list[Figure]:
    """The register's part of a claim, with few and with very many pods in it: no pod is needed."""
    return [await _asking(scene, waiting) for waiting in (_ASKED, _MANY)]


async def _asking(scene: Scene, waiting: int) -> Figure:
    register = Claims(scene.redis, scene.where, f"only-{waiting}")
    record = PodRecord(uid="u", address="10.0.0.1:8080", language="py", secret="s" * 64)
    for number in range(waiting):
        await register.register(f"pod-{number}", record)
    took = [(await timed(lambda: register.claim("py", "h", trigger=True)))[0] for _ in range(_ASKED)]
    name = f"of a claim, the register's part: {waiting} pods wait"
    return Figure(name, statistics.median(took), "ms")
