"""`GET /metrics` in the Prometheus text format, and the ring that counts requests for it.

Labels are routes, never paths: ids in labels would grow without bound.
"""

import time
from functools import cache

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.answer import answer_to
from edge.queue_metrics import QueueMetrics

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one edge, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "millrace_http_requests", "HTTP requests answered.", labels, registry=self._registry
        )
        self.seconds = Histogram(
            "millrace_http_request_seconds",
            "Time from a request to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.open = Gauge(
            "millrace_http_requests_open", "HTTP requests being answered now.", registry=self._registry
        )
        self.dependency_up = Gauge(
            "millrace_dependency_up",
            "Whether a dependency answered when it was last looked at.",
            ("dependency",),
            registry=self._registry,
        )

        self._queue: QueueMetrics | None = None

    def include(self, queue: QueueMetrics) -> None:
        """Tell of the queue as well."""
        self._queue = queue
        self._registry.register(queue)

    async def show(self, _request: Request) -> Response:
        """GET /metrics: everything counted so far."""
        if self._queue is not None:
            await self._queue.refresh()
        return Response(generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})


class CountRequests:
    """Counts every request by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        # Looking a counter up by its labels takes longer than counting; there are few of them.
        self._requests = cache(lambda *labels: metrics.requests.labels(*map(str, labels)))
        self._seconds = cache(metrics.seconds.labels)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and count it when it has been answered."""
        began = time.perf_counter()
        self._metrics.open.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._metrics.open.dec()
            self._count(scope, answer_to(scope).status, time.perf_counter() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if route != "unknown" else "unknown"
        self._requests(method, route, status).inc()
        self._seconds(route).observe(seconds)
