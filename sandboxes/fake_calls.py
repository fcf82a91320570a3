"""Tool calls of a pretended program: the lines a real one would write, over the same desk."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from sandboxes.fake_script import Sleep
from sandboxes.protocol import ToolCalls
from sandboxes.tool_calls import ToolDesk
from schemas.commands import Tool, ToolResult
from schemas.ids import CallId

Say = Callable[[ToolCalls], Awaitable[None]]


class FakeCalls:
    """The desk of one run, and what waits at it."""

    def __init__(self) -> None:
        self._desk = ToolDesk(())
        self._say: Say | None = None
        self._answers: dict[int, asyncio.Future[ToolResult]] = {}
        self._made = 0
        self._none_is_open = asyncio.Event()
        self._some_are_open = asyncio.Event()
        self._none_is_open.set()

    def open(self, tools: Sequence[Tool], say: Say) -> None:
        """Begin: `say` gets the calls."""
        self._desk, self._say = ToolDesk(tools), say

    async def ask(self, name: str, arguments: dict[str, Any], times: int) -> list[ToolResult]:
        """Call a tool so many times at once; return all results."""
        assert self._say is not None, "only a program that runs calls tools"
        keys = range(self._made, self._made + times)
        self._made += times
        waiting: list[asyncio.Future[ToolResult]] = [asyncio.get_running_loop().create_future() for _ in keys]
        self._answers.update(zip(keys, waiting, strict=True))
        lines = [msgspec.json.encode({"key": key, "name": name, "input": arguments}) for key in keys]
        calls = self._desk.hear(b"".join(line + b"\n" for line in lines))
        self._hand_in(self._desk.refusals())
        if calls:
            self._look()
            await self._say(ToolCalls(calls))
        return await asyncio.gather(*waiting)

    def resolve(self, results: Sequence[ToolResult]) -> None:
        """Answer calls."""
        self._hand_in(self._desk.answer(results))
        self._look()

    async def run_out(self, sleep: Sleep, seconds: float) -> None:
        """Return once the program has run for so long without waiting for a tool."""
        while True:
            await self._none_is_open.wait()
            clock = asyncio.ensure_future(sleep(seconds))
            held = asyncio.ensure_future(self._some_are_open.wait())
            try:
                await asyncio.wait((clock, held), return_when=asyncio.FIRST_COMPLETED)
                if clock.done():
                    return
            finally:
                clock.cancel()
                held.cancel()

    def _hand_in(self, lines: bytes) -> None:
        for line in lines.splitlines():
            answer = msgspec.json.decode(line)
            error = answer.get("error")
            result = ToolResult(
                call_id=CallId(""),
                result=answer.get("result"),
                is_error=error is not None,
                error_message=error,
            )
            self._answers.pop(answer["key"]).set_result(result)

    def _look(self) -> None:
        waits = self._desk.waits
        (self._none_is_open.clear if waits else self._none_is_open.set)()
        (self._some_are_open.set if waits else self._some_are_open.clear)()
