"""Bodies are bounded before they are read: by what is declared, and by what arrives."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.refusals import Refusal, refuse
from schemas.http import ErrorBody

_DIGITS_MAX = 18


class BodyLimit:
    """Refuses a body of more than `bytes_max`, declared or counted, without holding it.

    `files` are paths that take files, with what their bodies may have; MAX_TOTAL_FILE_SIZE_MB says so.
    """

    def __init__(self, app: ASGIApp, bytes_max: int, files: Mapping[str, int]) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted. Raises `Refusal`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        bytes_max = self._files.get(path, self._bytes_max)
        if _declared(scope) > bytes_max:
            raise self._too_large(path, bytes_max)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > bytes_max:
                raise self._too_large(path, bytes_max)
            return message

        await self._app(scope, receive_counted, send)

    def _too_large(self, path: str, bytes_max: int) -> Refusal:
        setting = " (MAX_TOTAL_FILE_SIZE_MB)" if path in self._files else ""
        message = f"The body is larger than {bytes_max} bytes{setting}."
        body = ErrorBody(error="too_large", message=message, field="body", limit=bytes_max)
        # What was not read cannot be skipped for certain, so the connection is of no further use.
        return Refusal(413, body, {"connection": "close"})


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit() or len(value) > _DIGITS_MAX:
                raise refuse(400, "invalid_request", "Content-Length is no number.", "Content-Length")
            return int(value)
    return 0
