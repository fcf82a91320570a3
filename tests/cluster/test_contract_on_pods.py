"""The contract of sandboxes on real pods, under the enforced profile `restricted`."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from infra.redis import RedisConfig
from tests.brokers import BrokerProcess
from tests.cluster.conftest import HaveImages
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import RealBench, open_api, real_config
from tests.sandboxes import test_contract as contract
from tests.sandboxes.bodies import Body

pytestmark = [pytest.mark.cluster("pods"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
POOL = 4


@pytest.fixture(scope="module")
def pods_namespace(cluster: Cluster) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(
    cluster: Cluster, pods_namespace: str, have_images: HaveImages, redis_server: BrokerProcess
) -> AsyncIterator[RealBench]:
    have_images("sidecar", "py")
    config = real_config(pods_namespace, {"py": POOL})
    made = RealBench(config, RedisConfig(url=redis_server.url), cluster)
    apis = [await open_api(cluster.kubeconfig, pods_namespace) for _ in range(2)]
    await made.start(*apis)
    await made.until_ready(POOL)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def body(bench: RealBench) -> AsyncIterator[Body]:
    yield Body("pods", bench.sandboxes)
    await bench.until_ready(1)


globals().update({name: test for name, test in vars(contract).items() if name.startswith("test_")})
del globals()["test_an_unknown_language_is_told_as_missing"], globals()["test_a_fake_can_break_on_demand"]


async def test_nothing_is_left_but_the_pool(bench: RealBench, pods_namespace: str) -> None:
    """The last of this module: every pod that ran something is gone, and every Job."""
    await bench.until_ready(POOL)
    left = bench.cluster.kubectl("get", "pods,jobs", "-n", pods_namespace, "-o", "name").split()
    assert len(left) == POOL, left
