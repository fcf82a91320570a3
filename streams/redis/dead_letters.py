"""The operators' side of the Redis transport: the dead letter stream, read and thinned out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import ResponseError

from streams.dead_letters import KeptLetter
from streams.delivery import DeadLetter
from streams.redis.link import Link, body_of


class RedisDeadLetters:
    """Letters are known by the ids of their entries."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def dead_letters(self, after: str = "", count: int = 100) -> list[KeptLetter]:
        return await self._range(f"({after}" if after else "-", "+", count)

    async def dead_letter(self, letter_id: str) -> KeptLetter | None:
        found = await self._range(letter_id, letter_id, 1)
        return found[0] if found else None

    async def drop_dead_letter(self, letter_id: str) -> bool:
        try:
            return bool(await self._call("XDEL", self._link.topology.dead, letter_id))
        except ResponseError:  # what is no id names no letter
            return False

    async def _range(self, first: str, last: str, count: int) -> list[KeptLetter]:
        try:
            entries = await self._call("XRANGE", self._link.topology.dead, first, last, "COUNT", count)
        except ResponseError:
            return []
        return [KeptLetter(entry.decode(), _letter(entry.decode(), fields)) for entry, fields in entries]

    async def _call(self, *command: str | int) -> Any:
        return await self._link.answer(self._link.call(*command))


def _letter(entry: str, fields: Mapping[bytes, bytes]) -> DeadLetter:
    """Return the letter in an entry that anybody may have written."""
    text = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    try:
        time = datetime.fromisoformat(text.get("time", ""))
    except ValueError:
        time = datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000, UTC)
    reason, stream = text.get("reason", "unknown"), text.get("stream", "")
    return DeadLetter(body_of(fields) or b"", reason, stream, text.get("entry", ""), time)
