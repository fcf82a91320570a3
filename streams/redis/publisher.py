"""The front doors' side of the Redis transport."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

from infra.redis import ping
from schemas.commands import ControlCommand, RunCode
from schemas.ids import ExecutionId
from schemas.wire import encode
from streams.delivery import logged
from streams.depth import QueueDepth
from streams.protocol import ExecutionRecord, LoggedEvent, Submission
from streams.redis.depth import measure_depth
from streams.redis.following import WATCH_MS, Inbox, read_log
from streams.redis.link import Link
from streams.redis.mail import send
from streams.redis.records import FIELDS, new_record_arguments, parse_record
from streams.redis.scripts import ADMIT
from streams.redis.telling import tell
from streams.topology import DATA


class RedisPublisher:
    """Submits, sends, follows and looks things up."""

    def __init__(self, link: Link, inbox: Inbox) -> None:
        self._link = link
        self._inbox = inbox

    async def submit(self, command: RunCode, digest: str) -> Submission:
        assert command.id is not None, "an execution needs its id"
        followers = self._inbox.following(command.id)
        created_at = datetime.now(UTC)
        result, waits, fields, told, queued = await self._link.publish(
            lambda: self._admit(command, digest, created_at, self._inbox.watchers(followers))
        )
        record = parse_record(command.id, fields)
        assert record is not None, "admitted just now"
        submission = Submission(result.decode(), record)
        for follower in followers:
            follower.admitted([logged(1, queued)] if submission.result == "accepted" else [])
        if self._link.reach == "slot" and waits:
            await self._link.publish(
                lambda: self._link.add(self._link.topology.requests, {DATA: encode(command)})
            )
            await tell(self._link, told, command.id, 1, [queued])
        return submission

    async def _admit(
        self, command: RunCode, digest: str, created_at: datetime, watchers: Sequence[str]
    ) -> Any:
        link, topology = self._link, self._link.topology
        assert command.id is not None, "an execution needs its id"
        keys = link.keys_of(command.id)
        if link.reach == "all":
            keys += [topology.requests, topology.lanes]
        arguments = [
            link.reach,
            *new_record_arguments(command, digest, created_at),
            link.retention_ms,
            WATCH_MS,
            DATA,
            encode(command),
            command.priority,
            *watchers,
        ]
        return await link.run(ADMIT, keys, arguments)

    async def send(self, command: ControlCommand) -> None:
        await send(self._link, command)

    async def record(self, execution_id: ExecutionId) -> ExecutionRecord | None:
        key = self._link.topology.record(execution_id)
        return parse_record(execution_id, await self._link.answer(self._link.call("HMGET", key, *FIELDS)))

    def follow(
        self, execution_id: ExecutionId, after: int = 0, *, until_end: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[list[LoggedEvent]]]:
        return self._inbox.follow(execution_id, after, until_end=until_end)

    async def read(self, execution_id: ExecutionId, after: int = 0, count: int = 1000) -> list[LoggedEvent]:
        return await self._link.answer(read_log(self._link, execution_id, after, count))

    async def depth(self) -> QueueDepth:
        return await self._link.answer(measure_depth(self._link))

    async def ping(self) -> float:
        return await ping(self._link.call("PING"), self._link.config)
