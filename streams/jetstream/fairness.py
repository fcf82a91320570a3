"""Handing out what waits in fair order (streams/lanes.py), though a consumer only knows that of publication.

While a slot is free nothing waits, and entries go to whoever asked first, in one hop. A handler that was full
looks whether something waits, and whose it is. Where that is of one lane, its order is that of publication.
Where it is of several, the handler takes what is next out of the stream and puts it on another subject,
`ready`, which it then asks for. The id of the move lets the server store it once, whoever else moves it; a
crash in between leaves two copies of one entry, which `begin` knows by its id.
"""

from streams.jetstream.backlog import Backlog, Frontier, frontier_of
from streams.jetstream.link import Link
from streams.jetstream.records import FENCE, RECORD
from streams.jetstream.requests import ENTRY, PUBLISHED, entry_of, published_at
from streams.jetstream.wire import MESSAGE_ID, Refused, Stored
from streams.lanes import FairOrder


class FairPicker:
    """Chooses for one handler."""

    def __init__(self, link: Link) -> None:
        self.may_wait = True
        """Whether something may wait: it is worth a look. Set by whoever is full."""
        self._link = link
        self._backlog = Backlog(link)
        self._order: FairOrder[int] = FairOrder()

    async def pick(self, wanted: int) -> int:
        """Make ready what is next, at most `wanted`; return how many. The rest is in order as it stands."""
        frontier = await frontier_of(self._link)
        if not frontier.waiting:
            self.may_wait, self._order = False, FairOrder()
            return 0
        for place in await self._backlog.look(frontier):
            self._order.add(self._backlog.known[place].lane, place)
        if len({waiting.lane for waiting in self._backlog.known.values()}) <= 1:
            return 0
        return await self._move(wanted, frontier)

    async def _move(self, wanted: int, frontier: Frontier) -> int:
        moved = 0
        while moved < wanted and (place := self._order.take()) is not None:
            # What is gone was handed out meanwhile: that counts for its lane as if it had been from here.
            if place > frontier.place and self._backlog.known.pop(place, None) is not None:
                moved += await self._make_ready(place)
        return moved

    async def _make_ready(self, place: int) -> bool:
        link = self._link
        found = await link.read("REQUESTS", link.subjects.requests, place, 1)
        if not found or found[0].seq != place or not await self._publish(found[0]):
            return False
        try:
            await link.api(f"STREAM.MSG.DELETE.{link.subjects.stream('REQUESTS')}", {"seq": place})
        except Refused:
            return True  # somebody was quicker; there is one entry all the same
        return True

    async def _publish(self, entry: Stored) -> bool:
        """Put an entry on `ready`; return whether this was the first time."""
        told = {name: entry.headers[name] for name in (FENCE, RECORD) if name in entry.headers}
        headers = told | {
            MESSAGE_ID: f"ready-{entry.seq}",
            ENTRY: entry.headers.get(ENTRY, entry_of(entry.time, entry.seq)),
            PUBLISHED: published_at(entry).isoformat(),
        }
        return await self._link.publish_first(self._link.subjects.ready, entry.data, headers)
