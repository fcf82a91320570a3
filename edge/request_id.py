"""Every answer carries `X-Request-ID`: the client's own if it sent a sensible one, else a new one."""

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.answer import REQUEST_ID, Answer
from schemas.ids import is_execution_id, new_id


class RequestId:
    """Names the request in its answer and in every line logged on its behalf. The outermost ring."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its name bound."""
        assert scope["type"] == "http", "the server speaks nothing else"
        request_id = _given(scope) or new_id()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answer = Answer(send, request_id)
        scope.setdefault("state", {})["answer"] = answer
        await self._app(scope, receive, answer)


def _given(scope: Scope) -> str | None:
    """Return the client's id if it is one that may be echoed and logged as it is."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID:
            text = str(value, "latin-1")
            return text if is_execution_id(text) else None
    return None
