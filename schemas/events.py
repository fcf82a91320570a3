"""Events: what happened to an execution, in order, ending with exactly one `Finished`."""

import base64
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from schemas.files import FileNotKept, FileRef
from schemas.ids import CallId, ExecutionId, SessionId

OutputStream = Literal["stdout", "stderr"]
Stage = Literal["build", "run"]
Outcome = Literal[
    "exited",
    "timed_out",
    "out_of_memory",
    "killed",
    "cancelled",
    "rejected",
    "expired",
    "lost",
]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an execution used; CPU and memory are of its whole group of processes."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes_peak: int = 0
    queued_s: float = 0.0


class OutputCount(msgspec.Struct, frozen=True, kw_only=True):
    """How much the program wrote; `dropped_bytes` came after the limit and were not kept."""

    stdout_bytes: int = 0
    stderr_bytes: int = 0
    dropped_bytes: int = 0


class StateInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the session's variables were saved after the run."""

    saved: bool = False
    size_bytes: int = 0
    error: str | None = None


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a tool that the code waits for."""

    id: CallId
    name: str
    input: dict[str, Any]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What all events share. `seq` counts from 1 without gaps within one execution."""

    execution_id: ExecutionId
    seq: int
    time: datetime


class Queued(Event, frozen=True, kw_only=True, tag="queued"):
    """The request was accepted and waits for a handler.

    `position` is its place in the lane of its tenant and priority at that moment, from 1. It is absent where
    it is not known: for what was published straight onto the stream, on NATS, and on a Redis cluster, where
    lanes are kept on another server than the record, and asking there would cost every request a hop.
    """

    position: int | UnsetType = UNSET


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """A sandbox was taken and the code is about to run in it."""

    attempt: int
    sandbox: str
    language: str


class Output(Event, frozen=True, kw_only=True, tag="output"):
    """Bytes the program wrote: UTF-8 text, or base64 where they are none.

    A character is never split between two events of one stream.
    """

    stream: OutputStream
    data: str
    encoding: Literal["base64"] | UnsetType = UNSET

    def raw(self) -> bytes:
        """Return the bytes exactly as the program wrote them."""
        return self.data.encode() if self.encoding is UNSET else base64.b64decode(self.data)


class ToolCallsRequested(Event, frozen=True, kw_only=True, tag="tool_calls_requested"):
    """The code called tools and waits for their results."""

    calls: list[ToolCall]


class FileProduced(Event, frozen=True, kw_only=True, tag="file_produced"):
    """A file the code made or changed was stored."""

    file: FileRef


class Finished(Event, frozen=True, kw_only=True, tag="finished"):
    """The one outcome. Code that crashes is a good answer (`exited`), not a server error."""

    outcome: Outcome
    stage: Stage = "run"
    exit_code: int | None = None
    signal: str | None = None
    message: str = ""
    usage: Usage = Usage()
    output: OutputCount = OutputCount()
    files: list[FileRef] = []
    deleted_files: list[str] = []
    files_not_kept: list[FileNotKept] = []
    session_id: SessionId | None = None
    state: StateInfo = StateInfo()
    attempt: int = 0
    """The attempt that ended so; 0 if none ever started."""


AnyEvent = Queued | Started | Output | ToolCallsRequested | FileProduced | Finished
