"""The handlers' side of the JetStream transport."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from infra.errors import Unavailable
from infra.tasks import end_tasks
from schemas.commands import EndSession, RunCode
from schemas.events import Event, Finished, Started
from schemas.ids import TenantId
from streams.concerns import Concerns, everything
from streams.delivery import DeadLetter, Intake, log
from streams.jetstream.beginning import Beginner
from streams.jetstream.connection import AWAY
from streams.jetstream.control import ControlReader
from streams.jetstream.dead_letters import bury
from streams.jetstream.link import Link
from streams.jetstream.requests import acknowledge, keep, publish
from streams.jetstream.settling import settle, settle_execution
from streams.jetstream.taking import Taking
from streams.jetstream.turns import Turns
from streams.jetstream.wire import Conflict, Refused
from streams.jetstream.writing import LogWriter, of_ours
from streams.protocol import (
    BeginOutcome,
    Control,
    Delivery,
    Lease,
    OnControl,
    OnDelivery,
)

if TYPE_CHECKING:
    from streams.jetstream.faststream_app import FastStreamApp


class JetStreamConsumer:
    """Takes entries, holds leases, writes logs."""

    def __init__(self, link: Link, middlewares: tuple[Any, ...]) -> None:
        self._link = link
        self._turns = Turns(link)
        self._writer = LogWriter(link)
        self._beginner = Beginner(link, self._turns)
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

    async def begin(
        self, delivery: Delivery, command: RunCode, digest: str, started: Started | None = None
    ) -> BeginOutcome:
        return await self._beginner.begin(delivery, command, digest, started)

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

    async def _acknowledge(self, delivery: Delivery) -> None:
        await acknowledge(self._link, delivery)
