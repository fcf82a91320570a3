"""Taking a lease: looking how an execution stands, its turn, and the one write that decides."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from schemas.commands import RunCode
from schemas.events import Finished, Started
from schemas.wire import encode
from streams.jetstream.connection import AWAY
from streams.jetstream.control import read_mail
from streams.jetstream.link import Link
from streams.jetstream.publisher import begin_log
from streams.jetstream.records import MARK, RECORD, Mark, Record, Standing, new_record, nonce
from streams.jetstream.requests import acknowledge, keep, place_of
from streams.jetstream.settling import settle_execution
from streams.jetstream.turns import Turns
from streams.jetstream.wire import ROLLUP, Conflict, Refused
from streams.jetstream.writing import JetStreamDelivery, JetStreamLease, look_closely, told_by
from streams.protocol import (
    BeginOutcome,
    Begun,
    Delivery,
    DeliveryPolicy,
    Ended,
    HeldElsewhere,
    IdTaken,
    Parked,
)
from streams.turns import must_ask

ON_THE_WAY = 0.02
"""Of a lease: so much before its entry is handed out again it ends, for messages take their time."""


class Beginner:
    """Begins what a handler was handed."""

    def __init__(self, link: Link, turns: Turns) -> None:
        self._link = link
        self._turns = turns

    async def begin(
        self, delivery: Delivery, command: RunCode, digest: str, started: Started | None = None
    ) -> BeginOutcome:
        """Take the lease, or say why not; see `Consumer.begin`."""
        name = nonce()
        standing = told_by(delivery)
        if standing is not None and _is_as_told(standing, command, digest):
            taking = _Taking(delivery, command, standing, name, self._link.policy.lease_s)
            if begun := await self._begin_at_once(taking, started):
                return begun
        outcome = await self._link.persist(lambda: self._begin(delivery, command, digest, name))
        if not isinstance(outcome, Begun):
            return outcome
        # From now on the entry is kept as long as the lease.
        await keep(self._link, delivery)
        mail = await self._link.persist(lambda: read_mail(self._link, outcome.lease.execution_id))
        return replace(outcome, mail=tuple(mail))

    async def _begin_at_once(self, taking: "_Taking", started: Started | None) -> Begun | None:
        """Take the lease without a look; None if it is not as whoever published the request told."""
        execution_id = taking.command.id
        assert execution_id is not None, "an execution needs its id"
        try:
            if started is not None and taking.is_first:
                mail = await read_mail(self._link, execution_id)
                begun = await (self._take(taking) if mail else self._take_and_start(taking, started))
            else:
                # What comes after the mail is read is heard, for whoever begins listens by now.
                begun, mail = await asyncio.gather(self._take(taking), read_mail(self._link, execution_id))
        except (*AWAY, Conflict, Refused):
            return None  # the look that follows tells, also whether this did take it
        if not taking.is_within_entry:
            await keep(self._link, taking.delivery)
        return replace(begun, mail=tuple(mail))

    async def _begin(self, delivery: Delivery, command: RunCode, digest: str, name: str) -> BeginOutcome:
        """Take the lease in two steps, looking and writing. Raises `Conflict` to look again."""
        assert command.id is not None, "an execution needs its id"
        standing = await look_closely(self._link, command.id)
        record = standing.record or new_record(command, digest, delivery.published_at)
        if record.digest != digest:
            return IdTaken()
        if standing.ended:
            return await self._ended(delivery, command, standing)
        if name in standing.nonces:  # this very call has taken it, and its answer was lost
            return _begun(delivery, command, standing, record, self._link.policy)
        if record.held_s and standing.is_held(await self._link.now()):
            return await self._held(delivery, record)
        if standing.record is None or not standing.seq:
            standing = await begin_log(self._link, command.id, record, standing.fence)
        overdue = False
        if not await self._turns.is_mine(delivery, command):
            overdue = not standing.started and await self._is_past(command.deadline)
            if not overdue and not await self._turns.is_cancelled(command.id):
                await self._turns.park(delivery, command, standing)
                return Parked()
        taking = _Taking(delivery, command, standing, name, self._link.policy.lease_s)
        return await self._take(taking, overdue=overdue)

    async def _take(self, taking: "_Taking", *, overdue: bool = False) -> Begun:
        """Write the record with the lease. Raises `Conflict`."""
        delivery, command, standing = taking.delivery, taking.command, taking.standing
        assert command.id is not None and standing.record is not None, "it was looked at"
        before = standing.record
        if before.parked and await self._link.holds("REQUESTS", place_of(delivery.entry)):
            before = msgspec.structs.replace(before, parked=b"", published=None, due=None)
        # Else the entry is gone already, what was parked is all there is, and is kept.
        record = msgspec.structs.replace(taking.record_after(before), overdue=overdue)
        subjects = self._link.subjects
        fence = await self._link.publish(
            subjects.record(command.id),
            record.encoded(),
            {ROLLUP: "sub"},
            expected=standing.fence,
            of=subjects.both(command.id),
        )
        return _begun(delivery, command, replace(standing, fence=fence), record, self._link.policy)

    async def _take_and_start(self, taking: "_Taking", started: Started) -> Begun:
        """Write `started`, which carries the record with the lease. Raises `Conflict`."""
        command, standing = taking.command, taking.standing
        assert command.id is not None and standing.record is not None, "it was told"
        record = taking.record_after(standing.record)
        line = encode(started)
        mark = Mark(taking.name, standing.log_bytes + len(line), started.time)
        subjects = self._link.subjects
        fence = await self._link.publish(
            subjects.log(command.id),
            line,
            {MARK: mark.encoded(), RECORD: record.encoded().decode()},
            expected=standing.fence,
            of=subjects.both(command.id),
        )
        stands = replace(standing, fence=fence, seq=started.seq, log_bytes=mark.bytes, started=started.time)
        return _begun(taking.delivery, command, stands, record, self._link.policy)

    async def _ended(self, delivery: Delivery, command: RunCode, standing: Standing) -> Ended:
        finished = msgspec.json.decode(standing.ended, type=Finished)
        await settle_execution(self._link, delivery, command, finished)
        # Its entry was there for others to see, who may have put it into the line once more.
        await self._turns.leave(command)
        return Ended()

    async def _held(self, delivery: Delivery, record: Record) -> HeldElsewhere:
        older = place_of(record.entry)
        if older < place_of(delivery.entry) and await self._link.holds("REQUESTS", older):
            await acknowledge(self._link, delivery)
        return HeldElsewhere()

    async def _is_past(self, deadline: datetime | None) -> bool:
        return deadline is not None and deadline <= await self._link.now()


@dataclass(frozen=True, slots=True)
class _Taking:
    """One try to take a lease from how an execution stands."""

    delivery: Delivery
    command: RunCode
    standing: Standing
    name: str
    lease_s: float

    @property
    def is_first(self) -> bool:
        """Whether nobody has held a lease yet, and nothing is in the log but `queued`."""
        record = self.standing.record
        return record is not None and self.standing.seq == 1 and not record.attempt and not record.parked

    @property
    def is_within_entry(self) -> bool:
        """Whether the lease can end before its entry is handed out again, and last long enough."""
        return self._within_entry_s >= self.lease_s * 2 / 3

    @property
    def _within_entry_s(self) -> float:
        if not isinstance(self.delivery, JetStreamDelivery):
            return 0.0
        since_s = asyncio.get_running_loop().time() - self.delivery.arrived
        return self.lease_s * (1 - ON_THE_WAY) - since_s

    def record_after(self, before: Record) -> Record:
        """Return the record with the lease."""
        return msgspec.structs.replace(
            before,
            token=before.token + 1,
            attempt=before.attempt + 1,
            entry=self.delivery.entry,
            held_s=self._within_entry_s if self.is_within_entry else self.lease_s,
            nonce=self.name,
        )


def _is_as_told(standing: Standing, command: RunCode, digest: str) -> bool:
    """Whether what was told with a request is all that has to be known to begin it."""
    record = standing.record
    if record is None or command.id is None or must_ask(command):
        return False
    return record.digest == digest and not record.held_s


def _begun(
    delivery: Delivery, command: RunCode, standing: Standing, record: Record, policy: DeliveryPolicy
) -> Begun:
    """Return what was taken; a first attempt whose `started` stands in the log wrote it with its lease."""
    assert command.id is not None, "an execution needs its id"
    has_started = standing.started is not None and record.attempt == 1
    lease = JetStreamLease(
        command.id,
        record.token,
        record.attempt,
        standing.seq,
        delivery,
        command,
        fence=standing.fence,
        record=record,
        log_bytes=standing.log_bytes,
        started=standing.started,
        carried_until=asyncio.get_running_loop().time() + record.held_s if has_started else 0.0,
    )
    over_limit = record.attempt > policy.attempts_max
    started_before = standing.started is not None and not has_started
    return Begun(lease, started_before, over_limit, record.overdue, has_started=has_started)
