"""Ack, retry, dead-letter: one meaning on every transport, because the libraries disagree on all three.

- **ack**: the entry is done and leaves the requests stream. Only after its `finished` is in the log and
  result and reply are published, after it became a dead letter, or because it is a duplicate.
- **retry**: the entry stays pending and is handed out again: at once after `release`, else once nobody
  renewed it for `lease_s`. This is what happens to an entry whose handler died or raised.
- **dead-letter**: the entry is copied to the dead letters with its reason, then acknowledged.

Bodies of the transport share what is here, so that they cannot drift apart.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import structlog
from msgspec import UNSET

from schemas.events import Event, Finished, Output, Queued
from schemas.ids import ExecutionId, TenantId
from schemas.results import Result
from schemas.wire import encode
from streams.protocol import Control, Delivery, LoggedEvent, OnControl, OnDelivery
from streams.signal import Signal

log = structlog.get_logger("streams")

FINISHED = "finished"


class _Head(msgspec.Struct):
    """What is read of an event to route it."""

    type: str


_head = msgspec.json.Decoder(_Head)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry nobody could or may handle, with why."""

    data: bytes
    reason: str
    stream: str
    entry: str
    time: datetime

    def fields(self) -> dict[str, bytes | str | int | float]:
        """Return the fields of its entry on the dead letter stream."""
        return {
            "data": self.data,
            "reason": self.reason,
            "stream": self.stream,
            "entry": self.entry,
            "time": self.time.isoformat().replace("+00:00", "Z"),
        }


def queued_event(execution_id: ExecutionId, at: datetime, position: int | None = None) -> bytes:
    """Return the first event of every log, with the place in its lane (from 1) where it is known."""
    place = UNSET if position is None else position
    return encode(Queued(execution_id=execution_id, seq=1, time=at, position=place))


def result_line(finished: Finished, tenant: TenantId) -> bytes:
    """Return what the results stream says of an execution."""
    fields = {name: getattr(finished, name) for name in finished.__struct_fields__}
    return encode(Result(tenant=tenant, **fields))


def logged(seq: int, data: bytes) -> LoggedEvent:
    """Return one event of a log with enough decoded to route it."""
    return LoggedEvent(seq, _head.decode(data).type, data)


def is_output(events: Sequence[Event]) -> bool:
    """Whether a full log must refuse `events`: they carry output."""
    return any(isinstance(event, Output) for event in events)


def check_numbering(events: Sequence[Event], seq: int) -> None:
    """Assert that `events` are numbered from `seq + 1` without gaps; anything else is our own mistake."""
    for expected, event in enumerate(events, seq + 1):
        assert event.seq == expected, f"event {event.seq} of {event.execution_id} must be {expected}"


async def hear(on_control: OnControl, control: Control) -> None:
    """Hand on one control command. One that fails is logged and must not deafen the process."""
    try:
        await on_control(control)
    except Exception:
        log.exception("control_command_failed", entry=control.entry)


async def to_its_end(write: Coroutine[Any, Any, None]) -> None:
    """Run `write` so that a cancellation waits for its answer: what the broker has must be known."""
    task = asyncio.create_task(write)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await _answered(task)
        raise


async def repeated_to_its_end(write: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """As `to_its_end`, without a task, for what is known for the same when it is written twice.

    What a cancellation interrupts is like an answer that was lost on the way: the same write is repeated.
    """
    try:
        await write()
    except asyncio.CancelledError:
        await _answered(asyncio.create_task(write()))
        raise


async def _answered(task: "asyncio.Task[None]") -> None:
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # nobody else asks for it


class Intake:
    """The slots of one consumer: as many deliveries run as there are, each as a task of its own."""

    def __init__(self, on_delivery: OnDelivery, slots: int) -> None:
        self._on_delivery = on_delivery
        self._slots = slots
        self._running: dict[asyncio.Task[None], Delivery] = {}
        self.changed = Signal()
        """Notified whenever a delivery ends."""

    @property
    def free(self) -> int:
        """How many entries may be taken now."""
        return self._slots - len(self._running)

    @property
    def entries(self) -> set[str]:
        """The entries that run now."""
        return {delivery.entry for delivery in self._running.values()}

    def start(self, delivery: Delivery) -> None:
        """Hand out one entry; there must be a free slot."""
        assert self.free > 0, "an entry was taken without a free slot"
        task = asyncio.create_task(self._run(delivery), name=f"delivery {delivery.entry}")
        self._running[task] = delivery
        task.add_done_callback(self._ended)

    async def close(self, *, cancel: bool) -> None:
        """Return when all deliveries are done, cancelled first if wanted."""
        tasks = list(self._running)
        if cancel:
            for task in tasks:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self.changed.notify()

    async def _run(self, delivery: Delivery) -> None:
        try:
            await self._on_delivery(delivery)
        except Exception:  # whatever it was, the entry stays pending and is retried
            log.exception("delivery_failed", stream=delivery.stream, entry=delivery.entry)
