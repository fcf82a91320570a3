"""A long life in a few minutes: ten thousand executions, and the service is what it was before."""

import asyncio
import gc
import os
from pathlib import Path

import pytest

from sandboxes.fake_script import End, Put, Write
from sandboxes.toolchain import Toolchain
from tests.hostile.conftest import find_in
from tests.sandboxes.bodies import MIB, Body, standing
from tests.sandboxes.test_local_leftovers import descendants, nothing_more_than, settled

EXECUTIONS = 2_000 if os.environ.get("CI") == "true" else 10_000
"""Whatever each leaves shows after two thousand as well; a shared machine has no minutes to spare."""
AT_ONCE = 4
GROWTH_BYTES_MAX = 2 * MIB + EXECUTIONS * 600
"""Far less than a kilobyte for each execution; one lost buffer in each would be more."""


def memory_bytes() -> int:
    """Return what this process alone holds (proc(5), RssAnon)."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("this kernel does not tell")


@pytest.mark.timeout(3600)
async def test_ten_thousand_executions_leave_nothing_and_take_no_memory(
    found: dict[int, dict[str, Toolchain]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process, mount, control group, file or descriptor, and memory stands still."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    of_others = len(descendants(os.getpid()))  # the bodies of the attacks before stand as long as the suite
    body = Body("warm", await standing("warm", find_in(found), warm_plain=4))
    try:
        await asyncio.gather(*(body.steps(Write("x")) for _ in range(30)))  # groups that serve again are kept
        await _run_many(body, EXECUTIONS // 10)
        held, memory = await settled(body), memory_bytes()
        await _run_many(body, EXECUTIONS)
        await nothing_more_than(held, body)
        assert os.listdir(tmp_path) == []  # noqa: PTH208 - nothing else runs meanwhile
        grown = memory_bytes() - memory
        print(f"{EXECUTIONS} executions: {grown / 1024:.0f} KiB more memory, held {held}")
        assert grown < GROWTH_BYTES_MAX
    finally:
        await body.sandboxes.close()
    assert len(descendants(os.getpid())) <= of_others


async def _run_many(body: Body, executions: int) -> None:
    async def some() -> None:
        for number in range(executions // AT_ONCE):
            result = await body.steps(Write("x"), Put("f.txt", "y"), End(number % 3))
            assert (result.exit.exit_code, result.stdout) == (number % 3, b"x")

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
