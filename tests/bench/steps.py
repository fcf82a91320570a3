"""Where the time of one warm execution goes, and the CPU: two tables from traces of many."""

import asyncio
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import psutil
import sandbox_alone
import slowest
import uvloop
from measure import Samples

from infra.cache_folder import cache_folder
from sandboxes.local import LocalConfig, LocalSandboxes
from sandboxes.local.pump import Pump
from sandboxes.local.sandbox import LocalSandbox

ROUNDS = 200
STEPS = (
    ("sandbox taken", LocalSandboxes, "acquire"),
    ("order ready", LocalSandbox, "_prepare"),
    ("order sent", LocalSandbox, "_start"),
    ("output read", Pump, "_take"),
    ("pipes at their end", Pump, "_finish"),
    ("word read", LocalSandbox, "_ending"),
)
"""What is done when a method has returned. Of one called again and again it is the first time that it gave
something, of the pipes' end the last."""


def show() -> None:
    """Print both tables, and what the slowest waited for."""
    uvloop.run(_show())
    uvloop.run(slowest.show())


async def _show() -> None:
    config = LocalConfig(warm_plain=4, warm_heavy=0)
    async with sandbox_alone.standing(config, cache_folder(os.environ)) as sandboxes:
        if not sandboxes._warm:
            return
        traces = [await _trace(sandboxes) for _ in range(ROUNDS)]
        print(f"\nsteps of one warm execution, ms since the code came ({ROUNDS} traced)")
        print(f"{'':24}{'best':>8}{'p50':>8}{'p99':>8}")
        for name in traces[0]:
            taken = sorted(trace[name] for trace in traces if name in trace)
            one = Samples(taken)
            print(f"{name:24}{taken[0]:>8.2f}{one.p50:>8.2f}{one.p99:>8.2f}")
        await _show_cpu(sandboxes)


async def _trace(sandboxes: LocalSandboxes) -> dict[str, float]:
    marks: dict[str, float] = {}
    begin = time.perf_counter()

    def mark(name: str) -> None:
        if name not in marks or name == "pipes at their end":
            marks[name] = (time.perf_counter() - begin) * 1000

    with _watched(mark):
        await sandbox_alone.once(sandboxes, sandbox_alone.PLAIN)
    await asyncio.sleep(sandbox_alone.PAUSE_S)
    return marks


@contextmanager
def _watched(mark: Callable[[str], None]) -> Iterator[None]:
    """Have each step marked when it is done, and the exit as it is told."""
    originals = [(owner, name, getattr(owner, name)) for _, owner, name in STEPS]
    usage = LocalSandbox._judge
    for (label, owner, name), (_, _, original) in zip(STEPS, originals, strict=True):
        setattr(owner, name, _marking(original, label, mark))
    LocalSandbox._judge = _marking(usage, "exit told", mark)  # type: ignore[method-assign]
    try:
        yield
    finally:
        LocalSandbox._judge = usage  # type: ignore[method-assign]
        for owner, name, original in originals:
            setattr(owner, name, original)


def _marking(original: Any, label: str, mark: Callable[[str], None]) -> Any:
    if asyncio.iscoroutinefunction(original):

        @wraps(original)
        async def waiting(*args: Any, **options: Any) -> Any:
            result = await original(*args, **options)
            mark(label)
            return result

        return waiting

    @wraps(original)
    def at_once(*args: Any, **options: Any) -> Any:
        result = original(*args, **options)
        if result is not None or label == "pipes at their end":
            mark(label)
        return result

    return at_once


async def _show_cpu(sandboxes: LocalSandboxes) -> None:
    """Print the CPU of a whole cycle: the run, its end, and the making of the next child."""
    await asyncio.sleep(1)
    parents = [process for process in psutil.Process().children(recursive=True) if _has_children(process)]
    before = {process: process.cpu_times() for process in parents}
    began = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(ROUNDS):
        await sandbox_alone.once(sandboxes, sandbox_alone.PLAIN)
        await asyncio.sleep(sandbox_alone.PAUSE_S)
    ended = resource.getrusage(resource.RUSAGE_SELF)
    own = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    used = {process: (process.cpu_times(), before[process]) for process in parents}
    above = sum(now.user + now.system - then.user - then.system for now, then in used.values())
    below = sum(
        now.children_user + now.children_system - then.children_user - then.children_system
        for now, then in used.values()
    )
    print("\nCPU of one warm execution, with closing its sandbox and making the next, ms")
    for name, seconds in (("service", own), ("zygote and keeper", above), ("child and its pid 1", below)):
        print(f"{name:24}{seconds / ROUNDS * 1000:>8.2f}")


def _has_children(process: psutil.Process) -> bool:
    try:
        return bool(process.children())
    except psutil.NoSuchProcess:
        return False
