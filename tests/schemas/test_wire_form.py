"""The wire form is a promise: golden files hold it to the letter, and JSON Schemas describe it.

After a change that is meant, run with UPDATE_GOLDEN=1 and read the difference.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import msgspec
import pytest

from schemas.commands import (
    CancelExecution,
    EndSession,
    ResolveToolCalls,
    RunCode,
    SendInput,
    Tool,
    ToolResult,
)
from schemas.events import (
    FileProduced,
    Finished,
    Output,
    OutputCount,
    Queued,
    Started,
    StateInfo,
    ToolCall,
    ToolCallsRequested,
    Usage,
)
from schemas.files import FileNotKept, FileOrigin, FileRef, InputFile
from schemas.json_schema import MESSAGES, schema_of
from schemas.limits import Limits
from schemas.results import Result
from schemas.wire import decode_control, decode_event, decode_result, decode_run_code, encode

GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"

AT = datetime(2026, 11, 23, 10, 0, 0, 250_000, tzinfo=UTC)
FILE = FileRef(
    id="f" * 21,
    session_id="s" * 21,
    name="out/plot.png",
    size_bytes=12,
    content_type="image/png",
    modified_from=FileOrigin(id="e" * 21, session_id="r" * 21),
)
EVENT = {"execution_id": "job-1", "seq": 3, "time": AT}
FINISHED = {
    **EVENT,
    "outcome": "exited",
    "exit_code": 0,
    "message": "The program exited with code 0.",
    "usage": Usage(wall_s=0.25, cpu_s=0.125, memory_bytes_peak=1048576, queued_s=0.5),
    "output": OutputCount(stdout_bytes=3, stderr_bytes=0, dropped_bytes=0),
    "files": [FILE],
    "deleted_files": ["in/data.csv"],
    "files_not_kept": [FileNotKept(name="huge.bin", reason="20 bytes, a file may have 10")],
    "session_id": "s" * 21,
    "state": StateInfo(saved=True, size_bytes=42),
    "attempt": 1,
}

EXAMPLES = {
    "run_code": RunCode(
        id="job-1",
        language="py",
        code="print(1)",
        args=["a"],
        stdin="",
        env={"A": "b"},
        files=[
            InputFile(name="in/data.csv", content="text"),
            InputFile(name="x.bin", content="AAE=", encoding="base64"),
            InputFile(name="y.csv", session_id="s" * 21, file_id="f" * 21),
        ],
        session_id="s" * 21,
        tenant="acme",
        tools=[Tool(name="weather", description="d", parameters={"type": "object"})],
        limits=Limits(timeout_s=30.0, memory_bytes_max=536870912, cpus=0.5, pids_max=512, output_bytes_max=9),
        deadline=AT,
        retry="always",
        reply_to="backend:done",
        keep_files=False,
        check_types=True,
        webhook="https://example.org/hook",
        trace={"traceparent": "00-1-2-01"},
    ),
    "run_code_smallest": RunCode(language="py", code="print(1)"),
    "cancel_execution": CancelExecution(execution_id="job-1", reason="no longer needed"),
    "send_input": SendInput(execution_id="job-1", data="AAE=", encoding="base64", eof=True),
    "resolve_tool_calls": ResolveToolCalls(
        execution_id="job-1", results=[ToolResult(call_id="call_001", result={"t": 1})]
    ),
    "end_session": EndSession(session_id="s" * 21),
    "queued": Queued(**EVENT, position=4),
    "queued_unknown": Queued(**EVENT),
    "started": Started(**EVENT, attempt=1, sandbox="local", language="py"),
    "output_text": Output(**EVENT, stream="stdout", data="grüß\n"),
    "output_bytes": Output(**EVENT, stream="stderr", data="/w==", encoding="base64"),
    "tool_calls_requested": ToolCallsRequested(
        **EVENT, calls=[ToolCall(id="call_001", name="weather", input={"city": "Ulm"})]
    ),
    "file_produced": FileProduced(**EVENT, file=FILE),
    "finished": Finished(**FINISHED),
    "finished_smallest": Finished(**EVENT, outcome="lost"),
    "result": Result(**FINISHED, tenant="acme"),
}
DECODERS = {RunCode: decode_run_code, Result: decode_result}
COMMANDS = (CancelExecution, SendInput, ResolveToolCalls, EndSession)


def decoder_of(example: msgspec.Struct):
    if isinstance(example, COMMANDS):
        return decode_control
    return DECODERS.get(type(example), decode_event)


def compare(path: Path, text: str) -> None:
    if UPDATE:
        path.write_text(text)
    assert path.read_text() == text, f"{path.name} differs; UPDATE_GOLDEN=1 rewrites it if that is meant"


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_is_written_to_the_wire_as_the_golden_file_says(name):
    """Every field, its name, order and form are what was promised."""
    compare(GOLDEN / f"{name}.json", encode(EXAMPLES[name]).decode() + "\n")


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_comes_back_from_the_wire_as_it_was(name):
    """Reading what was written gives an equal message."""
    example = EXAMPLES[name]
    assert decoder_of(example)(encode(example)) == example


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_on_the_wire_satisfies_its_json_schema(name):
    """The published schemas are true of what we publish."""
    example = EXAMPLES[name]
    message = next(key for key, kind in MESSAGES.items() if kind is type(example))
    jsonschema.validate(json.loads(encode(example)), schema_of(MESSAGES[message]))


@pytest.mark.parametrize("message", MESSAGES)
def test_the_json_schema_in_the_documentation_is_the_one_of_the_code(message):
    """docs/schemas is generated, never edited."""
    text = json.dumps(schema_of(MESSAGES[message]), indent=2, ensure_ascii=False) + "\n"
    compare(SCHEMAS / f"{message}.json", text)


def test_no_golden_file_is_left_over_from_a_message_that_is_gone():
    """Each file belongs to an example."""
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(EXAMPLES)
    assert {path.stem for path in SCHEMAS.glob("*.json")} == set(MESSAGES)


def test_unknown_fields_are_ignored():
    """A newer publisher may say more than we understand."""
    assert decode_run_code(b'{"language":"py","code":"1","colour":"red"}').code == "1"


def test_a_run_code_needs_no_type_on_the_requests_stream():
    """One bare XADD of language and code is a request."""
    command = decode_run_code(b'{"language":"py","code":"print(6*7)","id":"job-1"}')
    assert (command.id, command.code) == ("job-1", "print(6*7)")
