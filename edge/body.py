"""Reading a body that may come slowly, or not to its end."""

import asyncio
from collections.abc import AsyncGenerator

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


async def body_chunks(request: Request, silence_s_max: float) -> AsyncGenerator[bytes]:
    """Yield the body as it arrives; nobody may be silent for longer. Raises `Refusal`."""
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(silence_s_max):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            if chunk:
                yield chunk
    except TimeoutError:
        message = f"Nothing of the body arrived for {silence_s_max:g} seconds."
        raise refuse(408, "request_timeout", message) from None
    except ClientDisconnect:
        raise refuse(400, "client_disconnected", "The body ended early.") from None
