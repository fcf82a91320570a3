"""How long a program may wait for its tools: whoever should answer may be gone for good."""

import asyncio
from collections.abc import Callable, Sequence

from schemas.commands import ToolResult
from schemas.events import ToolCall
from schemas.ids import CallId


class ToolWait:
    """Calls `give_up` once calls were open for `idle_s` without a new call or a result."""

    def __init__(self, idle_s: float, give_up: Callable[[str], None]) -> None:
        self._idle_s = idle_s
        self._give_up = give_up
        self._open: set[CallId] = set()
        self._timer: asyncio.TimerHandle | None = None

    def asked(self, calls: Sequence[ToolCall]) -> None:
        """The program made calls."""
        self._open.update(call.id for call in calls)
        self._count_anew()

    def answered(self, results: Sequence[ToolResult]) -> None:
        """Somebody sent results; those of calls that are not open change nothing."""
        known = self._open.intersection(result.call_id for result in results)
        if known:
            self._open -= known
            self._count_anew()

    def over(self) -> None:
        """The program has ended."""
        self._open.clear()
        self._count_anew()

    def _count_anew(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if self._open:
            self._timer = asyncio.get_running_loop().call_later(self._idle_s, self._expire)

    def _expire(self) -> None:
        self._give_up(f"No result of a tool call came for {self._idle_s:g} seconds.")
