"""How one execution stands: the last message of its log and the last one of its record, taken together.

Both subjects are in one stream, and every write to either of them is conditional on the place of the last
message on both (`fence`). So log and record form one chain: what was decided from one state can only be
written while that state still is.

- The *record* says who holds the lease. It is written when that changes, and to renew it: a lease is in
  force until `held_s` after its message was stored, by the broker's clock.
- Every event carries a *mark* in a header: what is true of the log up to it. The first event of a log that
  was submitted also carries the record as it begins. So does `started` where it is written with the lease,
  and each event after it until the lease is renewed: up to then no message but those has the record.
"""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from schemas.commands import RunCode
from schemas.http import ExecutionStatus
from schemas.ids import ExecutionId, SessionId, TenantId
from streams.delivery import FINISHED
from streams.jetstream.wire import Headers, Stored
from streams.protocol import ExecutionRecord

MARK = "Millrace-Mark"
RECORD = "Millrace-Record"
FENCE = "Millrace-Fence"


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the record's message says."""

    digest: str
    tenant: TenantId
    language: str
    created: datetime
    session: str = ""
    token: int = 0
    attempt: int = 0
    entry: str = ""
    """Under which the lease was taken, or the request was published again."""
    held_s: float = 0.0
    """How long the lease lasts from the time of this message on; 0 if nobody holds it."""
    nonce: str = ""
    """Of the write: by it a repeat is known whose answer was lost."""
    overdue: bool = False
    parked: bytes = b""
    """The request, while it waits for its turn."""
    published: datetime | None = None
    due: datetime | None = None

    def encoded(self) -> bytes:
        """Return it as the body of a message."""
        return msgspec.json.encode(self)


class Mark(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """What an event's message says beside the event."""

    nonce: str
    bytes: int
    started: datetime | None = None

    def encoded(self) -> str:
        """Return it as the value of a header."""
        return msgspec.json.encode(self).decode()


class _Head(msgspec.Struct):
    seq: int
    type: str
    time: datetime


_NEVER = datetime.min.replace(tzinfo=UTC)
_head = msgspec.json.Decoder(_Head)
_record = msgspec.json.Decoder(Record)
_mark = msgspec.json.Decoder(Mark)


@dataclass(frozen=True, slots=True)
class Standing:
    """How one execution stood at one moment."""

    record: Record | None = None
    """None if nobody knows it."""
    fence: int = 0
    """Place in the stream of the last message on both subjects; 0 if there is none."""
    seq: int = 0
    """Of the last event in the log; 0 if it has none."""
    log_bytes: int = 0
    started: datetime | None = None
    ended: bytes = b""
    """The `finished` event, once it is in the log."""
    finished_at: datetime | None = None
    renewed_at: datetime = _NEVER
    """When the record was written last, by the broker's clock."""
    nonces: frozenset[str] = frozenset()
    """Of the last write to the log and the last one to the record."""

    @property
    def status(self) -> ExecutionStatus:
        """How far it has come."""
        if self.ended:
            return "finished"
        return "running" if self.started else "queued"

    def is_held(self, now: datetime, grace_s: float = 0.0) -> bool:
        """Whether a lease is in force, or ran out less than `grace_s` ago."""
        if self.record is None or not self.record.held_s:
            return False
        return self.renewed_at + timedelta(seconds=self.record.held_s + grace_s) > now

    def tell(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        """Return what front doors are told."""
        record = self.record
        if record is None:
            return None
        return ExecutionRecord(
            id=execution_id,
            tenant=record.tenant,
            language=record.language,
            session_id=SessionId(record.session) if record.session else None,
            status=self.status,
            created_at=record.created,
            started_at=self.started,
            finished_at=self.finished_at,
            seq=self.seq,
        )


def standing_of(record: Stored | None, event: Stored | None) -> Standing:
    """Return how an execution stands whose last messages these are."""
    head = _head.decode(event.data) if event else None
    mark = _mark_of(event)
    bearer, held = _newest_record(record, event)
    ended = event.data if event and head and head.type == FINISHED else b""
    return Standing(
        record=held,
        fence=max(record.seq if record else 0, event.seq if event else 0),
        seq=head.seq if head else 0,
        log_bytes=mark.bytes,
        started=mark.started,
        ended=ended,
        finished_at=head.time if head and ended else None,
        renewed_at=bearer.time if bearer else _NEVER,
        nonces=frozenset({mark.nonce, held.nonce if held else ""} - {""}),
    )


def new_record(command: RunCode, digest: str, created: datetime) -> Record:
    """Return the record of an execution nobody knew before."""
    # What is refused may have names of any length, and this travels in a header.
    language, session = command.language[:64], (command.session_id or "")[:256]
    return Record(digest, command.tenant, language, created, session, nonce=nonce())


def as_told(headers: Headers) -> Standing | None:
    """Return how an execution stood when its request was published, if whoever published it told."""
    fence, _, log_bytes = headers.get(FENCE, "").partition(" ")
    if not fence or RECORD not in headers:
        return None
    record = _record.decode(headers[RECORD])
    return Standing(record=record, fence=int(fence), seq=1, log_bytes=int(log_bytes))


def telling(standing: Standing) -> Headers:
    """Return what to tell with a request, so that whoever begins it need not look first."""
    if standing.record is None or standing.seq != 1:
        return {}
    return {FENCE: f"{standing.fence} {standing.log_bytes}", RECORD: standing.record.encoded().decode()}


def nonce() -> str:
    """Return a name for one write."""
    return secrets.token_hex(8)


def seq_of(event: bytes) -> tuple[int, str]:
    """Return seq and type of an event."""
    head = _head.decode(event)
    return head.seq, head.type


def _mark_of(event: Stored | None) -> Mark:
    text = event.headers.get(MARK) if event else None
    return _mark.decode(text) if text else Mark("", 0)


def _newest_record(record: Stored | None, event: Stored | None) -> tuple[Stored | None, Record | None]:
    """Return the record as it is now, and the message that carries it."""
    text = event.headers.get(RECORD) if event else None
    if event is not None and text and (record is None or event.seq > record.seq):
        return event, _record.decode(text)
    return record, _record.decode(record.data) if record else None
