"""The handlers' side of the JetStream transport."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from infra.errors import Unavailable
from infra.tasks import end_tasks
from schemas.commands import EndSession, RunCode
from schemas.events import Event, Finished
from schemas.ids import TenantId
from streams.concerns import Concerns, everything
from streams.delivery import DeadLetter, Intake, log
from streams.jetstream.connection import AWAY
from streams.jetstream.control import ControlReader, read_mail
from streams.jetstream.dead_letters import bury
from streams.jetstream.link import Link
from streams.jetstream.publisher import begin_log
from streams.jetstream.records import Record, Standing, new_record, nonce
from streams.jetstream.requests import acknowledge, keep, publish
from streams.jetstream.settling import settle, settle_execution
from streams.jetstream.taking import Taking
from streams.jetstream.turns import Turns
from streams.jetstream.wire import ROLLUP, Conflict, Refused
from streams.jetstream.writing import JetStreamLease, LogWriter, look_closely, of_ours, told_by
from streams.protocol import (
    BeginOutcome,
    Begun,
    Control,
    Delivery,
    Ended,
    HeldElsewhere,
    IdTaken,
    Lease,
    OnControl,
    OnDelivery,
    Parked,
)
from streams.turns import must_ask

if TYPE_CHECKING:
    from streams.jetstream.faststream_app import FastStreamApp


class JetStreamConsumer:
    """Takes entries, holds leases, writes logs."""

    def __init__(self, link: Link, middlewares: tuple[Any, ...]) -> None:
        self._link = link
        self._turns = Turns(link)
        self._writer = LogWriter(link)
        self._middlewares = middlewares
        self._faststream: FastStreamApp | None = None
        self._draining = asyncio.Event()
        self._taking: Taking | None = None

    async def consume(self, on_delivery: OnDelivery, slots: int) -> None:
        subject = self._link.subjects.requests
        subscriber = await self._app().subscribe(subject, on_delivery)

        async def dispatch(delivery: Delivery) -> None:
            await subscriber.feed(delivery.stream, delivery.entry, delivery)

        intake = Intake(dispatch, slots)

        taking = self._taking = Taking(self._link, intake, self._draining)
        taking.start()
        looking = asyncio.create_task(self._look_now_and_then(), name="turns")
        drained = False
        try:
            await self._draining.wait()
            await taking.drain()
            drained = True
        finally:
            await end_tasks(looking)
            if not drained:
                await taking.abandon()
            await intake.close(cancel=not drained)

    def is_consuming(self) -> bool:
        return self._taking is not None and self._taking.succeeds

    def drain(self) -> None:
        self._draining.set()

    async def begin(self, delivery: Delivery, command: RunCode, digest: str) -> BeginOutcome:
        assert command.id is not None, "an execution needs its id"
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

    async def append(self, lease: Lease, events: Sequence[Event]) -> None:
        await self._writer.append(of_ours(lease), events)

    async def finish(self, lease: Lease, events: Sequence[Event], finished: Finished) -> None:
        finished = await self._writer.finish(of_ours(lease), events, finished)
        settling = settle_execution(self._link, lease.delivery, lease.command, finished)
        await asyncio.gather(settling, self._leave(lease))

    async def renew(self, lease: Lease) -> None:
        await self._writer.renew(of_ours(lease))
        await keep(self._link, lease.delivery)

    async def release(self, lease: Lease) -> None:
        delivery = lease.delivery
        await self._writer.release(of_ours(lease))
        name = f"released-{delivery.entry}-{lease.token}"
        entry, published = delivery.entry, delivery.published_at
        await self._link.persist(lambda: publish(self._link, delivery.body, name, published, entry))
        await acknowledge(self._link, delivery)

    async def reject(self, delivery: Delivery, finished: Finished, tenant: TenantId) -> None:
        await settle(self._link, delivery, finished, tenant)

    async def bury(self, delivery: Delivery, reason: str, *, acknowledge: bool = True) -> None:
        letter = DeadLetter(delivery.body, reason, delivery.stream, delivery.entry, datetime.now(UTC))
        await bury(self._link, letter)
        if acknowledge:
            await self._acknowledge(delivery)

    async def listen(self, on_control: OnControl, concerns: Concerns = everything) -> None:
        subscriber = await self._app().subscribe(self._link.subjects.below("control"), on_control)

        async def dispatch(control: Control) -> None:
            command = control.command
            if isinstance(command, EndSession) or concerns(command.execution_id):
                await subscriber.feed(self._link.subjects.control, control.entry, control)

        await ControlReader(self._link, dispatch, self._turns.wake).run()

    def _app(self) -> "FastStreamApp":
        from streams.jetstream.faststream_app import FastStreamApp  # noqa: PLC0415 - slow and large

        if self._faststream is None:
            self._faststream = FastStreamApp(self._middlewares)
        return self._faststream

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._link.policy.heartbeat_s)
            try:
                await self._turns.look()
            except (*AWAY, Refused, Conflict) as error:
                log.debug("turns_not_looked_at", reason=str(error))

    async def _leave(self, lease: Lease) -> None:
        try:
            await self._link.answer(lambda: self._turns.leave(lease.command))
        except Unavailable as away:  # made good by whoever looks next
            log.warning("next_in_line_not_woken", execution_id=lease.execution_id, reason=away.message)

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
        record = msgspec.structs.replace(
            before,
            token=before.token + 1,
            attempt=before.attempt + 1,
            entry=delivery.entry,
            held_s=self._link.policy.lease_s,
            nonce=name,
            overdue=overdue,
            parked=b"",
            published=None,
            due=None,
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
        if record.entry != delivery.entry:
            await self._acknowledge(delivery)
        return HeldElsewhere()

    async def _is_past(self, deadline: datetime | None) -> bool:
        return deadline is not None and deadline <= await self._link.now()

    async def _acknowledge(self, delivery: Delivery) -> None:
        await acknowledge(self._link, delivery)
