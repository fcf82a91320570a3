"""A broker that is watched: whoever is handed out, was it his turn? Counts by itself, and trusts no lane."""

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

from schemas.http import ExecutionStatus
from schemas.ids import ExecutionId, TenantId
from schemas.wire import decode_run_code
from streams.lanes import BATCH_EVERY, Lane, lane_of
from streams.memory.broker import Entry, MemoryBroker
from streams.memory.executions import Execution
from streams.signal import Signal

OVERTAKEN_MOST = 2
"""By any one lane, while another waits: once, and once more where the other had its turn just before."""


class _Noting(Signal):
    """Notes how far an execution has come whenever its log was written."""

    def __init__(self, execution: Execution, history: list[tuple[ExecutionId, ExecutionStatus]]) -> None:
        super().__init__()
        self._execution = execution
        self._history = history

    def notify(self) -> None:
        now = (self._execution.id, self._execution.status)
        if now not in self._history:
            self._history.append(now)
        super().notify()


class WatchedBroker(MemoryBroker):
    """Asserts at every hand-out that lanes are kept."""

    def __init__(self, epoch: datetime) -> None:
        super().__init__(epoch=epoch)
        self._lanes: dict[Lane, list[str]] = {}
        self._overtaken: dict[Lane, Counter[TenantId]] = defaultdict(Counter)
        self._since_batch = 0
        self.handed_out = 0
        self.contended = 0
        """How often somebody else waited as well."""
        self.unfair: list[str] = []
        self.published_first: dict[str, int] = {}
        """The place of everybody's first entry."""
        self.history: list[tuple[ExecutionId, ExecutionStatus]] = []
        """Who came how far, in the order in which logs were written."""

    def publish(self, body: bytes, published_at: datetime | None = None) -> None:
        before = set(self.entries)
        super().publish(body, published_at)
        for entry in set(self.entries) - before:
            self._lanes.setdefault(lane_of(body), []).append(entry)
            self.published_first.setdefault(decode_run_code(body).id or "", self._last_id)

    def create(self, *args: Any) -> Execution:
        made = super().create(*args)
        made.changed = _Noting(made, self.history)
        return made

    def next_waiting(self) -> Entry | None:
        entry = super().next_waiting()
        self._forget_what_is_gone(entry)
        if entry is not None:
            self._look_at(entry)
        return entry

    def _look_at(self, entry: Entry) -> None:
        lane = lane_of(entry.body)
        self.handed_out += 1
        self.contended += len(self._lanes) > 1
        if self._lanes[lane][0] != entry.id:
            self.unfair.append(f"{entry.id} went before {self._lanes[lane][0]} of its own lane {lane}")
        self._lanes[lane].remove(entry.id)
        if not self._lanes[lane]:
            del self._lanes[lane]
        self._check_priority(lane)
        self._check_turn(lane)

    def _check_priority(self, lane: Lane) -> None:
        others = {priority for priority, _ in self._lanes}
        if lane[0] == "batch":
            if "interactive" in others and self._since_batch < BATCH_EVERY - 1:
                self.unfair.append(f"batch went first after {self._since_batch} interactive ones")
            self._since_batch = 0
        elif "batch" in others:
            self._since_batch += 1
            if self._since_batch >= BATCH_EVERY:
                self.unfair.append(f"batch waited while {self._since_batch} interactive ones went first")
        else:
            self._since_batch = 0

    def _check_turn(self, lane: Lane) -> None:
        self._overtaken.pop(lane, None)
        priority, tenant = lane
        for other in self._lanes:
            if other[0] == priority and other != lane:
                self._overtaken[other][tenant] += 1
                if self._overtaken[other][tenant] > OVERTAKEN_MOST:
                    self.unfair.append(f"{other} waited while {lane} was served again and again")

    def _forget_what_is_gone(self, handed: Entry | None) -> None:
        """Of what was acknowledged while it waited nothing is handed out."""
        for lane, entries in list(self._lanes.items()):
            self._lanes[lane] = [name for name in entries if name in self.entries]
            if not self._lanes[lane]:
                del self._lanes[lane]
                self._overtaken.pop(lane, None)
        assert handed is None or handed.id in self.entries
