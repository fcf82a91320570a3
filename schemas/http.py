"""Requests and answers of Millrace's own HTTP routes (API.md, section 3)."""

from datetime import datetime
from typing import Literal

import msgspec

from schemas.commands import ToolResult
from schemas.events import Outcome, OutputCount, Stage, StateInfo, Usage
from schemas.files import FileNotKept, FileRef
from schemas.ids import ExecutionId, SessionId
from schemas.presence import HandlerPresence, PoolPresence

ExecutionStatus = Literal["queued", "running", "finished"]


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every refusal: a code for programs, a sentence for people, the field and limit at fault."""

    error: str
    message: str
    field: str | None = None
    limit: int | float | str | list[str] | None = None
    retry_after_seconds: int | None = None
    """The same number as the header `Retry-After`, for clients that read bodies only."""
    outcome: Outcome | None = None
    """How an execution ended that can no longer be changed."""


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
    files_not_kept: list[FileNotKept] | None = None
    state: StateInfo | None = None
    attempt: int | None = None


class InputBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /executions/{id}/input`."""

    data: str = ""
    encoding: Literal["base64"] | None = None
    eof: bool = False


class ToolResultsBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `POST /executions/{id}/tool-results`."""

    results: list[ToolResult]


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """One session; it ends at `expires_at` unless it is used before."""

    id: SessionId
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class StateView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a session's saved state."""

    size_bytes: int
    tier: Literal["hot", "archived"]
    etag: str
    """SHA-256 of the bytes; the header `ETag` has it in quotes."""
    saved_at: datetime
    expires_at: datetime
    """Unless it is used before."""


class SessionsView(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the sessions of whoever asks, the last used first; `next_offset` is null on the last page."""

    sessions: list[SessionView]
    total: int
    next_offset: int | None


class LanguageView(msgspec.Struct, frozen=True, kw_only=True):
    """One language: whether any live handler runs it, and how many sandboxes wait warm for it."""

    code: str
    name: str
    version: str
    aliases: list[str]
    available: bool
    warm: int
    missing: str = ""


class LanguagesView(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `GET /languages`."""

    languages: list[LanguageView]


Health = Literal["ok", "degraded", "unavailable"]


class DependencyHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing the service needs; `latency_s` is of one round trip to it."""

    status: Health
    latency_s: float | None = None
    message: str = ""


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `GET /health` and `GET /health/ready`."""

    status: Health


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """How many executions wait for a handler, and how many are held by one."""

    waiting: int
    pending: int


class DetailedHealthView(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `GET /health/detailed`; `queue` is null while the broker is away."""

    status: Health
    dependencies: dict[str, DependencyHealth]
    queue: QueueView | None
    handlers: list[HandlerPresence]
    pools: list[PoolPresence] = []
