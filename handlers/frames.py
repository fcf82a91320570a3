"""A running program, frame by frame: what it says and what it calls goes to the log, until it ends."""

from collections.abc import Callable
from datetime import datetime

from handlers.execution import Execution
from sandboxes.missing_module import advised
from sandboxes.protocol import Exit, OutputFrame, Program, Sandbox, SandboxFailed, ToolCalls
from schemas.events import ToolCallsRequested


async def run_program(
    execution: Execution, sandbox: Sandbox, program: Program, now: Callable[[], datetime]
) -> Exit:
    """Run it and return how it ended. Raises `SandboxFailed` or `LeaseLost`."""
    async for frame in advised(sandbox.run(program), sandbox.kind):
        match frame:
            case OutputFrame():
                await execution.journal.output(frame)
            case ToolCalls(calls):
                execution.running.tool_wait.asked(calls)
                asked = ToolCallsRequested(execution_id=execution.id, seq=0, time=now(), calls=list(calls))
                await execution.journal.write(asked)
            case Exit():
                execution.running.tool_wait.over()
                return frame
    raise SandboxFailed("its run ended without an exit")
