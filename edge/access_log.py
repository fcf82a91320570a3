"""One line per request, written when its answer is complete. Never headers, bodies or query strings."""

import time

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.answer import answer_to

log = structlog.get_logger(__name__)


class AccessLog:
    """Tells who asked for what, how it ended and how long it took."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and log its end."""
        began = time.perf_counter()
        path, client = scope["path"], scope.get("client")
        try:
            await self._app(scope, receive, send)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=path,
                status=answer_to(scope).status,
                duration_ms=round((time.perf_counter() - began) * 1000, 2),
                client=client[0] if client else None,
                tenant=scope.get("state", {}).get("tenant"),
            )
