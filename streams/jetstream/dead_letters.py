"""Dead letters: the entry itself as the message, and why it is there as headers."""

import zlib
from contextlib import suppress
from datetime import datetime

from streams.dead_letters import KeptLetter
from streams.delivery import DeadLetter
from streams.jetstream.link import Link
from streams.jetstream.wire import MESSAGE_ID, STREAM_UNKNOWN, Refused, Stored

_PREFIX = "Millrace-"
_REASON_MAX = 4096


class JetStreamDeadLetters:
    """Letters are known by their place in the stream."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def dead_letters(self, after: str = "", count: int = 100) -> list[KeptLetter]:
        return await self._read(_place(after) + 1, count)

    async def dead_letter(self, letter_id: str) -> KeptLetter | None:
        place = _place(letter_id)
        found = await self._read(place, 1) if place else []
        return found[0] if found and found[0].id == letter_id else None

    async def drop_dead_letter(self, letter_id: str) -> bool:
        place, stream = _place(letter_id), self._link.subjects.stream("DEAD")
        return bool(place) and await self._link.answer(lambda: self._drop(stream, place))

    async def _drop(self, stream: str, place: int) -> bool:
        try:
            answer = await self._link.api(f"STREAM.MSG.DELETE.{stream}", {"seq": place})
        except Refused as refused:
            if refused.code == STREAM_UNKNOWN:
                raise
            return False  # it is not there
        return bool(answer.get("success"))

    async def _read(self, first: int, count: int) -> list[KeptLetter]:
        subject = self._link.subjects.dead
        found = await self._link.answer(lambda: self._link.read("DEAD", subject, first, count))
        return [KeptLetter(str(message.seq), _letter(message)) for message in found]


async def bury(link: Link, letter: DeadLetter) -> None:
    """Put one letter among the dead; a repeat within minutes is known for one. Raises `Unavailable`."""
    fields = letter.fields()
    names = ("reason", "stream", "entry", "time")
    headers = {f"{_PREFIX}{name.capitalize()}": _line(str(fields[name])) for name in names}
    about = zlib.crc32(letter.data + letter.reason.encode())
    headers[MESSAGE_ID] = f"{letter.stream}:{letter.entry}:{about:x}"
    await link.persist(lambda: link.publish(link.subjects.dead, letter.data, headers))


def _letter(message: Stored) -> DeadLetter:
    """Return the letter in a message that anybody may have written."""
    told = {name.removeprefix(_PREFIX).lower(): text for name, text in message.headers.items()}
    time = message.time
    with suppress(ValueError):
        time = datetime.fromisoformat(told.get("time", ""))
    reason, stream, entry = told.get("reason", "unknown"), told.get("stream", ""), told.get("entry", "")
    return DeadLetter(message.data, reason, stream, entry, time)


def _line(text: str) -> str:
    return " ".join(text.split())[:_REASON_MAX]


def _place(letter_id: str) -> int:
    return int(letter_id) if letter_id.isascii() and letter_id.isdigit() else 0
