"""Futures that several may settle: the first one counts."""

import asyncio
from typing import Any


def settle(future: "asyncio.Future[Any] | None", result: object) -> None:
    """Give `future` its result, or raise it there if it is an exception; nothing if it has one."""
    if future is None or future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
        future.exception()  # whoever still waits gets it; nobody else need be told
    else:
        future.set_result(result)
