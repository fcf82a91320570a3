"""Ending tasks for sure.

One `cancel` is not always enough: it can be swallowed by a timeout that ends at the same moment (Python
before 3.11.3, the one of Debian 12 among them) or by a library that takes it for its own.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE_S = 3.0
"""Long enough for any tidying up that a cancelled task does."""


async def end_tasks(*tasks: "asyncio.Task[Any]", patience_s: float = _PATIENCE_S) -> None:
    """Cancel `tasks`, again where that was swallowed, until all are over; what they raise is dropped."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=patience_s)
    await asyncio.gather(*tasks, return_exceptions=True)


async def made_in_thread(make: Callable[[], T], undo: Callable[[T], None]) -> T:
    """Return what `make` makes in a thread; if whoever waits is cancelled, `undo` it there.

    A thread goes on to its end whoever waits for it, so nobody else would know what it made.
    """
    making = asyncio.ensure_future(asyncio.to_thread(make))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        await asyncio.wait([making])
        if making.exception() is None:
            await asyncio.to_thread(undo, making.result())
        raise
