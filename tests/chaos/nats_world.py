"""A JetStream afterwards."""

from collections import Counter
from collections.abc import Mapping, Sequence

from infra.connect import nats_config
from tests.chaos.afterwards import Afterwards
from tests.streams.conftest import NatsWorld


class NatsAfterwards(Afterwards):
    """See `Afterwards`."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__(settings)
        self._world = NatsWorld(nats_config(self._settings))

    async def publish(self, body: bytes) -> None:
        await self._world.publish(body)

    async def results(self) -> Counter[str]:
        return Counter(result.execution_id for result in await self._world.results())

    async def left_behind(self) -> Sequence[str]:
        depth = await self._transport.depth()
        left = {"waiting": depth.waiting, "pending": depth.pending}
        return [f"{count} {name} requests" for name, count in left.items() if count]

    async def close(self) -> None:
        await super().close()
        await self._world.close()
