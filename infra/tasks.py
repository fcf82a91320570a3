"""Ending tasks for sure.

One `cancel` is not always enough: it can be swallowed by a timeout that ends at the same moment (Python
before 3.11.3, the one of Debian 12 among them) or by a library that takes it for its own.
"""

import asyncio
from typing import Any

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
