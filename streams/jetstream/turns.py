"""Turns on JetStream: the steps that `streams/turns.py` describes, each one conditional write.

A line is one message: who wants a turn, by place, which is that of the entry in the stream of requests.
What is parked has a message too, whose age says when to look at it; the request itself is in its record.
What is here happens only where executions share a session.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from schemas.commands import CancelExecution, RunCode
from schemas.ids import ExecutionId, SessionId, TenantId
from schemas.wire import encode
from streams.jetstream.control import read_mail
from streams.jetstream.earlier import Earlier, on_subject, read_request
from streams.jetstream.link import Link
from streams.jetstream.records import Standing, nonce
from streams.jetstream.requests import acknowledge, place_of, publish
from streams.jetstream.wire import ROLLUP, TTL, Conflict
from streams.jetstream.writing import look_closely
from streams.protocol import Delivery
from streams.turns import line_of, must_ask

LOOK_MAX = 256
"""How many parked requests one process looks at in one go."""
READ_MAX = 128

Places = dict[ExecutionId, int]
_places = msgspec.json.Decoder(dict[str, int])


@dataclass(frozen=True, slots=True)
class Line:
    """Who wants a turn in one session, and the place of the message that says so."""

    subject: str
    places: Places
    fence: int

    @property
    def first(self) -> ExecutionId | None:
        """Whose turn it is."""
        return min(self.places, key=lambda name: self.places[name]) if self.places else None


class Turns:
    """Lines and parked requests of one broker."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._earlier = Earlier(link)

    async def is_mine(self, delivery: Delivery, command: RunCode) -> bool:
        """Join the line behind those that were published earlier; return whether the execution is first."""
        subject = self._line_of(command)
        if subject is None or command.id is None or not must_ask(command):
            return True
        joining = {command.id: place_of(delivery.entry)}
        line_of_it = line_of(command)
        assert line_of_it is not None, "it has a subject"
        async for name, place in self._earlier.than(delivery.entry, line_of_it):
            joining.setdefault(name, place)
        line = await self._read(subject)
        changed = joining | line.places
        if changed != line.places:
            line = await self._write(line, changed)
        return line.first == command.id

    async def is_cancelled(self, execution_id: ExecutionId) -> bool:
        """Whether the mail of an execution says so."""
        mail = await read_mail(self._link, execution_id)
        return any(isinstance(control.command, CancelExecution) for control in mail)

    async def park(self, delivery: Delivery, command: RunCode, standing: Standing) -> None:
        """Keep the request until its turn, acknowledge the entry. Raises `Conflict` to begin again."""
        assert command.id is not None and standing.record is not None, "it was looked at"
        subject = self._line_of(command)
        assert subject is not None, "only members of a session are parked"
        record = msgspec.structs.replace(
            standing.record,
            parked=encode(command),
            published=delivery.published_at,
            due=command.deadline,
            held_s=0.0,  # or writing it would renew a lease that has run out
            nonce=nonce(),
        )
        await self._write_record(command.id, record.encoded(), standing.fence)
        await self._link.publish(self._link.subjects.parked(command.id), command.id.encode())
        # Whoever was first may have finished before it was parked, and found nobody to wake.
        await self._advance(subject)
        await acknowledge(self._link, delivery)

    async def leave(self, command: RunCode) -> None:
        """Leave the line, and wake whoever is first then."""
        subject = self._line_of(command)
        if subject is None or command.id is None:
            return
        line = await self._read(subject)
        if command.id in line.places:
            line = await self._without(line, command.id)
        if line.first is not None:
            await self._advance(subject)

    async def wake(self, execution_id: ExecutionId) -> None:
        """Publish a request again, if it is parked."""
        await self._link.persist(lambda: self._wake(execution_id))

    async def look(self) -> None:
        """Look at what was parked for a while: wake what waits in vain, or need not wait any more."""
        lines = set()
        async for execution_id in self._due():
            standing = await look_closely(self._link, execution_id)
            if standing.record is None or not standing.record.parked:
                await self._strike(execution_id)
                continue
            subject = self._line_at(standing)
            line = await self._read(subject)
            if execution_id not in line.places or await self._is_urgent(execution_id, standing):
                await self.wake(execution_id)
            else:
                lines.add(subject)
                await self._keep(execution_id, standing)
        for subject in lines:
            await self._advance(subject)

    async def _keep(self, execution_id: ExecutionId, standing: Standing) -> None:
        """Write the record anew before it is past its retention, for what waits longer than that."""
        age = datetime.now(UTC) - standing.renewed_at
        if standing.record is not None and age.total_seconds() > self._link.policy.log_retention_s:
            record = msgspec.structs.replace(standing.record, nonce=nonce())
            await self._write_record(execution_id, record.encoded(), standing.fence)

    async def _wake(self, execution_id: ExecutionId) -> None:
        standing = await look_closely(self._link, execution_id)
        record = standing.record
        if record is None or not record.parked:
            return
        place = await publish(self._link, record.parked, f"woken-{record.nonce}", record.published)
        woken = msgspec.structs.replace(record, parked=b"", published=None, due=None, nonce=nonce())
        if not standing.is_held(await self._link.now()):  # else it is known under the entry that holds it
            woken = msgspec.structs.replace(woken, entry=f"0-{place}", held_s=0.0)
        await self._write_record(execution_id, woken.encoded(), standing.fence)
        await self._strike(execution_id)

    async def _due(self) -> AsyncIterator[ExecutionId]:
        """Yield what was parked, or looked at, a heartbeat ago, and keep others from it for another."""
        subjects = self._link.subjects.below("parked")
        parked = await self._link.read("TURNS", subjects, 0, LOOK_MAX)
        if not parked:
            return
        before = await self._link.now() - timedelta(seconds=self._link.policy.heartbeat_s)
        for message in parked:
            if message.time > before:
                continue
            try:
                await self._link.publish(message.subject, message.data, expected=message.seq)
            except Conflict:
                continue
            yield ExecutionId(message.data.decode())

    async def _strike(self, execution_id: ExecutionId) -> None:
        """Forget that an execution was parked; it leaves the list within seconds."""
        subject = self._link.subjects.parked(execution_id)
        [message] = await self._link.last("TURNS", subject)
        if message is not None:
            stream = self._link.subjects.stream("TURNS")
            await self._link.api(f"STREAM.PURGE.{stream}", {"filter": subject, "seq": message.seq + 1})

    async def _is_urgent(self, execution_id: ExecutionId, standing: Standing) -> bool:
        """Whether it need not wait for its turn: nobody may start it any more, or it was cancelled."""
        due = standing.record.due if standing.record else None
        overdue = due is not None and due <= await self._link.now()
        return overdue or await self.is_cancelled(execution_id)

    async def _advance(self, subject: str) -> None:
        """Wake whoever is first, and send those out of the line before who will never end."""
        while True:
            line = await self._read(subject)
            first = line.first
            if first is None:
                return None
            standing = await look_closely(self._link, first)
            if standing.record is not None and standing.record.parked and not standing.ended:
                return await self.wake(first)
            if await self._may_yet_end(first, line.places[first], standing):
                return None
            await self._without(line, first)

    async def _may_yet_end(self, execution_id: ExecutionId, place: int, standing: Standing) -> bool:
        if standing.ended:
            return False
        if standing.is_held(await self._link.now(), grace_s=self._link.policy.lease_s):
            return True
        entry = standing.record.entry if standing.record else ""
        if await self._link.holds("REQUESTS", place_of(entry) if entry else place):
            return True
        for subject in (self._link.subjects.ready, self._link.subjects.requests):
            async for message in on_subject(self._link, subject):
                asked = read_request(message)
                if asked is not None and asked.id == execution_id:
                    return True
        return False

    async def _read(self, subject: str) -> Line:
        [message] = await self._link.last("TURNS", subject)
        places = _places.decode(message.data) if message and message.data else {}
        return Line(
            subject,
            {ExecutionId(name): place for name, place in places.items()},
            message.seq if message else 0,
        )

    async def _write(self, line: Line, places: Places) -> Line:
        """Change a line. Raises `Conflict`."""
        # One that is empty goes away by itself.
        headers = {} if places else {TTL: "1s"}
        body = msgspec.json.encode(places)
        fence = await self._link.publish(line.subject, body, headers, expected=line.fence)
        return Line(line.subject, places, fence)

    async def _without(self, line: Line, execution_id: ExecutionId) -> Line:
        return await self._write(line, {name: at for name, at in line.places.items() if name != execution_id})

    async def _write_record(self, execution_id: ExecutionId, body: bytes, fence: int) -> None:
        subjects = self._link.subjects
        subject, both = subjects.record(execution_id), subjects.both(execution_id)
        await self._link.publish(subject, body, {ROLLUP: "sub"}, expected=fence, of=both)

    def _line_of(self, command: RunCode) -> str | None:
        line = line_of(command)
        return self._link.subjects.line(*line) if line else None

    def _line_at(self, standing: Standing) -> str:
        assert standing.record is not None, "it was looked at"
        record = standing.record
        return self._link.subjects.line(TenantId(record.tenant), SessionId(record.session))
