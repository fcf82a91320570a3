"""One spelling of every path: `/v1/x`, `//x` and `/x/` all mean `/x`.

Clients of the compatible contract join a base URL and a route by hand and double the slash; all routes
are served at the root and under `/v1`.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile(r"/{2,}")


class Paths:
    """Rewrites the path for everything further in, and remembers the prefix for links in answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its plain path."""
        path = scope["path"]
        if not path.startswith("/") or path.endswith("/") or "//" in path:
            path = _SLASHES.sub("/", "/" + path).rstrip("/")
        prefix = "/v1" if path == "/v1" or path.startswith("/v1/") else ""
        scope["path"] = path.removeprefix(prefix) or "/"
        scope["state"]["prefix"] = prefix
        await self._app(scope, receive, send)
