"""The contract of sandboxes on real pods into which the sidecar enters by its privileges."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.brokers import BrokerProcess
from tests.cluster.conftest import HaveImages, new_namespace
from tests.cluster.images import image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import RealBench, real_config
from tests.cluster.test_contract_on_pods import POOL, contract_tests, full_bench
from tests.sandboxes.bodies import Body

pytestmark = [pytest.mark.cluster("pods"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def free_namespace(cluster: Cluster) -> Iterator[str]:
    """One in which pods may be privileged."""
    with new_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce-")
        yield name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(
    cluster: Cluster, free_namespace: str, have_images: HaveImages, redis_server: BrokerProcess
) -> AsyncIterator[RealBench]:
    have_images("sidecar-nsenter", "py")
    config = real_config(
        free_namespace, {"py": POOL}, mode="nsenter", sidecar_image=image_name("sidecar-nsenter")
    )
    async with full_bench(config, redis_server, cluster) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def body(bench: RealBench) -> AsyncIterator[Body]:
    yield Body("pods", bench.sandboxes)
    await bench.until_ready(1)


globals().update(contract_tests())
