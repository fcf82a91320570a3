"""Any number of followers over one connection: the log is the truth, the inbox only hastens it.

One reader per process takes what the scripts put into this process's inbox and hands it to followers by
execution id. A follower that notices a gap, was too slow, or heard nothing for a while reads the log.
So a lost, trimmed or late inbox message costs time, never an event.
"""

import asyncio
import contextlib
import math
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Mapping, Sequence

from redis.exceptions import RedisError

from infra.redis import AWAY
from infra.tasks import end_tasks
from schemas.ids import ExecutionId
from streams.delivery import FINISHED, logged
from streams.log_errors import LogGone
from streams.protocol import LoggedEvent
from streams.redis.link import Link, body_of
from streams.redis.scripts import WATCH
from streams.topology import INBOX_MS

BUFFERED_EVENTS_MAX = 256
READ_EVENTS_MAX = 128
RECHECK_S = 5.0
"""A follower that heard nothing for about so long looks into the log."""
ONLY_THE_END = "\0"
WATCH_MS = 30_000
"""How long an inbox is told of an execution after its follower last asked for it."""


class Follower:
    """One reader of one log: what it was given, and what it must fetch itself."""

    def __init__(self, link: Link, watcher: str, execution_id: ExecutionId, after: int) -> None:
        self._link = link
        self.watcher = watcher
        """The inbox as the broker knows it, with `ONLY_THE_END` before it if that is all it is to be told."""
        self._id = execution_id
        self._tail = after
        """Of the last event that was taken over, given on or not."""
        self._buffer: deque[LoggedEvent] = deque()
        self._present = 0
        """Last seq that is known to have been in the log."""
        self._ended = False
        self._watched = False
        self._behind = True
        self._news = asyncio.Event()
        self._heard_at = asyncio.get_running_loop().time()
        self._backoff = link.backoff()

    def admitted(self, events: Sequence[LoggedEvent]) -> None:
        """Note that `submit` told the broker who follows; `events` are all there is, if not empty."""
        self._watched = True
        self._present = max(self._present, 1)
        if events:
            self._behind = False
            self.offer(events[0].seq, events[-1].seq, events)

    def offer(self, first: int, last: int, events: Sequence[LoggedEvent]) -> None:
        """Take over what the inbox tells: events `first` to `last`, of which `events` may be none."""
        self._present = max(self._present, last)
        self._heard_at = asyncio.get_running_loop().time()
        room = BUFFERED_EVENTS_MAX - len(self._buffer)
        if last <= self._tail:
            return
        if not events or first > self._tail + 1 or len(events) > room:
            self._behind = True
        else:
            self._buffer.extend(event for event in events if event.seq > self._tail)
            self._tail = last
        self._news.set()

    def doubt(self, unheard_since: float = math.inf) -> None:
        """Look into the log again, unless something was heard since: the inbox may have lost it."""
        if self._heard_at < unheard_since:
            self._heard_at = asyncio.get_running_loop().time()
            self._watched = False
            self._behind = True
            self._news.set()

    async def batches(self) -> AsyncGenerator[list[LoggedEvent], None]:
        """Yield the log until `finished`. Raises `LogGone`."""
        while not self._ended:
            if self._buffer:
                batch = list(self._buffer)
                self._buffer.clear()
                yield batch
                self._ended = batch[-1].type == FINISHED
            elif self._behind:
                await self._catch_up()
            else:
                self._news.clear()
                await self._news.wait()

    async def _catch_up(self) -> None:
        try:
            self._behind = False
            if not self._watched and not await self._watch():
                return
            events = await read_log(self._link, self._id, self._tail, READ_EVENTS_MAX)
            self._backoff.reset()
        except AWAY as error:
            self._behind = True
            await self._backoff.pause(error)
            return
        if events and events[0].seq <= self._tail + 1:
            self._behind = self._behind or len(events) == READ_EVENTS_MAX
            self._buffer.extend(event for event in events if event.seq > self._tail)
            self._tail = max(self._tail, events[-1].seq)

    async def _watch(self) -> bool:
        """Ask to be told; return whether the log holds more than was taken over."""
        keys = self._link.keys_of(self._id)
        present = self._present  # the inbox may know more by the time the answer is here
        last, finished = await self._link.run(WATCH, keys, [self.watcher, WATCH_MS])
        if last < present:
            raise LogGone(f"the log of {self._id} is gone")
        self._present = max(last, self._present)
        self._watched = True
        self._ended = bool(finished) and last <= self._tail and not self._buffer
        return bool(last > self._tail)


class Inbox:
    """This process's inbox and all followers in it."""

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self.key = link.topology.inbox(name)
        self._followers: dict[ExecutionId, set[Follower]] = defaultdict(set)
        self._reader: asyncio.Task[None] | None = None

    def watchers(self, followers: Sequence[Follower]) -> Sequence[str]:
        """Return what the broker is to know of `followers`."""
        return sorted({follower.watcher for follower in followers})

    def following(self, execution_id: ExecutionId) -> Sequence[Follower]:
        """Return who follows an execution here."""
        return tuple(self._followers.get(execution_id, ()))

    @contextlib.asynccontextmanager
    async def follow(
        self, execution_id: ExecutionId, after: int, *, until_end: bool = False
    ) -> AsyncGenerator[AsyncGenerator[list[LoggedEvent], None], None]:
        """Follow one log; see `Publisher.follow`."""
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(), name="inbox")
        watcher = ONLY_THE_END + self.key if until_end else self.key
        follower = Follower(self._link, watcher, execution_id, after)
        self._followers[execution_id].add(follower)
        try:
            async with contextlib.aclosing(follower.batches()) as batches:
                yield batches
        finally:
            self._followers[execution_id].discard(follower)
            if not self._followers[execution_id]:
                del self._followers[execution_id]

    async def close(self) -> None:
        """Stop reading and leave nothing behind."""
        if self._reader is None:
            return
        await end_tasks(self._reader)
        with contextlib.suppress(*AWAY):
            async with asyncio.timeout(1.0):
                await self._link.call("DEL", self.key)

    async def _read(self) -> None:
        last, backoff = b"0", self._link.backoff()
        clock = asyncio.get_running_loop().time
        recheck_at = clock() + RECHECK_S
        while True:
            try:
                last = await self._take(last)
            except RedisError as error:
                await backoff.pause(error)
            else:
                if backoff.reset():
                    self._doubt()
            if clock() >= recheck_at:
                # One look at the clock for all, in place of a timer for each; reading blocks for less.
                self._doubt(clock() - RECHECK_S)
                recheck_at = clock() + RECHECK_S / 5
                await self._keep()

    async def _keep(self) -> None:
        """Let the inbox live on; whoever puts into it does not see to that."""
        with contextlib.suppress(RedisError):
            await self._link.call("PEXPIRE", self.key, INBOX_MS)

    async def _take(self, last: bytes) -> bytes:
        answer = await self._link.alone(
            *("XREAD", "COUNT", 256, "BLOCK", round(self._link.block_s * 1000), "STREAMS", self.key, last),
            blocks_s=self._link.block_s,
        )
        for _, entries in answer or ():
            for entry, fields in entries:
                last = entry
                self._hand_out(fields)
        return last

    def _hand_out(self, fields: Mapping[bytes, bytes]) -> None:
        followers = self._followers.get(ExecutionId(fields[b"id"].decode()))
        if not followers:
            return
        last = int(fields[b"last"])
        events = [logged(int(seq), data) for seq, data in fields.items() if seq.isdigit()]
        first = events[0].seq if events else last
        for follower in followers:
            follower.offer(first, last, events)

    def _doubt(self, unheard_since: float = math.inf) -> None:
        for followers in self._followers.values():
            for follower in followers:
                follower.doubt(unheard_since)


async def read_log(link: Link, execution_id: ExecutionId, after: int, count: int) -> list[LoggedEvent]:
    """Return at most `count` events after `after`."""
    key = link.topology.log(execution_id)
    entries = await link.alone("XRANGE", key, f"({after}-0" if after else "-", "+", "COUNT", count)
    return [
        logged(int(entry.partition(b"-")[0]), data)
        for entry, fields in entries or ()
        if (data := body_of(fields)) is not None
    ]
