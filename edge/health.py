"""Whether the edge lives, whether it can take work, and how everything it needs is doing."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from edge.refusals import try_later
from edge.responses import json_response
from infra.errors import Unavailable
from infra.stores.presence import Presence
from schemas.http import DependencyHealth, DetailedHealthView, Health, HealthView, QueueView
from schemas.presence import HandlerPresence
from streams.protocol import Publisher

T = TypeVar("T")


class HealthRoutes:
    """Three answers of growing detail. No look at a dependency takes longer than `timeout_s`."""

    def __init__(
        self, publisher: Publisher, presence: Presence, timeout_s: float, closing: asyncio.Event
    ) -> None:
        self._publisher = publisher
        self._presence = presence
        self._timeout_s = timeout_s
        self._closing = closing

    async def live(self, _request: Request) -> Response:
        """GET /health: 200 as long as this process answers at all."""
        return json_response(HealthView(status="ok"))

    async def ready(self, _request: Request) -> Response:
        """GET /health/ready: 200 if new work can be taken; 503 if the broker is away or the edge closes."""
        if self._closing.is_set():
            raise try_later(503, "closing", "This edge is closing; ask another one.", 1)
        broker, _ = await self._look(self._publisher.ping())
        if broker.status != "ok":
            raise try_later(503, "unavailable", broker.message, 1)
        return json_response(HealthView(status="ok"))

    async def detailed(self, _request: Request) -> Response:
        """GET /health/detailed: each dependency, the queue and the handlers; 503 if the broker is away."""
        (broker, _), (_, depth), (presence, handlers) = await asyncio.gather(
            self._look(self._publisher.ping()),
            self._look(self._publisher.depth()),
            self._look(self._presence.handlers()),
        )
        queue = QueueView(waiting=depth.waiting, pending=depth.pending) if depth else None
        status = _overall(broker, handlers or [])
        view = DetailedHealthView(
            status=status,
            dependencies={"broker": broker, "presence": presence},
            queue=queue,
            handlers=handlers or [],
        )
        return json_response(view, 503 if status == "unavailable" else 200)

    async def _look(self, asked: Awaitable[T]) -> tuple[DependencyHealth, T | None]:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await asked
        except Unavailable as error:
            return DependencyHealth(status="unavailable", message=error.message), None
        except TimeoutError:
            message = f"No answer within {self._timeout_s:g} seconds."
            return DependencyHealth(status="unavailable", message=message), None
        return DependencyHealth(status="ok", latency_s=round(time.perf_counter() - began, 6)), answer


def _overall(broker: DependencyHealth, handlers: list[HandlerPresence]) -> Health:
    if broker.status != "ok":
        return "unavailable"
    return "ok" if handlers else "degraded"
