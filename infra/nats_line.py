"""One connection to NATS that nats-py made and greeted, and from then on ours.

nats-py's own way of a message takes five turns of the loop there and back, through two tasks and two queues,
and a write of its own (docs/decisions/0019-messages-of-nats-on-a-line-of-ours.md). Here what comes is handed
to whoever hears it as it comes, and what is sent in one turn of the loop leaves in one piece.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

import structlog
from nats import errors as nats_errors
from nats.aio.client import Client

from infra.nats_words import Message, Reader, publication

log = structlog.get_logger(__name__)

PING_S = 2.0
"""Between two pings; a server that answers neither of two is gone, however open the connection looks."""
_PINGS_MAX = 2

Hear = Callable[[Message], None]


class NatsLine(asyncio.Protocol):
    """A connection, until it breaks. `closed` is called once, when it is over."""

    def __init__(self, client: Client, closed: Callable[[], None]) -> None:
        self._client = client  # to be kept: what is left of it would close the socket
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._reader = Reader()
        self._hearing: dict[int, Hear] = {}
        self._subscriptions = 0
        self._unsent: list[bytes] = []
        self._is_sending = False
        self._pongs: deque[asyncio.Future[None] | None] = deque()
        """Who waits for the answers to pings, in their order."""
        self._unanswered = 0
        self._room: asyncio.Future[None] | None = None
        self.is_closed = False
        self.max_payload = client.max_payload
        self._transport = self._take_over(client)
        self._watch = self._loop.call_later(PING_S, self._look)

    def _take_over(self, client: Client) -> asyncio.Transport:
        wire = cast("Any", client._transport)
        for task in (client._reading_task, client._flusher_task, client._ping_interval_task):
            if task is not None:
                task.cancel()
        transport = cast("asyncio.Transport", wire._io_writer.transport)
        transport.set_protocol(self)
        transport.resume_reading()
        for unsent in client._pending:
            self._put(unsent)
        if came := bytes(client._ps.buf) + bytes(wire._io_reader._buffer):
            self._loop.call_soon(self.data_received, came)
        return transport

    def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Put a message on its way. Raises nats-py's errors: it is too large, or the connection is closed."""
        if len(data) > self.max_payload:
            raise nats_errors.MaxPayloadError
        self._put(publication(subject, data, headers, reply))

    def subscribe(self, subject: str, hear: Hear) -> int:
        """Hand what is published to `hear` as it comes; return the number by which that is ended."""
        self._subscriptions += 1
        self._hearing[self._subscriptions] = hear
        self._put(b"SUB %b  %d\r\n" % (subject.encode(), self._subscriptions))
        return self._subscriptions

    def unsubscribe(self, number: int) -> None:
        """Hear no more at once; the server is told with what is sent next."""
        if self._hearing.pop(number, None) is not None:
            self._unsent.append(b"UNSUB %d\r\n" % number)

    async def drain(self, number: int) -> None:
        """Tell the server to hand out no more, and hear what was on its way until then."""
        if not self.is_closed:
            self._put(b"UNSUB %d\r\n" % number)
            pong = self._loop.create_future()
            self._ping(pong)
            await pong
        self._hearing.pop(number, None)

    @property
    def is_full(self) -> bool:
        """Whether the server does not take what is sent, for now."""
        return self._room is not None

    async def room(self) -> None:
        """Wait until there is room for more."""
        if self._room is not None:
            await asyncio.shield(self._room)

    def close(self) -> None:
        """Let go of the connection, when all is sent."""
        if not self.is_closed:
            self._send()
            self._end(flushed=True)

    def data_received(self, data: bytes) -> None:
        """Hand out what is complete."""
        try:
            for found in self._reader.feed(data):
                if self.is_closed:
                    return
                if isinstance(found, Message):
                    self._hand_out(found)
                else:
                    self._obey(found)
        except ValueError as garbage:
            log.warning("not_the_words_of_nats", reason=str(garbage))
            self._end()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - whoever asks is told that it is
        """Tell that it is over."""
        self._end()

    def pause_writing(self) -> None:
        """Note that the server does not take what is sent."""
        self._room = self._room or self._loop.create_future()

    def resume_writing(self) -> None:
        """Wake those who wait for room."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def _hand_out(self, message: Message) -> None:
        if (hear := self._hearing.get(message.sid)) is None:
            return
        try:
            hear(message)
        except Exception:  # anybody may publish anything; what others said comes all the same
            log.exception("message_not_heard", subject=message.subject)

    def _obey(self, line: bytes) -> None:
        """Follow what the server says between messages; that it refuses us it says before it hangs up."""
        word = line[:4].upper()
        if word == b"PING":
            self._put(b"PONG\r\n")
        elif word == b"PONG":
            self._unanswered = 0
            pong = self._pongs.popleft() if self._pongs else None
            if pong is not None and not pong.done():
                pong.set_result(None)
        elif word not in {b"INFO", b"+OK", b"-ERR"}:
            raise ValueError(f"not the words of NATS: {line[:80]!r}")

    def _put(self, piece: bytes) -> None:
        if self.is_closed:
            raise nats_errors.ConnectionClosedError
        self._unsent.append(piece)
        if not self._is_sending:
            self._is_sending = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._is_sending = False
        unsent, self._unsent = self._unsent, []
        if self.is_closed or not unsent:
            return
        if self._transport.is_closing():
            self._end()
        else:
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def _ping(self, pong: "asyncio.Future[None] | None" = None) -> None:
        self._pongs.append(pong)
        self._put(b"PING\r\n")

    def _look(self) -> None:
        """See whether the server still answers."""
        if self._unanswered >= _PINGS_MAX:
            self._end()
            return
        self._unanswered += 1
        self._ping()
        self._watch = self._loop.call_later(PING_S, self._look)

    def _end(self, *, flushed: bool = False) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._watch.cancel()
        if flushed:
            self._transport.close()
        else:
            self._transport.abort()
        self.resume_writing()
        for pong in self._pongs:
            if pong is not None and not pong.done():
                pong.set_exception(nats_errors.ConnectionClosedError())
        self._closed()
