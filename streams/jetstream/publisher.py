"""The front doors' side of the JetStream transport."""

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from schemas.commands import ControlCommand, RunCode
from schemas.ids import ExecutionId
from schemas.wire import encode
from streams.delivery import queued_event
from streams.depth import QueueDepth
from streams.jetstream.backlog import Backlog
from streams.jetstream.control import send_control
from streams.jetstream.depth import measure_depth
from streams.jetstream.following import Followers, read_log
from streams.jetstream.link import Link
from streams.jetstream.records import MARK, RECORD, Mark, Record, Standing, new_record, telling
from streams.jetstream.requests import publish
from streams.jetstream.wire import ROLLUP, Conflict
from streams.jetstream.writing import look_closely
from streams.protocol import ExecutionRecord, LoggedEvent, Submission


class JetStreamPublisher:
    """Submits, sends, follows and looks things up."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._followers = Followers(link)
        self._backlog = Backlog(link)

    async def submit(self, command: RunCode, digest: str) -> Submission:
        assert command.id is not None, "an execution needs its id"
        record = new_record(command, digest, datetime.now(UTC))
        submission, standing = await self._link.publish_on(lambda: admit(self._link, command, record))
        for follower in self._followers.of(command.id):
            follower.admitted(first=submission.result == "accepted")
        if submission.result != "conflict" and submission.record.status == "queued":
            body, told = encode(command), telling(standing)
            await self._link.publish_on(lambda: publish(self._link, body, record.nonce, told=told))
        return submission

    async def send(self, command: ControlCommand) -> None:
        await send_control(self._link, command)

    async def record(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        standing = await self._link.answer(lambda: look_closely(self._link, execution_id))
        return standing.tell(execution_id)

    def follow(
        self, execution_id: ExecutionId, after: int = 0, *, until_end: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[list[LoggedEvent]]]:
        return self._followers.follow(execution_id, after, until_end=until_end)

    async def read(self, execution_id: ExecutionId, after: int = 0, count: int = 1000) -> list[LoggedEvent]:
        return await self._link.answer(lambda: read_log(self._link, execution_id, after, count))

    async def depth(self) -> QueueDepth:
        return await self._link.answer(lambda: measure_depth(self._link, self._backlog))

    async def ping(self) -> float:
        # Two questions that only a leader answers: a connection alone is no broker.
        started = time.perf_counter()
        await self._link.answer(lambda: self._link.info("REQUESTS"))
        await self._link.answer(lambda: self._link.info("LOG"))
        return (time.perf_counter() - started) / 2


async def admit(link: Link, command: RunCode, record: Record) -> tuple[Submission, Standing]:
    """Accept an execution once, or join the one that exists. Raises `Conflict` to look again."""
    assert command.id is not None, "an execution needs its id"
    try:
        standing = await begin_log(link, command.id, record, fence=0)
    except Conflict:
        standing = await look_closely(link, command.id)
    if standing.record is None:
        # Only remains of a log whose record is past retention.
        standing = await begin_log(link, command.id, record, standing.fence)
    known, told = standing.record, standing.tell(command.id)
    assert known is not None and told is not None, "it has a record"
    if known.nonce == record.nonce:
        return Submission("accepted", told), standing
    return Submission("joined" if known.digest == record.digest else "conflict", told), standing


async def begin_log(link: Link, execution_id: ExecutionId, record: Record, fence: int) -> Standing:
    """Write the first event of a log, which carries the record. Raises `Conflict`."""
    queued = queued_event(execution_id, record.created)
    mark = Mark(record.nonce, len(queued))
    headers = {MARK: mark.encoded(), RECORD: record.encoded().decode(), ROLLUP: "sub"}
    subjects = link.subjects
    subject, both = subjects.log(execution_id), subjects.both(execution_id)
    place = await link.publish(subject, queued, headers, expected=fence, of=both)
    return Standing(record=record, fence=place, seq=1, log_bytes=len(queued))
