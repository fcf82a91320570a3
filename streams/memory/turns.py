"""Turns in memory: what `streams/turns.py` describes."""

from collections.abc import Iterator

from schemas.commands import RunCode
from schemas.ids import ExecutionId
from schemas.wire import WireFault, decode_run_code, encode
from streams.memory.broker import Entry, MemoryBroker, ParkedRequest
from streams.memory.executions import Execution
from streams.memory.steps import Between
from streams.protocol import Delivery, DeliveryPolicy
from streams.turns import Line, id_of_entry, line_of, must_ask, place_of


class Turns:
    """One transport's hand on the lines of its broker."""

    def __init__(self, broker: MemoryBroker, policy: DeliveryPolicy, between: Between) -> None:
        self._broker = broker
        self._policy = policy
        self._between = between

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

    async def park(self, delivery: Delivery, command: RunCode, execution: Execution) -> bool:
        """Keep the request and acknowledge its entry; false if it must begin again."""
        broker = self._broker
        ended = execution.status == "finished" or execution.held_until > broker.clock()
        if ended or broker.is_cancelled(execution.id):
            return False
        look_at = broker.clock() + self._policy.heartbeat_s
        broker.parked[execution.id] = ParkedRequest(command, delivery.published_at, look_at)
        broker.published.notify()
        await self._between("park: kept")
        # Whoever was first may have finished before it was parked, and found nobody to wake.
        await self._advance(self._line_of(command))
        await self._between("park: line looked at")
        broker.acknowledge(delivery.entry)
        return True

    async def leave(self, command: RunCode) -> None:
        """Leave the line, and wake whoever is first then."""
        line = line_of(command)
        if line in self._broker.lines and command.id is not None:
            self._broker.lines[line].pop(command.id, None)
            await self._between("finish: line left")
            await self._advance(line)

    async def wake(self, execution_id: ExecutionId) -> None:
        """Publish a parked request again."""
        if parked := self._broker.parked.get(execution_id):
            self._broker.publish(encode(parked.command), parked.published_at)
            await self._between("wake: published")
            if self._broker.parked.get(execution_id) is parked:
                del self._broker.parked[execution_id]

    async def look(self) -> None:
        """Wake those who wait in vain, or need not wait any more."""
        now = self._broker.clock()
        for execution_id, parked in list(self._broker.parked.items()):
            if parked.look_at <= now and execution_id in self._broker.parked:
                parked.look_at = now + self._policy.heartbeat_s
                await self._look_at(execution_id, parked)

    async def _look_at(self, execution_id: ExecutionId, parked: ParkedRequest) -> None:
        if execution := self._broker.execution(execution_id):
            self._broker.touch(execution, self._policy.log_retention_s)
        line = self._line_of(parked.command)
        urgent = self._broker.is_past(parked.command.deadline) or self._broker.is_cancelled(execution_id)
        if urgent or execution_id not in self._broker.lines[line]:
            await self.wake(execution_id)
        else:
            await self._advance(line)

    async def _advance(self, line: Line) -> None:
        first = self._first(line)
        if first is not None:
            await self.wake(first)

    def _line_of(self, command: RunCode) -> Line:
        line = line_of(command)
        assert line is not None, "only members of a session are parked"
        return line

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
