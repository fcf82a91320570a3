"""Bodies are bounded before they are read: by what is declared, and by what arrives."""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.refusals import Refusal, refuse
from schemas.http import ErrorBody

_DIGITS_MAX = 18


class BodyBound(NamedTuple):
    """How long some bodies may be, and the setting that says so."""

    bytes_max: int
    setting: str


class BodyLimit:
    """Refuses a body of more than `bytes_max`, declared or counted, without holding it.

    `special` has the paths that take more; one that ends in a slash stands for all below it.
    """

    def __init__(self, app: ASGIApp, bytes_max: int, special: Mapping[str, BodyBound]) -> None:
        self._app = app
        self._special = special
        self._usual = BodyBound(bytes_max, "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body counted. Raises `Refusal`."""
        bound = self._bound(scope["path"])
        if _declared(scope) > bound.bytes_max:
            raise _too_large(bound)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > bound.bytes_max:
                raise _too_large(bound)
            return message

        await self._app(scope, receive_counted, send)

    def _bound(self, path: str) -> BodyBound:
        below = path[: path.find("/", 1) + 1]
        return self._special.get(path) or self._special.get(below) or self._usual


def _too_large(bound: BodyBound) -> Refusal:
    setting = f" ({bound.setting})" if bound.setting else ""
    message = f"The body is larger than {bound.bytes_max} bytes{setting}."
    body = ErrorBody(error="too_large", message=message, field="body", limit=bound.bytes_max)
    # What was not read cannot be skipped for certain, so the connection is of no further use.
    return Refusal(413, body, {"connection": "close"})


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit() or len(value) > _DIGITS_MAX:
                raise refuse(400, "invalid_request", "Content-Length is no number.", "Content-Length")
            return int(value)
    return 0
