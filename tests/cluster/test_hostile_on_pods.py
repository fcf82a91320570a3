"""The attacks on the sandbox, on real pods; after each one the next execution must work."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cluster.real_pods import RealBench
from tests.cluster.test_contract_on_pods import bench, pods_namespace
from tests.hostile import test_escape as escape
from tests.hostile import test_exhaustion as exhaustion
from tests.hostile.conftest import Attack
from tests.sandboxes.bodies import Body, Result

__all__ = ["bench", "pods_namespace"]  # fixtures
pytestmark = [pytest.mark.cluster("pods"), pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

ELSEWHERE = {
    "test_a_program_has_no_powers_and_only_its_own_descriptors": "the same below, with the pod's user id",
    "test_a_setuid_program_gives_nothing": "likewise",
    "test_secrets_of_the_host_are_not_there": "an image brings accounts of its own: below",
    "test_the_sandbox_has_a_loopback_of_its_own": "no inet socket at all: policies may not be enforced",
    "test_threads_are_limited_as_processes_are": "who has too many is killed: below",
    "test_the_compiler_cannot_include_the_hosts_secrets": "the image's /etc/shadow is no secret of ours",
}
"""Attacks whose words are about the local sandbox."""


class PodBody(Body):
    """Memory is watched by the agent: who needs too much is ended whole, as without control groups."""

    is_grouped = False


@pytest_asyncio.fixture(loop_scope="module")
async def body(bench: RealBench) -> AsyncIterator[Body]:
    yield PodBody("pods", bench.sandboxes)
    await bench.until_ready(2)


@pytest_asyncio.fixture(loop_scope="module")
async def attack(body: Body) -> AsyncIterator[Attack]:
    async def run(code: str, *, language: str = "py", **limits: object) -> Result:
        return await body.run(code, language=language, **{"timeout_s": 3.0, **limits})

    yield run
    after = await body.run("print(6 * 7)")
    assert (after.exit.outcome, after.stdout) == ("exited", b"42\n")


for _module in (escape, exhaustion):
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and _name not in ELSEWHERE:
            globals()[_name] = _test


async def test_a_program_has_no_powers(attack: Attack) -> None:
    code = (
        "import os\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "names = ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')\n"
        "print([int(status[name], 16) for name in names])\n"
        "print(status['NoNewPrivs'].strip(), status['Seccomp'].strip(), os.getuid(), os.getgid())\n"
        "print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])\n"
    )
    result = await attack(code)
    assert result.stdout == b"[0, 0, 0, 0, 0]\n1 2 65532 65532\n[0, 1, 2]\n"


async def test_no_program_of_the_image_gives_power(attack: Attack) -> None:
    code = "for tool in su sudo pkexec; do $tool -c 'id -u' 2>/dev/null; done; id -u"
    assert (await attack(code, language="bash")).stdout == b"65532\n"


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


async def test_too_many_threads_end_the_program(attack: Attack) -> None:
    thread = "threading.Thread(target=time.sleep, args=(99,), daemon=True)"
    code = f"import threading, time\nwhile True: {thread}.start()"
    result = await attack(code, timeout_s=10.0)
    assert (result.exit.outcome, "64 processes" in result.exit.message) == ("killed", True)
