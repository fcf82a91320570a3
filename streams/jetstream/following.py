"""Any number of followers over one connection: the log is the truth, what is published live only hastens it.

A stream publishes every event once more when it has stored it; a follower subscribes to those of its
execution. One that notices a gap, was too slow, or heard nothing for a while reads the log. So a live
message that is lost costs time, never an event.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Sequence

from infra.nats_words import Message
from schemas.ids import ExecutionId
from streams.delivery import FINISHED
from streams.jetstream.connection import AWAY
from streams.jetstream.link import Link
from streams.jetstream.records import seq_of
from streams.jetstream.wire import Conflict, Refused, Stored, has_more, stored
from streams.jetstream.writing import look_closely
from streams.log_errors import LogGone
from streams.protocol import LoggedEvent

BUFFERED_EVENTS_MAX = 256
READ_EVENTS_MAX = 128
RECHECK_S = 5.0
"""A follower that heard nothing for so long looks into the log."""


class Follower:
    """One reader of one log: what it was told, and what it must fetch itself."""

    def __init__(self, link: Link, execution_id: ExecutionId, after: int, *, until_end: bool) -> None:
        self._link = link
        self._until_end = until_end
        """It need not be woken before the end is there."""
        self._id = execution_id
        self._tail = after
        """Of the last event that was given on."""
        self._place = 0
        """Of that event in the stream; 0 if it is not known."""
        self._known = False
        self._ended = False
        self._behind = True
        self._told: deque[Stored] = deque()
        self._news = asyncio.Event()
        self._subscription = 0
        """Its number on the connection; 0 if there is none."""
        self._generation = -1
        self._backoff = link.backoff()

    def admitted(self, *, first: bool) -> None:
        """Note that `submit` found or made the execution; all of it will be told if this was the `first`."""
        self._known = True
        if first and self._is_subscribed and not self._tail:
            self._behind = False

    def doubt(self) -> None:
        """Look into the log again: something that was told may be lost."""
        self._behind = True
        self._news.set()

    async def subscribe(self) -> None:
        """Ask to be told, without waiting for anybody. Raises what is in `AWAY`."""
        if self._is_subscribed:
            return
        client = self._link.client or await self._link.connected()
        self._generation, self._behind = self._link.generation, True
        self._told.clear()
        self._subscription = client.subscribe(self._link.subjects.live(self._id), self._hear)

    def leave(self) -> None:
        """Ask to be told no more."""
        if self._subscription and self._is_subscribed and (client := self._link.client):
            client.unsubscribe(self._subscription)

    async def batches(self) -> AsyncGenerator[list[LoggedEvent], None]:
        """Yield the log until `finished`. Raises `LogGone`."""
        while not self._ended:
            if batch := await self._next():
                yield batch
                self._ended = batch[-1].type == FINISHED

    @property
    def _is_subscribed(self) -> bool:
        link = self._link
        return self._generation == link.generation and link.client is not None

    def _hear(self, message: Message) -> None:
        if len(self._told) < BUFFERED_EVENTS_MAX:
            self._told.append(stored(message))
            if self._until_end and seq_of(message.data)[1] != FINISHED:
                return
        else:
            self._behind = True
        self._news.set()

    async def _next(self) -> list[LoggedEvent]:
        """Return what comes next, or nothing if that is still to be found out."""
        try:
            await self.subscribe()
            if self._told:
                told = list(self._told)
                self._told.clear()
                return self._take(told)
            batch = await (self._catch_up() if self._behind else self._wait())
            self._backoff.reset()
        except Conflict:
            return []
        except (*AWAY, Refused) as error:
            self._behind = True
            await self._backoff.pause(error)
            return []
        return batch

    async def _wait(self) -> list[LoggedEvent]:
        self._news.clear()
        try:
            async with asyncio.timeout(RECHECK_S):
                await self._news.wait()
        except TimeoutError:
            self._behind = True
        return []

    async def _catch_up(self) -> list[LoggedEvent]:
        """Read what is in the log already. Raises `LogGone`."""
        if self._tail and not self._place:
            self._place = await locate(self._link, self._id, self._tail)
        self._behind = False
        found = await read_from(self._link, self._id, self._place + 1)
        if batch := self._take(found):
            self._behind = self._behind or has_more(found)
        elif self._behind:
            raise LogGone(f"the log of {self._id} has lost what comes after {self._tail}")
        else:
            await self._look()
        return batch

    async def _look(self) -> None:
        """Find out why the log has nothing more to read."""
        standing = await look_closely(self._link, self._id)
        if standing.record is None:
            if self._known:
                raise LogGone(f"the log of {self._id} is gone")
        else:
            self._known = True
            self._ended = bool(standing.ended) and standing.seq <= self._tail
        self._behind = self._behind or standing.seq > self._tail

    def _take(self, events: Sequence[Stored]) -> list[LoggedEvent]:
        """Return those of `events` that come next; note a gap."""
        batch: list[LoggedEvent] = []
        for event in events:
            seq, kind = seq_of(event.data)
            if seq > self._tail + 1:
                self._behind = True
                break
            if seq == self._tail + 1:
                batch.append(LoggedEvent(seq, kind, event.data))
                self._tail = seq
            if seq == self._tail:
                self._place = event.seq
        self._known = self._known or bool(batch)
        return batch


class Followers:
    """All followers in this process."""

    def __init__(self, link: Link) -> None:
        self._link = link
        link.on_connected.append(self._doubt)
        self._followers: dict[ExecutionId, set[Follower]] = defaultdict(set)

    def of(self, execution_id: ExecutionId) -> Sequence[Follower]:
        """Return who follows an execution here."""
        return tuple(self._followers.get(execution_id, ()))

    @contextlib.asynccontextmanager
    async def follow(
        self, execution_id: ExecutionId, after: int, *, until_end: bool = False
    ) -> AsyncGenerator[AsyncGenerator[list[LoggedEvent], None], None]:
        """Follow one log; see `Publisher.follow`."""
        follower = Follower(self._link, execution_id, after, until_end=until_end)
        if self._link.client is not None:
            with contextlib.suppress(*AWAY):
                await follower.subscribe()
        self._followers[execution_id].add(follower)
        try:
            async with contextlib.aclosing(follower.batches()) as batches:
                yield batches
        finally:
            self._followers[execution_id].discard(follower)
            if not self._followers[execution_id]:
                del self._followers[execution_id]
            follower.leave()

    def _doubt(self) -> None:
        for followers in self._followers.values():
            for follower in followers:
                follower.doubt()


async def read_log(link: Link, execution_id: ExecutionId, after: int, count: int) -> list[LoggedEvent]:
    """Return at most `count` events after `after`."""
    place = await locate(link, execution_id, after) if after else 0
    events = await read_from(link, execution_id, place + 1, count)
    return [LoggedEvent(*seq_of(event.data), event.data) for event in events]


async def read_from(
    link: Link, execution_id: ExecutionId, first: int, count: int = READ_EVENTS_MAX
) -> list[Stored]:
    """Return at most `count` events of a log, from a place in the stream on."""
    return await link.read("LOG", link.subjects.log(execution_id), first, count)


async def locate(link: Link, execution_id: ExecutionId, seq: int) -> int:
    """Return the place in the stream of the event `seq`, or of the last one before it; 0 if there is none.

    Events of one log lie in order among those of all others: halving finds one among a million in twenty
    questions, and the first question answers for every short log.
    """
    low, at = 0, 0
    high = await link.newest("LOG", link.subjects.log(execution_id))
    while low < high:
        found = await read_from(link, execution_id, low + 1)
        if not found:
            break
        if seq_of(found[-1].data)[0] >= seq or not has_more(found):
            return max((event.seq for event in found if seq_of(event.data)[0] <= seq), default=at)
        low = at = found[-1].seq
        low = at = await _halve(link, execution_id, seq, low, high)
    return at


async def _halve(link: Link, execution_id: ExecutionId, seq: int, low: int, high: int) -> int:
    """Return the place of an event not far before `seq`; the one at `low` is known to be before it."""
    while high - low > READ_EVENTS_MAX:
        middle = (low + high) // 2
        found = await read_from(link, execution_id, middle, 1)
        if found and seq_of(found[0].data)[0] <= seq:
            low = found[0].seq
        else:
            high = middle
    return low
