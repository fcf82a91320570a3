"""Sending control commands, and the mail in which an execution's next handler finds them.

Whoever sends leaves the mail, so that a command is not lost where no handler lives to hear it. A command that
was published with a bare XADD is left there by the handlers that hear it.
"""

import secrets
from collections.abc import Sequence

from schemas.commands import CancelExecution, ControlCommand, EndSession, ResolveToolCalls
from schemas.ids import ExecutionId
from schemas.wire import decode_control, encode
from streams.protocol import Control
from streams.redis.link import Link
from streams.redis.scripts import DEPOSIT, SEND, Argument
from streams.redis.turns import Turns
from streams.topology import DATA

CONTROL_ENTRIES_MAX = 10_000
LARGE_COMMAND_BYTES = 64 * 1024
"""Results of tools may be megabytes, and so many of those are not kept; once one is so large, all go that are
older than some leases: who has not heard them by then has lost what they were for."""
COMMANDS_MAX = 1000
"""How many commands one execution's mail holds."""
PARKED = 2
"""The answer of `deposit` in mail.lua about an execution that waits for its turn."""


async def send(link: Link, command: ControlCommand) -> None:
    """Publish a control command, and leave it in the mail of its execution. Raises `Unavailable`."""
    # It may be sent twice when an answer is lost; by the nonce the repeat is known for one.
    body, nonce = encode(command), secrets.token_hex(8)
    entry, parked = await link.publish(lambda: _send(link, command, body, nonce))
    if parked:
        await wake_cancelled(link, command)
    if len(body) > LARGE_COMMAND_BYTES:
        oldest_ms = int(entry.partition(b"-")[0]) - round(link.policy.lease_s * 4000)
        await link.answer(link.call("XTRIM", link.topology.control, "MINID", "~", max(0, oldest_ms)))


async def wake_cancelled(link: Link, command: ControlCommand) -> None:
    """Wake a parked execution that was cancelled: it need not wait for its turn."""
    if isinstance(command, CancelExecution):
        await link.answer(Turns(link).wake(command.execution_id))


async def deposit(link: Link, execution_id: ExecutionId, name: str, body: bytes) -> bool:
    """Put a command into the mail; return whether the execution is parked."""
    arguments: list[Argument] = [name, body, link.retention_ms, COMMANDS_MAX]
    return bool(await link.run(DEPOSIT, link.keys_of(execution_id), arguments) == PARKED)


def read_mail(deposited: Sequence[bytes]) -> tuple[Control, ...]:
    """Return the commands in an execution's mail, given as names and commands in turn, oldest first."""
    pairs = zip(deposited[::2], deposited[1::2], strict=True)
    named = sorted((_place(name), name, body) for name, body in pairs)
    return tuple(Control(name.decode().partition(" ")[2], decode_control(body)) for _, name, body in named)


async def _send(link: Link, command: ControlCommand, body: bytes, nonce: str) -> tuple[bytes, bool]:
    """Return the entry it became, and whether its execution is parked."""
    if isinstance(command, EndSession):
        return await _publish(link, {DATA: body, "once": nonce}), False
    execution_id = command.execution_id
    if isinstance(command, ResolveToolCalls):
        # For the handler alone whose code asked, and may be large: there is nothing to leave in the mail.
        fields: dict[str, Argument] = {DATA: body, "once": nonce, "for": execution_id, "mailed": 1}
        return await _publish(link, fields), False
    if link.reach == "all":
        keys = [*link.keys_of(execution_id), link.topology.control]
        bounds = (CONTROL_ENTRIES_MAX, link.retention_ms, COMMANDS_MAX)
        entry, left = await link.run(SEND, keys, [execution_id, body, nonce, *bounds])
        return entry, left == PARKED
    # Handlers leave it in the mail as well: one may take the execution before we come to it.
    entry = await _publish(link, {DATA: body, "once": nonce, "for": execution_id})
    return entry, await deposit(link, execution_id, f"{entry.decode()} {nonce}", body)


async def _publish(link: Link, fields: dict[str, Argument]) -> bytes:
    flat = [part for item in fields.items() for part in item]
    bound = ("MAXLEN", "~", CONTROL_ENTRIES_MAX)
    entry: bytes = await link.call("XADD", link.topology.control, *bound, "*", *flat)
    return entry


def _place(name: bytes) -> tuple[int, int]:
    """Return where a command stood on the control stream; names are `<ms>-<n> <how to know it by>`."""
    ms, _, number = name.decode().partition(" ")[0].partition("-")
    return int(ms), int(number)
