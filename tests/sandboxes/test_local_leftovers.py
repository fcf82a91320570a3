"""Nothing stays: after many executions, after a close, after the service was killed with -9."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sandboxes.fake_script import End, Put, Write
from sandboxes.local import LocalSandboxes
from sandboxes.local.cgroups import own_places
from tests.sandboxes.bodies import Body, Find, standing

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["tier-A", "warm", "tier-B", "warm-B"])
async def local(request: pytest.FixtureRequest, toolchains: Find) -> AsyncIterator[Body]:
    """A body that no other test uses: what is counted here is all its doing."""
    sandboxes = await standing(request.param, toolchains)
    yield Body(request.param, sandboxes)
    await sandboxes.close()


def mounts() -> int:
    """Return how many there are of those that bubblewrap makes; the others of this machine are not ours."""
    return Path("/proc/self/mounts").read_text().count("/newroot")


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, children) for each in (child, *descendants(child))]


def groups(owner: int) -> list[str]:
    """Return the control groups that process `owner` made."""
    tops = {place.top for place in own_places().values()}
    folders = (path for top in tops for path, _, _ in os.walk(top))
    return sorted(path for path in folders if "millrace-" in path and f"-{owner}-" in path)


def belongings() -> dict[str, Any]:
    """Return how much of the system this process holds, of each kind."""
    return {
        "descriptors": Counter(map(_target, Path("/proc/self/fd").iterdir())),
        "processes": len(descendants(os.getpid())),
        "mounts": mounts(),
        "groups": len(groups(os.getpid())),
    }


async def settled(body: Body) -> dict[str, Any]:
    """Return what is held once that stands still: what waits warm is replaced behind our back."""
    held, still = belongings(), 0
    async with asyncio.timeout(30):
        while still < 10 or not all_wait_that_should(body):
            await asyncio.sleep(0.02)
            await keep_no_spare(body)
            now = belongings()
            held, still = now, still + 1 if now == held else 0
    return held


def all_wait_that_should(body: Body) -> bool:
    """Whether nothing warm is being made."""
    assert isinstance(body.sandboxes, LocalSandboxes)
    warm = next(language.warm for language in body.sandboxes.info().languages if language.code == "py")
    return warm == body.sandboxes._config.warm_plain


async def nothing_more_than(before: dict[str, Any], body: Body) -> None:
    """Wait until no more is held than before, of any kind; fail naming what is."""
    kept: dict[str, object] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while kept := {kind: held for kind, held in belongings().items() if not held <= before[kind]}:
                await asyncio.sleep(0.02)
                await keep_no_spare(body)
    assert kept == {}, before


async def keep_no_spare(body: Body) -> None:
    """Let go of control groups that wait to serve again: now there are more of them, now fewer."""
    assert isinstance(body.sandboxes, LocalSandboxes)
    if body.sandboxes._warm:
        await body.sandboxes._warm.remove_spare_groups()


def _target(fd: Path) -> str:
    try:
        target = str(fd.readlink()).split(":")[0]
    except OSError:
        return "the listing itself"
    return "a file" if target.startswith("/") else target


async def test_50_executions_in_a_row_leave_nothing(local: Body) -> None:
    await local.steps(Write("warm up"))
    before = await settled(local)
    for number in range(50):
        result = await local.steps(Write("x"), Put("f.txt", "y"), End(number % 3))
        assert (result.exit.exit_code, result.stdout) == (number % 3, b"x")
    await nothing_more_than(before, local)


async def test_20_executions_at_once_leave_nothing(local: Body) -> None:
    await asyncio.gather(*(local.steps(Write("warm up")) for _ in range(20)))
    before = await settled(local)
    for _ in range(3):
        await asyncio.gather(*(local.steps(Write("x"), End(1)) for _ in range(20)))
    await nothing_more_than(before, local)


async def test_closing_all_ends_what_runs(toolchains: Find) -> None:
    sandboxes = await standing("tier-B", toolchains)
    body = Body("tier-B", sandboxes)
    before = await settled(body)
    running = [asyncio.create_task(body.run("import time; time.sleep(1000)")) for _ in range(3)]
    await until(lambda: len(descendants(os.getpid())) >= 9)
    await sandboxes.close()
    await asyncio.gather(*running, return_exceptions=True)
    await nothing_more_than(before, body)


async def test_an_acquire_that_is_given_up_leaves_nothing(local: Body) -> None:
    await local.steps(Write("warm up"))
    before = await settled(local)
    for delay_s in (0.0, 0.001, 0.005, 0.01, 0.02):
        acquiring = asyncio.ensure_future(local.acquire())
        await asyncio.wait([acquiring], timeout=delay_s)
        acquiring.cancel()
        await asyncio.wait([acquiring])
        if not acquiring.cancelled():
            await acquiring.result().close()
    await nothing_more_than(before, local)


@pytest.mark.parametrize("tier", ["tier-A", "tier-B"])
async def test_a_service_killed_with_9_leaves_no_guest_and_a_successor_clears_its_groups(
    tier: str, toolchains: Find
) -> None:
    await (await standing(tier, toolchains)).close()
    service = subprocess.Popen(  # noqa: ASYNC220 - nothing else waits meanwhile
        [sys.executable, __file__, tier],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert service.stdout
        said = await asyncio.to_thread(service.stdout.readline)
        assert json.loads(said) == "running"
        guests = descendants(service.pid)
        assert len(guests) >= 6, "bubblewrap, process 1 and a program, twice"
        assert bool(groups(service.pid)) == (tier == "tier-A")
    finally:
        service.send_signal(signal.SIGKILL)
        service.wait()
        service.stdout.close()
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in guests))
    successor = await standing(tier, toolchains)
    assert groups(service.pid) == []
    await successor.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def _serve(tier: str) -> None:
    """Be the service: two programs that ignore everything, until somebody kills us."""
    from sandboxes.toolchains import find_toolchains

    sandboxes = await standing(tier, lambda uid: find_toolchains(uid, Path("/nonexistent")))
    body = Body(tier, sandboxes)
    heard = 0
    code = "trap '' TERM HUP INT; setsid sleep 1000 & echo up; wait; sleep 1000"

    async def one() -> None:
        nonlocal heard
        from sandboxes.protocol import Program

        sandbox = await body.acquire("bash", timeout_s=1000)
        async for _ in sandbox.run(Program(code)):
            heard += 1
            if heard == 2:
                print(json.dumps("running"), flush=True)

    await asyncio.gather(one(), one())


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
