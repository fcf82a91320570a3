"""The record of one execution as a Redis hash.

| field | holds |
|---|---|
| `digest` | of the request's body |
| `tenant`, `language`, `session` | from the request; `session` may be empty |
| `created`, `started`, `finished` | RFC 3339 times; absent until it happened |
| `seq`, `bytes` | of the log: last seq, size of all events |
| `token`, `attempt` | of the newest lease |
| `until` | server time in ms at which the lease runs out |
| `entry`, `nonce` | the entry, and the call, under which the lease was taken, or it was woken |
| `other` | another entry that was handed out last while a lease was in force |
| `overdue` | `1` if that lease was taken out of turn, as its deadline had passed |
| `parked`, `parked_as` | while it waits for its turn: the request, and the call that parked it |
| `published`, `due` | likewise: when the request was published, and its deadline in ms |
| `ends` | after a NUL the inbox of whoever submitted it and only waits for the end |
| `settled` | `1` once result, reply and acknowledgement are out |
"""

from collections.abc import Sequence
from datetime import datetime

from schemas.commands import RunCode
from schemas.http import ExecutionStatus
from schemas.ids import ExecutionId, SessionId, TenantId
from streams.delivery import queued_event
from streams.protocol import ExecutionRecord
from streams.redis.scripts import Argument

FIELDS = ("tenant", "language", "session", "created", "started", "finished", "seq")
"""What is read of a record, in this order."""


def parse_record(execution_id: ExecutionId, values: Sequence[bytes | None]) -> ExecutionRecord | None:
    """Return the record from the values of `FIELDS`, or None if there is none."""
    tenant, language, session, created, started, finished, seq = [
        None if value is None else value.decode() for value in values
    ]
    if tenant is None or language is None or created is None:
        return None
    return ExecutionRecord(
        id=execution_id,
        tenant=TenantId(tenant),
        language=language,
        session_id=SessionId(session) if session else None,
        status=_status(started, finished),
        created_at=datetime.fromisoformat(created),
        started_at=datetime.fromisoformat(started) if started else None,
        finished_at=datetime.fromisoformat(finished) if finished else None,
        seq=int(seq or 0),
    )


def new_record_arguments(command: RunCode, digest: str, created_at: datetime) -> tuple[Argument, ...]:
    """Return what `admit` and `begin` make a new record and log from."""
    assert command.id is not None, "an execution needs its id"
    return (
        command.id,
        digest,
        command.tenant,
        command.language,
        command.session_id or "",
        created_at.isoformat(),
        queued_event(command.id, created_at),
    )


def _status(started: str | None, finished: str | None) -> ExecutionStatus:
    if finished:
        return "finished"
    return "running" if started else "queued"
