"""Which executions of a session were published before another and are not acknowledged yet.

What stands on the requests is read once by each process that deals with sessions, not once for each session.
"""

import asyncio
from collections.abc import AsyncIterator

from schemas.commands import RunCode
from schemas.ids import ExecutionId
from schemas.wire import WireFault, decode_run_code
from streams.jetstream.link import Link
from streams.jetstream.requests import entry_of, place_of
from streams.jetstream.wire import Stored, has_more
from streams.turns import Line, id_of_entry, line_of

READ_MAX = 128


class Earlier:
    """Knows the members of all sessions that it read, by where they stand; some of them are gone by now."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._members: dict[int, tuple[Line, ExecutionId, int]] = {}
        """By place in the stream: session, execution, and the place it was published at first."""
        self._read_to = 0
        self._read_ms = 0
        """When the entry at that place was published, in ms since 1970."""
        self._reading = asyncio.Lock()

    async def than(self, entry: str, line: Line) -> AsyncIterator[tuple[ExecutionId, int]]:
        """Yield members of `line` that were published before an entry, and their places."""
        own = place_of(entry)
        async with self._reading:
            await self._read_on(own, int(entry.partition("-")[0]))
        for seq, (its_line, name, place) in list(self._members.items()):
            if its_line != line or place >= own:
                continue
            if await self._link.holds("REQUESTS", seq):
                yield name, place
            else:
                self._members.pop(seq, None)
        # Last, for what is made ready meanwhile is there before it is gone from where it stood.
        async for message in on_subject(self._link, self._link.subjects.ready):
            if (member := _member(message)) and member[0] == line and member[2] < own:
                yield member[1:]

    async def _read_on(self, own: int, own_ms: int) -> None:
        if own <= self._read_to and own_ms > self._read_ms:
            # Younger and yet before: the stream was made anew, and counts from 1 again.
            self._members, self._read_to = {}, 0
        if own <= self._read_to + 1:
            return
        async for message in on_subject(self._link, self._link.subjects.requests, self._read_to):
            if message.seq >= own:
                return
            self._read_to, self._read_ms = message.seq, round(message.time.timestamp() * 1000)
            if member := _member(message):
                self._members[message.seq] = member


async def on_subject(link: Link, subject: str, after: int = 0) -> AsyncIterator[Stored]:
    """Yield what is not acknowledged on a subject of the requests, oldest first."""
    while found := await link.read("REQUESTS", subject, after + 1, READ_MAX):
        for message in found:
            yield message
        after = found[-1].seq
        if not has_more(found):
            return


def read_request(message: Stored) -> RunCode | None:
    """Return what a message asks for, or None if it cannot be read."""
    try:
        return decode_run_code(message.data)
    except WireFault:
        return None


def _member(message: Stored) -> tuple[Line, ExecutionId, int] | None:
    asked = read_request(message)
    line = line_of(asked) if asked else None
    if asked is None or line is None:
        return None
    entry = entry_of(message.time, message.seq, message.headers)
    return line, asked.id or id_of_entry(entry), place_of(entry)
