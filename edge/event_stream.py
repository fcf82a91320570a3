"""The events of one execution as a live answer: SSE or lines of JSON.

Written here in place of sse-starlette: our events are bytes already, so a chunk is a concatenation
instead of an object with encoding, ping task and task group for each stream; a whole batch of the log
is one chunk; and the next batch is taken only after the client took the last, so that a slow reader
costs one batch. Format: WHATWG HTML, section 9.2.5.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress

from starlette.types import Receive, Scope, Send

from edge.preferences import StreamFormat
from edge.waiting import first_ending
from infra.tasks import end_tasks
from streams.log_errors import LogGone
from streams.protocol import LoggedEvent

_MEDIA_TYPES: Mapping[StreamFormat, str] = {
    "sse": "text/event-stream; charset=utf-8",
    "ndjson": "application/x-ndjson",
}
_COMMENT = b": still here\n\n"


class EventStream:
    """An ASGI answer that passes on a followed log, to its `finished`.

    `following` leaves the log when the answer is over. The answer also ends cleanly when the server
    closes; readers then connect again and read on.
    """

    def __init__(
        self,
        batches: AsyncIterator[list[LoggedEvent]],
        following: AsyncExitStack,
        *,
        form: StreamFormat,
        comment_every_s: float,
        closing: asyncio.Event,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._batches = batches
        self._following = following
        self._form: StreamFormat = form
        self._comment_every_s = comment_every_s if form == "sse" else math.inf
        self._closing = closing
        self._headers = dict(headers or {})

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then stop following."""
        async with self._following:
            await send({"type": "http.response.start", "status": 200, "headers": self._raw_headers()})
            # A log that expires under its reader ends the stream; who connects again is told 404.
            with suppress(LogGone):
                await first_ending(self._send_all(send), receive, None, self._closing)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send) -> None:
        render = _RENDERERS[self._form]
        comments = _Comments(send, self._comment_every_s)
        commenting = asyncio.create_task(comments.forever(), name="comments")
        try:
            async for batch in self._batches:
                comments.not_now()
                await send({"type": "http.response.body", "body": render(batch), "more_body": True})
        finally:
            await end_tasks(commenting)

    def _raw_headers(self) -> list[tuple[bytes, bytes]]:
        headers = {
            "content-type": _MEDIA_TYPES[self._form],
            "cache-control": "no-store",
            # Reverse proxies that collect an answer before passing it on would defeat streaming.
            "x-accel-buffering": "no",
            **self._headers,
        }
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


class _Comments:
    """Shows that a stream lives which said nothing for `every_s`, beside whoever sends what it says."""

    def __init__(self, send: Send, every_s: float) -> None:
        self._send = send
        self._every_s = every_s
        self._clock = asyncio.get_running_loop().time
        self._due_at = 0.0
        self.not_now()

    def not_now(self) -> None:
        """Put the next one off: something is said."""
        self._due_at = self._clock() + self._every_s

    async def forever(self) -> None:
        """Send comments where they are due."""
        if self._every_s == math.inf:
            return
        while True:
            await asyncio.sleep(self._due_at - self._clock())
            if self._clock() >= self._due_at:
                await self._send({"type": "http.response.body", "body": _COMMENT, "more_body": True})
                self.not_now()


def _sse(batch: Sequence[LoggedEvent]) -> bytes:
    return b"".join(
        b"id: %d\nevent: %s\ndata: %s\n\n" % (logged.seq, logged.type.encode(), logged.data)
        for logged in batch
    )


def _ndjson(batch: Sequence[LoggedEvent]) -> bytes:
    return b"".join(logged.data + b"\n" for logged in batch)


_RENDERERS: Mapping[StreamFormat, Callable[[Sequence[LoggedEvent]], bytes]] = {"sse": _sse, "ndjson": _ndjson}
