"""Sandboxes on real pods: a pool and a handler on the cluster of the tests, each by its own kubeconfig."""

import asyncio
import contextlib
import os
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from infra.redis import RedisConfig, build_redis
from infra.tasks import end_tasks
from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.config import KubernetesConfig, PodConfig, PoolConfig
from sandboxes.kubernetes.pool import PodPool
from sandboxes.kubernetes.sandboxes import KubernetesSandboxes
from sandboxes.languages import RECIPES
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster


def real_config(namespace: str, sizes: dict[str, int], **pod: object) -> KubernetesConfig:
    """Return a configuration for the images that the tests pack."""
    images = {recipe.code: image_name("py" if recipe.code == "bash" else recipe.code) for recipe in RECIPES}
    options = {"sidecar_image": image_name("sidecar"), "images": images, "pull_policy": "Never", **pod}
    return KubernetesConfig(
        pod=PodConfig(**options),
        pool=PoolConfig(sizes=sizes, every_s=1.0, parallel=4),
        namespace=namespace,
        job_start_timeout_s=240.0,  # twenty at once, on a machine that others use as well
    )


class RealBench:
    """A pool and a handler. Closing deletes the namespace's pods with the Lease that owns them."""

    def __init__(self, config: KubernetesConfig, redis: RedisConfig, cluster: Cluster) -> None:
        self.config = config
        self.cluster = cluster
        self.where = replace(redis, prefix=f"test-{uuid.uuid4().hex[:8]}:")
        self.claims = Claims(build_redis(self.where), self.where, config.pod.instance)
        self._stack = contextlib.AsyncExitStack()
        self.sandboxes: KubernetesSandboxes

    async def start(
        self, pool_api: KubernetesApi, handler_api: KubernetesApi, holder: str = "handler"
    ) -> None:
        """Begin with both; their APIs are open."""
        self._stack.push_async_callback(pool_api.aclose)
        pool = asyncio.create_task(PodPool(self.config, pool_api, self.claims, "pool").run())
        self._stack.push_async_callback(end_tasks, pool)
        redis = build_redis(self.where)
        register = Claims(redis, self.where, self.config.pod.instance)
        self.sandboxes = KubernetesSandboxes(self.config, handler_api, redis, register, holder)
        await self.sandboxes.start()
        self._stack.push_async_callback(self.sandboxes.close)

    async def until_ready(self, count: int) -> None:
        """Wait for so many pods that wait."""
        for _ in range(900):
            if list((await self.claims.states()).values()).count("ready") >= count:
                return
            await asyncio.sleep(0.1)
        events = self.cluster.kubectl("get", "pods,events", "-n", str(self.config.namespace), check=False)
        pytest.fail(f"no {count} ready pods: {events}")

    async def close(self) -> None:
        await self._stack.aclose()
        await self.claims._client.aclose()


async def open_api(kubeconfig: str | Path, namespace: str) -> KubernetesApi:
    """Return an API by a kubeconfig."""
    api = KubernetesApi(namespace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", os.fspath(kubeconfig)
        )
        await api.open()
    return api
