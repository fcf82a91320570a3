"""What the slowest of many warm executions waited for: a trace of each, and what sets those apart.

A process runs, or waits for a processor (the kernel counts both: /proc/PID/schedstat), or waits for somebody
else. So each execution's time is told apart by the service's and the child's running and waiting. Beside it
stands what else could be in the way: the zygote and its keeper at work, what the host took, the collector of
garbage in the service. And in turns with the executions one process adds up numbers for as long as one takes:
by what its slowest differ from its median, the machine is to blame. A virtual one need not tell what its host
takes (steal).
"""

import asyncio
import gc
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import sandbox_alone
from measure import Samples

from infra.cache_folder import cache_folder
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.local.pump import Pump
from sandboxes.protocol import Exit, Program, SandboxSpec

WAITING = 4
ROUNDS = 1000
SLOW_PART = 100
"""One in so many is slow."""
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, order=True)
class _Seen:
    """Milliseconds that a process has run so far, and that it could have but waited for a processor."""

    ran: float = 0.0
    waited: float = 0.0

    @classmethod
    def of(cls, pid: int) -> "_Seen":
        try:
            ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        except OSError:  # it is gone, or the kernel does not count
            return cls()
        return cls(int(ran) / 1e6, int(waited) / 1e6)


async def show() -> None:
    """Print the means of all executions and of the slowest."""
    config = LocalConfig(warm_plain=WAITING, warm_heavy=0)
    async with sandbox_alone.standing(config, cache_folder(os.environ)) as sandboxes:
        if not sandboxes._warm:
            return
        steps = _steps_of(statistics.median([(await _trace(sandboxes))["code to exit"] for _ in range(50)]))
        traces, sums = [], []
        for _ in range(ROUNDS):
            traces.append(await _trace(sandboxes))
            sums.append(_add_up(steps))
            await asyncio.sleep(sandbox_alone.PAUSE_S)
    traces.sort(key=lambda trace: -trace["code to exit"])
    slow, median = traces[: len(traces) // SLOW_PART], traces[len(traces) // 2]
    print(f"\nwhat the slowest of {ROUNDS} waited for, ms (means; p50 is {median['code to exit']:.2f})")
    print(f"{'':34}{'all':>8}{f'slowest {len(slow)}':>12}")
    for name in traces[0]:
        print(f"{name:34}{_mean(traces, name):>8.2f}{_mean(slow, name):>12.2f}")
    executions, alone = Samples([trace["code to exit"] for trace in traces]), Samples(sums)
    print(f"executions: p50 {executions.p50:.2f}, p99 {executions.p99:.2f}; ", end="")
    print(f"arithmetic in turns with them, in one process: p50 {alone.p50:.2f}, p99 {alone.p99:.2f}")


def _steps_of(ms: float) -> int:
    """Return how many additions take so long on this machine."""
    few = 10_000
    return round(few * ms / statistics.median(_add_up(few) for _ in range(50)))


def _add_up(steps: int) -> float:
    """Return the milliseconds that many additions took."""
    begin = time.perf_counter()
    total = 0
    for step in range(steps):
        total += step
    return (time.perf_counter() - begin) * 1000


def _mean(traces: list[dict[str, float]], name: str) -> float:
    return sum(trace[name] for trace in traces) / len(traces)


async def _trace(sandboxes: LocalSandboxes) -> dict[str, float]:
    """Run one program; return what was seen of it, and around it, until its exit was told."""
    assert sandboxes._warm, "asked only where it is warm"
    nursery = sandboxes._warm._pool._nurseries["plain"]
    child = nursery._waiting[0].pid
    zygote = psutil.Process(child).ppid()
    watched = {
        "service": os.getpid(),
        "child": child,
        "zygote": zygote,
        "keeper": psutil.Process(zygote).ppid(),
    }
    others = nursery.ready < WAITING
    collected, stolen, before = (
        _collections(),
        _stolen_ms(),
        {name: _Seen.of(pid) for name, pid in watched.items()},
    )
    begin = time.perf_counter()
    sandbox = await sandboxes.acquire(
        SandboxSpec("bench", "py", sandbox_alone.LIMITS, code=sandbox_alone.PLAIN)
    )
    try:
        with _seen_at_its_end(child) as at_its_end:
            exits = [
                frame async for frame in sandbox.run(Program(sandbox_alone.PLAIN)) if isinstance(frame, Exit)
            ]
        took = (time.perf_counter() - begin) * 1000
        after = {name: _Seen.of(pid) for name, pid in watched.items()} | {
            "child": max([before["child"], *at_its_end])
        }
        assert exits[0].exit_code == 0, exits
    finally:
        await sandbox.close()
    trace = {"code to exit": took}
    for name in ("service", "child", "zygote", "keeper"):
        trace[f"{name} ran"] = after[name].ran - before[name].ran
        trace[f"{name} waited for a processor"] = after[name].waited - before[name].waited
    trace["one was being made (part of them)"] = float(others)
    trace["taken by the host (steal)"] = _stolen_ms() - stolen
    trace["collections of garbage"] = float(_collections() - collected)
    await asyncio.sleep(sandbox_alone.PAUSE_S)
    return trace


@contextmanager
def _seen_at_its_end(child: int) -> Iterator[list[_Seen]]:
    """Look at a child whenever one of its pipes has ended: a moment later there is nothing to look at."""
    finish = Pump._finish
    seen: list[_Seen] = []

    def looking(pump: Pump, fd: int) -> None:
        seen.append(_Seen.of(child))
        finish(pump, fd)

    Pump._finish = looking  # type: ignore[assignment,method-assign]
    try:
        yield seen
    finally:
        Pump._finish = finish  # type: ignore[method-assign]


def _stolen_ms() -> float:
    """Return what the host took from all processors so far (proc(5), stat)."""
    return int(Path("/proc/stat").read_text().split(maxsplit=9)[8]) * _TICK_MS


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())
