"""Writing one execution's events: numbers them, coalesces output, and never runs ahead of the broker.

Output is batched by what arrives while the previous batch is on its way: the first line of a program
that is watched leaves at once, and a flood costs one round trip per batch. Where nobody is known to watch
it lingers for `LINGER_S`, within which a short program ends. The linger grows with the number of entries
written, which bounds the log's entries for a program that dribbles for hours.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Self

import msgspec

from infra.errors import MillraceError
from sandboxes.protocol import OutputFrame
from schemas.events import Event, Finished, Output, OutputStream
from schemas.output import encode_output, whole_characters
from streams.log_errors import LogFull
from streams.protocol import Consumer, Lease

LINGER_S = 0.001
"""Long enough for the exit of a short program to travel with its output."""
ENTRIES_PER_DOUBLING = 2_000
LINGER_S_MAX = 1.0
EVENT_BYTES_MAX = 64 * 1024
BUFFER_BYTES_MAX = 512 * 1024


class Journal:
    """The log of one attempt, as its handler writes it. One writer at a time."""

    def __init__(
        self, consumer: Consumer, lease: Lease, now: Callable[[], datetime], *, is_watched: bool = True
    ) -> None:
        self._consumer = consumer
        self._is_watched = is_watched
        self._lease = lease
        self._now = now
        self._buffer: list[OutputFrame] = []
        self._buffered = 0
        self._tails: dict[OutputStream, bytes] = {}
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._flusher: asyncio.Task[None] | None = None
        self._closing = False
        self._failure: MillraceError | None = None
        self._writing = asyncio.Lock()
        self._entries = 0
        self._dropped_bytes = 0

    async def write(self, event: Event) -> None:
        """Write one event at once, after all output that came before it. Raises `LeaseLost`."""
        async with self._writing:
            self._raise_failure()
            await self._append([*self._take_output(), event])

    async def output(self, frame: OutputFrame) -> None:
        """Take output for the next batch. Waits while too much is on its way."""
        await self._room.wait()
        self._raise_failure()
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        self._buffer.append(frame)
        self._buffered += len(frame.data)
        if self._buffered >= BUFFER_BYTES_MAX:
            self._room.clear()
            self._full.set()
        self._wake.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # Never cancelled in the middle of a write: what the broker has then would be anybody's guess.
        self._closing = True
        self._wake.set()
        self._full.set()  # nothing more gathers
        if self._flusher is not None:
            await self._flusher

    async def _flush(self) -> None:
        """Write batches as output comes. A failure is kept for whoever writes next."""
        try:
            while not self._closing:
                await self._wake.wait()
                if self._buffer:
                    await self._pause()
                async with self._writing:
                    await self._append(self._take_output())
        except MillraceError as error:
            self._failure = error
            self._room.set()

    async def _pause(self) -> None:
        """Let more output gather, unless so much has that the program is held up already."""
        if linger_s := self._linger_s():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), linger_s)

    async def finish(self, finished: Finished, events: Sequence[Event] = ()) -> None:
        """Write what is left, `events` and the outcome, and acknowledge. Raises `LeaseLost`."""
        async with self._writing:
            self._raise_failure()
            before = self._numbered([*self._take_output(), *self._take_tails(), *events])
            await self._consumer.finish(self._lease, before, self._last(finished))

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _linger_s(self) -> float:
        doublings = self._entries // ENTRIES_PER_DOUBLING
        if self._is_watched and not doublings:
            return 0.0
        return min(LINGER_S_MAX, LINGER_S * float(1 << min(doublings, 16)))

    async def _append(self, events: Sequence[Event]) -> None:
        """Write `events`; of a log that is full only the output is left out, and counted."""
        if not events:
            return
        try:
            await self._consumer.append(self._lease, self._numbered(events))
        except LogFull:
            self._dropped_bytes += sum(len(event.raw()) for event in events if isinstance(event, Output))
            await self._append([event for event in events if not isinstance(event, Output)])
        self._entries += len(events)

    def _last(self, finished: Finished) -> Finished:
        """Return `finished` as of now, with the output that a full log did not take."""
        output = finished.output
        if self._dropped_bytes:
            dropped = output.dropped_bytes + self._dropped_bytes
            output = msgspec.structs.replace(output, dropped_bytes=dropped)
        return msgspec.structs.replace(finished, output=output, time=self._now())

    def _numbered(self, events: Sequence[Event]) -> list[Event]:
        """Return `events` with their place in the log and the time of writing, so that both only grow."""
        first, now = self._lease.seq + 1, self._now()
        return [
            msgspec.structs.replace(event, seq=first + index, time=now) for index, event in enumerate(events)
        ]

    def _take_output(self) -> list[Event]:
        frames, self._buffer, self._buffered = self._buffer, [], 0
        if not self._closing:
            self._wake.clear()
        self._full.clear()
        self._room.set()
        return [event for stream, data in _runs(frames) for event in self._events_of(stream, data)]

    def _events_of(self, stream: OutputStream, data: bytes) -> list[Event]:
        data = self._tails.pop(stream, b"") + data
        events: list[Event] = []
        start = 0
        while start < len(data):
            chunk = data[start : start + EVENT_BYTES_MAX]
            whole = whole_characters(chunk)
            if whole == 0 or (whole < len(chunk) and start + len(chunk) == len(data)):
                # The end of a character is still to come: hold it back for the next batch.
                self._tails[stream] = data[start + whole :]
                if whole == 0:
                    break
                events.append(self._output(stream, chunk[:whole]))
                break
            events.append(self._output(stream, chunk[:whole]))
            start += whole
        return events

    def _take_tails(self) -> list[Event]:
        tails, self._tails = self._tails, {}
        return [self._output(stream, data) for stream, data in tails.items()]

    def _output(self, stream: OutputStream, data: bytes) -> Output:
        text, encoding = encode_output(data)
        execution_id = self._lease.execution_id
        return Output(
            execution_id=execution_id, seq=0, time=self._now(), stream=stream, data=text, encoding=encoding
        )


def _runs(frames: Sequence[OutputFrame]) -> list[tuple[OutputStream, bytes]]:
    """Join neighbouring frames of one stream, keeping the order between streams."""
    runs: list[tuple[OutputStream, list[bytes]]] = []
    for frame in frames:
        if runs and runs[-1][0] == frame.stream:
            runs[-1][1].append(frame.data)
        else:
            runs.append((frame.stream, [frame.data]))
    return [(stream, b"".join(parts)) for stream, parts in runs]
