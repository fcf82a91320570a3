"""What is measured: a pool and a handler as in production, each its own process, over a real cluster.

The pool is `millrace pool`; the handler's half of the way is this process, which does nothing else meanwhile.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.connect import redis_config
from infra.process.broker import find_server
from infra.redis import RedisConfig, build_redis
from infra.settings.load import load_settings
from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.config import KubernetesConfig
from sandboxes.kubernetes.sandboxes import KubernetesSandboxes
from sandboxes.languages import RECIPES
from sandboxes.pod_settings import kubernetes_config
from tests.brokers import BrokerProcess
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import open_api

ROOT = Path(__file__).resolve().parents[2]
_FULL_WITHIN_S = 120.0


@dataclass(frozen=True)
class Scene:
    """A pool of Python pods at work, and a handler that claims them."""

    cluster: Cluster
    config: KubernetesConfig
    redis: Any
    where: RedisConfig
    claims: Claims
    api: KubernetesApi
    sandboxes: KubernetesSandboxes
    size: int

    @property
    def namespace(self) -> str:
        """Where the pods are."""
        return str(self.config.namespace)

    async def until_ready(self, count: int) -> None:
        """Wait for so many pods that wait."""
        give_up_at = time.monotonic() + _FULL_WITHIN_S
        while list((await self.claims.states()).values()).count("ready") < count:
            if time.monotonic() > give_up_at:
                raise TimeoutError(self.cluster.kubectl("get", "pods,events", "-n", self.namespace))
            await asyncio.sleep(0.02)

    async def until_at_rest(self) -> None:
        """Wait until the pool is full and every used pod is gone."""
        await self.until_ready(self.size)
        while len((await self.api.find("pods", ""))["items"]) > self.size:
            await asyncio.sleep(0.05)

    def left(self) -> list[str]:
        """Return the names of all pods and Jobs that there are."""
        names = self.cluster.kubectl("get", "pods,jobs", "-n", self.namespace, "-o", "name")
        return names.split()


@contextlib.asynccontextmanager
async def scene(cluster: Cluster, size: int) -> AsyncIterator[Scene]:
    """Start all of it with a pool of `size`; nothing is left afterwards."""
    namespace = f"test-bench-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", namespace)
    broker = BrokerProcess(find_server())
    broker.start()
    environment = _environment(namespace, broker.url, cluster.kubeconfig, size)
    pool = _start_pool(environment)
    try:
        async with _handler(cluster, environment, size) as begun:
            await begun.until_at_rest()
            yield begun
    finally:
        pool.terminate()
        pool.wait(30)
        broker.close()
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def _environment(namespace: str, redis_url: str, kubeconfig: str, size: int) -> dict[str, str]:
    """Return the settings of both, none of this machine's own among them."""
    pools = {"POD_POOL_" + recipe.code.upper(): "0" for recipe in RECIPES if recipe.code != "bash"}
    return {
        "MILLRACE_ENV_FILE": os.devnull,
        "MILLRACE_SANDBOX": "kubernetes",
        "KUBECONFIG": kubeconfig,
        "K8S_NAMESPACE": namespace,
        "REDIS_URL": redis_url,
        "K8S_SIDECAR_IMAGE": image_name("sidecar"),
        "LANG_IMAGE_PY": image_name("py"),
        "K8S_IMAGE_PULL_POLICY": "Never",
        **pools,
        "POD_POOL_PY": str(size),
        "LOG_LEVEL": "WARNING",
    }


def _start_pool(environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "millrace", "pool"]
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env={**inherited, **environment}, stdout=subprocess.DEVNULL)


@contextlib.asynccontextmanager
async def _handler(cluster: Cluster, environment: Mapping[str, str], size: int) -> AsyncIterator[Scene]:
    settings = load_settings(environment)
    config, where = kubernetes_config(settings), redis_config(settings)
    redis = build_redis(where)
    claims = Claims(redis, where, config.pod.instance)
    apis = [await open_api(cluster.kubeconfig, str(config.namespace)) for _ in range(2)]
    sandboxes = KubernetesSandboxes(config, apis[0], redis, claims, "bench")
    await sandboxes.start()
    try:
        yield Scene(cluster, config, redis, where, claims, apis[1], sandboxes, size)
    finally:
        await sandboxes.close()
        await apis[1].aclose()
