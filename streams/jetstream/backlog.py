"""What waits on the requests, read once each: whose it is and since when.

What no handler was handed yet stands in the stream behind the place up to which its consumer has come.
"""

from dataclasses import dataclass
from datetime import datetime

from streams.jetstream.link import Link
from streams.jetstream.requests import published_at
from streams.jetstream.wire import CONSUMER_UNKNOWN, Refused, has_more
from streams.lanes import Lane, lane_of
from streams.topology import HANDLERS_GROUP

READ_MAX = 128
SORT_MAX = 128 * 1024
"""How much one look reads, at some 40 µs each, before anything is handed out: who is next depends on all."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """How far the consumer of the requests has come."""

    place: int
    waiting: int
    """How many entries stand behind it."""
    pending: int
    """How many were handed out and are not acknowledged."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request that waits."""

    lane: Lane
    since: datetime


class Backlog:
    """Knows what waits, by place in the stream; some of it may be gone by now."""

    def __init__(self, link: Link) -> None:
        self.known: dict[int, Waiting] = {}
        self._link = link
        self._read_to = 0
        self._seen = Frontier(0, 0, 0)

    async def look(self, frontier: Frontier) -> list[int]:
        """Forget what was handed out, read what is new; return the places of that."""
        if frontier.place < self._seen.place:  # stream or consumer were made anew, and count from 1 again
            self.known, self._read_to = {}, 0
        self._seen = frontier
        self._read_to = max(self._read_to, frontier.place)
        for place in [place for place in self.known if place <= frontier.place]:
            del self.known[place]
        new: list[int] = []
        while len(new) < SORT_MAX:
            found = await self._link.read(
                "REQUESTS", self._link.subjects.requests, self._read_to + 1, READ_MAX
            )
            for message in found:
                self.known[message.seq] = Waiting(lane_of(message.data), published_at(message))
                new.append(message.seq)
                self._read_to = message.seq
            if not has_more(found):
                break
        return new

    async def compare(self) -> None:
        """Forget what was taken out of its order; only a whole look at the stream tells that."""
        state = (await self._link.info("REQUESTS", deleted=True))["state"]
        for place in [
            *state.get("deleted", ()),
            *(place for place in self.known if place < state["first_seq"]),
        ]:
            self.known.pop(place, None)


async def frontier_of(link: Link, consumer: str = HANDLERS_GROUP) -> Frontier:
    """Return how far a consumer has come; before there was one, all of its stream waits."""
    try:
        about = await link.api(f"CONSUMER.INFO.{link.subjects.stream('REQUESTS')}.{consumer}")
    except Refused as refused:
        if refused.code != CONSUMER_UNKNOWN:
            raise
        return Frontier(0, -1, 0)
    return Frontier(about["delivered"]["stream_seq"], about["num_pending"], about["num_ack_pending"])
