"""Turns in memory: what `streams/turns.py` describes, in steps that nothing can come between."""

from collections.abc import Iterator

from schemas.commands import RunCode
from schemas.ids import ExecutionId
from schemas.wire import WireFault, decode_run_code, encode
from streams.memory.broker import Entry, MemoryBroker, ParkedRequest
from streams.protocol import Delivery, DeliveryPolicy
from streams.turns import Line, id_of_entry, line_of, must_ask, place_of


class Turns:
    """One transport's hand on the lines of its broker."""

    def __init__(self, broker: MemoryBroker, policy: DeliveryPolicy) -> None:
        self._broker = broker
        self._policy = policy

    def is_mine(self, delivery: Delivery, command: RunCode) -> bool:
        """Join the line; return whether the execution is first in it."""
        line = line_of(command)
        if line is None or command.id is None or not must_ask(command):
            return True
        places = self._broker.lines[line]
        for entry in self._before(delivery.entry, line):
            places.setdefault(_id_of(entry), place_of(entry.id))
        places.setdefault(command.id, place_of(delivery.entry))
        return self._first(line) == command.id

    def park(self, delivery: Delivery, command: RunCode) -> None:
        """Keep the request and acknowledge its entry."""
        assert command.id is not None, "an execution needs its id"
        look_at = self._broker.clock() + self._policy.heartbeat_s
        self._broker.parked[command.id] = ParkedRequest(command, delivery.published_at, look_at)
        self._broker.acknowledge(delivery.entry)
        self._broker.published.notify()

    def leave(self, command: RunCode) -> None:
        """Leave the line, and wake whoever is first then."""
        line = line_of(command)
        if line in self._broker.lines and command.id is not None:
            self._broker.lines[line].pop(command.id, None)
            self._advance(line)

    def wake(self, execution_id: ExecutionId) -> None:
        """Publish a parked request again."""
        if parked := self._broker.parked.pop(execution_id, None):
            self._broker.publish(encode(parked.command), parked.published_at)

    def look(self) -> None:
        """Wake those who wait in vain, or need not wait any more."""
        now = self._broker.clock()
        for execution_id, parked in list(self._broker.parked.items()):
            if parked.look_at <= now and execution_id in self._broker.parked:
                parked.look_at = now + self._policy.heartbeat_s
                self._look_at(execution_id, parked)

    def _look_at(self, execution_id: ExecutionId, parked: ParkedRequest) -> None:
        if execution := self._broker.execution(execution_id):
            self._broker.touch(execution, self._policy.log_retention_s)
        line = line_of(parked.command)
        assert line is not None, "only members of a session are parked"
        urgent = self._broker.is_past(parked.command.deadline) or self._broker.is_cancelled(execution_id)
        if urgent or execution_id not in self._broker.lines[line]:
            self.wake(execution_id)
        else:
            self._advance(line)

    def _advance(self, line: Line) -> None:
        first = self._first(line)
        if first is not None:
            self.wake(first)

    def _first(self, line: Line) -> ExecutionId | None:
        """Return whose turn it is; whoever will never end is sent out of the line."""
        places = self._broker.lines[line]
        while places:
            first = min(places, key=lambda name: places[name])
            if self._may_yet_end(first):
                return first
            del places[first]
        del self._broker.lines[line]
        return None

    def _may_yet_end(self, execution_id: ExecutionId) -> bool:
        execution = self._broker.execution(execution_id)
        if execution is not None:
            if execution.status == "finished":
                return False
            if execution.held_until > self._broker.clock():
                return True
        entries = self._broker.entries.values()
        return execution_id in self._broker.parked or any(_id_of(entry) == execution_id for entry in entries)

    def _before(self, entry: str, line: Line) -> Iterator[Entry]:
        """Yield entries of the session that were published before `entry` and are not acknowledged."""
        for other in self._broker.entries.values():
            if place_of(other.id) < place_of(entry) and (asked := _read(other)) and line_of(asked) == line:
                yield other


def _read(entry: Entry) -> RunCode | None:
    try:
        return decode_run_code(entry.body)
    except WireFault:
        return None


def _id_of(entry: Entry) -> ExecutionId:
    asked = _read(entry)
    return (asked and asked.id) or id_of_entry(entry.id)
