"""An event loop whose time passes only when everybody waits: hours of leases and pauses in milliseconds.

It does no I/O, so it has the two queues of asyncio's own loop and nothing else, which makes it quicker by a
quarter. What is due at the same instant is run in the order in which it was asked for.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from itertools import count
from typing import Any

_TURN_S = 2e-9
_RESOLUTION_S = 1e-9
"""What is due within this is run together; virtual time has no noise to forgive."""
_LATE_S = 1e-6
"""As every real clock is, a little."""


class Deadlock(AssertionError):
    """Everybody waits, and nobody has set a clock: nothing will ever happen again."""


class _Call:
    """A callback that waits in a queue of the loop; what asyncio asks of its handles."""

    __slots__ = ("_arguments", "_callback", "_context", "_when", "is_cancelled")

    def __init__(
        self,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        context: Context | None,
        when: float,
    ) -> None:
        self._callback = callback
        self._arguments = arguments
        self._context = context or copy_context()
        self._when = when
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self._arguments = ()  # nothing is kept alive by it any more

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when

    def run(self) -> None:
        self._context.run(self._callback, *self._arguments)


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose `time` starts at 0 and jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._soon: deque[_Call] = deque()
        self._timers: list[tuple[float, int, _Call]] = []
        self._numbers = count()

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        call = _Call(callback, args, context, self._now)
        self._soon.append(call)
        return call

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        call = _Call(callback, args, context, when)
        heapq.heappush(self._timers, (when, next(self._numbers), call))
        return call

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """Let time pass, and run what is due: what asyncio's loop does between two looks at the kernel."""
        soon, timers = self._soon, self._timers
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
        self._now += self._passes_s()
        due = self._now + _RESOLUTION_S
        while timers and timers[0][0] < due:
            soon.append(heapq.heappop(timers)[2])
        for _ in range(len(soon)):
            call = soon.popleft()
            if not call.is_cancelled:
                self._run(call)

    def _passes_s(self) -> float:
        # No turn of the loop takes no time at all: who is woken a rounding error too early waits again, for
        # so little that time would never get there.
        if self._soon or self._stopping:  # type: ignore[attr-defined]
            return _TURN_S
        if not self._timers:
            raise Deadlock("everybody waits for somebody else")
        left_s = self._timers[0][0] - self._now
        return left_s + _LATE_S if left_s > 0 else _TURN_S

    def _run(self, call: _Call) -> None:
        try:
            call.run()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.call_exception_handler({"message": "a callback failed", "exception": error})

    def _process_events(self, _events: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in the kernel who had to be woken."""


def run_virtually(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end in virtual time. Raises `Deadlock` where it would wait for ever."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main)
