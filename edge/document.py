"""A generated document, served as JSON: made once, the same for everybody."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response


class Document:
    """One document at one path."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._bytes = msgspec.json.encode(content)

    async def show(self, _request: Request) -> Response:
        """GET its path."""
        return Response(self._bytes, media_type="application/json")
