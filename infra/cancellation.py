"""Keeping a cancellation that a library may lose on the way.

Before Python 3.12 `asyncio.wait_for`, in which redis-py sends, returns the result instead where both come
together (python/cpython#86296). A loop of commands would then outlive its task's cancellation.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cancellation_kept() -> Iterator[None]:
    """Raise `CancelledError` after the block if a cancellation came meanwhile and is not raised already."""
    before = _cancellations()
    try:
        yield
    except Exception:
        _raise_if_more_than(before)
        raise
    _raise_if_more_than(before)


def _raise_if_more_than(before: int) -> None:
    if _cancellations() > before:
        raise asyncio.CancelledError


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0
