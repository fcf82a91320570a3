"""Whether the edge lives, whether it can take work, and how everything it needs is doing."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from edge.dependencies import Dependencies
from edge.refusals import try_later
from edge.responses import json_response
from schemas.http import DependencyHealth, DetailedHealthView, Health, HealthView, QueueView
from schemas.presence import HandlerPresence, PoolPresence


class HealthRoutes:
    """Three answers of growing detail."""

    def __init__(self, dependencies: Dependencies, closing: asyncio.Event) -> None:
        self._dependencies = dependencies
        self._closing = closing

    async def live(self, _request: Request) -> Response:
        """GET /health: 200 as long as this process answers at all."""
        return json_response(HealthView(status="ok"))

    async def ready(self, _request: Request) -> Response:
        """GET /health/ready: 200 if new work can be taken; 503 if the broker is away or the edge closes."""
        if self._closing.is_set():
            raise try_later(503, "closing", "This edge is closing; ask another one.", 1)
        broker = await self._dependencies.broker()
        if broker.status != "ok":
            raise try_later(503, "unavailable", broker.message, 1)
        return json_response(HealthView(status="ok"))

    async def detailed(self, _request: Request) -> Response:
        """GET /health/detailed: each dependency, the queue, handlers and pools; 503 if the broker is away."""
        broker, depth, (presence, handlers), pools = await asyncio.gather(
            self._dependencies.broker(),
            self._dependencies.depth(),
            self._dependencies.handlers(),
            self._dependencies.pools(),
        )
        queue = QueueView(waiting=depth.waiting, pending=depth.pending) if depth else None
        status = _overall(broker, handlers, pools)
        view = DetailedHealthView(
            status=status,
            dependencies={"broker": broker, "presence": presence},
            queue=queue,
            handlers=handlers,
            pools=pools,
        )
        return json_response(view, 503 if status == "unavailable" else 200)


def _overall(broker: DependencyHealth, handlers: list[HandlerPresence], pools: list[PoolPresence]) -> Health:
    if broker.status != "ok":
        return "unavailable"
    return "ok" if handlers and not any(pool.notes for pool in pools) else "degraded"
