"""The handlers' side of the transport in memory."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from infra.errors import LeaseLost
from schemas.commands import RunCode
from schemas.events import Event, Finished, Started
from schemas.ids import TenantId
from streams.concerns import Concerns, everything
from streams.delivery import (
    DeadLetter,
    Intake,
    check_numbering,
    hear,
    result_line,
    to_its_end,
)
from streams.duplicates import may_give_way
from streams.memory.broker import Entry, MemoryBroker
from streams.memory.executions import Execution
from streams.memory.steps import Between
from streams.memory.turns import Turns
from streams.protocol import (
    BeginOutcome,
    Begun,
    Control,
    Delivery,
    DeliveryPolicy,
    Ended,
    HeldElsewhere,
    IdTaken,
    Lease,
    OnControl,
    OnDelivery,
    Parked,
)

_finished = msgspec.json.Decoder(Finished)


class MemoryConsumer:
    """Takes entries, holds leases, writes logs."""

    def __init__(self, broker: MemoryBroker, policy: DeliveryPolicy, between: Between) -> None:
        self._broker = broker
        self._policy = policy
        self._between = between
        self._turns = Turns(broker, policy, between)
        self._intake: Intake | None = None
        self._draining = False

    async def consume(self, on_delivery: OnDelivery, slots: int) -> None:
        intake = self._intake = Intake(on_delivery, slots)
        cancelled = True
        try:
            while not self._draining:
                changed, published = intake.changed.ticket(), self._broker.published.ticket()
                if not intake.free:
                    await changed.wait()
                    continue
                await self._turns.look()
                if entry := self._next():
                    intake.start(self._deliver(entry))
                else:
                    await self._until_due(changed, published)
            cancelled = False
        finally:
            await intake.close(cancel=cancelled)

    def is_consuming(self) -> bool:
        return self._intake is not None

    def drain(self) -> None:
        self._draining = True
        if self._intake is not None:
            self._intake.changed.notify()

    async def begin(
        self, delivery: Delivery, command: RunCode, digest: str, started: Started | None = None
    ) -> BeginOutcome:
        assert command.id is not None, "an execution needs its id"
        broker = self._broker
        first = self._turns.is_mine(delivery, command)
        await self._between("begin: in line")
        execution = broker.execution(command.id) or broker.create(
            command, digest, delivery.published_at, self._policy.log_retention_s
        )
        if execution.digest != digest:
            return IdTaken()
        if execution.status == "finished":
            await self._settle(delivery, execution)
            return Ended()
        if execution.held_until > broker.clock():
            execution.other = delivery.entry
            if self._gives_way(delivery, execution):
                broker.acknowledge(delivery.entry)
            return HeldElsewhere()
        overdue = False
        if not first:
            overdue = execution.started_at is None and broker.is_past(command.deadline)
            if not overdue and not broker.is_cancelled(command.id):
                parked = await self._turns.park(delivery, command, execution)
                return Parked() if parked else await self.begin(delivery, command, digest)
        execution.lease(delivery.entry, broker.clock() + self._policy.lease_s)
        self._broker.touch(execution, self._policy.log_retention_s)
        begun = self._begun(delivery, execution, overdue=overdue)
        if started is not None and _says_nothing_yet(begun):
            execution.append(execution.token, [started], self._policy)
            begun.lease.seq = execution.seq
            begun = replace(begun, has_started=True)
        await self._between("begin: leased")
        return begun

    def _gives_way(self, delivery: Delivery, execution: Execution) -> bool:
        is_there = execution.entry in self._broker.entries
        return is_there and may_give_way(delivery.entry, to=execution.entry)

    def _begun(self, delivery: Delivery, execution: Execution, *, overdue: bool) -> Begun:
        lease = Lease(
            execution.id, execution.token, execution.attempt, execution.seq, delivery, execution.command
        )
        return Begun(
            lease,
            started_before=execution.started_at is not None,
            over_limit=execution.attempt > self._policy.attempts_max,
            overdue=overdue,
            mail=tuple(self._broker.mail(execution.id, self._policy.log_retention_s).controls.values()),
        )

    async def append(self, lease: Lease, events: Sequence[Event]) -> None:
        check_numbering(events, lease.seq)
        self._held(lease).append(lease.token, events, self._policy)
        lease.seq += len(events)

    async def finish(self, lease: Lease, events: Sequence[Event], finished: Finished) -> None:
        check_numbering(events, lease.seq)
        finished = msgspec.structs.replace(finished, seq=lease.seq + len(events) + 1)
        execution = self._held(lease)
        execution.finish(lease.token, events, finished)
        lease.seq = finished.seq
        self._broker.touch(execution, self._policy.log_retention_s)
        await to_its_end(self._settle(lease.delivery, execution))

    async def _settle(self, delivery: Delivery, execution: Execution) -> None:
        """Do what follows a `finished`, as far as nobody has: the result, the reply, the entry, the line."""
        command = execution.command
        if not execution.settled:
            await self._between("finish: logged")
            finished = execution.log[-1].data
            self._broker.add_result(result_line(_finished.decode(finished), command.tenant))
            await self._between("finish: result told")
            if command.reply_to:
                self._broker.replies[command.reply_to].append(finished)
                await self._between("finish: replied")
        for entry in (delivery.entry, execution.other):
            self._broker.acknowledge(entry)
        execution.settled = True
        await self._between("finish: acknowledged")
        await self._turns.leave(command)

    async def renew(self, lease: Lease) -> None:
        execution = self._held(lease)
        execution.check(lease.token)
        execution.held_until = self._broker.clock() + self._policy.lease_s
        execution.attempt = lease.attempt
        self._broker.touch(execution, self._policy.log_retention_s)
        await self._between("renew: held")
        if entry := self._broker.entries.get(lease.delivery.entry):
            entry.idle_since = self._broker.clock()

    async def release(self, lease: Lease) -> None:
        self._held(lease).give_back(lease.token)
        await self._between("release: given back")
        if entry := self._broker.entries.get(lease.delivery.entry):
            self._broker.publish(entry.body)
            await self._between("release: published")
            self._broker.acknowledge(entry.id)

    async def reject(self, delivery: Delivery, finished: Finished, tenant: TenantId) -> None:
        self._broker.add_result(result_line(finished, tenant))
        await self._between("reject: result told")
        self._broker.acknowledge(delivery.entry)

    async def bury(self, delivery: Delivery, reason: str, *, acknowledge: bool = True) -> None:
        letter = DeadLetter(delivery.body, reason, delivery.stream, delivery.entry, self._broker.now())
        self._broker.bury(letter)
        await self._between("bury: kept")
        if acknowledge:
            self._broker.acknowledge(delivery.entry)

    async def listen(self, on_control: OnControl, concerns: Concerns = everything) -> None:  # noqa: ARG002 - may
        heard: asyncio.Queue[Control] = asyncio.Queue()
        put: Callable[[Control], None] = heard.put_nowait
        self._broker.control.append(put)
        try:
            while True:
                await hear(on_control, await heard.get())
        finally:
            self._broker.control.remove(put)

    def _next(self) -> Entry | None:
        """Return the entry to hand out now: an abandoned one first, else the next of those that wait."""
        silent_since = self._broker.clock() - self._policy.lease_s
        entries = self._broker.entries.values()
        abandoned = (entry for entry in entries if entry.deliveries and entry.idle_since <= silent_since)
        return next(abandoned, None) or self._broker.next_waiting()

    def _deliver(self, entry: Entry) -> Delivery:
        entry.deliveries += 1
        entry.idle_since = self._broker.clock()
        stream = self._broker.topology.requests
        return Delivery(entry.id, stream, entry.body, entry.deliveries, entry.published_at)

    async def _until_due(self, *events: asyncio.Event) -> None:
        """Wait until one of `events`, an entry is abandoned, or a parked request to be looked at."""
        pending = [entry.idle_since for entry in self._broker.entries.values() if entry.deliveries]
        abandoned_at = min(pending, default=math.inf) + self._policy.lease_s
        due_at = min([abandoned_at, *(parked.look_at for parked in self._broker.parked.values())])
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        timeout = None if math.isinf(due_at) else max(0.0, due_at - self._broker.clock())
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _held(self, lease: Lease) -> Execution:
        execution = self._broker.execution(lease.execution_id)
        if execution is None:
            raise LeaseLost(f"the log of {lease.execution_id} is gone")
        return execution


def _says_nothing_yet(begun: Begun) -> bool:
    """Whether an execution is at its first attempt, queued and no more, and nobody wants anything of it."""
    return (begun.lease.attempt, begun.lease.seq) == (1, 1) and not begun.overdue and not begun.mail
