"""One execution in memory: its record, log, lease and mail, and what each write is conditional on.

The same decisions stand in `streams/redis/*.lua`; the contract suite holds both to the same sentences.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from infra.errors import LeaseLost
from schemas.commands import RunCode
from schemas.events import Event, Finished, Started
from schemas.http import ExecutionStatus
from schemas.ids import ExecutionId
from schemas.wire import encode
from streams.delivery import is_output, logged, queued_event
from streams.log_errors import LogFull
from streams.protocol import Control, DeliveryPolicy, ExecutionRecord, LoggedEvent
from streams.signal import Signal


@dataclass(slots=True)
class Execution:
    """What the broker keeps of one execution until `expires_at` (seconds of the broker's clock)."""

    id: ExecutionId
    command: RunCode
    digest: str
    created_at: datetime
    expires_at: float
    position: int | None = None
    """In its lane, from 1, when it was submitted."""
    log: list[LoggedEvent] = field(default_factory=list)
    log_bytes: int = 0
    token: int = 0
    attempt: int = 0
    entry: str = ""
    """The entry under which the lease was taken."""
    other: str = ""
    """Another entry that was handed out last while a lease was in force."""
    held_until: float = 0.0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    settled: bool = False
    """Whether what follows its `finished` was done."""
    changed: Signal = field(default_factory=Signal)

    def __post_init__(self) -> None:
        self._write(queued_event(self.id, self.created_at, self.position))

    @property
    def seq(self) -> int:
        """Of the last event in the log."""
        return len(self.log)

    @property
    def status(self) -> ExecutionStatus:
        """How far it has come."""
        if self.finished_at is not None:
            return "finished"
        return "queued" if self.started_at is None else "running"

    def record(self) -> ExecutionRecord:
        """Return what is known of it beside its events."""
        return ExecutionRecord(
            id=self.id,
            tenant=self.command.tenant,
            language=self.command.language,
            session_id=self.command.session_id,
            status=self.status,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            seq=self.seq,
        )

    def lease(self, entry: str, held_until: float) -> None:
        """Take the lease, fencing off whoever held it before."""
        self.token += 1
        self.attempt += 1
        self.entry = entry
        self.held_until = held_until

    def check(self, token: int) -> None:
        """Raise `LeaseLost` unless `token` is that of the newest lease."""
        if token != self.token or self.finished_at is not None:
            raise LeaseLost(f"another attempt owns {self.id}")

    def append(self, token: int, events: Sequence[Event], policy: DeliveryPolicy) -> None:
        """Write `events`, all or none."""
        self.check(token)
        lines = [encode(event) for event in events]
        if is_output(events) and self._passes_bounds(lines, policy):
            raise LogFull(f"the log of {self.id} is full")
        self._accept(events, lines)

    def finish(self, token: int, events: Sequence[Event], finished: Finished) -> None:
        """Write the last events, whatever the bounds, and end it."""
        self.check(token)
        self.finished_at = finished.time
        self._accept([*events, finished], [encode(event) for event in (*events, finished)])

    def give_back(self, token: int) -> None:
        """Let the lease go as if the attempt had never been."""
        self.check(token)
        self.token += 1
        self.attempt -= 1
        self.held_until = 0.0

    def _passes_bounds(self, lines: Sequence[bytes], policy: DeliveryPolicy) -> bool:
        return (
            self.seq + len(lines) > policy.log_entries_max
            or self.log_bytes + sum(map(len, lines)) > policy.log_bytes_max
        )

    def _accept(self, events: Sequence[Event], lines: Sequence[bytes]) -> None:
        for event, line in zip(events, lines, strict=True):
            if isinstance(event, Started):
                self.started_at = event.time
            self._write(line)
        self.changed.notify()

    def _write(self, line: bytes) -> None:
        self.log.append(logged(self.seq + 1, line))
        self.log_bytes += len(line)


@dataclass(slots=True)
class Mail:
    """Control commands for one execution, kept as long as its log."""

    expires_at: float
    controls: dict[str, Control] = field(default_factory=dict)
