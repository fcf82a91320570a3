"""A follower between its inbox and the log: whatever answers late, every event comes once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from redis import exceptions as redis_errors

from schemas.ids import ExecutionId
from streams.backoff import Backoff
from streams.protocol import LoggedEvent
from streams.redis import following as following_module
from streams.redis.following import Follower, Inbox
from streams.redis.link import Link
from streams.topology import Topology
from tests.streams.helpers import killed, types

JOB = ExecutionId("job-1")


class SlowBroker:
    """As much of a link as a follower uses; every answer waits until the test gives it."""

    block_s = 2.0
    topology = Topology()

    def __init__(self) -> None:
        self._asked: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()

    def backoff(self) -> Backoff:
        return Backoff("a slow broker")

    def keys_of(self, execution_id: ExecutionId) -> list[str]:
        return [self.topology.record(execution_id)]

    async def run(self, *_: object) -> Any:
        return await self._answer()

    async def alone(self, *_: object, **__: object) -> Any:
        return await self._answer()

    async def call(self, *_: object) -> Any:
        return await self._answer()

    async def _answer(self) -> Any:
        asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait(asked)
        return await asked

    async def next_question(self) -> "asyncio.Future[Any]":
        """Return the next command that waits for its answer."""
        async with asyncio.timeout(20):
            return await self._asked.get()


def line(seq: int, last: int = 9) -> bytes:
    """Return the event with that seq; the log ends with `last`."""
    kind = "finished" if seq == last else "output"
    return f'{{"type":"{kind}","seq":{seq}}}'.encode()


def news(*seqs: int) -> list[LoggedEvent]:
    """Return events as an inbox message carries them."""
    return [LoggedEvent(seq, "finished" if seq == 9 else "output", line(seq)) for seq in seqs]


def log(*seqs: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return entries as the log is read."""
    return [(f"{seq}-0".encode(), {b"data": line(seq)}) for seq in seqs]


def following(broker: SlowBroker, after: int = 0) -> tuple[Follower, "asyncio.Task[list[LoggedEvent]]"]:
    """Start a follower and collect what it yields."""
    follower = Follower(cast("Link", broker), "inbox", JOB, after)

    async def collect() -> list[LoggedEvent]:
        return [event async for batch in follower.batches() for event in batch]

    return follower, asyncio.create_task(collect())


def offer(follower: Follower, *seqs: int) -> None:
    """Hand an inbox message to a follower."""
    follower.offer(seqs[0], seqs[-1], news(*seqs))


async def test_news_that_overtakes_the_answer_of_the_watch_is_no_lost_log() -> None:
    """The answer is older than the news."""
    broker = SlowBroker()
    follower, collecting = following(broker)
    watch = await broker.next_question()
    offer(follower, 1, 2, 3)
    watch.set_result([1, 0])
    offer(follower, 4, 5, 6, 7, 8, 9)
    assert [event.seq for event in await collecting] == list(range(1, 10))


async def test_an_end_that_overtakes_the_answer_of_the_watch_is_handed_on_first() -> None:
    """A reader is done when it was given everything, not when everything is there."""
    broker = SlowBroker()
    follower, collecting = following(broker)
    watch = await broker.next_question()
    offer(follower, *range(1, 10))
    watch.set_result([9, 1])
    assert [event.seq for event in await collecting] == list(range(1, 10))


async def test_news_that_overtakes_the_reading_of_the_log_comes_once() -> None:
    """What was read may be less than what was told meanwhile."""
    broker = SlowBroker()
    follower, collecting = following(broker)
    (await broker.next_question()).set_result([3, 0])
    reading = await broker.next_question()
    offer(follower, 1, 2, 3)
    offer(follower, 4, 5)
    reading.set_result(log(1, 2, 3))
    await asyncio.sleep(0)
    offer(follower, 6, 7, 8, 9)
    assert [event.seq for event in await collecting] == list(range(1, 10))


async def test_a_gap_is_read_from_the_log() -> None:
    """News that was lost is made up for."""
    broker = SlowBroker()
    follower, collecting = following(broker)
    (await broker.next_question()).set_result([0, 0])
    await asyncio.sleep(0)
    offer(follower, 1, 2)
    offer(follower, 8, 9)
    (await broker.next_question()).set_result(log(3, 4, 5, 6, 7, 8, 9))
    assert [event.seq for event in await collecting] == list(range(1, 10))


async def test_news_without_events_is_read_from_the_log() -> None:
    """Large events do not travel with the news."""
    broker = SlowBroker()
    follower, collecting = following(broker)
    (await broker.next_question()).set_result([0, 0])
    await asyncio.sleep(0)
    follower.offer(9, 9, [])
    (await broker.next_question()).set_result(log(*range(1, 10)))
    assert types(await collecting)[-1] == "finished"


async def test_repeated_and_overlapping_news_comes_once() -> None:
    """Retries of writers may tell twice."""
    broker = SlowBroker()
    follower, collecting = following(broker, after=1)
    (await broker.next_question()).set_result([1, 0])
    await asyncio.sleep(0)
    for seqs in ((1,), (1, 2, 3), (2, 3), (3, 4), (4, 5, 6, 7, 8, 9), (9,)):
        offer(follower, *seqs)
    assert [event.seq for event in await collecting] == list(range(2, 10))


async def test_an_inbox_that_was_away_makes_its_followers_look_into_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have lost news meanwhile."""
    monkeypatch.setattr(following_module, "RECHECK_S", 1000.0)
    broker = AwayOnce()
    inbox = Inbox(cast("Link", broker), "edge")
    async with inbox.follow(JOB, 0) as batches:
        collecting = asyncio.create_task(_all_of(batches))
        (await broker.next_question()).set_result([0, 0])
        broker.comes_back.set()
        (await broker.next_question()).set_result([9, 1])
        (await broker.next_question()).set_result(log(*range(1, 10)))
        assert len(await collecting) == 9
    await killed(cast("asyncio.Task[None]", inbox._reader))


class AwayOnce(SlowBroker):
    """A broker that fails the first reading of the inbox, and is back when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.comes_back = asyncio.Event()
        self._failed = False

    async def alone(self, *_: object, blocks_s: float = 0.0) -> Any:
        if not blocks_s:
            return await self._answer()  # it reads a log
        if not self._failed:
            self._failed = True
            raise redis_errors.ConnectionError("away")
        await self.comes_back.wait()
        await asyncio.sleep(blocks_s / 100)
        return None


async def _all_of(batches: AsyncIterator[list[LoggedEvent]]) -> list[LoggedEvent]:
    return [event async for batch in batches for event in batch]
