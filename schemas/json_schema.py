"""JSON Schema of every message, for publishers in any language. `docs/schemas/` holds what this makes."""

from typing import Any

import msgspec

from schemas.commands import CancelExecution, EndSession, ResolveToolCalls, RunCode, SendInput
from schemas.events import FileProduced, Finished, Output, Queued, Started, ToolCallsRequested
from schemas.http import ErrorBody, ExecutionView
from schemas.results import Result

MESSAGES: dict[str, type[msgspec.Struct]] = {
    "run_code": RunCode,
    "cancel_execution": CancelExecution,
    "send_input": SendInput,
    "resolve_tool_calls": ResolveToolCalls,
    "end_session": EndSession,
    "queued": Queued,
    "started": Started,
    "output": Output,
    "tool_calls_requested": ToolCallsRequested,
    "file_produced": FileProduced,
    "finished": Finished,
    "result": Result,
    "execution": ExecutionView,
    "error": ErrorBody,
}
"""Every message that leaves or enters Millrace, by the name of its schema file."""


def schema_of(message: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one message, nested types in `$defs`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(message)}
