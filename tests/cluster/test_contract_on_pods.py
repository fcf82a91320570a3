"""The contract of sandboxes on real pods, under the enforced profile `restricted`."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from infra.redis import RedisConfig
from sandboxes.kubernetes.config import KubernetesConfig
from tests.brokers import BrokerProcess
from tests.cluster.conftest import HaveImages, new_namespace
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import RealBench, open_api, real_config
from tests.sandboxes import test_contract as contract
from tests.sandboxes.bodies import Body

pytestmark = [pytest.mark.cluster("pods"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
POOL = 4


@pytest.fixture(scope="module")
def pods_namespace(cluster: Cluster) -> Iterator[str]:
    with new_namespace(cluster) as name:
        yield name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(
    cluster: Cluster, pods_namespace: str, have_images: HaveImages, redis_server: BrokerProcess
) -> AsyncIterator[RealBench]:
    have_images("sidecar", "py")
    async with full_bench(real_config(pods_namespace, {"py": POOL}), redis_server, cluster) as made:
        yield made


@asynccontextmanager
async def full_bench(
    config: KubernetesConfig, redis_server: BrokerProcess, cluster: Cluster
) -> AsyncIterator[RealBench]:
    """Start a pool and a handler, and wait until all pods are ready."""
    made = RealBench(config, RedisConfig(url=redis_server.url), cluster)
    try:
        await made.start(*[await open_api(cluster.kubeconfig, str(config.namespace)) for _ in range(2)])
        await made.until_ready(POOL)
        yield made
    finally:
        await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def body(bench: RealBench) -> AsyncIterator[Body]:
    yield Body("pods", bench.sandboxes)
    await bench.until_ready(1)


def contract_tests() -> dict[str, object]:
    """Return those that are about every body."""
    others = {"test_an_unknown_language_is_told_as_missing", "test_a_fake_can_break_on_demand"}
    return {
        name: test for name, test in vars(contract).items() if name.startswith("test_") and name not in others
    }


globals().update(contract_tests())


async def test_nothing_is_left_but_the_pool(bench: RealBench, pods_namespace: str) -> None:
    """The last of this module: every pod that ran something is gone, and every Job."""
    await bench.until_ready(POOL)
    left = bench.cluster.kubectl("get", "pods,jobs", "-n", pods_namespace, "-o", "name").split()
    assert len(left) == POOL, left
