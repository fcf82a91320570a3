"""Hello world in every language whose image can be made here: by its recipe, through a Job, in both modes."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from infra.redis import RedisConfig
from sandboxes.protocol import Program, SandboxSpec
from schemas.limits import SandboxLimits
from tests.brokers import BrokerProcess
from tests.cluster.conftest import HaveImages, new_namespace
from tests.cluster.images import available_languages, image_name
from tests.cluster.kubernetes import Cluster
from tests.cluster.real_pods import RealBench, open_api, real_config
from tests.sandboxes.bodies import finish
from tests.sandboxes.test_languages import CODES, NAMES, hello_source

pytestmark = [pytest.mark.cluster("pods"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
LIMITS = SandboxLimits(timeout_s=60.0, memory_bytes_max=512 << 20, pids_max=256)
"""Rust and Go compile here with one CPU, beside whatever else the machine does."""


@pytest.fixture(scope="module")
def namespaces(cluster: Cluster) -> Iterator[dict[str, str]]:
    """One for each mode; what nsenter takes is forbidden where pods are restricted."""
    with new_namespace(cluster) as agent, new_namespace(cluster) as nsenter:
        cluster.kubectl("label", "namespace", nsenter, "pod-security.kubernetes.io/enforce-")
        yield {"agent": agent, "nsenter": nsenter}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def benches(
    cluster: Cluster, namespaces: dict[str, str], redis_server: BrokerProcess
) -> AsyncIterator[dict[str, RealBench]]:
    made = {}
    for mode, namespace in namespaces.items():
        sidecar = image_name("sidecar-nsenter" if mode == "nsenter" else "sidecar")
        config = real_config(namespace, {}, mode=mode, sidecar_image=sidecar, limits=LIMITS)
        made[mode] = RealBench(config, RedisConfig(url=redis_server.url), cluster)
        await made[mode].start(*[await open_api(cluster.kubeconfig, namespace) for _ in range(2)])
    yield made
    for bench in made.values():
        await bench.close()


@pytest.mark.parametrize("mode", ["agent", "nsenter"])
@pytest.mark.parametrize("language", CODES)
async def test_hello_world(
    benches: dict[str, RealBench], have_images: HaveImages, language: str, mode: str
) -> None:
    if language not in available_languages():
        pytest.skip("this machine has not got the language")
    have_images("sidecar", "sidecar-nsenter", "py" if language == "bash" else language)
    sandbox = await benches[mode].sandboxes.acquire(SandboxSpec("test", language, LIMITS))
    try:
        result = await finish(sandbox, Program(hello_source(language)))
    finally:
        await sandbox.close()
    assert (result.stdout.decode(), result.stderr) == (f"Hello from {NAMES[language]}\n", b""), result
    assert (result.exit.outcome, result.exit.stage, result.exit.exit_code) == ("exited", "run", 0)
    assert not result.changes.produced


@pytest.mark.parametrize("mode", ["agent", "nsenter"])
async def test_every_job_is_gone_with_its_pod(benches: dict[str, RealBench], mode: str) -> None:
    bench = benches[mode]
    left = bench.cluster.kubectl("get", "pods,jobs", "-n", str(bench.config.namespace), "-o", "name")
    assert left == ""
