"""One process's connection to NATS, both sides of it."""

from typing import Any

from infra.errors import Unavailable
from infra.nats import NatsConfig
from streams.delivery import log
from streams.jetstream.consumer import JetStreamConsumer
from streams.jetstream.dead_letters import JetStreamDeadLetters
from streams.jetstream.link import Link
from streams.jetstream.publisher import JetStreamPublisher
from streams.jetstream.streams import Streams
from streams.protocol import DeliveryPolicy


class JetStreamTransport(JetStreamPublisher, JetStreamConsumer, JetStreamDeadLetters):
    """The transport's promises, kept on NATS JetStream.

    `name` is what the server lists the connection under; it need not be unique. `middlewares` are
    FastStream's, around every delivery and control command.
    """

    def __init__(
        self, config: NatsConfig, policy: DeliveryPolicy, *, name: str, middlewares: tuple[Any, ...] = ()
    ) -> None:
        link = Link(config, policy, name)
        self._streams = Streams(link)
        link.prepare = self._streams.make
        JetStreamPublisher.__init__(self, link)
        JetStreamConsumer.__init__(self, link, middlewares)
        JetStreamDeadLetters.__init__(self, link)

    async def start(self) -> None:
        try:
            await self._link.answer(self._streams.make)
            seconds = await self.ping()
            log.info("broker_found", broker=f"nats {self._link.config.where()}", ping_s=round(seconds, 4))
        except Unavailable as away:
            log.warning("broker_away", reason=away.message)

    async def close(self) -> None:
        self.drain()
        await self._link.close()
