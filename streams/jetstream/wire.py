"""What goes over the wire to JetStream beside the words of `schemas/`: headers, answers, faults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from infra.nats_words import Message

EXPECTED = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_OF = "Nats-Expected-Last-Subject-Sequence-Subject"
MESSAGE_ID = "Nats-Msg-Id"
ROLLUP = "Nats-Rollup"
TTL = "Nats-TTL"
SEQUENCE = "Nats-Sequence"
TIME = "Nats-Time-Stamp"
STATUS = "Status"

WRONG_LAST_SEQUENCE = 10071
STREAM_UNKNOWN = 10059
MESSAGE_UNKNOWN = 10037
CONSUMER_UNKNOWN = 10014
NO_RESPONDERS = "503"

_EPOCH = datetime.fromtimestamp(0, UTC)

Headers = Mapping[str, str]


class Refused(Exception):
    """JetStream said no, by a code of its own."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code


class Conflict(Exception):
    """Somebody else wrote since we looked: look again."""


class Silent(Exception):
    """No server answers for this stream now: it has no leader, it is not there, or JetStream is not."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One message of a stream. `seq` is its place in the stream, not in a log."""

    seq: int
    subject: str
    data: bytes
    headers: Headers

    @property
    def time(self) -> datetime:
        """When it was stored, by the server's clock."""
        return parse_time(self.headers[TIME])


@dataclass(frozen=True, slots=True)
class Handed:
    """What the server says of a message it handed out, in the subject by which it is answered."""

    tell: str
    seq: int
    deliveries: int
    time: datetime


def stored(message: Message) -> Stored:
    """Return a message as a direct get, or a republishing stream, carries it."""
    headers = message.headers
    subject = headers.get("Nats-Subject", message.subject)
    return Stored(int(headers[SEQUENCE]), subject, message.data, headers)


def has_more(found: Sequence[Stored]) -> bool:
    """Whether a reading left some for the next one, be it for their number or their size."""
    return bool(found) and found[-1].headers.get("Nats-Num-Pending", "0") != "0"


def parse_time(text: str) -> datetime:
    """Return the time that a server wrote: RFC 3339 with up to nine digits of a second."""
    whole, _, rest = text.rstrip("Z").partition(".")
    micro = int((rest or "0")[:6].ljust(6, "0"))
    return datetime.fromisoformat(whole).replace(microsecond=micro, tzinfo=UTC)


def is_unanswered(message: Message) -> bool:
    """Whether this is the server saying that nobody listens."""
    return message.headers.get(STATUS) == NO_RESPONDERS


def answer_of(message: Message) -> Any:
    """Return what the JetStream API or a publication was answered. Raises `Refused`, `Conflict`, `Silent`."""
    if is_unanswered(message):
        raise Silent("no server leads the stream")
    answer = msgspec.json.decode(message.data)
    error = answer.get("error")
    if error is None:
        return answer
    if error.get("err_code") == WRONG_LAST_SEQUENCE:
        raise Conflict(error.get("description", ""))
    if error.get("code") == 503:
        raise Silent(error.get("description", "JetStream is away"))
    raise Refused(error.get("err_code", 0), error.get("description", "refused"))


def handed(reply: str) -> Handed:
    """Return what the subject to answer says; with a domain it has two tokens more."""
    tokens = reply.split(".")
    deliveries, seq, _, nanoseconds = tokens[4:8] if len(tokens) == 9 else tokens[6:10]
    return Handed(reply, int(seq), int(deliveries), _EPOCH + timedelta(microseconds=int(nanoseconds) // 1000))
