"""Waiting for an execution on behalf of a request: for its end, its patience, its client or ours."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Literal

from starlette.types import Receive

from edge.transcript import Transcript
from infra.tasks import end_tasks
from schemas.ids import ExecutionId
from streams.protocol import LoggedEvent, Publisher

Ending = Literal["done", "timed_out", "client_left", "closing"]


async def first_ending(
    work: Coroutine[Any, Any, None], receive: Receive, timeout_s: float | None, closing: asyncio.Event | None
) -> Ending:
    """Run `work` until it is done, `timeout_s` passed, the client left or `closing` is set.

    What did not end first is cancelled, and `work` waited for. Raises what `work` raises.
    """
    working = asyncio.create_task(work)
    others: dict[asyncio.Task[Any], Ending] = {asyncio.create_task(_gone(receive)): "client_left"}
    if closing is not None:
        others[asyncio.create_task(closing.wait())] = "closing"
    try:
        done, _ = await asyncio.wait(
            (working, *others), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if working in done:
            working.result()
            return "done"
        return next((ending for task, ending in others.items() if task in done), "timed_out")
    finally:
        for task in others:
            task.cancel()
        if not working.done():
            await end_tasks(working)


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
