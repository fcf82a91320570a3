"""What operators do with dead letters: look at them, give them another life where they may, drop them.

A dead letter is an entry that nobody could or may handle, with the reason. Another life keeps the promise
of one outcome: an execution that has ended, or still has a life, cannot have another under the same id.
Transports only keep the letters; what may be requeued is decided here, for all of them.
"""

from dataclasses import dataclass
from typing import Protocol

import msgspec

from infra.errors import RequestRefused
from schemas.commands import RunCode
from schemas.digest import digest_of
from schemas.ids import EXECUTION_ID_RULE, ExecutionId, is_execution_id
from schemas.wire import WireFault, decode_run_code
from streams.delivery import DeadLetter
from streams.protocol import Publisher
from streams.turns import id_of_entry


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A dead letter under the id that the transport keeps it by."""

    id: str
    letter: DeadLetter


class DeadLetters(Protocol):
    """The side of a transport that operators use. Everything here raises `Unavailable`."""

    async def dead_letters(self, after: str = "", count: int = 100) -> list[KeptLetter]:
        """Return at most `count` letters, oldest first, that came after the one with the id `after`."""

    async def dead_letter(self, letter_id: str) -> KeptLetter | None:
        """Return one letter, or None if it is not there (any more)."""

    async def drop_dead_letter(self, letter_id: str) -> bool:
        """Forget one letter; return whether it was there."""


class Postmaster(Publisher, DeadLetters, Protocol):
    """What requeueing takes: both sides of one transport."""


async def requeue(transport: Postmaster, letter_id: str, new_id: str | None = None) -> ExecutionId:
    """Publish what a dead letter asks for again, as `new_id` if given, then drop the letter.

    Returns the id of the execution. Raises `RequestRefused` where that would break the promise or is of
    no use, and `Unavailable`; a crash in between leaves the letter, and requeueing again does no harm.
    """
    kept = await find(transport, letter_id)
    command = _readable(kept, new_id)
    assert command.id is not None, "given just now"
    if new_id is None:
        await _check_life(transport, command.id)
    submission = await transport.submit(command, digest_of(command))
    if submission.result == "conflict":
        raise RequestRefused(f"{command.id!r} was used before with another body.", field="id")
    await transport.drop_dead_letter(letter_id)
    return command.id


async def find(transport: DeadLetters, letter_id: str) -> KeptLetter:
    """Return one letter. Raises `RequestRefused` if it is not there."""
    kept = await transport.dead_letter(letter_id)
    if kept is None:
        raise RequestRefused(f"There is no dead letter {letter_id!r}.", field="letter")
    return kept


def _readable(kept: KeptLetter, new_id: str | None) -> RunCode:
    """Return the request in a letter, with the id it is to run under."""
    if new_id is not None and not is_execution_id(new_id):
        raise RequestRefused(f"{new_id!r} must be {EXECUTION_ID_RULE}.", field="as")
    try:
        command = decode_run_code(kept.letter.data)
    except WireFault as fault:
        where = f"{fault.field}: " if fault.field else ""
        about = f"It is no request that can be read ({where}{fault.message}), and would be dead again"
        raise RequestRefused(f"{about}. Mend what `show` prints and publish that.", field="data") from fault
    found = new_id or command.id or id_of_entry(kept.letter.entry)
    if not is_execution_id(found):
        raise RequestRefused(f"Its id {found!r} is none ({EXECUTION_ID_RULE}): give one.", field="id")
    return msgspec.structs.replace(command, id=ExecutionId(found))


async def _check_life(transport: Publisher, execution_id: ExecutionId) -> None:
    """Refuse an execution that is known: it has ended, or still has the life it has."""
    record = await transport.record(execution_id)
    if record is None:
        return
    if record.status == "finished":
        message = f"{execution_id!r} has ended, and every execution ends exactly once: it can not run again"
        raise RequestRefused(f"{message} under this id. Give it another one.", field="id")
    raise RequestRefused(f"{execution_id!r} is still {record.status}: it needs no other life.", field="id")
