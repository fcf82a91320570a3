"""JSON Schema of every message, for publishers in any language. `docs/schemas/` holds what this makes."""

from collections.abc import Iterable
from inspect import cleandoc
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
    schema = _tidy(msgspec.json.schema(message))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schemas_for_components(types: Iterable[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a schema of each, and what they refer to, for `#/components/schemas/` of a document."""
    found, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return _tidy(list(found)), _tidy(components)


def _tidy(part: Any) -> Any:
    """Take the indentation out of docstrings: Python keeps it up to 3.12, and Markdown takes it for code."""
    match part:
        case dict():
            return {
                key: cleandoc(value) if key == "description" and isinstance(value, str) else _tidy(value)
                for key, value in part.items()
            }
        case list():
            return [_tidy(value) for value in part]
    return part
