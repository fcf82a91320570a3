"""Looks at every dependency again and again, whether anybody asks or not.

`/metrics` has what was seen last, and the log says when it changed. `/health/ready` does not lean on it:
who is asked whether he can take work looks for himself, at that moment.
"""

import asyncio

import structlog

from edge.dependencies import Dependencies
from edge.metrics import Metrics

log = structlog.get_logger(__name__)


class HealthWatch:
    """One look every `every_s` seconds (`HEALTH_CHECK_INTERVAL`)."""

    def __init__(self, dependencies: Dependencies, metrics: Metrics, every_s: float) -> None:
        self._dependencies = dependencies
        self._metrics = metrics
        self._every_s = every_s
        self._seen: dict[str, str] = {}

    async def forever(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """Look once at each."""
        broker, (presence, _) = await asyncio.gather(
            self._dependencies.broker(), self._dependencies.handlers()
        )
        for name, health in (("broker", broker), ("presence", presence)):
            self._metrics.dependency_up.labels(name).set(health.status == "ok")
            before = self._seen.get(name, "ok")
            self._seen[name] = health.status
            if health.status == before:
                continue
            if health.status == "ok":
                log.info("dependency_back", dependency=name)
            else:
                log.warning("dependency_away", dependency=name, why=health.message)
