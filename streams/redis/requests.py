"""Taking entries of the requests stream, new and abandoned, never more than there are free slots."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import RedisError, ResponseError

from streams.delivery import DeadLetter, Intake
from streams.protocol import Delivery
from streams.redis.link import Backoff, Link, body_of, is_missing_group
from streams.redis.scripts import RETIRE, SWEEP
from streams.topology import HANDLERS_GROUP

CONSUMER_FORGOTTEN_AFTER_S = 3600.0
BODYLESS = "The entry has no field `data`."

Fields = Mapping[bytes, bytes] | None


class RequestsReader:
    """Reads for one consumer into one intake until it is cancelled; `leave` tidies up.

    Once `draining` is set nothing is handed out, though it be in the answer already. `look`, after what
    is parked, is called as often as abandoned entries are looked for.
    """

    def __init__(
        self,
        link: Link,
        consumer: str,
        intake: Intake,
        draining: asyncio.Event,
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self._link = link
        self._stream = link.topology.requests
        self._consumer = consumer
        self._intake = intake
        self._draining = draining
        self._look = look
        self._now: Callable[[], float] = asyncio.get_running_loop().time
        self._reclaim_at = 0.0
        self._newest = "0-0"
        self._backoff = Backoff(link.config)

    async def run(self) -> None:
        """Take entries for ever, whatever the broker does."""
        while True:
            changed = self._intake.changed.ticket()
            if not self._intake.free:
                await changed.wait()
                continue
            try:
                await self._take()
                self._backoff.reset()
            except RedisError as error:
                await self._recover(error)

    async def leave(self) -> None:
        """Give back what was handed out and never begun, and take the consumer's name off the group."""
        try:
            async with asyncio.timeout(2.0):
                for entry, fields in await self._unbegun():
                    if (body := body_of(fields)) is not None:
                        await republish(self._link, self._stream, entry, body)
                await self._sweep(self._consumer)
        except (RedisError, TimeoutError):
            return  # then the entries are reclaimed and the name is swept later

    async def _take(self) -> None:
        if self._now() >= self._reclaim_at:
            await self._reclaim()
            await self._look()
            self._reclaim_at = self._now() + self._link.policy.heartbeat_s
            if not self._intake.free:
                return
        until_reclaim_s = max(0.001, self._reclaim_at - self._now())
        entries = await self._read(">", min(self._link.block_s, until_reclaim_s))
        for entry, fields in entries:
            if self._draining.is_set():
                return  # `leave` gives the rest back
            self._newest = entry
            await self._hand_out(entry, fields, 1)

    async def _read(self, after: str, block_s: float) -> list[tuple[str, Fields]]:
        answer = await self._link.block(
            *("XREADGROUP", "GROUP", HANDLERS_GROUP, self._consumer, "COUNT", max(1, self._intake.free)),
            *("BLOCK", max(1, round(block_s * 1000)), "STREAMS", self._stream, after),
            seconds=block_s,
        )
        return [(entry.decode(), fields) for _, entries in answer or () for entry, fields in entries]

    async def _reclaim(self) -> None:
        """Take over entries whose holder was silent for a whole lease."""
        idle_ms = self._link.lease_ms
        pending = await self._link.client.xpending_range(
            self._stream, HANDLERS_GROUP, "-", "+", self._intake.free, idle=idle_ms
        )
        deliveries: dict[Any, int] = {item["message_id"]: int(item["times_delivered"]) for item in pending}
        if deliveries:
            claimed = await self._link.call(
                *("XCLAIM", self._stream, HANDLERS_GROUP, self._consumer, idle_ms, *deliveries)
            )
            for entry, fields in claimed:
                if entry is not None:  # deleted before it was acknowledged
                    await self._hand_out(entry.decode(), fields, deliveries[entry] + 1)
        await self._sweep("")

    async def _hand_out(self, entry: str, fields: Fields, deliveries: int) -> None:
        body = body_of(fields)
        if body is None:
            await self._bury_bodyless(entry, fields)
        elif entry not in self._intake.entries:  # one of our own, silent because the broker was away
            self._intake.start(Delivery(entry, self._stream, body, deliveries, published_at(entry, fields)))

    async def _bury_bodyless(self, entry: str, fields: Fields) -> None:
        data = b" ".join(part for item in (fields or {}).items() for part in item)
        letter = DeadLetter(data, BODYLESS, self._stream, entry, datetime.now(UTC))
        dead, kept = self._link.topology.dead, self._link.policy.dead_letters_max
        await self._link.add(dead, letter.fields(), kept)
        await acknowledge(self._link, self._stream, entry)

    async def _unbegun(self) -> list[tuple[str, Fields]]:
        """Return entries that came with the very last read, which was cancelled."""
        return await self._read(self._newest, 0.001)

    async def _sweep(self, leaving: str) -> None:
        idle_ms = round(max(CONSUMER_FORGOTTEN_AFTER_S, 10 * self._link.policy.lease_s) * 1000)
        await self._link.run(SWEEP, [self._stream], [HANDLERS_GROUP, idle_ms, leaving])

    async def _recover(self, error: RedisError) -> None:
        if is_missing_group(error):
            await self._make_group()
        else:
            await self._backoff.pause(error)

    async def _make_group(self) -> None:
        try:
            # From 0: what was published before anybody consumed counts too.
            await self._link.call("XGROUP", "CREATE", self._stream, HANDLERS_GROUP, 0, "MKSTREAM")
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                await self._backoff.pause(error)
        except RedisError as error:
            await self._backoff.pause(error)


def published_at(entry: str, fields: Fields) -> datetime:
    """Return when a request was published first: as it says if it was parked, else as its entry says.

    The id of an entry begins with the server's time in ms.
    """
    with suppress(ValueError, OverflowError):
        if parked := datetime.fromisoformat((fields or {}).get(b"published", b"").decode()):
            return parked.astimezone(UTC)
    return datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000, UTC)


async def acknowledge(link: Link, stream: str, entry: str) -> None:
    """Take an entry off its stream for good."""
    await link.run(RETIRE, [stream], [HANDLERS_GROUP, entry, ""])


async def republish(link: Link, stream: str, entry: str, body: bytes) -> None:
    """Put an entry at the end of the queue as if it had just been published."""
    await link.run(RETIRE, [stream], [HANDLERS_GROUP, entry, body])
