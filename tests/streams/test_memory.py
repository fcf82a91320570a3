"""What is particular to memory: time comes from its clock alone, so that simulations can run it."""

import asyncio
import heapq
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from streams.memory import MemoryBroker, MemoryTransport
from streams.protocol import Begun, DeliveryPolicy
from tests.streams.helpers import begin, command, submit, take, taking

DAY_S = 86_400.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time jumps to whatever is due next instead of passing."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self._virtual_s = 0.0

    def time(self) -> float:
        return self._virtual_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._virtual_s = max(self._virtual_s, heapq.nsmallest(1, self._scheduled)[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run_virtually(story: Coroutine[Any, Any, None]) -> None:
    """Run `story` on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(story)


def test_a_day_long_lease_runs_out_at_once_in_virtual_time() -> None:
    """Nothing in it looks at a real clock."""

    async def story() -> None:
        broker = MemoryBroker(epoch=datetime(2026, 1, 1, tzinfo=UTC))
        policy = DeliveryPolicy(lease_s=DAY_S, log_retention_s=10 * DAY_S)
        edge, dead, alive = [MemoryTransport(broker, policy) for _ in range(3)]
        submission = await submit(edge, command())
        assert submission.record.created_at == datetime(2026, 1, 1, tzinfo=UTC)
        await begin(dead, await take(dead))
        async with taking(alive) as deliveries:
            again = await begin(alive, await deliveries.get())
        assert isinstance(again, Begun)
        assert asyncio.get_running_loop().time() == DAY_S
        assert broker.now() == datetime(2026, 1, 2, tzinfo=UTC)

    run_virtually(story())
