"""Warm Python through the sandbox alone: no HTTP, no streams. From the code to its exit.

What is measured and its yardstick take turns, so that whatever else the machine does meets both.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import baselines
import psutil
from measure import Samples, run_command
from rows import Row, of_samples, one_by_one
from service import ROOT

sys.path.insert(0, str(ROOT))

from infra.cache_folder import cache_folder
from sandboxes.guest_environment import guest_folder
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.protocol import Exit, Program, SandboxSpec
from sandboxes.toolchains import find_toolchains, find_tools
from schemas.limits import SandboxLimits

LIMITS = SandboxLimits(cpus=2.0)
PLAIN = "print(1)"
HEAVY = "import numpy, pandas, matplotlib.pyplot\nprint(1)"
SECONDS = 5.0
PAUSE_S = 0.02
"""In which the pool fills up again: latency, not throughput."""


def measure() -> Iterator[Row]:
    """Yield the rows of warm Python."""
    yield from one_by_one(_measure())


async def _measure() -> AsyncGenerator[Row, None]:
    caches = cache_folder(os.environ)
    async with standing(LocalConfig(warm_plain=4, warm_heavy=4), caches) as sandboxes:
        warm = {language.code: language.warm for language in sandboxes.info().languages}
        if not warm.get("py"):
            print("warm Python cannot be had on this host; its rows are left out")
            return
        async for row in _plain(sandboxes):
            yield row
        if guest_folder(find_tools(os.getuid())["py"], caches).is_dir():
            heavy = find_toolchains(os.getuid(), caches=caches)["py"].paths["python3"]
            async for row in _heavy(sandboxes, [heavy, "-c", HEAVY]):
                yield row
        else:
            print("no guest environment (make guest): the rows of numpy and pandas are left out")


async def _plain(sandboxes: LocalSandboxes) -> AsyncGenerator[Row, None]:
    one, bare = await _taking_turns(partial(once, sandboxes, PLAIN), baselines.PRINT, 150)
    yield of_samples("warm Python, code to exit", one, bare, 0.08)
    yield Row("the same at p99", one.p99, bare.p50, "ms", 0.5)
    yield Row("memory of a waiting child (PSS)", await _waiting_mb(sandboxes, heavy=False), 5.0, "MB", 1.0)
    cold = baselines.cold_throughput(SECONDS, workers=2)
    ours = await _throughput(sandboxes, PLAIN)
    yield Row("warm Python per second", ours, cold, "/s", 4, at_least=True)


async def _heavy(sandboxes: LocalSandboxes, command: list[str]) -> AsyncGenerator[Row, None]:
    one, imported = await _taking_turns(partial(once, sandboxes, HEAVY), command, 10, each=5)
    yield of_samples("numpy+pandas+matplotlib ready", one, imported, 0.005)
    memory = await _waiting_mb(sandboxes, heavy=True)
    yield Row("memory of a waiting heavy child (PSS)", memory, 15.0, "MB", 1.0)
    cold = baselines.throughput(command, SECONDS, workers=2)
    ours = await _throughput(sandboxes, HEAVY)
    yield Row("heavy Python per second", ours, cold, "/s", 40, at_least=True)


@asynccontextmanager
async def standing(config: LocalConfig, caches: Path) -> AsyncIterator[LocalSandboxes]:
    """Local sandboxes with their pools full."""
    sandboxes = LocalSandboxes(config, partial(find_toolchains, caches=caches))
    await sandboxes.start()
    await asyncio.sleep(3)
    gc.collect()
    gc.freeze()  # as the service does once it stands (infra/process/supervisor.py)
    try:
        yield sandboxes
    finally:
        await sandboxes.close()


async def once(sandboxes: LocalSandboxes, code: str) -> float:
    """Return the milliseconds from the code to its exit. The sandbox is destroyed after the clock stops."""
    begin = time.perf_counter()
    sandbox = await sandboxes.acquire(SandboxSpec("bench", "py", LIMITS, code=code))
    try:
        async for frame in sandbox.run(Program(code)):
            if isinstance(frame, Exit):
                assert frame.exit_code == 0, frame
                return (time.perf_counter() - begin) * 1000
    finally:
        await sandbox.close()
    raise AssertionError("a run ends with an exit")


async def _taking_turns(
    run: Callable[[], Awaitable[float]], command: list[str], count: int, each: int = 1
) -> tuple[Samples, Samples]:
    """Return the milliseconds of `run`, `each` times for one run of `command`, and those of the command."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(count + 1):
        for _ in range(each):
            ours.append(await run())
            await asyncio.sleep(PAUSE_S)
        theirs.append(run_command(command))
    return Samples(ours[each:]), Samples(theirs[1:])


async def _throughput(sandboxes: LocalSandboxes, code: str) -> float:
    until = time.perf_counter() + SECONDS
    count = 0

    async def client() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await once(sandboxes, code)
            count += 1

    await asyncio.gather(client(), client())
    return count / SECONDS


async def _waiting_mb(sandboxes: LocalSandboxes, *, heavy: bool) -> float:
    """Return the middle PSS of what waits, once the pool is full again: it shares with what waits beside."""
    await asyncio.sleep(1)
    assert sandboxes._warm, "asked only where it is warm"
    nursery = sandboxes._warm._pool._nurseries["heavy" if heavy else "plain"]
    sizes = sorted(psutil.Process(child.pid).memory_full_info().pss / 1e6 for child in nursery._waiting)
    return sizes[len(sizes) // 2]
