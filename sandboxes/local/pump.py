"""Moving what a program writes from its pipes to whoever listens, at the listener's pace, tool calls too.

Nothing is read before it is asked for: the pipe fills, and the program waits. Past the limit the rest is
spliced to /dev/null, counted and never copied into this process.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from sandboxes.local.tools import ToolLine
from sandboxes.protocol import OutputFrame, ToolCalls
from schemas.events import OutputCount, OutputStream, ToolCall

_READ_BYTES = 64 * 1024
_FLOOD_PIPE_BYTES = 1024 * 1024
_FLOOD_PAUSE_S = 0.002
"""Between two gulps of a flood: bounds what draining costs us, at up to 500 MB a second."""


class OutputBudget:
    """How much output is kept, over all steps of one execution."""

    def __init__(self, output_bytes_max: int, flood_bytes_max: int) -> None:
        self._left = output_bytes_max
        self._flood_bytes_max = flood_bytes_max
        self._written = {"stdout": 0, "stderr": 0}
        self.dropped_bytes = 0

    @property
    def is_spent(self) -> bool:
        """Whether all that comes now is dropped."""
        return self._left == 0

    @property
    def is_flooded(self) -> bool:
        """Whether so much was dropped that the program shall be killed."""
        return self.dropped_bytes > self._flood_bytes_max

    def keep(self, stream: OutputStream, data: bytes) -> bytes:
        """Count `data`; return what of it is kept."""
        self._written[stream] += len(data)
        kept = data[: self._left]
        self._left -= len(kept)
        self.dropped_bytes += len(data) - len(kept)
        return kept

    def drop(self, stream: OutputStream, size: int) -> None:
        """Count what was thrown away unseen."""
        self._written[stream] += size
        self.dropped_bytes += size

    def count(self) -> OutputCount:
        """Return what was written and what was dropped of it."""
        return OutputCount(
            stdout_bytes=self._written["stdout"],
            stderr_bytes=self._written["stderr"],
            dropped_bytes=self.dropped_bytes,
        )


_PASSES_BEFORE_CALLS = 32
"""Over a pipe's worth of output: what was written before a call is told before it, a flood holds up none."""


class Pump:
    """The two output pipes of one command, and its line to tools."""

    def __init__(self, stdout: int, stderr: int, budget: OutputBudget, tools: ToolLine) -> None:
        self._tools = tools
        self._calls: list[ToolCall] = []
        self._open: dict[int, OutputStream] = {stdout: "stdout", stderr: "stderr"}
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self._sink = -1
        for fd in self._open:
            os.set_blocking(fd, False)

    async def frames(self, ended: "asyncio.Future[Any]") -> AsyncGenerator[OutputFrame | ToolCalls, None]:
        """Yield output and calls until the pipes end, or the command has ended and they are empty."""
        passes = 0
        while self._open or self._tools.fd >= 0 or self._calls:
            over = ended.done()
            self._calls += self._tools.hear()
            progress = False
            for fd, stream in list(self._open.items()):
                if frame := self._take(fd, stream):
                    yield frame
                    progress = True
            passes = passes + 1 if self._calls else 0
            if self._calls and (not progress or passes >= _PASSES_BEFORE_CALLS):
                calls, self._calls, passes = self._calls, [], 0
                yield ToolCalls(calls)
            elif not progress:
                if over:
                    return
                await self._wait(ended)
            elif self._budget.is_spent and not over:
                await asyncio.sleep(_FLOOD_PAUSE_S)

    def close(self) -> None:
        """Close the pipes; a program that still writes gets SIGPIPE."""
        for fd in (*self._open, *([self._sink] if self._sink >= 0 else [])):
            os.close(fd)
        self._open.clear()
        self._sink = -1

    def _take(self, fd: int, stream: OutputStream) -> OutputFrame | None:
        """Read once. An empty frame means bytes were dropped; None that nothing is there."""
        try:
            if self._budget.is_spent:
                return self._drop(fd, stream)
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            self._finish(fd)
            return None
        return OutputFrame(stream, self._budget.keep(stream, data))

    def _drop(self, fd: int, stream: OutputStream) -> OutputFrame | None:
        if self._sink < 0:
            self._sink = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            for pipe in self._open:
                with suppress(OSError):
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _FLOOD_PIPE_BYTES)
        size = os.splice(fd, self._sink, _FLOOD_PIPE_BYTES, flags=os.SPLICE_F_NONBLOCK)
        if size == 0:
            self._finish(fd)
            return None
        self._budget.drop(stream, size)
        return OutputFrame(stream, b"")

    def _finish(self, fd: int) -> None:
        del self._open[fd]
        os.close(fd)

    async def _wait(self, ended: "asyncio.Future[Any]") -> None:
        """Wait until a pipe has something or the command has ended."""
        ready: asyncio.Future[None] = self._loop.create_future()

        def wake(*_: object) -> None:
            if not ready.done():
                ready.set_result(None)

        watched = [fd for fd in (*self._open, self._tools.fd) if fd >= 0]
        if not watched:
            return
        for fd in watched:
            self._loop.add_reader(fd, wake)
        ended.add_done_callback(wake)
        try:
            await ready
        finally:
            ended.remove_done_callback(wake)
            for fd in watched:
                self._loop.remove_reader(fd)
