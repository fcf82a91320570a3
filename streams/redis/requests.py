"""Taking entries of the requests stream, new and abandoned, never more than there are free slots."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import RedisError, ResponseError

from streams.delivery import DeadLetter, Intake, to_its_end
from streams.protocol import Delivery
from streams.redis.link import Link, body_of, is_missing_group
from streams.redis.scripts import RECLAIM, RETIRE, SWEEP, TAKE, Argument
from streams.topology import HANDLERS_GROUP
from streams.turns import place_of

CONSUMER_FORGOTTEN_AFTER_S = 3600.0
SORT_ROUNDS_MAX = 128
"""How often the broker is asked to sort before it hands out what it has sorted."""
BODYLESS = "The entry has no field `data`."

Fields = Mapping[bytes, bytes] | None


class RequestsReader:
    """Reads for one consumer into one intake until it is cancelled; `leave` tidies up.

    While slots are free, entries are read as they come. Once all were taken there may be others waiting, so
    what is free then is filled by `take`, in fair order, until nothing waits any more. A *bell* among the
    entries says that something waits, to a consumer that did not know.

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
        self._keys = [self._stream, link.topology.lanes]
        self._consumer = consumer
        self._intake = intake
        self._draining = draining
        self._look = look
        self._now: Callable[[], float] = asyncio.get_running_loop().time
        self._reclaim_at = 0.0
        self._crowded = True
        """Whether something may wait."""
        self._bells: list[str] = []
        """Those that were heard and are to be taken off the requests."""
        self._newest = "0-0"
        self._unhanded: list[tuple[str, Fields]] = []
        """What was taken and never handed out, because we drain."""
        self._backoff = link.backoff()
        self.succeeds = False
        """Whether the last look succeeded."""

    async def run(self) -> None:
        """Take entries for ever, whatever the broker does."""
        while True:
            changed = self._intake.changed.ticket()
            if not self._intake.free:
                self._crowded = True
                await changed.wait()
                continue
            try:
                await self._fill()
                self.succeeds = True
                self._backoff.reset()
            except RedisError as error:
                self.succeeds = False
                await self._recover(error)

    async def leave(self) -> None:
        """Give back what was handed out and never begun, and take the consumer's name off the group."""
        try:
            async with asyncio.timeout(2.0):
                for entry, fields in [*self._unhanded, *await self._unbegun()]:
                    if (body := body_of(fields)) is not None:
                        await republish(self._link, self._stream, entry, body)
                    elif is_bell(fields):
                        self._bells.append(entry)
                await self._ask_for(0)
                await self._sweep(self._consumer)
        except (RedisError, TimeoutError):
            return  # then the entries are reclaimed and the name is swept later

    async def _fill(self) -> None:
        """Fill free slots, once: with what is abandoned, what waits, or what comes."""
        if self._now() >= self._reclaim_at:
            await self._reclaim()
            await self._look()
            self._reclaim_at = self._now() + self._link.policy.heartbeat_s
        elif self._crowded:
            await to_its_end(self._take())
        else:
            await self._listen()

    async def _listen(self) -> None:
        until_reclaim_s = max(0.001, self._reclaim_at - self._now())
        free = self._intake.free
        entries = await self._read(">", min(self._link.block_s, until_reclaim_s))
        # As many as were asked for: there may be more. None for so long: make sure.
        self._crowded = len(entries) in (0, free)
        for entry, fields in entries:
            if self._draining.is_set():
                return  # `leave` gives the rest back
            await self._hand_out(entry, fields, 1)
        if self._bells and not self._intake.free:
            await self._ask_for(0)  # which rings for somebody else

    async def _take(self) -> None:
        """Take what waits, in fair order, and sort first what nobody was handed yet."""
        for round_ in range(SORT_ROUNDS_MAX):
            unsorted, waiting, entries = await self._ask_for(
                self._intake.free, anyway=round_ == SORT_ROUNDS_MAX - 1
            )
            if not unsorted or entries:
                break
        self._crowded = bool(unsorted or waiting)
        for entry, flat in entries:
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            if self._draining.is_set():
                self._unhanded.append((entry.decode(), fields))
            else:
                await self._hand_out(entry.decode(), fields, 1)

    async def _ask_for(self, free: int, *, anyway: bool = False) -> Any:
        """Run `take`, which also takes off the bells that were heard."""
        heard = self._bells[:]
        answer = await self._link.run(TAKE, self._keys, [self._consumer, free, int(anyway), *heard])
        del self._bells[: len(heard)]
        return answer

    async def _read(self, after: str, block_s: float) -> list[tuple[str, Fields]]:
        answer = await self._link.alone(
            *("XREADGROUP", "GROUP", HANDLERS_GROUP, self._consumer, "COUNT", max(1, self._intake.free)),
            *("BLOCK", max(1, round(block_s * 1000)), "STREAMS", self._stream, after),
            blocks_s=block_s,
        )
        return [(entry.decode(), fields) for _, entries in answer or () for entry, fields in entries]

    async def _reclaim(self) -> None:
        """Take over entries whose holder was silent for a whole lease."""
        self._crowded = True  # that a bell was lost must not matter for longer than this
        arguments: list[Argument] = [self._consumer, self._link.lease_ms, self._intake.free]
        for entry, flat, deliveries in await self._link.run(RECLAIM, self._keys, arguments):
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            await self._hand_out(entry.decode(), fields, int(deliveries))
        await self._sweep("")

    async def _hand_out(self, entry: str, fields: Fields, deliveries: int) -> None:
        self._newest = max(self._newest, entry, key=place_of)
        body = body_of(fields)
        if is_bell(fields):
            self._bells.append(entry)
            self._crowded = True
        elif body is None:
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


def is_bell(fields: Fields) -> bool:
    """Whether an entry only says that something waits; see `ring` in lanes.lua."""
    return b"bell" in (fields or {})


def published_at(entry: str, fields: Fields) -> datetime:
    """Return when a request was published first: as it says if it was parked, else as its entry says.

    The id of an entry begins with the server's time in ms.
    """
    if parked := (fields or {}).get(b"published"):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(parked.decode()).astimezone(UTC)
    return datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000, UTC)


async def acknowledge(link: Link, stream: str, entry: str) -> None:
    """Take an entry off its stream for good."""
    await link.run(RETIRE, [stream], [HANDLERS_GROUP, entry, ""])


async def republish(link: Link, stream: str, entry: str, body: bytes) -> None:
    """Put an entry at the end of the queue as if it had just been published."""
    await link.run(RETIRE, [stream], [HANDLERS_GROUP, entry, body])
