"""The work queue of requests: entries and their places, acknowledging, keeping, publishing."""

from contextlib import suppress
from datetime import UTC, datetime

from streams.jetstream.connection import AWAY
from streams.jetstream.link import Link
from streams.jetstream.wire import MESSAGE_ID, Headers, Silent, Stored, handed, is_unanswered
from streams.jetstream.writing import JetStreamDelivery
from streams.protocol import Delivery

PUBLISHED = "Millrace-Published"
"""When a request was published first, if this is not the first time."""
ENTRY = "Millrace-Entry"
"""The entry that a request was published as first, if it is still taken for that one."""


def entry_of(time: datetime, seq: int, headers: Headers | None = None) -> str:
    """Return the id of an entry: by its time it is another one if the stream was made anew."""
    return (headers or {}).get(ENTRY) or f"{round(time.timestamp() * 1000)}-{seq}"


def place_of(entry: str) -> int:
    """Return the place in the stream of requests at which an entry was published."""
    return int(entry.rpartition("-")[2])


def published_at(message: Stored) -> datetime:
    """Return when a request was published first."""
    return published_before(message.headers) or message.time


def published_before(headers: Headers | None) -> datetime | None:
    """Return when a request was published first, if that was before this message."""
    with suppress(ValueError, OverflowError):
        return datetime.fromisoformat((headers or {}).get(PUBLISHED, "")).astimezone(UTC)
    return None


async def publish(
    link: Link,
    body: bytes,
    name: str,
    published: datetime | None = None,
    entry: str = "",
    told: Headers | None = None,
) -> int:
    """Publish a request, once for each `name`; return its place."""
    headers = {**(told or {}), MESSAGE_ID: name}
    if published is not None:
        headers[PUBLISHED] = published.isoformat()
    if entry:
        headers[ENTRY] = entry
    return await link.publish(link.subjects.requests, body, headers)


async def acknowledge(link: Link, delivery: Delivery) -> None:
    """Take an entry off the requests for good; the server confirms it."""
    if tell := _tell(delivery):
        await link.persist(lambda: _tell_surely(link, tell))


async def keep(link: Link, delivery: Delivery) -> None:
    """Keep an entry from being handed out again for another lease."""
    if tell := _tell(delivery):
        with suppress(*AWAY):
            await link.send(tell, b"+WPI")


async def _tell_surely(link: Link, tell: str) -> None:
    confirmed = await link.ask(tell, b"+ACK")
    # Nobody leads the consumer, or it was deleted; then the entry may be gone with it.
    if is_unanswered(confirmed) and await link.holds("REQUESTS", handed(tell).seq):
        raise Silent("nobody takes the acknowledgement")


def _tell(delivery: Delivery) -> str:
    """Return the subject by which the server is told about an entry; empty if it handed out none."""
    return delivery.tell if isinstance(delivery, JetStreamDelivery) else ""
