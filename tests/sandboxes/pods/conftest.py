"""A fake cluster, a real Redis, and a pool between them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infra.redis import RedisConfig, build_redis
from infra.tasks import end_tasks
from sandboxes.kubernetes.api import KubernetesApi
from sandboxes.kubernetes.claims import Claims
from sandboxes.kubernetes.config import KubernetesConfig, PodConfig, PoolConfig
from sandboxes.kubernetes.pool import PodPool
from sandboxes.languages import RECIPES
from tests.sandboxes.pods.fake_cluster import FakeCluster
from tests.sidecar.conftest import programs as programs  # noqa: PLC0414 - a fixture


def config_of(sizes: dict[str, int], **pool: object) -> KubernetesConfig:
    """Return a configuration for tests: it looks often."""
    images = {recipe.code: "test.local/language:1" for recipe in RECIPES}
    options = {"every_s": 0.1, **pool}
    return KubernetesConfig(
        pod=PodConfig(sidecar_image="test.local/sidecar:1", images=images),
        pool=PoolConfig(sizes=sizes, **options),
        job_start_timeout_s=60.0,
        silence_s_max=2.0,
    )


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeCluster]:
    """A fake Kubernetes that KUBECONFIG leads to."""
    async with FakeCluster() as fake:
        path = tmp_path / "kubeconfig"
        path.write_text(fake.kubeconfig())
        monkeypatch.setenv("KUBECONFIG", str(path))
        monkeypatch.setattr("kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield fake


@pytest.fixture
async def claims(redis_config: RedisConfig) -> AsyncIterator[Claims]:
    """The register, under this test's own keys."""
    redis = build_redis(redis_config)
    yield Claims(redis, redis_config, "millrace")
    await redis.aclose()


@pytest.fixture
async def api(cluster: FakeCluster) -> AsyncIterator[KubernetesApi]:
    """A client of the fake cluster."""
    client = KubernetesApi()
    await client.open()
    yield client
    await client.aclose()


@asynccontextmanager
async def running(pool: PodPool) -> AsyncIterator["asyncio.Task[None]"]:
    """A pool at work."""
    task = asyncio.create_task(pool.run())
    try:
        yield task
    finally:
        await end_tasks(task)


async def eventually(condition: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    """Wait for `condition`, and fail naming `what` was waited for."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + within_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        if loop.time() > give_up_at:
            pytest.fail(f"waited {within_s} s in vain for {what}")
        await asyncio.sleep(0.02)
