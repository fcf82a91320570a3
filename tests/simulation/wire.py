"""The network between one process and the others, and the places at which that process may die."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.simulation.coverage import FAR, Coverage
from tests.simulation.plan import HORIZON_S, Plan

SLEEPS_AGAIN_AFTER = 3
"""How many times a process comes to its step until it falls asleep there once more."""


@dataclass(slots=True)
class Doom:
    """The step at which a process dies or falls asleep, when it is there for the `nth` time."""

    step: str
    nth: int
    kind: Literal["kill", "pause"] = "kill"


class Wire:
    """Each crossing takes time, and may be the last. `die` ends the process as kill -9 does."""

    def __init__(
        self,
        plan: Plan,
        coverage: Coverage,
        doom: Doom | None,
        die: Callable[[], None],
        doze: Callable[[], None] | None = None,
    ) -> None:
        self.transport: Any = None
        """What is beyond the network."""
        self._plan = plan
        self._coverage = coverage
        self._doom = doom
        self._die = die
        self._doze = doze
        self._open = asyncio.Event()
        self._open.set()
        self.is_torn = False
        self._numbers = itertools.count()
        self._under_way: set[int] = set()

    def close(self) -> None:
        """Let nothing through for now, in either direction."""
        self._open.clear()

    def tear(self) -> None:
        """Let nothing through any more: whoever is on the way or comes is gone with the process."""
        self.is_torn = True
        self._open.set()

    def reopen(self) -> None:
        """Let through what waits."""
        self._open.set()

    async def between(self, step: str) -> None:
        """Reach a step: die there if that was drawn, or else perhaps wait a little."""
        self._coverage[step] += 1
        doom = self._doom
        if doom is not None and doom.step == step and asyncio.get_running_loop().time() < HORIZON_S:
            doom.nth -= 1
            if doom.nth == 0 and not self.is_torn:
                self._befall(doom)
        if self._plan.dice.random() < 0.3:
            await asyncio.sleep(self._plan.dice.choice([0.001, 0.1, 2.0]))
        await self._pass()

    def _befall(self, doom: Doom) -> None:
        if doom.kind == "kill":
            self._coverage[f"died at {doom.step}"] += 1
            self._die()
        elif self._doze is not None:
            self._coverage[f"slept at {doom.step}"] += 1
            self.close()  # at once: what comes after this step comes when it wakes
            self._doze()
            doom.nth = SLEEPS_AGAIN_AFTER

    def __getattr__(self, name: str) -> Any:
        through = getattr(self.transport, name)
        return self._delayed(name, through) if name in FAR else through

    def _delayed(self, name: str, through: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **named: Any) -> Any:
            await self._arrive()
            await self.between(f"{name}: sent")
            answer = await through(*args, **named)
            await self.between(f"{name}: answered")
            await self._cross()
            return answer

        return call

    async def _arrive(self) -> None:
        """Cross, and perhaps come there before what was sent earlier."""
        number = next(self._numbers)
        self._under_way.add(number)
        try:
            await self._cross()
            self._coverage["overtaken on the way"] += number > min(self._under_way)
        finally:
            self._under_way.discard(number)

    async def _cross(self) -> None:
        await asyncio.sleep(self._plan.dice.choice([0.0, 0.001, 0.1, 2.0]))
        await self._pass()

    async def _pass(self) -> None:
        await self._open.wait()
        if self.is_torn:
            raise asyncio.CancelledError
