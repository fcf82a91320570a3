"""Waiting for an execution on behalf of a request: for its end, its patience, its client or ours."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, Literal

from starlette.types import Receive

from edge.transcript import Transcript
from schemas.ids import ExecutionId
from streams.protocol import LoggedEvent, Publisher

Ending = Literal["done", "timed_out", "client_left", "closing"]

_STOPS_WITHIN_S = 3.0
"""Long enough for any tidying up; who goes on for longer has lost the cancellation (see `infra/tasks.py`)."""


async def first_ending(
    work: Coroutine[Any, Any, None], receive: Receive, timeout_s: float | None, closing: asyncio.Event | None
) -> Ending:
    """Do `work` until it is done, `timeout_s` passed, the client left or `closing` is set.

    What did not end first is cancelled. Raises what `work` raises. It is done in the task of whoever asks,
    which costs less than one of its own.
    """
    stop = _Stop()
    others = [asyncio.create_task(_when(partial(_gone, receive), stop, "client_left"))]
    if closing is not None:
        others.append(asyncio.create_task(_when(closing.wait, stop, "closing")))
    if timeout_s is not None:
        stop.after(timeout_s)
    try:
        await work
    except asyncio.CancelledError:
        if not stop.is_taken_back():
            raise
        return stop.ending
    finally:
        stop.over()
        for task in others:
            task.cancel()
    return stop.ending if stop.is_taken_back() else "done"


class _Stop:
    """Cancels the task that made it, for one reason, again where that was swallowed on the way."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "there is a task to stop"
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._times = 0
        self.ending: Ending = "done"

    def after(self, seconds: float) -> None:
        """Stop it in so many seconds."""
        self._timers.append(self._loop.call_later(seconds, self.now, "timed_out"))

    def now(self, ending: Ending) -> None:
        """Stop it, and see whether it stops."""
        if not self._times:
            self.ending = ending
        self._times += 1
        self._timers.append(self._loop.call_later(_STOPS_WITHIN_S, self.now, ending))
        self._task.cancel()

    def is_taken_back(self) -> bool:
        """Take the cancellations back; return whether there were some, and none but ours."""
        left = 0
        for _ in range(self._times):
            left = self._task.uncancel()
        return self._times > 0 and left == 0

    def over(self) -> None:
        """Stop nothing any more."""
        for timer in self._timers:
            timer.cancel()


async def _when(ended: Callable[[], Coroutine[Any, Any, Any]], stop: _Stop, ending: Ending) -> None:
    await ended()
    stop.now(ending)


async def _gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def take_in(batches: AsyncIterator[list[LoggedEvent]], transcript: Transcript) -> None:
    """Take in every event that is followed, until `finished`."""
    async for batch in batches:
        for logged in batch:
            transcript.add(logged)


async def read_so_far(publisher: Publisher, execution_id: ExecutionId, transcript: Transcript) -> None:
    """Take in every event that is in the log now."""
    page = 1000
    while batch := await publisher.read(execution_id, transcript.seq, page):
        for logged in batch:
            transcript.add(logged)
        if len(batch) < page:
            return
