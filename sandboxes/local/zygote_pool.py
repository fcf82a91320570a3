"""Children kept ready, for each flavour of zygote as many as wanted; zygotes replaced when due.

A child is taken once and never comes back. Zygotes are recycled by count and age, since all children of one
share its hash seed and memory layout, and replaced when they crash; what they made lives on until it is done.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandboxes.local.zygote import Zygote
from sandboxes.local.zygote_child import Child
from sandboxes.local.zygote_routing import HEAVY_MODULES, Flavour
from sandboxes.local.zygote_wall import ZygoteConfig
from sandboxes.protocol import SandboxFailed, SandboxUnavailable


async def _ask(zygote: Zygote) -> Child:
    """Ask a zygote for a child, nothing else."""
    return await zygote.make()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """How many of what, and for how long."""

    zygote: ZygoteConfig
    ready: Mapping[Flavour, int]
    """How many children of each flavour wait; a flavour that is not named does not exist."""
    modules: Sequence[str] = HEAVY_MODULES
    """What the heavy zygote imports."""
    children_max: int = 2_000
    """A zygote that has made so many is replaced."""
    age_s_max: float = 900.0
    """So is one that is so old and has made any."""
    make: Callable[[Zygote], Awaitable[Child]] = field(default=_ask)
    """How a child is had from its zygote, such as in a control group of its own."""
    retry_s: float = 0.5
    """Pause after a failure before the next attempt."""
    heavy_retry_s: float = 30.0
    """The same before another heavy zygote is started, which takes seconds of CPU."""


class ZygotePool:
    """Where warm children come from."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._nurseries: dict[Flavour, _Nursery] = {"plain": _Nursery(config, "plain")}
        self._bringing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the zygotes, and wait until each has one child ready.

        A busy host may have no time for the heavy one now; then it comes later, and till then there is the
        plain one. Raises `SandboxFailed` or `SandboxUnavailable`; nothing is left behind then.
        """
        try:
            await self._nurseries["plain"].start()
            if "heavy" in self._config.ready and not await self._bring_heavy():
                self._bringing = asyncio.get_running_loop().create_task(self._keep_bringing())
        except BaseException:
            await self.close()
            raise

    async def _bring_heavy(self) -> bool:
        """Say whether there is a heavy zygote now, or none to be had: without its modules it is plain."""
        nursery = _Nursery(self._config, "heavy")
        try:
            await nursery.start()
        except (SandboxFailed, SandboxUnavailable, OSError):
            await nursery.close()
            return False
        except BaseException:
            await nursery.close()
            raise
        if nursery.modules:
            self._nurseries["heavy"] = nursery
        else:
            await nursery.close()
        return True

    async def _keep_bringing(self) -> None:
        while True:
            await asyncio.sleep(self._config.heavy_retry_s)
            if await self._bring_heavy():
                return

    @property
    def warm_modules(self) -> Sequence[str]:
        """What the heavy zygote has imported; empty if there is none."""
        return self._nurseries["heavy"].modules if "heavy" in self._nurseries else ()

    @property
    def ready(self) -> Mapping[Flavour, int]:
        """How many children wait now."""
        return {flavour: nursery.ready for flavour, nursery in self._nurseries.items()}

    async def take(self, flavour: Flavour = "plain") -> Child:
        """Take a child that nobody has used; `Child.close` it in the end.

        Raises `SandboxUnavailable` if none can be made now, `SandboxFailed` if its making went wrong.
        """
        nursery = self._nurseries.get(flavour) or self._nurseries["plain"]
        return await nursery.take()

    async def close(self) -> None:
        """End all children and zygotes. Safe to call twice."""
        if self._bringing:
            self._bringing.cancel()
            await asyncio.wait([self._bringing])
        await asyncio.gather(*(nursery.close() for nursery in self._nurseries.values()))


class _Nursery:
    """One flavour: its zygote, those that retire, the children that wait."""

    def __init__(self, config: PoolConfig, flavour: Flavour) -> None:
        self.modules: Sequence[str] = ()
        self._config = config
        self._wanted = config.ready[flavour]
        self._asked_for = config.modules if flavour == "heavy" else ()
        self._zygote: Zygote | None = None
        self._retired: set[Zygote] = set()
        self._waiting: deque[Child] = deque()
        self._taken = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._closed = False

    @property
    def ready(self) -> int:
        return len(self._waiting)

    async def start(self) -> None:
        """Return once a child is ready."""
        await self._replace()
        self._waiting.append(await self._make())
        self._work.set()
        self._run(self._keep_full())
        self._run(self._keep_fresh())

    async def take(self) -> Child:
        while self._waiting:
            child = self._waiting.popleft()
            if child.is_alive:
                self._hand_out(child)
                return child
            self._run(child.close())
        child = await self._make()
        self._hand_out(child)
        return child

    async def close(self) -> None:
        self._closed = True
        self._work.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        zygotes = [*self._retired, *([self._zygote] if self._zygote else [])]
        await asyncio.gather(*(zygote.close() for zygote in zygotes))
        self._waiting.clear()

    def _hand_out(self, child: Child) -> None:
        """Refill when the child is done, not while it runs beside us; at once if few are left."""
        if 2 * len(self._waiting) < self._wanted:
            self._work.set()
        forget = child.on_close

        def on_close() -> None:
            forget()
            self._work.set()

        child.on_close = on_close

    async def _make(self) -> Child:
        zygote = self._zygote
        if zygote is None or not zygote.can_make:
            await self._replace()
            zygote = self._zygote
        if zygote is None or self._closed:
            raise SandboxUnavailable("The sandboxes are closing.")
        return await self._config.make(zygote)

    async def _keep_full(self) -> None:
        while not self._closed:
            await self._work.wait()
            self._work.clear()
            try:
                while len(self._waiting) < self._wanted:
                    self._waiting.append(await self._make())
            except (SandboxFailed, SandboxUnavailable, OSError):
                await asyncio.sleep(self._config.retry_s)
                self._work.set()

    async def _keep_fresh(self) -> None:
        """Replace the zygote when it is due; one that crashed is replaced by whoever needs a child."""
        while not self._closed:
            await asyncio.sleep(min(1.0, self._config.age_s_max))
            if self._zygote and self._is_due(self._zygote):
                with contextlib.suppress(SandboxFailed, SandboxUnavailable):
                    await self._replace()
                    self._work.set()

    def _is_due(self, zygote: Zygote) -> bool:
        old = time.monotonic() - zygote.born > self._config.age_s_max
        return zygote.made >= self._config.children_max or (old and zygote.made > self._wanted)

    async def _replace(self) -> None:
        """Warm up a successor, then let the old one make no more children."""
        before = self._zygote
        successor = await Zygote.start(self._config.zygote, self._asked_for)
        if self._zygote is not before:  # somebody else was quicker
            await successor.close()
            return
        self._zygote = successor
        self.modules = successor.modules
        successor.on_change = self._tidy
        if before:
            self._retired.add(before)
        self._tidy()

    def _tidy(self) -> None:
        """Close zygotes that retired and whose last child is gone; refill after a crash."""
        for zygote in [zygote for zygote in self._retired if zygote.is_idle]:
            self._retired.discard(zygote)
            self._run(zygote.close())
        if self._zygote and not self._zygote.can_make:
            self._work.set()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
