"""The service's side of tool calls: what a program says it calls, and the answers to it, as lines.

The program has two descriptors for it. Each call is one line of JSON on the one, `key` (its own), `name` and
`input`; each gets exactly one line back on the other, with that `key` and either `result` or `error`. So
whoever only relays can count lines to know whether the program waits. What comes from there is the guest's
word, whatever wrote it.
"""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from schemas.commands import Tool, ToolResult
from schemas.events import ToolCall
from schemas.ids import CallId
from schemas.limits import TOOL_CALLS_MAX, TOOL_RESULT_BYTES_MAX

REFUSALS_MAX = 1000
"""Calls beyond what is allowed get an answer so often; a program that goes on is not heard any more."""
CALL_BYTES_MAX = 1024 * 1024
"""Of one call's line."""
_AROUND_BYTES = 1024
"""What a line has beside the result."""
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Called(msgspec.Struct, frozen=True):
    key: int | str
    name: str
    input: dict[str, Any]


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    key: int | str
    result: Any = None
    error: str | None = None


class ToolDesk:
    """The calls of one execution: numbers them, bounds them, knows which are open."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._names = {tool.name for tool in tools}
        # Of two attempts at one execution, neither shall take a result that was meant for the other.
        self._prefix = f"call_{secrets.token_hex(3)}"
        self._open: dict[CallId, int | str] = {}
        self._made = 0
        self._received = b""
        self._refused: list[bytes] = []
        self._refusals = 0
        self.is_broken = False
        """What comes is no line of calls; nothing more is heard."""

    @property
    def waits(self) -> bool:
        """Whether the program has a call that is not answered."""
        return bool(self._open)

    def hear(self, data: bytes) -> list[ToolCall]:
        """Take in what the program wrote; return the calls it makes by that."""
        if self.is_broken:
            return []
        *lines, self._received = (self._received + data).split(b"\n")
        calls = list(self._calls(lines))
        if len(self._received) > CALL_BYTES_MAX or self._refusals > REFUSALS_MAX:
            self.is_broken, self._received = True, b""
        return calls

    def refusals(self) -> bytes:
        """Return the answers to calls that go no further, each once."""
        refused, self._refused = self._refused, []
        return b"".join(refused)

    def answer(self, results: Sequence[ToolResult]) -> bytes:
        """Return the lines that answer open calls with `results`; what is not open is left out."""
        return b"".join(
            _line(_answer(key, result))
            for result in results
            if (key := self._open.pop(result.call_id, None)) is not None
        )

    def _calls(self, lines: Sequence[bytes]) -> Iterator[ToolCall]:
        for line in lines:
            try:
                called = msgspec.json.decode(line, type=_Called)
            except _UNREADABLE:
                self._refuse("", "This is no tool call.")
                continue
            if fault := self._fault(called, len(line)):
                self._refuse(called.key, fault)
                continue
            self._made += 1
            call_id = CallId(f"{self._prefix}_{self._made:03d}")
            self._open[call_id] = called.key
            yield ToolCall(id=call_id, name=called.name, input=called.input)

    def _fault(self, called: _Called, size: int) -> str | None:
        if called.name not in self._names:
            return f"Sandbox requested an unregistered tool: {called.name[:80]}"
        if size > CALL_BYTES_MAX:
            return f"The input of a tool call may be {CALL_BYTES_MAX} bytes at most."
        if self._made >= TOOL_CALLS_MAX:
            return f"A program may call tools {TOOL_CALLS_MAX} times at most."
        return None

    def _refuse(self, key: int | str, error: str) -> None:
        self._refusals += 1
        self._refused.append(_line(_Answer(key, error=error)))


def _answer(key: int | str, result: ToolResult) -> _Answer:
    if result.is_error:
        return _Answer(key, error=result.error_message or "The tool failed.")
    return _Answer(key, result.result)


def _line(answer: _Answer) -> bytes:
    line = msgspec.json.encode(answer)
    if len(line) > TOOL_RESULT_BYTES_MAX + _AROUND_BYTES:
        error = f"The result is larger than {TOOL_RESULT_BYTES_MAX} bytes."
        line = msgspec.json.encode(_Answer(answer.key, error=error))
    return line + b"\n"
