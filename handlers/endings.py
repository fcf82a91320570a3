"""Every way an execution can end, as its `finished`."""

from datetime import datetime
from typing import Any

from handlers.execution import Execution
from handlers.files import Kept
from handlers.running import Running
from sandboxes.protocol import Exit
from schemas.events import Finished, Outcome, Usage
from schemas.ids import ExecutionId, SessionId
from streams.protocol import Lease


def rejection(execution_id: str, reason: str, now: datetime) -> Finished:
    """Return the outcome of a request that never becomes an execution."""
    return Finished(
        execution_id=ExecutionId(execution_id), seq=1, time=now, outcome="rejected", message=reason
    )


def unstarted(lease: Lease, attempt: int, outcome: Outcome, message: str, now: datetime) -> Finished:
    """Return the outcome of an execution that is not started now; `attempt` started last, 0 if none."""
    usage = Usage(queued_s=_queued_s(lease, now))
    return _finished(lease, outcome, message, now, usage=usage, attempt=attempt)


def not_wanted_any_more(execution: Execution, now: datetime) -> Finished:
    """Return the outcome of an execution that was cancelled, or expired, before it could start."""
    running = execution.running
    if not running.cancelled.is_set():
        return unstarted(execution.lease, running.attempt, "expired", EXPIRED, now)
    return unstarted(execution.lease, running.attempt, _cancelled(running), running.reason, now)


def sandbox_lost(execution: Execution, reason: str, now: datetime) -> Finished:
    """Return the outcome of an execution whose sandbox broke."""
    message = f"The sandbox was lost: {reason}"
    return _finished(execution.lease, "lost", message, now, attempt=execution.running.attempt)


def concluded(execution: Execution, exit_: Exit, kept: Kept, started_at: datetime, now: datetime) -> Finished:
    """Return the outcome of a run that came to its end."""
    outcome, message = _outcome(execution.running, exit_)
    usage = Usage(
        wall_s=exit_.wall_s,
        cpu_s=exit_.cpu_s,
        memory_bytes_peak=exit_.memory_bytes_peak,
        queued_s=_queued_s(execution.lease, started_at),
    )
    return _finished(
        execution.lease,
        outcome,
        _with_losses(message, kept),
        now,
        stage=exit_.stage,
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        usage=usage,
        output=exit_.output,
        files=kept.files,
        deleted_files=kept.deleted,
        files_not_kept=kept.not_kept,
        session_id=_session_of(execution, kept),
        state=kept.state,
        attempt=execution.lease.attempt,
    )


EXPIRED = "The deadline passed before the code could start."


def _session_of(execution: Execution, kept: Kept) -> SessionId | None:
    """Return the session asked for, or the one made for the files, if any were kept."""
    made = kept.files[0].session_id if kept.files else None
    return execution.command.session_id or made


def _with_losses(message: str, kept: Kept) -> str:
    losses = (f"File {file.name!r} was not kept: {file.reason}." for file in kept.not_kept)
    return " ".join([message, *losses]).strip()


def _queued_s(lease: Lease, until: datetime) -> float:
    """Return how long the request waited, in seconds; clocks that disagree count as no wait."""
    return max(0.0, (until - lease.delivery.published_at).total_seconds())


def _outcome(running: Running, exit_: Exit) -> tuple[Outcome, str]:
    if exit_.outcome == "cancelled":
        return _cancelled(running), running.reason
    return exit_.outcome, exit_.message


def _cancelled(running: Running) -> Outcome:
    return "lost" if running.interrupted else "cancelled"


def _finished(lease: Lease, outcome: Outcome, message: str, now: datetime, **more: Any) -> Finished:
    fields = {"session_id": lease.command.session_id, **more}
    return Finished(
        execution_id=lease.execution_id, seq=0, time=now, outcome=outcome, message=message, **fields
    )
