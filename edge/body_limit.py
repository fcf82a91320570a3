"""Bodies are bounded before they are read: by what is declared, and by what arrives."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.refusals import Refusal, refuse
from schemas.http import ErrorBody

_DIGITS_MAX = 18


class BodyLimit:
    """Refuses a body of more than `bytes_max`, declared or counted, without holding it."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted. Raises `Refusal`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _declared(scope) > self._bytes_max:
            raise self._too_large()
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._bytes_max:
                raise self._too_large()
            return message

        await self._app(scope, receive_counted, send)

    def _too_large(self) -> Refusal:
        message = f"The body is larger than {self._bytes_max} bytes."
        body = ErrorBody(error="too_large", message=message, field="body", limit=self._bytes_max)
        # What was not read cannot be skipped for certain, so the connection is of no further use.
        return Refusal(413, body, {"connection": "close"})


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit() or len(value) > _DIGITS_MAX:
                raise refuse(400, "invalid_request", "Content-Length is no number.", "Content-Length")
            return int(value)
    return 0
