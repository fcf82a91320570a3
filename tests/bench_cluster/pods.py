"""What pods cost without a pool, and how soon a pool is full again."""

import asyncio
import statistics
import subprocess
import sys
import time
import uuid

from kubernetes_asyncio.client import CoreV1Api
from kubernetes_asyncio.config import new_client_from_config
from kubernetes_asyncio.stream import WsApiClient

from sandboxes.kubernetes.pod_manifest import pod_manifest
from sandboxes.kubernetes.pod_names import Identity
from sandboxes.kubernetes.pod_state import pod_state
from tests.bench_cluster.execution import SPEC, run_once
from tests.bench_cluster.figure import Figure, timed
from tests.bench_cluster.scene import Scene

_TIMES, _EXECS, _BARE_PROCESSES = 6, 10, 20
_PRINT = ["python3", "-c", "print(1)"]


async def slot_comes_back(scene: Scene) -> list[Figure]:
    """A bare pod and a used slot in turn, so that both see the same machine."""
    bare, back = [], []
    for _ in range(_TIMES):
        await scene.until_at_rest()
        bare.append(await _bare_pod(scene))
        await scene.until_at_rest()
        back.append(await _slot(scene))
    made, returned = statistics.median(bare), statistics.median(back)
    return [
        Figure("a pod made for one execution, until it is ready", made, "s"),
        Figure("a slot of the pool is back, from its claim on", returned, "s"),
        Figure("that over a bare pod's time", returned / made, "times", 1.5),
    ]


async def _bare_pod(scene: Scene) -> float:
    name = f"bare-{uuid.uuid4().hex[:8]}"
    identity = Identity(name=name, secret_sha256="0" * 64, deadline_s=300)
    manifest = pod_manifest("py", scene.config.pod, identity)
    manifest["metadata"]["labels"] = {"bare": "yes"}
    began = time.perf_counter()
    await scene.api.create("pods", manifest)
    while not pod_state(await scene.api.get("pods", name)).is_ready:
        await asyncio.sleep(0.02)
    took = time.perf_counter() - began
    await scene.api.delete("pods", name)
    return took


async def _slot(scene: Scene) -> float:
    began = time.perf_counter()
    sandbox = await scene.sandboxes.acquire(SPEC)
    await run_once(sandbox)
    await sandbox.close()
    await scene.until_ready(scene.size)
    return time.perf_counter() - began


async def exec_by_the_api(scene: Scene) -> list[Figure]:
    """Run Python by `exec` in a pod that waits, through API server and kubelet."""
    await scene.until_at_rest()
    name = next(name for name, state in (await scene.claims.states()).items() if state == "ready")
    took = []
    client = await new_client_from_config(scene.cluster.kubeconfig)
    async with client, WsApiClient(client.configuration) as speaking:
        core = CoreV1Api(speaking)
        for _ in range(_EXECS):
            one, said = await timed(
                lambda: core.connect_get_namespaced_pod_exec(
                    name, scene.namespace, command=_PRINT, container="language", stdout=True, stderr=True
                )
            )
            assert said.strip() == "1", said
            took.append(one)
    bare = [(await timed(lambda: asyncio.to_thread(_bare_python)))[0] for _ in range(_BARE_PROCESSES)]
    return [
        Figure("an exec through the API, of python3 -c in such a pod", statistics.median(took), "ms"),
        Figure("a bare python3 -c on this machine", statistics.median(bare), "ms"),
    ]


def _bare_python() -> None:
    subprocess.run([sys.executable, *_PRINT[1:]], check=True, stdout=subprocess.DEVNULL, timeout=60)
