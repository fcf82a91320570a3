"""Writing the log of a leased execution: one round trip a batch, all or nothing, never twice."""

from collections.abc import Sequence
from typing import Any

import msgspec

from infra.errors import LeaseLost, Unavailable
from schemas.events import Event, Finished, Started
from schemas.ids import ExecutionId
from schemas.wire import encode
from streams.delivery import check_numbering, is_output, log, repeated_to_its_end, result_line
from streams.log_errors import LogFull
from streams.protocol import Lease
from streams.redis.link import Link
from streams.redis.scripts import APPEND, FINISH, Argument, Script
from streams.redis.settling import settle_execution
from streams.redis.telling import INLINE_BYTES_MAX, INLINE_EVENTS_MAX, inline, tell
from streams.redis.turns import Turns
from streams.topology import HANDLERS_GROUP


class LogWriter:
    """Writes for whoever holds a lease."""

    def __init__(self, link: Link, turns: Turns) -> None:
        self._link = link
        self._turns = turns

    async def append(self, lease: Lease, events: Sequence[Event]) -> None:
        """Write `events`; see `Consumer.append`."""
        if events:
            check_numbering(events, lease.seq)
            await repeated_to_its_end(lambda: self._append(lease, events))

    async def finish(self, lease: Lease, events: Sequence[Event], finished: Finished) -> None:
        """Write the end; see `Consumer.finish`."""
        check_numbering(events, lease.seq)
        finished = msgspec.structs.replace(finished, seq=lease.seq + len(events) + 1)
        await repeated_to_its_end(lambda: self._finish(lease, events, finished))

    async def _append(self, lease: Lease, events: Sequence[Event]) -> None:
        lines = [encode(event) for event in events]
        started = next((event.time.isoformat() for event in events if isinstance(event, Started)), "")
        policy = self._link.policy
        bounds = (policy.log_entries_max, policy.log_bytes_max) if is_output(events) else ("", "")
        keys = self._link.keys_of(lease.execution_id)
        await self._write(APPEND, keys, lease, (started, inline(lines), *bounds), lines)

    async def _finish(self, lease: Lease, events: Sequence[Event], finished: Finished) -> None:
        link, delivery, reply_to = self._link, lease.delivery, lease.command.reply_to
        lines = [encode(event) for event in (*events, finished)]
        result = result_line(finished, lease.command.tenant)
        keys, line = link.keys_of(lease.execution_id), self._turns.leaving(lease.command)
        if link.reach == "all":
            keys += [link.topology.results, delivery.stream, *([reply_to] if reply_to else []), *line]
        arguments = (
            finished.time.isoformat(),
            inline(lines),
            link.retention_ms,
            HANDLERS_GROUP,
            delivery.entry,
            link.policy.results_max,
            result,
            len(line),
            INLINE_EVENTS_MAX,
            INLINE_BYTES_MAX,
        )
        answer = await self._write(FINISH, keys, lease, arguments, lines)
        if answer[2]:
            log.warning("reply_not_written", execution_id=lease.execution_id, reason=answer[2].decode())
        if link.reach == "slot":
            others = [answer[4].decode()] if answer[4] else []
            await settle_execution(link, delivery, lease.command, finished, *others)
        await self._wake_next(lease, answer[3])

    async def _wake_next(self, lease: Lease, first: bytes) -> None:
        """Tell who is first in line now. What fails here is made good by whoever looks next."""
        try:
            if self._link.reach == "slot":
                await self._link.answer(self._turns.leave(lease.command))
            elif first:
                await self._link.answer(self._turns.wake(ExecutionId(first.decode())))
        except Unavailable as away:
            log.warning("next_in_line_not_woken", execution_id=lease.execution_id, reason=away.message)

    async def _write(
        self,
        script: Script,
        keys: Sequence[str],
        lease: Lease,
        arguments: Sequence[Argument],
        lines: Sequence[bytes],
    ) -> Sequence[Any]:
        link, before = self._link, lease.seq
        sent = [link.reach, lease.execution_id, lease.token, before, *arguments, *lines]
        try:
            answer: Sequence[Any] = await link.persist(lambda: link.run(script, keys, sent))
        except Unavailable as error:
            raise LeaseLost(f"the lease on {lease.execution_id} ran out: {error.message}") from error
        match answer[0]:
            case b"lost":
                raise LeaseLost(f"another attempt owns {lease.execution_id}")
            case b"full":
                raise LogFull(f"the log of {lease.execution_id} is full")
            case b"misnumbered":
                raise AssertionError(f"the log of {lease.execution_id} is at {answer[1]}, not at {before}")
        lease.seq = before + len(lines)
        await tell(link, answer[1], lease.execution_id, before + 1, lines)
        return answer
