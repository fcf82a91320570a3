"""A fake cluster whose pods are real agents and sidecars, each pair in bubblewrap: all but the kubelet.

For the contract of sandboxes and for what becomes of an execution when its pod dies. Limits of containers
and the kernel's verdicts are tried on real pods, in the cluster tests.
"""

import asyncio
import contextlib
import json
from typing import Any

from infra.redis import RedisConfig, build_redis
from infra.tasks import end_tasks
from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.config import KubernetesConfig
from sandboxes.kubernetes.pool import PodPool
from sandboxes.kubernetes.sandboxes import KubernetesSandboxes
from tests.sandboxes.pods.fake_cluster import FakeCluster, Object, ready
from tests.sidecar.pair import Pair


class PodPair(Pair):
    """The pair of one pod: it knows the digest that the manifest has, not the secret."""

    def __init__(self, pod: Object) -> None:
        sidecar = next(each for each in pod["spec"]["containers"] if each["name"] == "sidecar")
        variables = {each["name"]: each["value"] for each in sidecar["env"]}
        prestart = variables.get("MILLRACE_PRESTART")
        super().__init__(json.loads(prestart) if prestart else None)
        self._digest = variables["MILLRACE_SECRET_SHA256"]

    def _sidecar_environment(self) -> dict[str, str]:
        return super()._sidecar_environment() | {"MILLRACE_SECRET_SHA256": self._digest}


class PairCluster(FakeCluster):
    """Starts a pair for every pod and ends it with the pod."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[str, PodPair] = {}
        self._starting: set[asyncio.Task[None]] = set()
        self.kubelet = self._begin

    def _begin(self, pod: Object) -> Object | None:
        task = asyncio.create_task(self._start_pair(pod["metadata"]["name"]))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return None

    async def _start_pair(self, name: str) -> None:
        pod = self.objects["pods", name]
        pair = self.pairs[name] = PodPair(pod)
        await asyncio.to_thread(pair.start)
        if ("pods", name) not in self.objects:
            await self._end(name)
            return
        for each in pod["spec"]["containers"]:
            for port in each.get("ports", ()):
                port["containerPort"] = pair.port
        with contextlib.suppress(KeyError):
            await self.change_pod(name, **ready("127.0.0.1"))

    async def remove(self, kind: str, name: str) -> None:
        await super().remove(kind, name)
        if kind == "pods":
            await self._end(name)

    async def _end(self, name: str) -> None:
        if pair := self.pairs.pop(name, None):
            await asyncio.to_thread(pair.close)

    async def __aexit__(self, *exc: object) -> None:
        await end_tasks(*self._starting)
        await asyncio.gather(*(self._end(name) for name in list(self.pairs)))
        await super().__aexit__(*exc)


class Bench:
    """Sandboxes on such a cluster, with a pool beside them."""

    def __init__(self, config: KubernetesConfig, where: RedisConfig, holder: str = "handler") -> None:
        self.cluster = PairCluster()
        self.claims = Claims(build_redis(where), where, "millrace")
        self._config = config
        self._where = where
        self._holder = holder
        self._stack = contextlib.AsyncExitStack()
        self.sandboxes: KubernetesSandboxes

    async def start(self, monkeypatch: Any, folder: Any) -> None:
        await self._stack.enter_async_context(self.cluster)
        path = folder / "kubeconfig"
        path.write_text(self.cluster.kubeconfig())
        monkeypatch.setattr("kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        api = KubernetesApi()
        await api.open()
        self._stack.push_async_callback(api.aclose)
        pool = asyncio.create_task(PodPool(self._config, api, self.claims, "pool").run())
        self._stack.push_async_callback(end_tasks, pool)
        redis = build_redis(self._where)
        self.sandboxes = KubernetesSandboxes(
            self._config, KubernetesApi(), redis, Claims(redis, self._where, "millrace"), self._holder
        )
        await self.sandboxes.start()
        self._stack.push_async_callback(self.sandboxes.close)

    async def close(self) -> None:
        await self._stack.aclose()
        await self.claims._client.aclose()
