"""Reading a body that may come slowly, or not to its end."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from edge.refusals import refuse


async def read_body(request: Request, timeout_s: float) -> bytes:
    """Return the whole body; its size is bounded further out. Raises `Refusal`."""
    try:
        async with asyncio.timeout(timeout_s):
            return await request.body()
    except TimeoutError:
        message = f"The body did not arrive within {timeout_s:g} seconds."
        raise refuse(408, "request_timeout", message) from None
    except ClientDisconnect:
        raise refuse(400, "client_disconnected", "The body ended early.") from None
