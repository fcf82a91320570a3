"""What several transports of one process share in place of a server."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.commands import CancelExecution, RunCode
from schemas.ids import ExecutionId
from streams.delivery import DeadLetter
from streams.lanes import FairOrder, lane_of
from streams.memory.executions import Execution, Mail
from streams.protocol import Control
from streams.signal import Signal
from streams.topology import Topology
from streams.turns import Line


@dataclass(slots=True)
class Entry:
    """One entry of the requests stream; pending once `deliveries` is more than 0."""

    id: str
    body: bytes
    published_at: datetime
    idle_since: float
    """When it was published, or handed out last, on the broker's clock."""
    deliveries: int = 0


@dataclass(slots=True)
class ParkedRequest:
    """A request that waits for its session's turn; when to look at it again, on the broker's clock."""

    command: RunCode
    published_at: datetime
    look_at: float


class MemoryBroker:
    """All streams of one simulated broker.

    `clock` returns seconds and defaults to the running loop's time, so that a loop with virtual time
    makes the whole transport virtual; `epoch` is the wall clock time when it was first read.
    """

    def __init__(
        self, clock: Callable[[], float] | None = None, epoch: datetime | None = None, bound: int = 100_000
    ) -> None:
        self.clock = clock or (lambda: asyncio.get_running_loop().time())
        self.topology = Topology()
        self.entries: dict[str, Entry] = {}
        """Not acknowledged yet, in order of publication."""
        self.waiting: FairOrder[str] = FairOrder()
        """The entries nobody was handed yet."""
        self.results: deque[bytes] = deque(maxlen=bound)
        self.results_ever = 0
        self.dead: dict[str, DeadLetter] = {}
        """The newest, by the order in which they came."""
        self.replies: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=bound))
        self.control: list[Callable[[Control], None]] = []
        """Everybody who listens now."""
        self.published = Signal()
        self.lines: dict[Line, dict[ExecutionId, int]] = defaultdict(dict)
        """Of each session, who may want a turn, and their places."""
        self.parked: dict[ExecutionId, ParkedRequest] = {}
        self._executions: dict[ExecutionId, Execution] = {}
        self._mail: dict[ExecutionId, Mail] = {}
        self._epoch = epoch or datetime.now(UTC)
        self._started_at: float | None = None
        self._last_id = 0
        self._bound = bound
        self._buried = 0

    def now(self) -> datetime:
        """Return the broker's own wall clock time."""
        if self._started_at is None:
            self._started_at = self.clock()
        return self._epoch + timedelta(seconds=self.clock() - self._started_at)

    def new_id(self) -> str:
        """Return an entry id larger than all before."""
        self._last_id += 1
        return f"{self._last_id}-0"

    def bury(self, letter: DeadLetter) -> None:
        """Keep one more dead letter, at the price of the oldest where there are too many."""
        self._buried += 1
        self.dead[str(self._buried)] = letter
        if len(self.dead) > self._bound:
            del self.dead[next(iter(self.dead))]

    def publish(self, body: bytes, published_at: datetime | None = None) -> None:
        """Put one entry on the requests stream, as anybody with a client may.

        `published_at` is given if it is not the first time.
        """
        entry = Entry(self.new_id(), body, published_at or self.now(), self.clock())
        self.entries[entry.id] = entry
        self.waiting.add(lane_of(body), entry.id)
        self.published.notify()

    def next_waiting(self) -> Entry | None:
        """Return the entry whose turn it is to be handed out, or None if none waits."""
        while (name := self.waiting.take()) is not None:
            if entry := self.entries.get(name):
                return entry
        return None

    def add_result(self, line: bytes) -> None:
        """Put one `finished` on the results stream."""
        self.results.append(line)
        self.results_ever += 1

    def acknowledge(self, entry: str) -> None:
        """Take an entry off the requests stream."""
        self.entries.pop(entry, None)

    def execution(self, execution_id: ExecutionId) -> Execution | None:
        """Return an execution, unless it is unknown or past retention."""
        found = self._executions.get(execution_id)
        if found is not None and found.expires_at <= self.clock():
            del self._executions[execution_id]
            found.changed.notify()
            return None
        return found

    def create(
        self,
        command: RunCode,
        digest: str,
        created_at: datetime,
        retention_s: float,
        position: int | None = None,
    ) -> Execution:
        """Make the record and log of an execution nobody knew before."""
        assert command.id is not None, "an execution needs its id"
        made = Execution(command.id, command, digest, created_at, self.clock() + retention_s, position)
        self._executions[made.id] = made
        self.published.notify()
        return made

    def mail(self, execution_id: ExecutionId, retention_s: float) -> Mail:
        """Return the mail of an execution, known or not yet."""
        found = self._mail.get(execution_id)
        if found is None or found.expires_at <= self.clock():
            found = self._mail[execution_id] = Mail(self.clock() + retention_s)
        return found

    def is_cancelled(self, execution_id: ExecutionId) -> bool:
        """Whether the mail of an execution says so."""
        found = self._mail.get(execution_id)
        controls = found.controls.values() if found else ()
        return any(isinstance(control.command, CancelExecution) for control in controls)

    def is_past(self, deadline: datetime | None) -> bool:
        """Whether a deadline has passed."""
        return deadline is not None and deadline <= self.now()

    def touch(self, execution: Execution, retention_s: float) -> None:
        """Keep record, log and mail for another retention period."""
        execution.expires_at = self.clock() + retention_s
        self.mail(execution.id, retention_s).expires_at = execution.expires_at

    def flush(self) -> None:
        """Forget everything, as an operator or an accident may make a broker do."""
        gone = list(self._executions.values())
        self.entries.clear()
        self.waiting = FairOrder()
        self._executions.clear()
        self._mail.clear()
        self.lines.clear()
        self.parked.clear()
        for execution in gone:
            execution.changed.notify()
