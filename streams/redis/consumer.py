"""The handlers' side of the Redis transport."""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from infra.errors import LeaseLost
from infra.tasks import end_tasks
from schemas.commands import RunCode
from schemas.events import Event, Finished, Started
from schemas.ids import TenantId
from schemas.wire import encode
from streams.concerns import Concerns, everything
from streams.delivery import DeadLetter, Intake, queued_event, result_line
from streams.duplicates import may_give_way
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
from streams.redis.control import ControlReader
from streams.redis.link import Link
from streams.redis.mail import read_mail
from streams.redis.records import new_record_arguments
from streams.redis.requests import RequestsReader, acknowledge, republish
from streams.redis.scripts import BEGIN, GIVE_WAY, KEEP, RELEASE, RENEW
from streams.redis.settling import settle, settle_again
from streams.redis.telling import tell
from streams.redis.turns import Turns, due_ms
from streams.redis.writing import LogWriter
from streams.topology import HANDLERS_GROUP

if TYPE_CHECKING:
    from streams.redis.faststream_app import FastStreamApp


class RedisConsumer:
    """Takes entries, holds leases, writes logs."""

    def __init__(self, link: Link, consumer: str, middlewares: tuple[Any, ...]) -> None:
        self._link = link
        # A name of its own for every process: pending entries then say which one held them.
        self._name = f"{consumer}.{secrets.token_hex(4)}"
        self._turns = Turns(link)
        self._writer = LogWriter(link, self._turns)
        self._middlewares = middlewares
        self._faststream: FastStreamApp | None = None
        self._draining = asyncio.Event()
        self._reader: RequestsReader | None = None

    async def consume(self, on_delivery: OnDelivery, slots: int) -> None:
        from faststream.redis import StreamSub  # noqa: PLC0415 - slow and large

        sub = StreamSub(self._link.topology.requests, group=HANDLERS_GROUP, consumer=self._name)
        subscriber = await self._app().subscribe(sub, on_delivery)

        async def dispatch(delivery: Delivery) -> None:
            await subscriber.feed(delivery.stream, delivery.entry, delivery)

        intake = Intake(dispatch, slots)
        reader = self._reader = RequestsReader(
            self._link, self._name, intake, self._draining, self._turns.look
        )
        drained = False
        try:
            await self._until_drained(reader)
            drained = True
        finally:
            await intake.close(cancel=not drained)
        await reader.leave()

    async def _until_drained(self, reader: RequestsReader) -> None:
        reading = asyncio.create_task(reader.run(), name="requests")
        draining = asyncio.create_task(self._draining.wait(), name="drain")
        try:
            await asyncio.wait([reading, draining], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(reading, draining)
        with suppress(asyncio.CancelledError):
            reading.result()  # a reader that ended by itself failed

    def is_consuming(self) -> bool:
        return self._reader is not None and self._reader.succeeds

    def drain(self) -> None:
        self._draining.set()

    async def begin(
        self, delivery: Delivery, command: RunCode, digest: str, started: Started | None = None
    ) -> BeginOutcome:
        assert command.id is not None, "an execution needs its id"
        line, first = await self._turns.ask(delivery, command)
        keys = self._link.keys_of(command.id) + line
        arguments = [
            self._link.reach,
            *new_record_arguments(command, digest, delivery.published_at),
            self._link.retention_ms,
            self._link.lease_ms,
            delivery.entry,
            secrets.token_hex(8),
            first,
            due_ms(command),
            *(("", "") if started is None else (encode(started), started.time.isoformat())),
        ]
        answer = await self._link.persist(lambda: self._link.run(BEGIN, keys, arguments))
        match answer[0]:
            case b"begun":
                return await self._begun(delivery, command, answer, started)
            case b"ended":
                return await self._ended(delivery, command, settled=bool(answer[1]))
            case b"held":
                return await self._held(delivery, by=answer[1].decode())
            case b"waits":
                await self._tell(answer[1], delivery, command, 1)
                if await self._link.persist(lambda: self._turns.park(delivery, command)):
                    return Parked()
                return await self.begin(delivery, command, digest)
            case _:
                return IdTaken()

    async def append(self, lease: Lease, events: Sequence[Event]) -> None:
        await self._writer.append(lease, events)

    async def finish(self, lease: Lease, events: Sequence[Event], finished: Finished) -> None:
        await self._writer.finish(lease, events, finished)

    async def renew(self, lease: Lease) -> None:
        link, delivery = self._link, lease.delivery
        keys = link.keys_of(lease.execution_id)
        arguments = [lease.token, link.lease_ms, link.retention_ms, lease.attempt]
        held = await link.answer(link.run(RENEW, keys, arguments))
        if not held:
            raise _lost(lease)
        await link.answer(link.run(KEEP, [delivery.stream], [self._name, delivery.entry]))

    async def release(self, lease: Lease) -> None:
        link, delivery = self._link, lease.delivery
        keys = link.keys_of(lease.execution_id)
        if not await link.persist(lambda: link.run(RELEASE, keys, [lease.token])):
            raise _lost(lease)
        await link.persist(lambda: republish(link, delivery.stream, delivery.entry, delivery.body))

    async def reject(self, delivery: Delivery, finished: Finished, tenant: TenantId) -> None:
        await settle(self._link, delivery, result_line(finished, tenant))

    async def bury(self, delivery: Delivery, reason: str, *, acknowledge: bool = True) -> None:
        letter = DeadLetter(delivery.body, reason, delivery.stream, delivery.entry, datetime.now(UTC))
        dead, kept = self._link.topology.dead, self._link.policy.dead_letters_max
        await self._link.persist(lambda: self._link.add(dead, letter.fields(), kept))
        if acknowledge:
            await self._acknowledge(delivery)

    async def listen(self, on_control: OnControl, concerns: Concerns = everything) -> None:
        from faststream.redis import StreamSub  # noqa: PLC0415 - slow and large

        stream = self._link.topology.control
        subscriber = await self._app().subscribe(StreamSub(stream), on_control)

        async def feed(control: Control) -> None:
            await subscriber.feed(stream, control.entry, control)

        await ControlReader(self._link, feed, concerns).run()

    def _app(self) -> "FastStreamApp":
        from streams.redis.faststream_app import FastStreamApp  # noqa: PLC0415 - slow and large

        if self._faststream is None:
            self._faststream = FastStreamApp(self._link.client, self._middlewares)
        return self._faststream

    async def _begun(
        self, delivery: Delivery, command: RunCode, answer: Sequence[Any], started: Started | None
    ) -> Begun:
        _, token, attempt, seq, started_before, told, overdue, mail, watched, starts = answer
        assert command.id is not None, "an execution needs its id"
        await self._tell(told, delivery, command, seq, started if starts else None)
        lease = Lease(command.id, token, attempt, seq, delivery, command)
        over_limit = attempt > self._link.policy.attempts_max
        return Begun(
            lease,
            bool(started_before),
            over_limit,
            bool(overdue),
            read_mail(mail),
            bool(watched),
            has_started=bool(starts),
        )

    async def _tell(
        self,
        inboxes: Sequence[bytes],
        delivery: Delivery,
        command: RunCode,
        seq: int,
        started: Started | None = None,
    ) -> None:
        """Tell inboxes that no script reaches what `begin` wrote."""
        if not inboxes:
            return
        assert command.id is not None, "an execution needs its id"
        lines = [queued_event(command.id, delivery.published_at)]
        if started is not None:
            lines.append(encode(started))
        await tell(self._link, inboxes, command.id, seq - len(lines) + 1, lines)

    async def _ended(self, delivery: Delivery, command: RunCode, *, settled: bool) -> Ended:
        if settled:
            await self._acknowledge(delivery)
        else:
            await settle_again(self._link, delivery, command)
        # Its entry was there for others to see, who may have put it into the line once more.
        await self._link.persist(lambda: self._turns.leave(command))
        return Ended()

    async def _held(self, delivery: Delivery, by: str) -> HeldElsewhere:
        if may_give_way(delivery.entry, to=by):
            arguments = [HANDLERS_GROUP, delivery.entry, by]
            await self._link.persist(lambda: self._link.run(GIVE_WAY, [delivery.stream], arguments))
        return HeldElsewhere()

    async def _acknowledge(self, delivery: Delivery) -> None:
        await self._link.persist(lambda: acknowledge(self._link, delivery.stream, delivery.entry))


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"another attempt owns {lease.execution_id}")
