"""Which handlers are surely dead: those whose sign of life has been missing for a while."""

import time
from collections.abc import Callable, Iterable

from sandboxes.kubernetes.claims import Claims

_MISSING_S = 6.0
"""Beside the time to live of the sign itself. A Redis that comes back after a failover has lost or outlived
the signs of handlers that live; they renew them by then."""


class Holders:
    """The handlers that pods and Jobs are claimed by."""

    def __init__(self, claims: Claims, clock: Callable[[], float] = time.monotonic) -> None:
        self._claims = claims
        self._clock = clock
        self._missing_since: dict[str, float] = {}

    async def look(self, holders: Iterable[str]) -> None:
        """See who of them gives signs of life. Raises `Unavailable`."""
        asked = set(holders)
        living = await self._claims.living(asked)
        now = self._clock()
        self._missing_since = {holder: self._missing_since.get(holder, now) for holder in asked - living}

    def gone(self, holder: str) -> bool:
        """Whether a handler is surely dead."""
        since = self._missing_since.get(holder)
        return since is not None and self._clock() - since >= _MISSING_S
