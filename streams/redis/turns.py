"""Turns on Redis: the steps that `streams/turns.py` describes, each one script or one command.

Joining the line is part of `begin`, leaving it part of `finish`, where one script reaches all keys; on a
cluster they are steps of their own. What is here besides happens only where an execution has to wait.
"""

import secrets
from dataclasses import dataclass

from schemas.commands import RunCode
from schemas.ids import ExecutionId, SessionId, TenantId
from schemas.wire import encode
from streams.protocol import Delivery
from streams.redis.link import Link
from streams.redis.requests import acknowledge
from streams.redis.scripts import DUE, EARLIER, JOIN, LEAVE, NOTE, PARK, SEARCH, STANDING, STRIKE, WAKE
from streams.topology import DATA
from streams.turns import entry_at, line_of, must_ask, place_of

LOOK_MAX = 256
"""How many parked requests one process looks at in one go."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an execution in a line stands; see standing.lua."""

    state: str
    entry: str
    line: str
    urgent: bool


class Turns:
    """Lines and parked requests of one broker."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._parked = link.topology.parked

    async def ask(self, delivery: Delivery, command: RunCode) -> tuple[list[str], str]:
        """Return what `begin` needs to know whose turn it is: keys, or where they are out of reach, who."""
        line = self._line(command)
        if line is None or not must_ask(command):
            return [], ""
        if self._link.reach == "all":
            return [line, delivery.stream, self._link.topology.lanes], ""
        return [], await self._link.persist(lambda: self._join(delivery, command, line))

    async def park(self, delivery: Delivery, command: RunCode) -> bool:
        """Keep the request until its turn comes and acknowledge the entry; false if it must begin again."""
        assert command.id is not None, "an execution needs its id"
        link, keys, line = self._link, self._link.keys_of(command.id), self._line(command)
        assert line is not None, "only members of a session are parked"
        request = (encode(command), delivery.published_at.isoformat(), due_ms(command), secrets.token_hex(8))
        if not await link.run(PARK, keys, [*request, link.retention_ms]):
            return False
        await link.run(NOTE, [self._parked], [command.id, self._look_again_ms])
        # Whoever was first may have finished before it was parked, and found nobody to wake.
        await self._advance(line)
        await acknowledge(link, delivery.stream, delivery.entry)
        return True

    def leaving(self, command: RunCode) -> list[str]:
        """Return the key that `finish` leaves the line by, if there is a line and the script reaches it."""
        line = self._line(command)
        return [line] if line and self._link.reach == "all" else []

    async def leave(self, command: RunCode) -> None:
        """Leave the line where `finish` did not, and wake whoever is first then."""
        line = self._line(command)
        if line is None or command.id is None or not must_ask(command):
            return
        if first := await self._link.run(LEAVE, [line], [command.id]):
            await self.wake(ExecutionId(first.decode()))

    async def wake(self, execution_id: ExecutionId) -> None:
        """Publish a request again, if it is parked."""
        link = self._link
        requests, record = link.topology.requests, link.topology.record(execution_id)
        if link.reach == "all":
            await link.run(WAKE, [record, requests, self._parked], [execution_id])
            return
        nonce, body, published = await link.call("HMGET", record, "parked_as", "parked", "published")
        if nonce:
            entry = await link.call("XADD", requests, "*", DATA, body, "published", published)
            await link.run(WAKE, [record], [execution_id, nonce, entry])

    async def look(self) -> None:
        """Look at what was parked for a while: wake what waits in vain, or need not wait any more."""
        taken = await self._link.run(DUE, [self._parked], [self._look_again_ms, LOOK_MAX])
        lines = set()
        for name, again in zip(taken[::2], taken[1::2], strict=True):
            execution_id = ExecutionId(name.decode())
            standing = await self._standing(execution_id)
            if standing.state != "parked":
                await self._link.run(STRIKE, [self._parked], [execution_id, again])
            elif standing.urgent or await self._link.call("ZSCORE", standing.line, name) is None:
                await self.wake(execution_id)
            else:
                lines.add(standing.line)
        for line in lines:
            await self._link.call("PEXPIRE", line, self._link.retention_ms)
            await self._advance(line)

    @property
    def _look_again_ms(self) -> int:
        return round(self._link.policy.heartbeat_s * 1000)

    def _line(self, command: RunCode) -> str | None:
        line = line_of(command)
        return self._link.topology.line(*line) if line else None

    async def _join(self, delivery: Delivery, command: RunCode, line: str) -> str:
        """Join the line behind those that were published earlier; return who is first."""
        assert command.id is not None and command.session_id is not None, "a member of a session"
        about = (delivery.entry, command.tenant, command.session_id)
        earlier = await self._link.run(EARLIER, [delivery.stream, self._link.topology.lanes], about)
        own = (place_of(delivery.entry), command.id)
        first: bytes = await self._link.run(JOIN, [line], [self._link.retention_ms, *earlier, *own])
        return first.decode()

    async def _advance(self, line: str) -> None:
        """Wake whoever is first, and send those out of the line before who will never end."""
        while first := await self._link.call("ZRANGE", line, 0, 0, "WITHSCORES"):
            execution_id, place = ExecutionId(first[0].decode()), int(float(first[1]))
            standing = await self._standing(execution_id)
            if standing.state == "parked":
                return await self.wake(execution_id)
            if await self._may_yet_end(execution_id, place, standing):
                return None
            await self._link.call("ZREM", line, execution_id)
        return None

    async def _may_yet_end(self, execution_id: ExecutionId, place: int, standing: Standing) -> bool:
        if standing.state in ("held", "finished"):
            return standing.state == "held"
        requests, entry = self._link.topology.requests, standing.entry or entry_at(place)
        if await self._link.call("XRANGE", requests, entry, entry):
            return True
        return bool(await self._link.run(SEARCH, [requests], [execution_id]))

    async def _standing(self, execution_id: ExecutionId) -> Standing:
        arguments = [self._link.lease_ms, self._link.retention_ms]
        keys = self._link.keys_of(execution_id)
        state, entry, tenant, session, urgent = await self._link.run(STANDING, keys, arguments)
        line = self._link.topology.line(TenantId(tenant.decode()), SessionId(session.decode()))
        return Standing(state.decode(), entry.decode(), line, bool(urgent))


def due_ms(command: RunCode) -> int | str:
    """Return when the execution must have begun, in ms since 1970, or an empty string."""
    return round(command.deadline.timestamp() * 1000) if command.deadline else ""
