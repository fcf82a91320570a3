"""An event loop whose time passes only when everybody waits: hours of leases and pauses in milliseconds."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

_TURN_S = 2e-9


class Deadlock(AssertionError):
    """Everybody waits, and nobody has set a clock: nothing will ever happen again."""


class _NothingToRead(selectors.SelectSelector):
    """Stands where the loop asks the kernel: there is no I/O, so waiting means that time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("everybody waits for somebody else")
        # A little late, as every real clock is, and no turn of the loop takes no time at all: who is woken a
        # rounding error too early waits again, for so little that time would never get there.
        self.now += timeout + 1e-6 if timeout > 0 else _TURN_S
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose `time` starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        self._clock = _NothingToRead()
        super().__init__(self._clock)
        # Timers that are due within this are run together; virtual time has no noise to forgive.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._clock.now


def run_virtually(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end in virtual time. Raises `Deadlock` where it would wait for ever."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)
