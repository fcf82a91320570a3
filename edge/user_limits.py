"""How much one user may ask in a minute: the ring that says "later" to who asks more.

Only users that a token names are counted. An operator's key stands for a whole service, which one
number cannot fit; back pressure protects us from it.
"""

import re
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from edge.keys import USER_PREFIX
from edge.refusals import try_later
from infra.stores.rates import Rates

_WINDOW_S = 60.0
_KINDS = {
    "runs": re.compile(r"POST /(exec|exec/programmatic|executions)"),
    "uploads": re.compile(r"POST /upload(/batch)?"),
    "downloads": re.compile(r"(GET|HEAD) /download/.*"),
    "listings": re.compile(r"(GET|HEAD) /(files/.*|sessions/.*/objects/.*)"),
}


class UserLimits:
    """Counts what users do. `per_minute` are the limits by kind; one that is 0 or absent does not limit."""

    def __init__(self, app: ASGIApp, rates: Rates, per_minute: Mapping[str, int]) -> None:
        self._app = app
        self._rates = rates
        self._per_minute = per_minute

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if there is still room for it. Raises `Refusal` (429)."""
        await self._count(scope)
        await self._app(scope, receive, send)

    async def _count(self, scope: Scope) -> None:
        user = scope["state"].get("tenant") or ""
        asked = f"{scope['method']} {scope['path']}"
        kind = next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(asked)), "")
        most = self._per_minute.get(kind, 0)
        if not most or not user.startswith(USER_PREFIX):
            return
        wait_s = await self._rates.count(kind, user, most, _WINDOW_S)
        if wait_s is not None:
            message = f"A user may ask for {most} {kind} in a minute."
            raise try_later(429, "rate_limited", message, wait_s)
