"""Taking messages from a durable consumer: as many as there is room for, and again at once when it falters.

Every pull asks for as many messages as there are free places that were not asked for yet, so nothing is
prefetched; while more were asked for than that, a place that is free again waits for others. The server sends
a heartbeat while a pull waits; where that stops coming, its leader may be gone, and all is asked for anew.
Should the old pulls be answered too, what there is no room for is given back.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from infra.nats_line import NatsLine
from infra.nats_words import Message
from infra.tasks import end_tasks
from streams.jetstream.connection import AWAY, new_inbox
from streams.jetstream.link import Link
from streams.jetstream.streams import NS
from streams.jetstream.wire import CONSUMER_UNKNOWN, STATUS, Refused, Silent
from streams.signal import Signal

PENDING = "Nats-Pending-Messages"
DRAIN_S = 2.0
NOT_NOW = b'-NAK {"delay": 200000000}'


@dataclass(frozen=True, slots=True)
class Consuming:
    """A durable consumer: whose stream, its name, and how it is to be."""

    stream: str
    name: str
    config: dict[str, Any]
    expires_s: float = 30.0
    """How long one pull waits."""

    @property
    def heartbeat_s(self) -> float:
        """How often the server says that a pull waits still."""
        return min(1.0, self.expires_s / 2)


class Taker(Protocol):
    """Whoever wants the messages."""

    draining: asyncio.Event
    """Set when nothing more is wanted."""

    @property
    def changed(self) -> Signal:
        """Notified when there is more room."""

    @property
    def room(self) -> int:
        """How many messages may be taken now."""

    async def choose(self, wanted: int) -> int:
        """Return how many to ask for, of the `wanted` there is room for."""

    def missed(self, count: int) -> None:
        """Note that so many that were asked for do not come."""

    def take(self, message: Message) -> None:
        """Take one message; it is for the taker to acknowledge it."""

    async def give_back(self, message: Message) -> None:
        """Return one that came after `draining`."""


class Puller:
    """Hands the messages of one consumer to `taker`, until cancelled or drained."""

    def __init__(self, link: Link, consuming: Consuming, taker: Taker) -> None:
        self._link = link
        self._consuming = consuming
        self._taker = taker
        self._subscription = 0
        self._returning: set[asyncio.Task[None]] = set()
        self._inbox = ""
        self._generation = -1
        self._ensured = False
        self._asked_for = 0
        self._pulls = 0
        self._heard_at = 0.0
        self._failure: Exception | None = None
        self.succeeds = False
        """Whether the server answered when it was last asked."""

    async def run(self) -> None:
        """Pull for ever, whatever the broker does."""
        backoff = self._link.backoff()
        while True:
            try:
                await self._pull_on()
                backoff.reset()
            except (*AWAY, Refused) as error:
                self.succeeds = False
                self._ensured = False
                self._miss(self._asked_for)
                await self._link.mend(error)
                await backoff.pause(error)

    async def drain(self) -> None:
        """Ask for nothing more, and give back what was on its way; `draining` is set by now."""
        if client := self._own_client():
            with suppress(*AWAY):
                async with asyncio.timeout(DRAIN_S):
                    await client.drain(self._subscription)
                    await asyncio.gather(*self._returning)
        self._subscription = 0
        await end_tasks(*self._returning)

    async def _pull_on(self) -> None:
        """Ask for what there is room for; wait until that may have changed. Raises when nobody answers."""
        changed = self._taker.changed.ticket()
        await self._subscribe()
        if self._failure is not None:
            raise self._failure
        wanted = self._wanted
        if wanted > 0 and (wanted := await self._taker.choose(wanted)) > 0:
            await self._ask_for(wanted)
        self.succeeds = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._consuming.heartbeat_s):
                await changed.wait()
        silent_s = asyncio.get_running_loop().time() - self._heard_at
        if self._asked_for and silent_s > 2.5 * self._consuming.heartbeat_s:
            raise Silent(f"no heartbeat of consumer {self._consuming.name} for {silent_s:.1f} s")

    @property
    def _wanted(self) -> int:
        """How many to ask for; none while more than that were asked for and may come."""
        wanted = self._taker.room - self._asked_for
        return wanted if wanted >= self._asked_for else 0

    async def _subscribe(self) -> None:
        client = await self._link.connected()
        if not self._ensured or self._generation != self._link.generation:
            await self._ensure()
            self._miss(self._asked_for)
            self._ensured, self._failure = True, None
        if self._generation != self._link.generation:
            self._inbox, self._generation = new_inbox(), self._link.generation
            self._subscription = client.subscribe(f"{self._inbox}.*", self._hear)

    async def _ask_for(self, count: int) -> None:
        stream = self._link.subjects.stream(self._consuming.stream)
        question = {
            "batch": count,
            "expires": round(self._consuming.expires_s * NS),
            "idle_heartbeat": round(self._consuming.heartbeat_s * NS),
        }
        if self._asked_for == 0:
            self._heard_at = asyncio.get_running_loop().time()
        self._asked_for += count
        self._pulls += 1
        await self._link.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{self._consuming.name}",
            msgspec.json.encode(question),
            reply=f"{self._inbox}.{self._pulls}",
        )

    def _hear(self, message: Message) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if not message.reply and STATUS in message.headers:
            self._note(message.headers)
        else:
            self._asked_for = max(0, self._asked_for - 1)
            if self._taker.draining.is_set():
                returning = asyncio.create_task(self._give_back(message), name="giving back")
                self._returning.add(returning)
                returning.add_done_callback(self._returning.discard)
            elif self._taker.room <= 0:
                self._link.tell(message.reply, NOT_NOW)
            else:
                self._taker.take(message)
                if self._wanted > 0:
                    self._taker.changed.notify()

    async def _give_back(self, message: Message) -> None:
        with suppress(*AWAY, Refused):
            await self._taker.give_back(message)

    def _note(self, headers: dict[str, str]) -> None:
        """Take in how a pull stands: it goes on (100), has expired (408), or failed."""
        status = headers[STATUS]
        if status == "100":
            return
        self._miss(int(headers.get(PENDING, 0)))
        if status != "408":
            said = headers.get("Description", "")
            self._failure = Silent(f"{status} {said}".strip())
        self._taker.changed.notify()

    def _miss(self, count: int) -> None:
        count = min(count, self._asked_for)
        self._asked_for -= count
        if count:
            self._taker.missed(count)

    async def _ensure(self) -> None:
        """Make the consumer, or make it as it is to be."""
        stream, name = self._link.subjects.stream(self._consuming.stream), self._consuming.name
        config = {
            "durable_name": name,
            "ack_policy": "explicit",
            "max_deliver": -1,
            "max_ack_pending": -1,
            "max_waiting": 16_384,
            **self._consuming.config,
        }
        question = {"stream_name": stream, "config": config}
        try:
            present = (await self._link.api(f"CONSUMER.INFO.{stream}.{name}"))["config"]
        except Refused as refused:
            if refused.code != CONSUMER_UNKNOWN:
                raise
        else:
            if all(present.get(key) == value for key, value in config.items()):
                return
        await self._link.api(f"CONSUMER.DURABLE.CREATE.{stream}.{name}", question)

    def forget(self) -> None:
        """Ask for nothing more; what was on its way is handed out again later."""
        if client := self._own_client():
            client.unsubscribe(self._subscription)
        self._subscription = 0

    def _own_client(self) -> NatsLine | None:
        """Return the connection on which this is subscribed, if it is."""
        return self._link.client if self._subscription and self._generation == self._link.generation else None
