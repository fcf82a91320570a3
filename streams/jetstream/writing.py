"""Writing the log and the record of a leased execution: one condition, never twice, never by two.

Events go one by one, each on condition that nothing was written since the one before. A crash in the middle
of several leaves the first of them in the log, in order; what they said is a prefix of what was to be said.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from infra.errors import LeaseLost, Unavailable
from schemas.events import Event, Finished, Started
from schemas.ids import ExecutionId
from schemas.wire import encode
from streams.delivery import check_numbering, is_output, to_its_end
from streams.jetstream.link import Link
from streams.jetstream.records import MARK, RECORD, Mark, Record, Standing, as_told, nonce, standing_of
from streams.jetstream.wire import ROLLUP, Conflict, Headers
from streams.log_errors import LogFull
from streams.protocol import Delivery, Lease


@dataclass(frozen=True, slots=True)
class JetStreamDelivery(Delivery):
    """An entry, with the subject by which the server is told about it, and what its publisher told."""

    tell: str = ""
    headers: Headers = field(default_factory=dict, compare=False)
    arrived: float = 0.0
    """When it was handed to this process, by the clock of the loop."""


@dataclass(slots=True)
class JetStreamLease(Lease):
    """A lease, with what its holder knows of log and record; only the holder changes them."""

    fence: int = 0
    record: Record = field(kw_only=True)
    log_bytes: int = 0
    started: datetime | None = None
    carried_until: float = 0.0
    """Until when, by the clock of the loop, the record says that it is held, if events carry the record."""
    over: bool = False
    """`finished` is in the log, or the lease was given back."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False)


def of_ours(lease: Lease) -> JetStreamLease:
    """Return a lease as this transport gave it."""
    assert isinstance(lease, JetStreamLease), "a lease of another transport"
    return lease


def told_by(delivery: Delivery) -> Standing | None:
    """Return how an execution stood when its entry was published, if that was told and it is new."""
    if not isinstance(delivery, JetStreamDelivery) or delivery.deliveries > 1:
        return None
    return as_told(delivery.headers)


async def look(link: Link, execution_id: ExecutionId) -> Standing:
    """Return how an execution stood a moment ago. Writes that build on it find out if it stands otherwise."""
    subjects = link.subjects
    return standing_of(*await link.last("LOG", subjects.record(execution_id), subjects.log(execution_id)))


async def look_closely(link: Link, execution_id: ExecutionId) -> Standing:
    """Return how an execution stands, for answers that no write confirms. Raises `Conflict` to look again."""
    standing = await look(link, execution_id)
    # With replicas, one that lags may have answered; who leads the stream knows.
    if link.config.replicas > 1:
        newest = await link.newest("LOG", link.subjects.both(execution_id))
        if newest != standing.fence:
            raise Conflict("a replica lags")
    return standing


class LogWriter:
    """Writes for whoever holds a lease."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def append(self, lease: JetStreamLease, events: Sequence[Event]) -> None:
        """Write `events`; see `Consumer.append`."""
        if not events:
            return
        check_numbering(events, lease.seq)
        lines = [encode(event) for event in events]
        if is_output(events) and self._passes_bounds(lease, lines):
            raise LogFull(f"the log of {lease.execution_id} is full")
        await to_its_end(self._append_all(lease, events, lines))

    async def finish(self, lease: JetStreamLease, events: Sequence[Event], finished: Finished) -> Finished:
        """Write the last events, whatever the bounds; return `finished` as it stands in the log."""
        check_numbering(events, lease.seq)
        finished = msgspec.structs.replace(finished, seq=lease.seq + len(events) + 1)
        last = [*events, finished]
        await to_its_end(self._append_all(lease, last, [encode(event) for event in last]))
        return finished

    async def renew(self, lease: JetStreamLease) -> None:
        """Write the record anew, with the attempt the lease has now. Raises `LeaseLost`, `Unavailable`."""
        async with lease.writing:
            held_s = self._link.policy.lease_s
            record = msgspec.structs.replace(
                lease.record, attempt=lease.attempt, held_s=held_s, nonce=nonce()
            )
            await self._write_record(lease, record, self._link.answer)

    async def release(self, lease: JetStreamLease) -> None:
        """Let the lease go as if its attempt had never been. Raises `LeaseLost`, `Unavailable`."""
        async with lease.writing:
            given_back = msgspec.structs.replace(
                lease.record,
                token=lease.token + 1,
                attempt=lease.record.attempt - 1,
                held_s=0.0,
                nonce=nonce(),
            )
            await self._write_record(lease, given_back, self._link.persist)
            lease.over = True

    async def _append_all(
        self, lease: JetStreamLease, events: Sequence[Event], lines: Sequence[bytes]
    ) -> None:
        try:
            for event, line in zip(events, lines, strict=True):
                async with lease.writing:
                    await self._append(lease, event, line)
        except Unavailable as error:
            raise LeaseLost(f"the lease on {lease.execution_id} ran out: {error.message}") from error

    async def _append(self, lease: JetStreamLease, event: Event, line: bytes) -> None:
        started = event.time if isinstance(event, Started) else lease.started
        mark = Mark(nonce(), lease.log_bytes + len(line), started)
        headers = _headers_of(lease, mark)
        subject = self._link.subjects.log(lease.execution_id)
        await self._link.persist(lambda: self._write(lease, subject, line, headers, mark.nonce))
        lease.seq, lease.log_bytes, lease.started = event.seq, mark.bytes, started
        lease.over = isinstance(event, Finished)

    async def _write_record(
        self,
        lease: JetStreamLease,
        record: Record,
        patiently: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
    ) -> None:
        subject = self._link.subjects.record(lease.execution_id)
        headers = {ROLLUP: "sub"}
        body = record.encoded()
        await patiently(lambda: self._write(lease, subject, body, headers, record.nonce))
        lease.record, lease.carried_until = record, 0.0

    async def _write(
        self, lease: JetStreamLease, subject: str, body: bytes, headers: Headers, name: str
    ) -> None:
        """Write one message, once however often it is tried. Raises `LeaseLost`, `Conflict`."""
        if lease.over:
            raise LeaseLost(f"{lease.execution_id} is over")
        both = self._link.subjects.both(lease.execution_id)
        try:
            lease.fence = await self._link.publish(subject, body, headers, expected=lease.fence, of=both)
        except Conflict:
            standing = await look_closely(self._link, lease.execution_id)
            arrived = name in standing.nonces
            if not arrived and not _is_held_by(lease, standing.record):
                raise LeaseLost(f"another attempt owns {lease.execution_id}") from None
            # Ours: an earlier write, or this one, arrived although its answer did not.
            lease.fence = max(lease.fence, standing.fence)
            if not arrived:
                raise

    def _passes_bounds(self, lease: JetStreamLease, lines: Sequence[bytes]) -> bool:
        policy = self._link.policy
        return (
            lease.seq + len(lines) > policy.log_entries_max
            or lease.log_bytes + sum(map(len, lines)) > policy.log_bytes_max
        )


def _headers_of(lease: JetStreamLease, mark: Mark) -> Headers:
    """Return what an event's message says beside it: the record too, while no message of its own has it."""
    if not lease.carried_until:
        return {MARK: mark.encoded()}
    left_s = max(0.0, lease.carried_until - asyncio.get_running_loop().time())
    record = msgspec.structs.replace(lease.record, held_s=left_s)
    return {MARK: mark.encoded(), RECORD: record.encoded().decode()}


def _is_held_by(lease: JetStreamLease, record: Record | None) -> bool:
    # The entry as well: on a broker that lost everything tokens begin anew.
    return record is not None and (record.token, record.entry) == (lease.token, lease.record.entry)
