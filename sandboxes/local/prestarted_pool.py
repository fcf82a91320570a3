"""Runtimes kept ready, for each language as many as wanted, each in a sandbox and a control group of its own.

One is taken once and never comes back; another is started when its execution is over, or a moment after
it began where few are left, and never two at the same time: starting costs more CPU than most programs.
The limits that were in force before are put on the next while it waits: that takes as long as a short
program, and is seldom wrong.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from infra.tasks import made_in_thread
from sandboxes.local.cgroups import Group, Hierarchy, new_name
from sandboxes.local.config import LocalConfig
from sandboxes.local.launch import Launcher
from sandboxes.local.plan import command_ahead, limiting, order_ahead
from sandboxes.local.prestarted import Prestarted
from sandboxes.local.warm import group_limits
from sandboxes.protocol import SandboxFailed, SandboxUnavailable
from sandboxes.toolchain import Toolchain
from schemas.limits import SandboxLimits

_RETRY_S_FIRST, _RETRY_S_MAX = 1.0, 60.0
_HEAD_START_S = 0.05
"""A short program is over by then, and its end is not held up by the start of the next."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A waiting runtime with its group, both within the limits of an execution."""

    runtime: Prestarted
    group: Group | None
    cpu_s_before: float
    """What it used until now."""
    limits: SandboxLimits | None = None
    """Those it is under already."""

    async def close(self) -> None:
        """End it and everything of it."""
        await self.runtime.guest.close()
        self.runtime.close()
        if self.group:
            await asyncio.to_thread(self.group.remove)


@dataclass(frozen=True, slots=True)
class Starter:
    """Starts one runtime ahead."""

    launcher: Launcher
    hierarchy: Hierarchy | None
    config: LocalConfig
    next_uid: Callable[[], int | None]

    async def start(self, toolchain: Toolchain, limits: SandboxLimits) -> Taken:
        """Start one, and wait until it is ready. Raises SandboxFailed, SandboxUnavailable, OSError."""
        uid = self.next_uid()
        guest = await self.launcher.launch(uid=uid, network=False, host_paths=toolchain.binds)
        try:
            group = await made_in_thread(partial(self._enclose, guest.pid, limits), _remove)
        except BaseException:
            await guest.close()
            raise
        taken = Taken(Prestarted(guest, uid or 0), group, 0.0)
        try:
            await self._begin(taken.runtime, toolchain)
        except BaseException:
            await taken.close()
            raise
        return taken

    async def restricted(self, taken: Taken, limits: SandboxLimits) -> Taken:
        """Put it under the limits of an execution. Raises OSError, SandboxFailed: it needs more already."""
        group = taken.group
        order = self._limiting(taken, limits)
        before = self._limiting(taken, taken.limits)["rlimits"] if taken.limits else {}
        if any(value > before.get(name, value) for name, value in order["rlimits"].items()):
            raise SandboxFailed("What a process is limited to can only be lowered.")
        limited = taken.runtime.guest.control.limit(order)
        if group:
            await asyncio.to_thread(group.limit, group_limits(limits))
        used = await limited
        return replace(taken, cpu_s_before=group.cpu_s() if group else used, limits=limits)

    def _limiting(self, taken: Taken, limits: SandboxLimits) -> dict[str, Any]:
        return limiting(limits, self.config.disk_bytes_max, grouped=taken.group is not None)

    async def _begin(self, runtime: Prestarted, toolchain: Toolchain) -> None:
        assert toolchain.prestart
        start = order_ahead(command_ahead(toolchain.prestart, toolchain.recipe, self.config.path))
        main = toolchain.recipe.file_name
        await runtime.start(start, toolchain.prestart.script, main, self.config.start_timeout_s)

    def _enclose(self, pid: int, limits: SandboxLimits) -> Group | None:
        if self.hierarchy is None:
            return None
        group = self.hierarchy.make(new_name(), group_limits(limits))
        try:
            group.join(pid)
        except OSError:
            group.remove()
            raise
        return group


class PrestartedPool:
    """Where waiting runtimes come from."""

    def __init__(
        self, starter: Starter, toolchains: Mapping[str, Toolchain], sizes: Mapping[str, int]
    ) -> None:
        self._starter = starter
        one_at_a_time = asyncio.Lock()
        self._shelves = {
            code: _Shelf(starter, toolchains[code], size, one_at_a_time)
            for code, size in sizes.items()
            if size and not toolchains[code].missing and toolchains[code].prestart
        }

    def start(self, *, at_once: bool) -> None:
        """Begin to fill in the background, all languages `at_once` or each when it has been used."""
        for language, shelf in self._shelves.items():
            shelf.start()
            if at_once:
                self.refill(language)

    def ready(self, language: str) -> int:
        """How many wait for this language now."""
        shelf = self._shelves.get(language)
        return len(shelf.waiting) if shelf else 0

    async def take(self, language: str, limits: SandboxLimits) -> Taken | None:
        """Take one that nobody has used; None if there is none within `limits`."""
        shelf = self._shelves.get(language)
        return await shelf.take(limits) if shelf else None

    def refill(self, language: str) -> None:
        """Say that an execution is over, so that there is time to start another."""
        if shelf := self._shelves.get(language):
            shelf.work.set()

    async def close(self) -> None:
        """End all that wait. Safe to call twice."""
        await asyncio.gather(*(shelf.close() for shelf in self._shelves.values()))


class _Shelf:
    """The runtimes of one language."""

    def __init__(self, starter: Starter, toolchain: Toolchain, size: int, turn: asyncio.Lock) -> None:
        self.waiting: deque[Taken] = deque()
        self.work = asyncio.Event()
        self._starter = starter
        self._toolchain = toolchain
        self._size = size
        self._turn = turn
        self._first = _with_start(SandboxLimits(), toolchain)
        self._usual: SandboxLimits | None = None
        """What a runtime fits into and most executions want: a process's limit can only be lowered."""
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        self._filling = asyncio.get_running_loop().create_task(self._keep_full())

    async def take(self, limits: SandboxLimits) -> Taken | None:
        while self.waiting:
            taken = self.waiting.popleft()
            if 2 * len(self.waiting) < self._size:
                asyncio.get_running_loop().call_later(_HEAD_START_S, self.work.set)
            if taken.runtime.is_alive:
                if fitting := await self._fitted(taken, limits):
                    self._usual = limits if _is_no_lower(limits, self._usual) else self._usual
                    return fitting
                self._usual = None
            await taken.close()
        return None

    async def close(self) -> None:
        self._closed = True  # a start that was just done does not notice that it is cancelled
        self.work.set()
        if self._filling:
            self._filling.cancel()
            await asyncio.wait([self._filling])
        while self.waiting:
            await self.waiting.popleft().close()

    async def _keep_full(self) -> None:
        pause = _RETRY_S_FIRST
        while not self._closed:
            await self.work.wait()
            self.work.clear()
            try:
                while len(self.waiting) < self._size and not self._closed:
                    async with self._turn:
                        self.waiting.append(await self._start())
                pause = _RETRY_S_FIRST
            except (SandboxFailed, SandboxUnavailable, OSError):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY_S_MAX)
                self.work.set()

    async def _start(self) -> Taken:
        """Start one, and put it under the usual limits, which it may turn out not to fit in any more."""
        taken = await self._starter.start(self._toolchain, self._first)
        if self._usual is None:
            return taken
        fitting = await self._fitted(taken, self._usual)
        if fitting is None:
            self._usual = None
            await taken.close()
            raise SandboxUnavailable("The runtime needs more than the usual limits.")
        return fitting

    async def _fitted(self, taken: Taken, limits: SandboxLimits) -> Taken | None:
        """Return it under `limits`; None if that cannot be."""
        if taken.limits == limits:
            return taken
        with suppress(OSError, SandboxFailed):
            return await self._starter.restricted(taken, limits)
        return None


def _remove(group: Group | None) -> None:
    if group:
        group.remove()


def _is_no_lower(limits: SandboxLimits, than: SandboxLimits | None) -> bool:
    """Say whether no process needs more than `limits` that was content with `than`."""
    return than is None or (
        limits.open_files_max >= than.open_files_max
        and limits.pids_max >= than.pids_max
        and limits.memory_bytes_max >= than.memory_bytes_max
    )


def _with_start(limits: SandboxLimits, toolchain: Toolchain) -> SandboxLimits:
    """Return `limits` as the runtime may use them while it starts: one core, so that it is not long."""
    most = round(limits.memory_bytes_max * toolchain.recipe.memory_factor)
    return msgspec.structs.replace(limits, memory_bytes_max=most, cpus=1.0)
