"""The attacks on the sandbox, on real pods; after each one the next execution must work."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cluster.real_pods import RealBench
from tests.cluster.test_contract_on_pods import bench, pods_namespace
from tests.hostile import test_by_language as by_language
from tests.hostile import test_escape as escape
from tests.hostile import test_exhaustion as exhaustion
from tests.hostile.conftest import Attack
from tests.sandboxes.bodies import Body, Result

__all__ = ["bench", "pods_namespace"]  # fixtures
pytestmark = [pytest.mark.cluster("pods"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

NOT_ON_PODS = {
    "test_secrets_of_the_host_are_not_there": "an image brings folders and accounts of its own",
    "test_the_sandbox_has_a_loopback_of_its_own": "no inet socket at all: policies may not be enforced",
}
"""Attacks whose words are about the local sandbox; the only list."""


class PodBody(Body):
    """Memory is watched by the agent: who needs too much is ended whole, as without control groups."""

    is_grouped = False
    guest_id = 65532


@pytest_asyncio.fixture(loop_scope="module")
async def body(bench: RealBench) -> AsyncIterator[Body]:
    yield PodBody("pods", bench.sandboxes)
    await bench.until_ready(2)


@pytest_asyncio.fixture(loop_scope="module")
async def attack(body: Body) -> AsyncIterator[Attack]:
    async def run(code: str, *, language: str = "py", **limits: object) -> Result:
        if language not in ("py", "bash"):
            pytest.skip("the tests pack one image with Python; compilers are the image's affair")
        return await body.run(code, language=language, **{"timeout_s": 3.0, **limits})

    yield run
    after = await body.run("print(6 * 7)")
    assert (after.exit.outcome, after.stdout) == ("exited", b"42\n")


for _module in (escape, exhaustion, by_language):
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and _name not in NOT_ON_PODS:
            globals()[_name] = _test


async def test_the_cluster_is_out_of_reach(attack: Attack) -> None:
    """No token, no address of the API, no name server."""
    code = (
        "import os, socket\n"
        "ours = [name for name in os.environ if 'KUBERNETES' in name or 'MILLRACE' in name]\n"
        "print(os.path.exists('/var/run/secrets'), ours)\n"
        "try: socket.getaddrinfo('kubernetes.default.svc', 443); print('resolved')\n"
        "except OSError: print('no name')\n"
    )
    assert (await attack(code)).stdout == b"False []\nno name\n"


async def test_no_inet_socket_can_be_made(attack: Attack) -> None:
    """Neither to the sidecar and the agent on the pod's loopback, nor to anything beyond the pod."""
    code = (
        "import socket\n"
        "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, 40):\n"
        "    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):\n"
        "        try: socket.socket(family, kind); print(family, kind)\n"
        "        except OSError: pass\n"
    )
    assert (await attack(code)).stdout == b""
    shell = "exec 3<>/dev/tcp/127.0.0.1/8080 && echo connected"
    assert (await attack(shell, language="bash")).stdout == b""
