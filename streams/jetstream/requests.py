"""The work queue of requests: entries as deliveries, acknowledging, giving back, keeping."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from nats.aio.msg import Msg

from streams.delivery import Intake
from streams.jetstream.connection import AWAY
from streams.jetstream.link import Link
from streams.jetstream.pulling import Consuming, handed
from streams.jetstream.streams import NS
from streams.jetstream.wire import MESSAGE_ID, Silent, is_unanswered
from streams.jetstream.writing import JetStreamDelivery
from streams.protocol import Delivery
from streams.signal import Signal
from streams.topology import HANDLERS_GROUP

PUBLISHED = "Millrace-Published"
"""When a request was published first, if this is not the first time."""


def consuming(link: Link) -> Consuming:
    """Return the consumer all handlers share. What nobody keeps for a lease is handed out again."""
    return Consuming("REQUESTS", HANDLERS_GROUP, {"ack_wait": round(link.policy.lease_s * NS)})


class RequestsTaker:
    """Hands entries to the slots of an intake."""

    def __init__(self, link: Link, intake: Intake, draining: asyncio.Event) -> None:
        self.draining = draining
        self._link = link
        self._intake = intake

    @property
    def changed(self) -> Signal:
        return self._intake.changed

    @property
    def room(self) -> int:
        return self._intake.free

    async def take(self, message: Msg) -> None:
        about = handed(message.reply)
        entry = entry_of(about.time, about.seq)
        if entry in self._intake.entries:  # one of our own, silent because the broker was away
            return
        subject, body, published_at = message.subject, message.data, _published(message) or about.time
        self._intake.start(
            JetStreamDelivery(entry, subject, body, about.deliveries, published_at, about.tell)
        )

    async def give_back(self, message: Msg) -> None:
        # Published anew it waits again; one that the server keeps for later would count as pending.
        about = handed(message.reply)
        name = f"given-back-{about.seq}-{about.deliveries}"
        published_at = _published(message) or about.time
        await publish(self._link, message.subject, message.data, name, published_at)
        await self._link.ask(about.tell, b"+ACK")


def entry_of(time: datetime, seq: int) -> str:
    """Return the id of an entry: by its time it is another one if the stream was made anew."""
    return f"{round(time.timestamp() * 1000)}-{seq}"


def place_of(entry: str) -> int:
    """Return the place of an entry in the stream of requests."""
    return int(entry.rpartition("-")[2])


async def acknowledge(link: Link, delivery: Delivery) -> None:
    """Take an entry off the requests for good; the server confirms it."""
    if tell := _tell(delivery):
        await link.persist(lambda: _tell_surely(link, tell, place_of(delivery.entry)))


async def keep(link: Link, delivery: Delivery) -> None:
    """Keep an entry from being handed out again for another lease."""
    if tell := _tell(delivery):
        with suppress(*AWAY):
            await link.send(tell, b"+WPI")


async def publish(
    link: Link, subject: str, body: bytes, name: str, published_at: datetime | None = None
) -> int:
    """Publish a request, once for each `name`; return its place."""
    headers = {MESSAGE_ID: name}
    if published_at is not None:
        headers[PUBLISHED] = published_at.isoformat()
    return await link.publish(subject, body, headers)


async def _tell_surely(link: Link, tell: str, place: int) -> None:
    confirmed = await link.ask(tell, b"+ACK")
    # Nobody leads the consumer, or it was deleted; then the entry may be gone with it.
    if is_unanswered(confirmed) and await link.holds("REQUESTS", place):
        raise Silent("nobody takes the acknowledgement")


def _tell(delivery: Delivery) -> str:
    """Return the subject by which the server is told about an entry; empty if it handed out none."""
    return delivery.tell if isinstance(delivery, JetStreamDelivery) else ""


def _published(message: Msg) -> datetime | None:
    text = (message.headers or {}).get(PUBLISHED, "")
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat(text).astimezone(UTC)
    return None
