"""Commands: what somebody asks for. Published over HTTP or straight onto a stream, word for word the same."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from schemas.files import InputFile
from schemas.ids import CallId, ExecutionId, SessionId, TenantId
from schemas.limits import Limits

Retry = Literal["never", "if_not_started", "always"]

Priority = Literal["interactive", "batch"]

Deadline = Annotated[datetime, msgspec.Meta(tz=True)]


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function the code may call and the publisher will answer."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one call of a tool."""

    call_id: CallId
    result: Any = None
    is_error: bool = False
    error_message: str | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What all commands share: the tag `type` on the wire."""


class RunCode(Command, frozen=True, kw_only=True, tag="run_code", omit_defaults=True):
    """Run `code` once. `id` is the idempotency key: the same id and body is the same execution."""

    language: str
    code: str
    id: ExecutionId | None = None
    args: list[str] = []
    stdin: str | None = None
    """Given (also empty): written, then closed. Left out: stdin stays open for `send_input`."""
    env: dict[str, str] = {}
    files: list[InputFile] = []
    session_id: SessionId | None = None
    session_unlisted: bool = False
    """Run in the session without opening it: it is in no list and counts for no limit, as in `/exec`."""
    tenant: TenantId = TenantId("default")
    tools: list[Tool] = []
    limits: Limits = Limits()
    deadline: Deadline | None = None
    """Not started by then, it ends `expired` and costs no sandbox."""
    retry: Retry = "if_not_started"
    """What may happen after the handler or sandbox was lost."""
    priority: Priority = "interactive"
    """Where something waits, `interactive` goes first; `batch` gets at least every eighth place."""
    reply_to: str | None = None
    """One more stream that gets the `finished`."""
    keep_files: bool = True
    check_types: bool = False
    """TypeScript: report type errors and run nothing if there are any, instead of running all the same."""
    webhook: str | None = None
    """Not served yet: a request that names one is refused."""
    trace: dict[str, str] = {}


class CancelExecution(Command, frozen=True, kw_only=True, tag="cancel_execution", omit_defaults=True):
    """End an execution, whether it waits or runs."""

    execution_id: ExecutionId
    reason: str | None = None


class SendInput(Command, frozen=True, kw_only=True, tag="send_input", omit_defaults=True):
    """Write to the program's standard input; `eof` closes it afterwards."""

    execution_id: ExecutionId
    data: str = ""
    encoding: Literal["base64"] | None = None
    eof: bool = False


class ResolveToolCalls(Command, frozen=True, kw_only=True, tag="resolve_tool_calls"):
    """Answer tool calls the code waits for."""

    execution_id: ExecutionId
    results: list[ToolResult]


class EndSession(Command, frozen=True, kw_only=True, tag="end_session", omit_defaults=True):
    """Forget a session, its files and its state. What runs in it ends as it is."""

    session_id: SessionId
    tenant: TenantId | None = None
    """Left out: whoever owns it."""


ControlCommand = CancelExecution | SendInput | ResolveToolCalls | EndSession
"""Commands that travel on the control stream."""

AnyCommand = RunCode | ControlCommand
