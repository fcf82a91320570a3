"""The contract of sandboxes over agents and sidecars, with a register, a pool and Jobs, but no kubelet."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from infra.redis import RedisConfig
from tests.brokers import BrokerProcess
from tests.sandboxes import test_contract as contract
from tests.sandboxes import test_tool_calling as tool_calling
from tests.sandboxes.bodies import Body
from tests.sandboxes.pods.conftest import config_of
from tests.sandboxes.pods.pairs import Bench

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def body(
    programs: None, redis_server: BrokerProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Body]:
    """Of the pool's two pods one is ready for most tests; the rest get Jobs."""
    where = RedisConfig(url=redis_server.url, prefix=f"test-{uuid.uuid4().hex[:12]}:")
    bench = Bench(config_of({"py": 2}), where)
    with pytest.MonkeyPatch.context() as monkeypatch:
        await bench.start(monkeypatch, tmp_path_factory.mktemp("pods"))
        yield Body("pods", bench.sandboxes)
        await bench.close()
    assert bench.cluster.pairs == {}, "a pod was left"


for suite in (contract, tool_calling):
    globals().update({name: test for name, test in vars(suite).items() if name.startswith("test_")})
for local_only in (
    "test_an_unknown_language_is_told_as_missing",
    "test_results_that_nobody_reads_are_not_kept_without_end",
):
    del globals()[local_only]
