"""A JetStream as an outsider sees it; as `redis_world.py`."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from infra.connect import nats_config
from infra.settings import load_settings
from schemas.events import Event
from schemas.ids import ExecutionId
from schemas.wire import decode_event
from streams.bodies import build_transport
from tests.streams.conftest import NatsWorld


class NatsAfterwards:
    """One client beside those of the crew."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        loaded = load_settings({"MILLRACE_ENV_FILE": "/dev/null", "HOME": "/", **settings})
        self._world = NatsWorld(nats_config(loaded))
        self._transport = build_transport(loaded, "afterwards")
        self._started = False

    async def publish(self, body: bytes) -> None:
        await self._start()
        await self._world.publish(body)

    async def settled(self, within_s: float) -> bool:
        await self._start()
        give_up_at = asyncio.get_running_loop().time() + within_s
        while asyncio.get_running_loop().time() < give_up_at:
            try:
                depth = await self._transport.depth()
            except Exception:  # it is coming back
                depth = None
            if depth and depth.waiting == depth.pending == 0:
                return True
            await asyncio.sleep(0.5)
        return False

    async def log(self, execution_id: str) -> list[Event]:
        logged = await self._transport.read(ExecutionId(execution_id), count=100_000)
        return [decode_event(event.data) for event in logged]

    async def results(self) -> Counter[str]:
        return Counter(result.execution_id for result in await self._world.results())

    async def left_behind(self) -> Sequence[str]:
        depth = await self._transport.depth()
        left = {"waiting": depth.waiting, "pending": depth.pending}
        return [f"{count} {name} requests" for name, count in left.items() if count]

    async def close(self) -> None:
        await self._transport.close()
        await self._world.close()

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            await self._transport.start()
