"""What a transport promises. Redis, NATS JetStream and memory keep it; one contract suite holds them to it.

The life of one execution, in the words used here:

    submitted ──begin──▶ leased ──append(Started)──▶ started ──finish──▶ finished
        ▲                  │ lease runs out             │ lease runs out
        └──────────────────┘  (begin again)             └──▶ begin again: `started_before` is true

- Whoever publishes, over HTTP or with a bare XADD, puts one entry on the requests stream.
- A handler that was handed the entry calls `begin`, which takes a *lease*: the right to write this
  execution's log. Each lease carries a fencing token larger than any before it; every write is
  conditional on the token and on the next `seq`, and fails with `LeaseLost` otherwise.
- A live handler renews its lease. A lease that ran out is taken by the next `begin`.
- Of the executions of one session one runs at a time, in the order of publication (`streams/turns.py`).
  `begin` answers `Parked` while it is another one's turn.
- What waits for a slot is handed out fairly between tenants, and by priority (`streams/lanes.py`).
- `finish` writes the last event, then the result, the reply, and only then acknowledges the entry.
  A crash between these steps is healed when the entry is reclaimed: `begin` answers `Ended` after
  completing what was left undone.

A log is bounded in entries and bytes. Past a bound `append` refuses output with `LogFull`, and the handler
counts it as dropped. Every other event, `finished` first of all, always gets in.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from schemas.commands import ControlCommand, RunCode
from schemas.events import Event, Finished, Started
from schemas.http import ExecutionStatus
from schemas.ids import ExecutionId, SessionId, TenantId
from streams.concerns import Concerns, everything
from streams.depth import QueueDepth


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry of the requests stream, handed to this process and to no other for now."""

    entry: str
    """The transport's own id of the entry: the same on every redelivery."""
    stream: str
    body: bytes
    deliveries: int
    """How often it was handed out, this time included."""
    published_at: datetime


@dataclass(slots=True)
class Lease:
    """The right to write one execution's log, until it runs out or is lost."""

    execution_id: ExecutionId
    token: int
    """Fencing token: larger than that of any lease on this execution before."""
    attempt: int
    """From 1; counts leases that were not given back by `release`."""
    seq: int
    """Of the last event in the log."""
    delivery: Delivery
    command: RunCode


@dataclass(frozen=True, slots=True)
class Control:
    """A control command with the transport's id of its entry, by which repeats are recognised."""

    entry: str
    command: ControlCommand


@dataclass(frozen=True, slots=True)
class Begun:
    """`begin` took the lease."""

    lease: Lease
    started_before: bool
    """An earlier attempt wrote `Started` and never finished."""
    over_limit: bool
    """More attempts than allowed: end it as lost and dead-letter the entry."""
    overdue: bool = False
    """Its deadline passed, by the broker's clock, before its turn came."""
    mail: tuple[Control, ...] = ()
    """The control commands that came before the lease was taken, oldest first."""
    is_watched: bool = True
    """Somebody follows it event by event; a transport that does not know says yes."""
    has_started: bool = False
    """`started` was written with the lease, whose `seq` counts it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The execution is finished already; result, reply and acknowledgement are complete now."""


@dataclass(frozen=True, slots=True)
class HeldElsewhere:
    """A live lease exists. A duplicate entry was acknowledged; the leased entry itself stays pending."""


@dataclass(frozen=True, slots=True)
class IdTaken:
    """Another body was published under this id before; the entry is not acknowledged yet."""


@dataclass(frozen=True, slots=True)
class Parked:
    """It is another execution's turn in its session; the entry was acknowledged and the request kept.

    It is published again when its turn has come, it was cancelled, or its deadline has passed.
    """


BeginOutcome = Begun | Ended | HeldElsewhere | IdTaken | Parked


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """What the streams know of one execution beside its events."""

    id: ExecutionId
    tenant: TenantId
    language: str
    session_id: SessionId | None
    status: ExecutionStatus
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to `submit`."""

    result: Literal["accepted", "joined", "conflict"]
    record: ExecutionRecord


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event as it stands in a log: enough decoded to route it, the bytes untouched."""

    seq: int
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """The numbers of delivery; the same for every transport."""

    lease_s: float = 15.0
    """Who was silent for so long is taken for dead."""
    attempts_max: int = 3
    log_retention_s: float = 86_400.0
    log_entries_max: int = 50_000
    log_bytes_max: int = 256 * 1024 * 1024
    results_max: int = 100_000
    dead_letters_max: int = 10_000

    @property
    def heartbeat_s(self) -> float:
        """How often a live handler renews its lease: three chances before it runs out."""
        return self.lease_s / 3


OnDelivery = Callable[[Delivery], Awaitable[None]]
OnControl = Callable[[Control], Awaitable[None]]


class Publisher(Protocol):
    """The side of a transport that front doors use."""

    async def submit(self, command: RunCode, digest: str) -> Submission:
        """Publish `command` (its `id` set), once for the same `id`, `tenant` and `digest` of the body.

        `queued` is in the log when this returns `accepted`, with its `position` in its lane where that costs
        nothing to know. Raises `Unavailable`; then it is not known whether the entry was published, and
        submitting again is safe. Joining one that still waits publishes its entry once more, in case the
        first one was never written.
        """

    async def send(self, command: ControlCommand) -> None:
        """Publish a control command. It reaches the handler also if it comes before the request, or it."""

    async def record(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        """Return what is known of an execution, or None if unknown or past retention."""

    def follow(
        self, execution_id: ExecutionId, after: int = 0, *, until_end: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[list[LoggedEvent]]]:
        """Yield the log in batches from `after + 1` on, then live, every event once, in order.

        The iterator ends after `finished`. Any number of followers; none of them holds a connection or blocks
        the others, and a slow one costs bounded memory. While the broker is away it waits, and so it does for
        an execution nobody has heard of yet: bound the wait. Raises `LogGone` when a log expires meanwhile.
        Who only waits for the end says so with `until_end`, and may be told all of it only then.

        Entering does no I/O. Enter it before `submit` where you can: then `submit` tells the broker who
        follows, and following costs no round trip of its own.
        """

    async def read(self, execution_id: ExecutionId, after: int = 0, count: int = 1000) -> list[LoggedEvent]:
        """Return at most `count` events after `after` that are in the log now."""

    async def depth(self) -> QueueDepth:
        """Return how much waits. Raises `Unavailable`."""

    async def ping(self) -> float:
        """Return the seconds one round trip to the broker took. Raises `Unavailable`."""


class Consumer(Protocol):
    """The side of a transport that handlers use."""

    async def consume(self, on_delivery: OnDelivery, slots: int) -> None:
        """Hand out entries until `drain` is called, new and abandoned ones.

        `on_delivery` runs as a task of its own; at most `slots` run at once and no entry is taken that has
        no free slot. Returns when all are done. Survives an absent broker, lost group, demoted primary.
        """

    def is_consuming(self) -> bool:
        """Whether the last look for entries succeeded: false while the broker is away or refuses them."""

    def drain(self) -> None:
        """Take nothing new. `consume` returns when what runs is done."""

    async def begin(
        self, delivery: Delivery, command: RunCode, digest: str, started: Started | None = None
    ) -> BeginOutcome:
        """Take the lease of `command` (its `id` set), or say why not.

        An execution that must not run any more waits for no turn: that it was cancelled is in its mail,
        that its deadline has passed is told as `overdue`. `started`, numbered 2, is written in the same step
        if this is the first attempt, in its turn, and log and mail hold nothing but `queued`: `has_started`
        tells. A transport that would have to take two steps leaves it to `append`.
        """

    async def append(self, lease: Lease, events: Sequence[Event]) -> None:
        """Write `events` (numbered from `lease.seq + 1`) to the log in one round trip; advances `lease.seq`.

        Raises `LeaseLost` or, for output, `LogFull`; then nothing was written. While the broker is away it
        keeps trying until the lease must have run out. A repeat after a lost answer writes nothing twice.
        Cancelling waits until it is known whether they were written. Calls for one lease must not overlap.
        """

    async def finish(self, lease: Lease, events: Sequence[Event], finished: Finished) -> None:
        """Append `events` and `finished`, publish result and reply, acknowledge. Raises `LeaseLost`.

        `seq` of `finished` is set here: it follows the last of `events`.
        """

    async def renew(self, lease: Lease) -> None:
        """Keep the lease, and the entry, for another `lease_s`. Raises `LeaseLost`.

        Also puts `lease.attempt` on record, for a holder that tries again in a fresh sandbox.
        """

    async def release(self, lease: Lease) -> None:
        """Publish the entry anew, unstarted; the attempt does not count. Raises `LeaseLost`."""

    async def reject(self, delivery: Delivery, finished: Finished, tenant: TenantId) -> None:
        """Publish the `rejected` result of a request that never becomes an execution, and acknowledge."""

    async def bury(self, delivery: Delivery, reason: str, *, acknowledge: bool = True) -> None:
        """Copy the entry to the dead letters with its reason; `acknowledge` takes it off the requests too.

        An execution that still gets its `finished` is buried first and acknowledged by `finish`.
        """

    async def listen(self, on_control: OnControl, concerns: Concerns = everything) -> None:
        """Hand out every control command published from now on, until cancelled.

        Those of executions it does not concern may be left out. One whose handling raises is logged. One may
        come twice, and again in the `mail` of `begin`: `entry` is the same then. Each is in the mail first,
        so whoever listens from before `begin` on misses none.
        """


class Transport(Publisher, Consumer, Protocol):
    """One broker connection, both sides of it."""

    async def start(self) -> None:
        """Begin to connect. An absent broker is told in the log and never fatal: every part that
        needs it keeps trying with back-off, and `ping` tells when it is there.
        """

    async def close(self) -> None:
        """Let go of everything. Safe to call twice."""
