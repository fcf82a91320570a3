"""Plain HTTP beside HTTPS: every request is told to come to the same place encrypted (`SSL_REDIRECT`).

By 308, with which a POST stays a POST. It spares people a dead link; it does not protect a client that
sends its key in clear text first, so the connection is closed and nothing of the answer is kept.
"""

import re

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.errors import Errors
from edge.refusals import refuse
from edge.request_id import RequestId

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
_DEFAULT_PORT = 443
_HEADERS = {"cache-control": "no-store", "connection": "close"}


def create_redirect(https_port: int) -> ASGIApp:
    """Return the application that sends everybody to `https_port` of the host they asked."""
    return RequestId(Errors(_ToHttps(https_port)))


class _ToHttps:
    def __init__(self, port: int) -> None:
        self._port = "" if port == _DEFAULT_PORT else f":{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "the server speaks nothing else"
        host = _HOST.fullmatch(Headers(scope=scope).get("host", ""))
        if host is None:
            raise refuse(400, "invalid_host", "The Host header names no host to redirect to.", "host")
        target = scope["raw_path"].decode("latin-1")
        if query := scope["query_string"].decode("latin-1"):
            target = f"{target}?{query}"
        answer = RedirectResponse(f"https://{host[1]}{self._port}{target}", 308, _HEADERS)
        await answer(scope, receive, send)
