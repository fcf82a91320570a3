"""The queue in `GET /metrics`: what an autoscaler of handlers goes by.

All edges tell the same, for it is the broker's. Labels are priorities; tenants would be without bound.
"""

import asyncio
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.queue import Queue
from infra.errors import Unavailable
from streams.lanes import PRIORITIES

LOOK_EVERY_S = 1.0
"""Whoever asks more often, and anybody may, is told the same again."""


class QueueMetrics(Collector):
    """Tells the newest look at the queue, and nothing while the broker is away."""

    def __init__(self, queue: Queue, timeout_s: float) -> None:
        self._queue = queue
        self._timeout_s = timeout_s
        self._known = False

    async def refresh(self) -> None:
        """Look at the queue, for at most `timeout_s`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._queue.look(LOOK_EVERY_S)
            self._known = True
        except (Unavailable, TimeoutError):
            self._known = False

    def collect(self) -> Iterator[Metric]:
        """Yield what is known."""
        if self._known:
            yield self._waiting()
            yield from self._figures()

    def _waiting(self) -> Metric:
        waiting = GaugeMetricFamily(
            "millrace_queue_waiting", "Executions that wait for a slot.", labels=["priority"]
        )
        for priority in PRIORITIES:
            waiting.add_metric([priority], self._queue.depth.priorities.get(priority, 0))
        return waiting

    def _figures(self) -> Iterator[Metric]:
        depth = self._queue.depth
        yield GaugeMetricFamily(
            "millrace_queue_parked", "Executions that wait for their session's turn.", depth.parked
        )
        yield GaugeMetricFamily("millrace_queue_pending", "Executions that handlers hold.", depth.pending)
        yield GaugeMetricFamily(
            "millrace_queue_tenants", "Tenants that wait, as far as they are counted.", len(depth.tenants)
        )
        yield GaugeMetricFamily(
            "millrace_queue_oldest_seconds", "Age of the oldest execution that waits.", depth.oldest_s
        )
        yield GaugeMetricFamily(
            "millrace_queue_finished_per_second",
            "Executions finished in a second, over the last half minute.",
            self._queue.finished_per_s or 0.0,
        )
        yield CounterMetricFamily(
            "millrace_queue_finished", "Executions that ever finished on this broker.", depth.finished
        )
