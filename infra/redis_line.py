"""One connection to Redis that carries any number of commands at once, answered in the order they were sent.

redis-py makes and secures the connection, as the settings want it, and then hands it over: its own way of
sending takes a connection out of the pool for every command and back, with a timer, a lock and some turns of
the loop (docs/decisions/0016-commands-share-a-line.md).
"""

import asyncio
from collections import deque
from typing import Any, cast

import hiredis
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, MasterDownError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

_NOTHING = object()
_NOT_NOW = ("NOREPLICAS", "MASTERDOWN", "UNBLOCKED")
"""How a server begins that lost its replicas, its primary, or its place as one: another may be better off."""


class Line(asyncio.Protocol):
    """A connection that was made and greeted by redis-py, from now on ours."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=_NOTHING
        )
        self._asked: deque[tuple[asyncio.Future[Any], float]] = deque()
        """Who waits for an answer, and until when, in the order of the answers."""
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._unsent: list[bytes] | None = None
        """What was asked after the first command of a turn of the loop; None before that one."""
        self.is_closed = False
        assert connection._writer is not None, "connected before"
        self._transport = cast("asyncio.Transport", connection._writer.transport)
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    def ask(self, packed: bytes, within_s: float) -> "asyncio.Future[Any]":
        """Send a command; the future has its answer, or raises what Redis or the connection has against it.

        A server that is silent for `within_s` is away: then all that wait get a `TimeoutError`, and the line
        is of no further use. Whoever is cancelled misses the answer and disturbs nobody.
        """
        answer = self._loop.create_future()
        if self.is_closed or self._transport.is_closing():
            self._end(RedisConnectionError("the connection was closed"))
            answer.set_exception(RedisConnectionError("the connection was closed"))
            return answer
        until = self._loop.time() + within_s
        self._asked.append((answer, until))
        if self._watch is None:
            self._watch = self._loop.call_at(until, self._look)
        self._send(packed)
        return answer

    def _send(self, packed: bytes) -> None:
        """Send the first command of a turn at once, and what follows in the same turn in one piece."""
        if self._unsent is None:
            self._unsent = []
            self._loop.call_soon(self._send_rest)
            self._transport.write(packed)
        else:
            self._unsent.append(packed)

    def _send_rest(self) -> None:
        unsent, self._unsent = self._unsent, None
        if unsent and not self.is_closed:
            self._transport.write(b"".join(unsent))

    def close(self) -> None:
        """Let go of the connection. Who still waits gets a `ConnectionError`."""
        self._end(RedisConnectionError("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that are complete."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _NOTHING:
                self._hand_out(answer)
        except InvalidResponse as garbage:
            self._end(RedisConnectionError(f"not the words of Redis: {garbage}"))

    def connection_lost(self, error: Exception | None) -> None:
        """Tell all who wait."""
        self._end(RedisConnectionError(f"the connection was lost: {error or 'the server closed it'}"))

    def _hand_out(self, answer: Any) -> None:
        if not self._asked:
            self._end(RedisConnectionError("an answer that nobody asked for"))
            return
        waiting, _ = self._asked.popleft()
        failed = isinstance(answer, Exception)
        if not waiting.done():
            if failed:
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)
        if failed and has_lost_its_place(answer):
            self._end(RedisConnectionError(f"the primary may be another one now: {answer}"))

    def _look(self) -> None:
        """See whether the server is silent for too long. One timer at a time looks for all that wait."""
        self._watch = None
        if not self._asked:
            return
        _, until = self._asked[0]
        if until <= self._loop.time():
            self._end(RedisTimeoutError("no answer in time"))
        else:
            self._watch = self._loop.call_at(until, self._look)

    def _end(self, error: Exception) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._connection._close()  # type: ignore[no-untyped-call]
            self._transport.abort()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        asked, self._asked = self._asked, deque()
        for waiting, _ in asked:
            if not waiting.done():
                waiting.set_exception(error)


def has_lost_its_place(refused: Exception) -> bool:
    """Whether a server refused as one does that was replaced; a new connection finds who took over."""
    return isinstance(refused, ReadOnlyError | MasterDownError) or str(refused).startswith(_NOT_NOW)
