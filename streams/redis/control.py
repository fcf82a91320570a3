"""Hearing control commands: every handler process reads the whole stream, and skips what is not for it."""

from collections.abc import Mapping
from datetime import UTC, datetime

from redis.exceptions import RedisError

from infra.errors import Unavailable
from schemas.commands import EndSession, ResolveToolCalls
from schemas.ids import ExecutionId
from schemas.wire import WireFault, decode_control
from streams.concerns import Concerns
from streams.delivery import DeadLetter, hear
from streams.protocol import Control, OnControl
from streams.redis.link import Link, body_of
from streams.redis.mail import deposit, wake_cancelled
from streams.redis.scripts import BURY_ONCE

BURIED_MS = 3_600_000
"""How long it is remembered that a control entry became a dead letter; every reader is through by then."""


class ControlReader:
    """Reads the control stream from now on and hands what `concerns` this process to `on_control`.

    A cancelled execution that is parked is woken, for it need not wait for its turn.
    """

    def __init__(self, link: Link, on_control: OnControl, concerns: Concerns) -> None:
        self._link = link
        self._concerns = concerns
        self._stream = link.topology.control
        self._on_control = on_control

    async def run(self) -> None:
        """Read for ever, whatever the broker does."""
        backoff = self._link.backoff()
        last: bytes | None = None
        while True:
            try:
                last = await (self._end() if last is None else self._take(last))
                backoff.reset()
            except (RedisError, Unavailable) as error:
                await backoff.pause(error)

    async def _end(self) -> bytes:
        """Return the id of the newest entry: what comes after it is from now on."""
        newest = await self._link.call("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        return bytes(newest[0][0]) if newest else b"0-0"

    async def _take(self, last: bytes) -> bytes:
        answer = await self._link.alone(
            *(
                "XREAD",
                "COUNT",
                100,
                "BLOCK",
                round(self._link.block_s * 1000),
                "STREAMS",
                self._stream,
                last,
            ),
            blocks_s=self._link.block_s,
        )
        for _, entries in answer or ():
            for entry, fields in entries:
                await self._hand_on(entry.decode(), fields)
                last = entry
        return last

    async def _hand_on(self, entry: str, fields: Mapping[bytes, bytes]) -> None:
        mailed = b"mailed" in fields
        if mailed and not self._concerns(ExecutionId(fields.get(b"for", b"").decode(errors="replace"))):
            return
        body = body_of(fields) or b""
        try:
            command = decode_control(body)
        except WireFault as fault:
            await self._bury(entry, body, fault)
            return
        control = Control(fields.get(b"once", entry.encode()).decode(errors="replace"), command)
        # First the mail, then the handler: whoever takes the execution in between finds it in the mail.
        if not mailed and not isinstance(command, EndSession | ResolveToolCalls):
            name = f"{entry} {control.entry}"
            if await deposit(self._link, command.execution_id, name, body):
                await wake_cancelled(self._link, command)
        await hear(self._on_control, control)

    async def _bury(self, entry: str, body: bytes, fault: WireFault) -> None:
        reason = f"{fault.field}: {fault.message}" if fault.field else fault.message
        letter = DeadLetter(body, reason, self._stream, entry, datetime.now(UTC))
        keys = [self._link.topology.buried(entry), self._link.topology.dead]
        fields = [part for item in letter.fields().items() for part in item]
        await self._link.run(BURY_ONCE, keys, [BURIED_MS, self._link.policy.dead_letters_max, *fields])
