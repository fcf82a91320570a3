"""A program's way to its tools on this machine: two pipes, and a clock that stops while it waits.

Nothing the program writes there is taken for output, and what it does not read of its answers waits here.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from sandboxes.languages import Steps
from sandboxes.local.bubblewrap import PROGRAM_FOLDER
from sandboxes.local.files import put_bytes
from sandboxes.local.plan import CHANNEL
from sandboxes.tool_calls import ToolDesk
from sandboxes.tool_kit import tool_kit
from schemas.commands import Tool, ToolResult
from schemas.events import ToolCall

_READ_BYTES = 64 * 1024
_READS_AT_ONCE = 32
_UNREAD_BYTES_MAX = 32 * 1024 * 1024
_UNREAD = "The results of earlier calls were not read."


class Clock:
    """Calls `ring` once something has run for `seconds` without a pause."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = 0.0

    def start(self, seconds: float, began: float) -> None:
        """Count from the loop's time `began`."""
        self._seconds = seconds
        self._timer = self._loop.call_at(began + seconds, self._ring)

    def hold(self, on_hold: bool) -> None:
        """Pause, or count from the beginning again, if it is neither already. A stopped clock stays so."""
        if self._timer is None:
            return
        if on_hold:
            self._timer.cancel()
        elif self._timer.cancelled():
            self._timer = self._loop.call_later(self._seconds, self._ring)

    def stop(self) -> None:
        """Count no more."""
        if self._timer:
            self._timer.cancel()
        self._timer = None


class ToolLine:
    """The line to one program, if it has tools; else nothing ever happens on it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._desk = ToolDesk(())
        self._unsent = bytearray()
        self._answers = self._calls = -1

    def equip(self, place: tuple[int, int], language: str, steps: Steps, tools: Sequence[Tool]) -> Steps:
        """Put what a program needs to call tools into `place`, the program folder and the user who owns it.

        Returns how it is run then. Raises OSError.
        """
        self._desk = ToolDesk(tools)
        kit = tool_kit(language, steps, PROGRAM_FOLDER, tools, CHANNEL)
        for name, content in kit.files.items():
            put_bytes(place[0], name, content, place[1])
        return kit.steps

    def open(self, answers: int, calls: int) -> None:
        """Take over our ends of the two pipes; -1 for none."""
        self._answers, self._calls = answers, calls
        if calls >= 0:
            os.set_blocking(answers, False)
            os.set_blocking(calls, False)

    @property
    def fd(self) -> int:
        """Readable when there are calls to hear; -1 once there will be none any more."""
        return self._calls

    def hear(self) -> list[ToolCall]:
        """Return the calls that were made since, whole ones; stops the clock if there are any."""
        calls: list[ToolCall] = []
        for _ in range(_READS_AT_ONCE):
            if self._calls < 0:
                break
            try:
                data = os.read(self._calls, _READ_BYTES)
            except BlockingIOError:
                break
            calls += self._desk.hear(data)
            if not data or self._desk.is_broken:
                self._close_calls()
        self._send(self._desk.refusals())
        if calls:
            self._clock.hold(True)
        return calls

    def resolve(self, results: Sequence[ToolResult]) -> None:
        """Answer calls. Who does not read what was answered before is told of failures only."""
        for result in results:
            if len(self._unsent) > _UNREAD_BYTES_MAX:
                result = ToolResult(call_id=result.call_id, is_error=True, error_message=_UNREAD)  # noqa: PLW2901
            self._send(self._desk.answer([result]))
        if not self._desk.waits:
            self._clock.hold(False)

    def close(self) -> None:
        """The program is over."""
        self._close_calls()
        if self._answers >= 0:
            self._loop.remove_writer(self._answers)
            os.close(self._answers)
        self._answers = -1
        self._unsent.clear()

    def _close_calls(self) -> None:
        if self._calls >= 0:
            os.close(self._calls)
        self._calls = -1

    def _send(self, lines: bytes) -> None:
        if lines and self._answers >= 0:
            self._unsent += lines
            self._push()

    def _push(self) -> None:
        with suppress(BrokenPipeError):
            try:
                while self._unsent:
                    del self._unsent[: os.write(self._answers, self._unsent)]
            except BlockingIOError:
                self._loop.add_writer(self._answers, self._push)
                return
        self._unsent.clear()
        self._loop.remove_writer(self._answers)
