"""The processes of a chaos run: edges and handlers that die again and again, and are started again."""

import asyncio
import contextlib
import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import psutil

from streams.delivery import to_its_end
from tests.brokers import free_port
from tests.chaos.children import Child, Nursery
from tests.chaos.doomed import EDGE_POINTS, HANDLER_POINTS, Doom, up_file

ROOT = Path(__file__).parents[2]
MARK = "_CHAOS_RUN"
"""A variable by which whatever these processes leave behind is found."""
UP_S = 90.0


class Member:
    """One place in the crew: a process, and after its death the next one."""

    def __init__(self, crew: "Crew", role: str, points: list[str], dice: random.Random) -> None:
        self._crew = crew
        self.role = role
        self._points = points
        self._dice = dice
        self._doomed = dice.sample(points, len(points))
        self.process: Child | None = None
        self.port = free_port()
        self.lives = 0
        """How many of its processes have come so far as to work."""

    async def live_for_ever(self) -> None:
        """Live and die until cancelled; then the process that lives is left alone."""
        while True:
            await self._one_life()

    async def start(self, doom: Doom) -> None:
        """Start a process of this role."""
        environment = {**self._crew.environment, "API_PORT": str(self.port), **doom.environment()}
        await to_its_end(self._be_born(environment))

    async def _be_born(self, environment: Mapping[str, str]) -> None:
        self.process = await self._crew.nursery.bear(self.role, environment)
        self._crew.born.add((self.process.pid, self.process.since))

    async def end(self) -> None:
        """Ask it to stop, as an orchestrator does; by now it has no doom, so nothing else may end it."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.wait_for(self.process.wait(), 60)
        except TimeoutError:
            self._crew.complaints.append(f"{self.role} did not stop within 60 s of SIGTERM")
            self.process.send_signal(signal.SIGKILL)
            status = await self.process.wait()
        if status:
            self._crew.complaints.append(f"{self.role} {self.process.pid} ended with status {status}")

    async def _one_life(self) -> None:
        doom = self._doom()
        await self.start(doom)
        assert self.process is not None
        ended = asyncio.create_task(self.process.wait())
        try:
            await self._until_the_end(doom, ended)
        finally:
            ended.cancel()
        self._note(doom)

    def _doom(self) -> Doom:
        """Draw the point of the next death: all of them in turn, before any comes again."""
        if self._dice.random() < 0.3:
            return Doom(fault=self._crew.fault)
        if not self._doomed:
            self._doomed = self._dice.sample(self._points, len(self._points))
        how = "stop" if self._dice.random() < 0.25 else "kill"
        return Doom(self._doomed.pop(), self._dice.randint(1, 4), how, self._crew.fault)

    async def _until_the_end(self, doom: Doom, ended: "asyncio.Task[int]") -> None:
        """Wait for the doom; who has none, or does not meet it in time, is sent a signal."""
        assert self.process is not None
        patience_s = self._dice.uniform(1, 6) if not doom.point else 12.0
        number = self._dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP))
        nap_s = self._dice.uniform(0.5, 2.0) * self._crew.lease_s
        await self.up()
        clock = asyncio.get_running_loop().time
        strike_at = clock() + patience_s
        while not ended.done() and clock() < strike_at:
            await asyncio.wait([ended], timeout=0.25)
            if self._sleeps():
                self._crew.deaths[doom.point] += 1
                await self._wake(nap_s, ended)
        if not ended.done():
            self._crew.signals[number.name] += 1
            self.process.send_signal(number)
            if number == signal.SIGSTOP:
                await self._wake(nap_s, ended)
                self._crew.signals["SIGKILL"] += 1
                with contextlib.suppress(ProcessLookupError):
                    self.process.send_signal(signal.SIGKILL)
            await ended

    async def up(self) -> None:
        """Wait until it works, or is dead."""
        assert self.process is not None
        file = self._crew.folder / up_file(self.process.pid)
        give_up_at = asyncio.get_running_loop().time() + UP_S
        while self.process.returncode is None and not file.exists():
            if asyncio.get_running_loop().time() > give_up_at:
                self._crew.complaints.append(f"{self.role} was not up within {UP_S:g} s")
                return
            await asyncio.sleep(0.1)
        self.lives += file.exists()

    def _sleeps(self) -> bool:
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED
        return False

    async def _wake(self, nap_s: float, ended: "asyncio.Task[int]") -> None:
        assert self.process is not None
        await asyncio.wait([ended], timeout=nap_s)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        await asyncio.wait([ended], timeout=1.0)

    def _note(self, doom: Doom) -> None:
        assert self.process is not None
        code = self.process.returncode
        if doom.point and code == -signal.SIGKILL:
            self._crew.deaths[doom.point] += 1
        if code not in (0, -signal.SIGKILL, -signal.SIGTERM):
            self._crew.complaints.append(f"{self.role} ended with status {code}; see {self._crew.folder}")


class Crew:
    """All processes of one run, in one folder."""

    def __init__(
        self, settings: Mapping[str, str], dice: random.Random, *, fault: str = "", lease_s: float = 3.0
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="millrace-chaos-"))
        self.fault = fault
        self.lease_s = lease_s
        self.mark = f"{os.getpid()}-{dice.randrange(1 << 30)}"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {
            **inherited,
            **settings,
            MARK: self.mark,
            "PYTHONPATH": str(ROOT),
            "API_HOST": "127.0.0.1",
            "API_KEY": "chaos",
            "MILLRACE_DATA_DIR": str(self.folder / "data"),
            "MILLRACE_LEASE_SECONDS": str(lease_s),
            "MILLRACE_SHUTDOWN_GRACE_SECONDS": "5",
            "MAX_CONCURRENT_EXECUTIONS": "4",
            "POD_POOL_PY": "2",
            "LOG_LEVEL": "INFO",
        }
        self.deaths: Counter[str] = Counter()
        self.signals: Counter[str] = Counter()
        self.born: set[tuple[int, int]] = set()
        """Every process there ever was, by its number and its start."""
        self.complaints: list[str] = []
        self.nursery = Nursery(self.folder, self.environment)
        self.handlers = [self._member("handlers", HANDLER_POINTS, dice) for _ in range(3)]
        self.edges = [self._member("edge", EDGE_POINTS, dice) for _ in range(2)]

    def _member(self, role: str, points: list[str], dice: random.Random) -> Member:
        return Member(self, role, points, random.Random(dice.random()))

    @property
    def members(self) -> list[Member]:
        return [*self.handlers, *self.edges]

    def log(self, role: str) -> Path:
        """Where processes of a role write."""
        return self.folder / f"{role}.log"

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{edge.port}" for edge in self.edges]

    @contextlib.asynccontextmanager
    async def dying(self) -> AsyncIterator[list["asyncio.Task[None]"]]:
        """Let all of them live and die during the block, in tasks that only failure ends; then all live."""
        lives = [asyncio.create_task(member.live_for_ever()) for member in self.members]
        try:
            yield lives
            for life in lives:
                if life.done():
                    life.result()
        finally:
            for life in lives:
                life.cancel()
            await asyncio.wait(lives)
            await self._revive()

    async def first_up(self) -> None:
        """Wait until somebody of each role has worked: on a busy machine the first ones take their time."""
        while not all(any(member.lives for member in role) for role in (self.handlers, self.edges)):
            await asyncio.sleep(0.1)

    async def _revive(self) -> None:
        """Put a process without a doom into every place."""
        for member in self.members:
            if member.process is not None:
                member.process.send_signal(signal.SIGKILL)
                await member.process.wait()
        for member in self.members:
            await member.start(Doom(fault=self.fault))
        await asyncio.gather(*(member.up() for member in self.members))

    async def end(self) -> None:
        """Stop everything in good order."""
        await asyncio.gather(*(member.end() for member in self.members))
        await self.nursery.close()

    def left_behind(self) -> list[str]:
        """Return the processes that should not be there any more."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"process {process.pid} {process.name()}")
        return found
