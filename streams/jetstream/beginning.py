"""Taking a lease: looking how an execution stands, its turn, and the one write that decides."""

import asyncio
from dataclasses import replace
from datetime import datetime

import msgspec

from schemas.commands import RunCode
from schemas.events import Finished
from streams.jetstream.connection import AWAY
from streams.jetstream.control import read_mail
from streams.jetstream.link import Link
from streams.jetstream.publisher import begin_log
from streams.jetstream.records import Record, Standing, new_record, nonce
from streams.jetstream.requests import acknowledge, keep, place_of
from streams.jetstream.settling import settle_execution
from streams.jetstream.turns import Turns
from streams.jetstream.wire import ROLLUP, Conflict, Refused
from streams.jetstream.writing import JetStreamLease, look_closely, told_by
from streams.protocol import (
    BeginOutcome,
    Begun,
    Delivery,
    Ended,
    HeldElsewhere,
    IdTaken,
    Parked,
)
from streams.turns import must_ask


class Beginner:
    """Begins what a handler was handed."""

    def __init__(self, link: Link, turns: Turns) -> None:
        self._link = link
        self._turns = turns

    async def begin(self, delivery: Delivery, command: RunCode, digest: str) -> BeginOutcome:
        """Take the lease, or say why not; see `Consumer.begin`."""
        name = nonce()
        if begun := await self._begin_at_once(delivery, command, digest, name):
            return begun
        outcome = await self._link.persist(lambda: self._begin(delivery, command, digest, name))
        if not isinstance(outcome, Begun):
            return outcome
        # From now on the entry is kept as long as the lease.
        await keep(self._link, delivery)
        mail = await self._link.persist(lambda: read_mail(self._link, outcome.lease.execution_id))
        return replace(outcome, mail=tuple(mail))

    async def _begin_at_once(
        self, delivery: Delivery, command: RunCode, digest: str, name: str
    ) -> Begun | None:
        """Take the lease without a look, if whoever published the request told how it stood; else None."""
        standing = told_by(delivery)
        if command.id is None or must_ask(command):
            return None
        if standing is None or standing.record is None or standing.record.digest != digest:
            return None
        try:
            taking = self._take(delivery, command, standing, name, overdue=False)
            # What comes after the mail is read is heard, for whoever begins listens by now.
            begun, mail = await asyncio.gather(taking, read_mail(self._link, command.id))
        except (*AWAY, Conflict, Refused):
            return None  # the look that follows tells, also whether this did take it
        await keep(self._link, delivery)
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
            return self._begun(delivery, command, standing, record)
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
        return await self._take(delivery, command, standing, name, overdue=overdue)

    async def _take(
        self, delivery: Delivery, command: RunCode, standing: Standing, name: str, *, overdue: bool
    ) -> Begun:
        assert command.id is not None and standing.record is not None, "it was looked at"
        before = standing.record
        if before.parked and await self._link.holds("REQUESTS", place_of(delivery.entry)):
            before = msgspec.structs.replace(before, parked=b"", published=None, due=None)
        # Else the entry is gone already, what was parked is all there is, and is kept.
        record = msgspec.structs.replace(
            before,
            token=before.token + 1,
            attempt=before.attempt + 1,
            entry=delivery.entry,
            held_s=self._link.policy.lease_s,
            nonce=name,
            overdue=overdue,
        )
        subjects = self._link.subjects
        fence = await self._link.publish(
            subjects.record(command.id),
            record.encoded(),
            {ROLLUP: "sub"},
            expected=standing.fence,
            of=subjects.both(command.id),
        )
        return self._begun(delivery, command, replace(standing, fence=fence), record)

    def _begun(self, delivery: Delivery, command: RunCode, standing: Standing, record: Record) -> Begun:
        assert command.id is not None, "an execution needs its id"
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
        )
        over_limit = record.attempt > self._link.policy.attempts_max
        return Begun(lease, standing.started is not None, over_limit, record.overdue)

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
