"""Processes of a chaos run as whoever ordered them sees them: born by the nursery, dead when it says so.

No birth is lost: whoever is cancelled while it waits for one still gets the child first, or it would live on,
doomed, in nobody's place. And a nursery that ends by itself ends all waiting for it.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

BIRTH_S = 90.0


class Child:
    """One process, forked by the nursery."""

    def __init__(self, pid: int, since: int) -> None:
        self.pid = pid
        self.since = since
        """When it started, in clock ticks since boot: numbers of processes come again."""
        self.returncode: int | None = None
        self._dead = asyncio.Event()

    def died(self, status: int) -> None:
        """Note its end."""
        self.returncode = status
        self._dead.set()

    async def wait(self) -> int:
        """Return its exit status, negative for a signal."""
        await self._dead.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is gone."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Nursery:
    """Where processes come from."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._opening = asyncio.Lock()
        self._children: dict[int, Child] = {}
        self._orders: list[asyncio.Future[Child]] = []
        """Who waits for a birth, in the order of asking, in which they are answered."""
        self._hearing: asyncio.Task[None] | None = None

    async def bear(self, role: str, environment: Mapping[str, str]) -> Child:
        """Return a new process. Raises `RuntimeError` where there is none to be had."""
        async with self._opening:
            if self._process is None:
                await self._open()
        assert self._process is not None and self._process.stdin is not None
        if self._process.returncode is not None:
            raise RuntimeError(f"the nursery ended, see {self._folder}/nursery.log")
        order: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._orders.append(order)
        log = str(self._folder / f"{role}.log")
        line = {"role": role, "environment": dict(environment), "log": log}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        async with asyncio.timeout(BIRTH_S):
            return await asyncio.shield(order)

    async def close(self) -> None:
        """End it, and whatever it bore."""
        if self._process is None or self._hearing is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._hearing

    async def _open(self) -> None:
        with (self._folder / "nursery.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.chaos.nursery"),
                cwd=self._folder,
                env=dict(self._environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._told(json.loads(line))
        finally:
            self._ended()

    def _told(self, news: dict[str, int]) -> None:
        if pid := news.get("born"):
            child = self._children[pid] = Child(pid, news["since"])
            self._orders.pop(0).set_result(child)
        else:
            self._children.pop(news["died"]).died(news["status"])

    def _ended(self) -> None:
        """Leave nobody waiting for news that nobody brings any more."""
        for order in self._orders:
            order.set_exception(RuntimeError(f"the nursery ended, see {self._folder}/nursery.log"))
        for child in self._children.values():
            child.send_signal(signal.SIGKILL)
            child.died(-signal.SIGKILL)
        self._orders.clear()
        self._children.clear()
