"""The front doors' side of the transport in memory."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager

from schemas.commands import CancelExecution, ControlCommand, EndSession, ResolveToolCalls, RunCode
from schemas.ids import ExecutionId
from schemas.wire import encode
from streams.depth import QueueDepth
from streams.log_errors import LogGone
from streams.memory.broker import MemoryBroker
from streams.memory.steps import Between
from streams.memory.turns import Turns
from streams.protocol import (
    Control,
    DeliveryPolicy,
    ExecutionRecord,
    LoggedEvent,
    Submission,
)

BATCH = 256
"""How many events a follower is given at once, at most."""


class MemoryPublisher:
    """Submits, sends, follows and looks things up."""

    def __init__(self, broker: MemoryBroker, policy: DeliveryPolicy, between: Between) -> None:
        self._broker = broker
        self._policy = policy
        self._between = between
        self._turns = Turns(broker, policy, between)

    async def submit(self, command: RunCode, digest: str) -> Submission:
        assert command.id is not None, "an execution needs its id"
        known = self._broker.execution(command.id)
        if known is None:
            position = self._broker.waiting.waiting_in((command.priority, command.tenant)) + 1
            retention_s = self._policy.log_retention_s
            known = self._broker.create(command, digest, self._broker.now(), retention_s, position)
            await self._between("submit: recorded")
            self._broker.publish(encode(command))
            return Submission("accepted", known.record())
        if known.digest != digest:
            return Submission("conflict", known.record())
        if known.status == "queued":
            self._broker.publish(encode(command))
        return Submission("joined", known.record())

    async def send(self, command: ControlCommand) -> None:
        control = Control(self._broker.new_id(), command)
        if not isinstance(command, EndSession | ResolveToolCalls):
            mail = self._broker.mail(command.execution_id, self._policy.log_retention_s)
            mail.controls[control.entry] = control
            await self._between("send: mailed")
        for put in self._broker.control:
            put(control)
        if isinstance(command, CancelExecution):
            await self._between("send: told")
            await self._turns.wake(command.execution_id)

    async def record(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        found = self._broker.execution(execution_id)
        return found.record() if found else None

    def follow(
        self,
        execution_id: ExecutionId,
        after: int = 0,
        *,
        until_end: bool = False,  # noqa: ARG002 - nothing is spared here
    ) -> AbstractAsyncContextManager[AsyncIterator[list[LoggedEvent]]]:
        return contextlib.aclosing(self._batches(execution_id, after))

    async def _batches(
        self, execution_id: ExecutionId, after: int
    ) -> AsyncGenerator[list[LoggedEvent], None]:
        known = False
        while True:
            published = self._broker.published.ticket()
            execution = self._broker.execution(execution_id)
            if execution is None:
                if known:
                    raise LogGone(f"the log of {execution_id} is gone")
                await published.wait()
                continue
            known = True
            changed = execution.changed.ticket()
            batch = execution.log[after : after + BATCH]
            if batch:
                after = batch[-1].seq
                yield batch
            elif execution.status == "finished":
                return
            else:
                await self._within(changed, execution.expires_at)

    async def read(self, execution_id: ExecutionId, after: int = 0, count: int = 1000) -> list[LoggedEvent]:
        execution = self._broker.execution(execution_id)
        return execution.log[after : after + count] if execution else []

    async def depth(self) -> QueueDepth:
        broker, now = self._broker, self._broker.clock()
        waiting_since = [entry.idle_since for entry in broker.entries.values() if not entry.deliveries]
        return QueueDepth(
            waiting=len(waiting_since) + len(broker.parked),
            pending=len(broker.entries) - len(waiting_since),
            parked=len(broker.parked),
            priorities=broker.waiting.per_priority(),
            tenants=broker.waiting.per_tenant(),
            oldest_s=now - min(waiting_since, default=now),
            finished=broker.results_ever,
        )

    async def ping(self) -> float:
        return 0.0

    async def _within(self, changed: asyncio.Event, until: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - self._broker.clock())):
                await changed.wait()
