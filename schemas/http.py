"""Requests and answers of Millrace's own HTTP routes (API.md, section 3)."""

from datetime import datetime
from typing import Literal

import msgspec

from schemas.events import Outcome, OutputCount, Stage, StateInfo, Usage
from schemas.files import FileRef
from schemas.ids import ExecutionId, SessionId

ExecutionStatus = Literal["queued", "running", "finished"]


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every refusal: a code for programs, a sentence for people, the field and limit at fault."""

    error: str
    message: str
    field: str | None = None
    limit: int | float | str | list[str] | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a request that was taken and is not waited for."""

    id: ExecutionId
    status: ExecutionStatus
    links: dict[str, str]


class ExecutionView(msgspec.Struct, frozen=True, kw_only=True):
    """One execution as far as it has come; what only `finished` knows is null until then."""

    id: ExecutionId
    status: ExecutionStatus
    language: str
    session_id: SessionId | None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stdout: str = ""
    stderr: str = ""
    outcome: Outcome | None = None
    stage: Stage | None = None
    exit_code: int | None = None
    signal: str | None = None
    message: str | None = None
    usage: Usage | None = None
    output: OutputCount | None = None
    files: list[FileRef] | None = None
    deleted_files: list[str] | None = None
    state: StateInfo | None = None
    attempt: int | None = None
