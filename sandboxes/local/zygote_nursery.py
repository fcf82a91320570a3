"""One flavour of warm Python: its zygote, those that retire, the children that wait.

A zygote that does not come to stand, or dies again and again, is tried again after pauses that grow. Till
then no child is to be had, and whoever wants one is told so at once instead of waiting for another failure.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from sandboxes.backing_off import BackOffs
from sandboxes.local.zygote import Zygote
from sandboxes.local.zygote_child import Child
from sandboxes.local.zygote_routing import Flavour
from sandboxes.protocol import SandboxFailed, SandboxUnavailable

if TYPE_CHECKING:
    from sandboxes.local.zygote_pool import PoolConfig

log = structlog.get_logger(__name__)


class Nursery:
    """Keeps as many children ready as wanted, whatever becomes of zygotes."""

    def __init__(self, config: "PoolConfig", flavour: Flavour) -> None:
        self.modules: Sequence[str] = ()
        """Those that its zygote has imported; empty before one stood."""
        self._config = config
        self._flavour = flavour
        self._wanted = config.ready[flavour]
        self._asked_for = config.modules if flavour == "heavy" else ()
        self._zygote: Zygote | None = None
        self._back_offs = BackOffs(time.monotonic)
        self._starting = asyncio.Lock()
        self._retired: set[Zygote] = set()
        self._waiting: deque[Child] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._closed = False
        self._child_fault = ""
        """Why the last child could not be made, though there is a zygote."""

    @property
    def is_open(self) -> bool:
        """False once closed, also because its zygote has none of the modules it was to have."""
        return not self._closed

    @property
    def ready(self) -> int:
        """How many children wait."""
        return len(self._waiting)

    @property
    def stands(self) -> bool:
        """Whether there is a zygote that makes children."""
        return self._zygote is not None and self._zygote.can_make

    @property
    def trouble(self) -> str:
        """Why no children can be made now; empty if they can, or soon will for the first time."""
        return self._child_fault if self.stands else self._back_offs.why(self._flavour)

    async def start(self) -> None:
        """Return once a child is ready, or once that failed: then it is tried again till `close`."""
        await self._fill(1)
        self._work.set()
        self._run(self._keep_full())
        self._run(self._keep_fresh())

    async def take(self) -> Child:
        """See `ZygotePool.take`."""
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
        """End all children and zygotes. Safe to call twice."""
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
        if self._zygote is None or not self.stands or self._closed:
            self._work.set()
            raise SandboxUnavailable("There is no zygote now.")
        return await self._config.make(self._zygote)

    async def _keep_full(self) -> None:
        while not self._closed:
            await self._work.wait()
            self._work.clear()
            if not await self._fill(self._wanted):
                await asyncio.sleep(self._config.retry_s)
                self._work.set()

    async def _fill(self, wanted: int) -> bool:
        """Say whether so many children wait now and a zygote stands; if not, a pause is to be made."""
        if not self.stands and not await self._replace():
            return False
        try:
            while len(self._waiting) < wanted:
                self._waiting.append(await self._make())
                self._child_fault = ""
        except (SandboxFailed, SandboxUnavailable, OSError) as error:
            if self.stands and not self._child_fault:  # said once
                log.warning("zygote_makes_no_child", flavour=self._flavour, reason=str(error))
            self._child_fault = str(error)
            return False
        return True

    async def _keep_fresh(self) -> None:
        """Replace the zygote when it is due; one that crashed is replaced when children are made."""
        while not self._closed:
            await asyncio.sleep(min(1.0, self._config.age_s_max))
            if self._zygote and self.stands and self._is_due(self._zygote) and await self._replace():
                self._work.set()

    def _is_due(self, zygote: Zygote) -> bool:
        old = time.monotonic() - zygote.born > self._config.age_s_max
        return zygote.made >= self._config.children_max or (old and zygote.made > self._wanted)

    async def _replace(self) -> bool:
        """Warm up a successor, then let the old one make no more children; say whether there is a new one."""
        before = self._zygote
        async with self._starting:
            if self._zygote is not before:
                return True  # somebody else was quicker
            if self._back_offs.is_waiting(self._flavour):
                return False
            return await self._succeed(before)

    async def _succeed(self, before: Zygote | None) -> bool:
        try:
            successor = await Zygote.start(self._config.zygote, self._asked_for)
        except (SandboxFailed, SandboxUnavailable) as error:
            self._note_failure("zygote_does_not_stand", str(error))
            return False
        if self._asked_for and not successor.modules:  # as plain as the other one
            self._closed = True
            await successor.close()
            return False
        if self._back_offs.why(self._flavour):
            log.info("zygote_stands_again", flavour=self._flavour)
        self._zygote, self.modules = successor, successor.modules
        successor.on_change = self._tidy
        if before:
            self._retired.add(before)
        self._tidy()
        return True

    def _tidy(self) -> None:
        """Close zygotes that retired and whose last child is gone; refill after a crash."""
        if self._zygote and not self._zygote.can_make and not self._closed:
            self._note_crash(self._zygote)
            self._retired.add(self._zygote)
            self._zygote = None
            self._work.set()
        for zygote in [zygote for zygote in self._retired if zygote.is_idle]:
            self._retired.discard(zygote)
            self._run(zygote.close())

    def _note_crash(self, zygote: Zygote) -> None:
        lived_s = time.monotonic() - zygote.born
        if lived_s >= self._config.steady_after_s:
            self._back_offs.went_well(self._flavour)  # the next one starts at once
            log.warning("zygote_crashed", flavour=self._flavour, lived_s=round(lived_s, 1))
            return
        self._note_failure("zygote_crashed", f"The zygote crashed after {lived_s:.1f} s.")

    def _note_failure(self, event: str, why: str) -> None:
        pause_s = self._config.heavy_retry_s if self._flavour == "heavy" else 0.0
        self._back_offs.failed(self._flavour, why, pause_s)
        log.warning(event, flavour=self._flavour, reason=why)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
