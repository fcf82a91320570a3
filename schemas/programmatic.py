"""The words of `POST /exec/programmatic`: code that calls tools of whoever asks, in several requests."""

from typing import Any, Literal

import msgspec

from schemas.commands import ToolResult
from schemas.compatible import ArtifactDelivery, CompatibleFile, CompatibleFileRef
from schemas.events import ToolCall
from schemas.ids import CallId

_REQUIRED = "tool_call_required"


class ProgrammaticTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as its registry describes it; more fields than these are ignored."""

    name: str
    description: str | None = None
    parameters: Any = None
    """A JSON schema, if it is an object."""


class ProgrammaticResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool answered. `result` is null on error."""

    call_id: CallId
    result: Any = None
    is_error: bool | None = None
    error_message: str | None = None

    def native(self) -> ToolResult:
        """Return it in our words."""
        return ToolResult(
            call_id=self.call_id,
            result=self.result,
            is_error=bool(self.is_error),
            error_message=self.error_message,
        )


class ProgrammaticRun(msgspec.Struct, frozen=True, kw_only=True):
    """The body: `code` begins a run, `continuation_token` with `tool_results` goes on with one.

    `timeout` is in milliseconds, of one stretch of running code; waiting for tools does not count.
    """

    code: str | None = None
    tools: list[ProgrammaticTool] | None = None
    lang: str | None = None
    language: str | None = None
    files: list[CompatibleFile] | None = None
    session_id: str | None = None
    timeout: float | None = None
    continuation_token: str | None = None
    tool_results: list[ProgrammaticResult] | None = None


class ToolCallRequired(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="tool_call_required"
):
    """The program waits for tools; the token goes on with it."""

    continuation_token: str
    session_id: str
    tool_calls: list[ToolCall]
    partial_stdout: str
    partial_stderr: str


class ProgrammaticCompleted(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="completed"):
    """The program came to its own end, also with a traceback in stderr."""

    session_id: str
    stdout: str
    stderr: str
    files: list[CompatibleFileRef]
    deleted_files: list[str] | msgspec.UnsetType = msgspec.UNSET
    artifact_delivery: ArtifactDelivery | msgspec.UnsetType = msgspec.UNSET


class ProgrammaticError(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="error"):
    """The program was ended. `error` is one of the sentences that clients know."""

    error: str
    stdout: str
    stderr: str
    session_id: str


class CancelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /exec/programmatic/cancel`: the id that a request had in its header."""

    request_id: str


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """Its answer: what the request waits for, or will when it comes, is ended."""

    status: Literal["cancelled"] = "cancelled"
    request_id: str


ProgrammaticAnswer = ToolCallRequired | ProgrammaticCompleted | ProgrammaticError
