"""Warm Python through the sandbox alone: no HTTP, no streams. From the code to its exit."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import baselines
import psutil
from measure import Samples, sample_command
from rows import Row
from service import ROOT

sys.path.insert(0, str(ROOT))

from infra.cache_folder import cache_folder
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.protocol import Exit, Program, SandboxSpec
from sandboxes.toolchains import find_toolchains
from schemas.limits import SandboxLimits

LIMITS = SandboxLimits(cpus=2.0)
PLAIN = "print(1)"
HEAVY = "import numpy, pandas, matplotlib.pyplot\nprint(1)"
SECONDS = 5.0


def measure() -> Iterator[Row]:
    """Yield the rows of warm Python."""
    bare = baselines.bare_python(30)
    rows = asyncio.run(_measure(bare))
    yield from rows


async def _measure(bare: Samples) -> list[Row]:
    caches = cache_folder(os.environ)
    rows = []
    async with _standing(LocalConfig(warm_plain=4, warm_heavy=4), caches) as sandboxes:
        warm = {language.code: language.warm for language in sandboxes.info().languages}
        if not warm.get("py"):
            print("warm Python cannot be had on this host; its rows are left out")
            return rows
        one = await _repeat(sandboxes, PLAIN, 200)
        rows.append(Row("warm Python, code to exit", one.p50, bare.p50, "ms", 0.08, p99=one.p99))
        rows.append(Row("the same at p99", one.p99, bare.p50, "ms", 0.5))
        await asyncio.sleep(
            1
        )  # the pool is full again: what waits shares its memory with what waits beside it
        rows.append(Row("memory of a waiting child (PSS)", _waiting_mb(), 5.0, "MB", 1.0))
        cold = baselines.cold_throughput(SECONDS, workers=2)
        rows.append(
            Row("warm Python per second", await _throughput(sandboxes, PLAIN), cold, "/s", 4, at_least=True)
        )
        heavy_python = find_toolchains(os.getuid(), caches=caches)["py"].paths["python3"]
        if not _has_heavy(heavy_python):
            print("no guest environment (make guest): the rows of numpy and pandas are left out")
            return rows
        imported = sample_command([heavy_python, "-c", HEAVY], 5)
        ready = await _repeat(sandboxes, HEAVY, 100)
        rows.append(Row("numpy+pandas+matplotlib ready", ready.p50, imported.p50, "ms", 0.005, p99=ready.p99))
        cold_heavy = 1000 / imported.p50 * 2
        heavy = await _throughput(sandboxes, HEAVY)
        rows.append(Row("heavy Python per second", heavy, cold_heavy, "/s", 40, at_least=True))
    return rows


@asynccontextmanager
async def _standing(config: LocalConfig, caches: object) -> AsyncIterator[LocalSandboxes]:
    sandboxes = LocalSandboxes(config, partial(find_toolchains, caches=caches))
    await sandboxes.start()
    await asyncio.sleep(3)
    try:
        yield sandboxes
    finally:
        await sandboxes.close()


async def _once(sandboxes: LocalSandboxes, code: str) -> float:
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


async def _repeat(sandboxes: LocalSandboxes, code: str, count: int) -> Samples:
    """One at a time, with a pause in which the pool fills up again: latency, not throughput."""
    taken = []
    for _ in range(count + 5):
        taken.append(await _once(sandboxes, code))
        await asyncio.sleep(0.02)
    return Samples(taken[5:])


async def _throughput(sandboxes: LocalSandboxes, code: str) -> float:
    until = time.perf_counter() + SECONDS
    count = 0

    async def client() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await _once(sandboxes, code)
            count += 1

    await asyncio.gather(client(), client())
    return count / SECONDS


def _waiting_mb() -> float:
    """Return the PSS of the leanest waiting child: the plain ones, as heavy ones are many times larger."""
    sizes = [
        process.memory_full_info().pss / 1e6
        for process in psutil.Process().children(recursive=True)
        if process.name().startswith("python") and not process.children()
    ]
    return min(sizes)


def _has_heavy(python: str) -> bool:
    return subprocess.run([python, "-c", HEAVY], capture_output=True, check=False).returncode == 0
