"""Hearing control commands: every handler process reads the whole stream and leaves mail for the absent."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from redis.exceptions import RedisError

from schemas.commands import CancelExecution, EndSession, ResolveToolCalls
from schemas.ids import ExecutionId
from schemas.wire import WireFault, decode_control
from streams.delivery import DeadLetter, hear
from streams.protocol import Control, OnControl
from streams.redis.link import Backoff, Link, body_of
from streams.redis.scripts import BURY_ONCE, DEPOSIT

COMMANDS_MAX = 1000
"""How many commands one execution's mail holds."""
PARKED = 2
"""The answer of `deposit` about an execution that waits for its turn."""
BURIED_MS = 3_600_000
"""How long it is remembered that a control entry became a dead letter; every reader is through by then."""


class ControlReader:
    """Reads the control stream from now on and hands every command to `on_control`.

    A cancelled execution that is parked is woken, for it need not wait for its turn.
    """

    def __init__(
        self, link: Link, on_control: OnControl, wake: Callable[[ExecutionId], Awaitable[None]]
    ) -> None:
        self._link = link
        self._wake = wake
        self._stream = link.topology.control
        self._on_control = on_control

    async def run(self) -> None:
        """Read for ever, whatever the broker does."""
        backoff = Backoff(self._link.config)
        last: bytes | None = None
        while True:
            try:
                last = await (self._end() if last is None else self._take(last))
                backoff.reset()
            except RedisError as error:
                await backoff.pause(error)

    async def _end(self) -> bytes:
        """Return the id of the newest entry: what comes after it is from now on."""
        newest = await self._link.call("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
        return bytes(newest[0][0]) if newest else b"0-0"

    async def _take(self, last: bytes) -> bytes:
        answer = await self._link.block(
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
            seconds=self._link.block_s,
        )
        for _, entries in answer or ():
            for entry, fields in entries:
                await self._hand_on(entry.decode(), fields)
                last = entry
        return last

    async def _hand_on(self, entry: str, fields: Mapping[bytes, bytes]) -> None:
        body = body_of(fields) or b""
        try:
            command = decode_control(body)
        except WireFault as fault:
            await self._bury(entry, body, fault)
            return
        control = Control(fields.get(b"once", entry.encode()).decode(errors="replace"), command)
        # First the mail, then the handler: whoever takes the execution in between finds it in the mail.
        # Results of tools are for the handler alone whose code asked, and may be large.
        if not isinstance(command, EndSession | ResolveToolCalls):
            parked = await self._deposit(command.execution_id, f"{entry} {control.entry}", body)
            if parked and isinstance(command, CancelExecution):
                await self._wake(command.execution_id)
        await hear(self._on_control, control)

    async def _deposit(self, execution_id: ExecutionId, name: str, body: bytes) -> bool:
        """Put a command into the mail; return whether the execution is parked."""
        keys = self._link.keys_of(execution_id)
        retention_ms = self._link.retention_ms
        return bool(await self._link.run(DEPOSIT, keys, [name, body, retention_ms, COMMANDS_MAX]) == PARKED)

    async def _bury(self, entry: str, body: bytes, fault: WireFault) -> None:
        reason = f"{fault.field}: {fault.message}" if fault.field else fault.message
        letter = DeadLetter(body, reason, self._stream, entry, datetime.now(UTC))
        keys = [self._link.topology.buried(entry), self._link.topology.dead]
        fields = [part for item in letter.fields().items() for part in item]
        await self._link.run(BURY_ONCE, keys, [BURIED_MS, self._link.policy.dead_letters_max, *fields])


def read_mail(deposited: Sequence[bytes]) -> tuple[Control, ...]:
    """Return the commands in an execution's mail, given as names and commands in turn, oldest first."""
    pairs = zip(deposited[::2], deposited[1::2], strict=True)
    named = sorted((_place(name), name, body) for name, body in pairs)
    return tuple(Control(name.decode().partition(" ")[2], decode_control(body)) for _, name, body in named)


def _place(name: bytes) -> tuple[int, int]:
    """Return where a command stood on the control stream; names are `<ms>-<n> <how to know it by>`."""
    ms, _, number = name.decode().partition(" ")[0].partition("-")
    return int(ms), int(number)
