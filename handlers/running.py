"""The executions this process holds right now, and what others want of them while they run.

All of them hear through one reader, so none may keep it waiting: whatever a sandbox takes its time for is
done aside, and input that a program does not read waits here, up to a bound.
"""

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import structlog

from handlers.tool_wait import ToolWait
from sandboxes.protocol import Program, Sandbox
from schemas.commands import CancelExecution, EndSession, ResolveToolCalls, SendInput, ToolResult
from schemas.ids import ExecutionId
from streams.protocol import Control

log = structlog.get_logger(__name__)

SEEN_MAX = 10_000
"""How many control commands are remembered, to know repeats by; a repeat comes soon or never."""
HEARD_MAX = 1000
"""How many are kept for an execution that is being begun."""
KNOWN_MAX = 10_000
"""Of how many executions it is remembered that somebody wanted something of them, or that they were here."""
INPUT_BYTES_MAX = 16 * 1024 * 1024
"""How much input is kept for a sandbox that is not there yet, or whose program does not read."""
TOOL_IDLE_S = 600.0


class Running:
    """One execution in this process. Control commands may come before its sandbox does."""

    def __init__(self, execution_id: ExecutionId, attempt: int = 0, tool_idle_s: float = TOOL_IDLE_S) -> None:
        self.execution_id = execution_id
        self.tool_wait = ToolWait(tool_idle_s, self._cancel_aside)
        self.cancelled = asyncio.Event()
        self.reason = ""
        self.interrupted = False
        """Our own shutdown ended it, not somebody's wish."""
        self.attempt = attempt
        """The newest attempt whose `started` may be in the log; 0: no code ever ran."""
        self._sandbox: Sandbox | None = None
        self._early: list[tuple[bytes, bool]] = []
        """Kept for good: another sandbox may have to take the place of the first."""
        self._inputs: deque[tuple[bytes, bool]] = deque()
        self._input_bytes = 0
        self._feeding = False
        self._aside: set[asyncio.Task[None]] = set()
        self._seen: dict[str, None] = {}

    async def apply(self, control: Control) -> None:
        """Carry out a control command once, however often it arrives."""
        if control.entry in self._seen:
            return
        self._seen[control.entry] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        match control.command:
            case CancelExecution(reason=reason):
                self._cancel_aside(reason or "The execution was cancelled.")
            case SendInput() as sent:
                self._input(sent)
            case ResolveToolCalls(results=results):
                self._resolve(results)
            case EndSession():
                pass

    async def cancel(self, reason: str) -> None:
        """End it, whether it waits for a sandbox or runs in one."""
        if self._mark_cancelled(reason) and self._sandbox is not None:
            await self._sandbox.cancel()

    async def interrupt(self, reason: str) -> None:
        """End it because this process must go."""
        if not self.cancelled.is_set():
            self.interrupted = True
            await self.cancel(reason)

    def enter(self, sandbox: Sandbox, program: Program) -> Program:
        """Bind to `sandbox`; returns `program` with the input that came early put before the rest."""
        self._sandbox = sandbox
        if not self._early:
            return program
        early = b"".join(data for data, _ in self._early)
        ended = any(eof for _, eof in self._early)
        return replace(
            program, stdin=program.stdin + early, keep_stdin_open=program.keep_stdin_open and not ended
        )

    def over(self) -> None:
        """Let go of everything that is still done for it."""
        self.tool_wait.over()
        for task in list(self._aside):
            task.cancel()

    def _mark_cancelled(self, reason: str) -> bool:
        """Return whether it was not cancelled before."""
        if self.cancelled.is_set():
            return False
        self.reason = reason
        self.cancelled.set()
        return True

    def _cancel_aside(self, reason: str) -> None:
        if self._mark_cancelled(reason) and self._sandbox is not None:
            self._begin(self._sandbox.cancel())

    def _resolve(self, results: Sequence[ToolResult]) -> None:
        """Answer calls; the sandbox knows which are its own and open."""
        self.tool_wait.answered(results)
        if self._sandbox is not None:
            self._begin(self._sandbox.resolve(results))

    def _input(self, sent: SendInput) -> None:
        data = _input_bytes(sent)
        if self._input_bytes + len(data) > INPUT_BYTES_MAX:
            log.warning("input_dropped", execution_id=self.execution_id, input_bytes=len(data))
            return
        self._input_bytes += len(data)
        if self._sandbox is None:
            self._early.append((data, sent.eof))
            return
        self._inputs.append((data, sent.eof))
        if not self._feeding:
            self._feeding = True
            self._begin(self._feed())

    async def _feed(self) -> None:
        """Pass input on in order, as fast as the program takes it."""
        try:
            while self._inputs and self._sandbox is not None:
                data, eof = self._inputs.popleft()
                await self._sandbox.send_input(data, eof=eof)
                self._input_bytes -= len(data)
        finally:
            self._feeding = False

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._note_failure(work))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _note_failure(self, work: Coroutine[None, None, None]) -> None:
        """Say what failed; its execution goes on, and tells how it ends."""
        try:
            await work
        except Exception:
            log.exception("control_command_failed", execution_id=self.execution_id)


def _ignore(_command: EndSession) -> None:
    """End no session: nobody keeps any."""


class Registry:
    """All running executions of this process by id. Their tools may be idle for `tool_idle_s`."""

    def __init__(
        self, end_session: Callable[[EndSession], None] = _ignore, tool_idle_s: float = TOOL_IDLE_S
    ) -> None:
        self._tool_idle_s = tool_idle_s
        self._running: dict[ExecutionId, Running] = {}
        self._expected: dict[ExecutionId, list[list[Control]]] = {}
        self._known: dict[ExecutionId, None] = {}
        self._end_session = end_session

    def __len__(self) -> int:
        return len(self._running)

    @contextmanager
    def expecting(self, execution_id: ExecutionId) -> Iterator[Sequence[Control]]:
        """Keep what is heard for an execution that is being begun, until the block holds or leaves it."""
        heard: list[Control] = []
        expected = self._expected.setdefault(execution_id, [])
        expected.append(heard)
        try:
            yield heard
        finally:
            expected[:] = [other for other in expected if other is not heard]
            if not expected:
                self._expected.pop(execution_id, None)

    @contextmanager
    def holding(self, execution_id: ExecutionId, attempt: int) -> Iterator[Running]:
        """Make an execution, last started as `attempt`, reachable for control commands in the block."""
        running = Running(execution_id, attempt, self._tool_idle_s)
        self._running[execution_id] = running
        try:
            yield running
        finally:
            self._running.pop(execution_id, None)
            self._note(execution_id)
            running.over()

    def concerns(self, execution_id: ExecutionId) -> bool:
        """Whether an execution runs here, or is being begun. That it was spoken of is remembered."""
        self._note(execution_id)
        return execution_id in self._running or execution_id in self._expected

    def is_news(self, execution_id: ExecutionId) -> bool:
        """Whether nothing was lately heard here of an execution that is being begun, nor did it run here."""
        is_begun_once = len(self._expected.get(execution_id, ())) <= 1
        return is_begun_once and execution_id not in self._running and execution_id not in self._known

    def _note(self, execution_id: ExecutionId) -> None:
        self._known[execution_id] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    async def on_control(self, control: Control) -> None:
        """Pass a control command to the execution it is for, if it runs here, or to the end of sessions."""
        if isinstance(control.command, EndSession):
            self._end_session(control.command)
            return
        self._note(control.command.execution_id)
        if running := self._running.get(control.command.execution_id):
            await running.apply(control)
        elif not isinstance(control.command, ResolveToolCalls):  # nothing was asked before it runs
            for heard in self._expected.get(control.command.execution_id, ()):
                if len(heard) < HEARD_MAX:
                    heard.append(control)

    async def interrupt_all(self, reason: str) -> None:
        """End everything that runs here because this process must go."""
        for running in list(self._running.values()):
            await running.interrupt(reason)


def _input_bytes(sent: SendInput) -> bytes:
    if sent.encoding is None:
        return sent.data.encode()
    try:
        return base64.b64decode(sent.data, validate=True)
    except binascii.Error:
        # HTTP refuses this with a 422; a stream publisher's broken input is as good as none.
        return b""
