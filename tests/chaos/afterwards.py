"""A broker as an outsider sees it: publishes bare entries, and afterwards reads everything that is left.

What is the same on all of them goes through a transport of its own; what is not is below.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

from infra.errors import Unavailable
from infra.settings import Settings, load_settings
from schemas.events import Event
from schemas.ids import ExecutionId
from schemas.wire import decode_event
from streams.bodies import build_transport
from streams.depth import QueueDepth


class Afterwards(ABC):
    """One client beside those of the crew."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings: Settings = load_settings({"MILLRACE_ENV_FILE": "/dev/null", "HOME": "/", **settings})
        self._transport = build_transport(self._settings, "afterwards")

    @abstractmethod
    async def publish(self, body: bytes) -> None:
        """Put a bare entry on the requests."""

    @abstractmethod
    async def results(self) -> Counter[str]:
        """Return how often each execution is on the results."""

    @abstractmethod
    async def left_behind(self) -> Sequence[str]:
        """Return what should not be there when nothing runs and nobody is there."""

    async def settled(self, within_s: float) -> bool:
        """Wait until nothing waits and nothing is held."""
        give_up_at = asyncio.get_running_loop().time() + within_s
        while asyncio.get_running_loop().time() < give_up_at:
            depth = await self._depth()
            if depth and depth.waiting == depth.pending == 0:
                return True
            await asyncio.sleep(0.5)
        return False

    async def _depth(self) -> QueueDepth | None:
        """Return what waits; None while the broker comes back."""
        try:
            return await self._transport.depth()
        except Unavailable:
            return None

    async def log(self, execution_id: str) -> list[Event]:
        """Return the whole log of an execution."""
        logged = await self._transport.read(ExecutionId(execution_id), count=100_000)
        return [decode_event(event.data) for event in logged]

    async def close(self) -> None:
        """Let go of everything."""
        await self._transport.close()
