"""Every answer carries `X-Request-ID`: the client's own if it sent a sensible one, else a new one."""

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.ids import is_execution_id, new_id

HEADER = b"x-request-id"


class RequestId:
    """Names the request in its answer and in every line logged on its behalf."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its name bound."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _given(scope) or new_id()
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (HEADER, request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_named)


def _given(scope: Scope) -> str | None:
    """Return the client's id if it is one that may be echoed and logged as it is."""
    for name, value in scope["headers"]:
        if name == HEADER:
            text = str(value, "latin-1")
            return text if is_execution_id(text) else None
    return None
