"""One process's connection to Redis, both sides of it."""

import secrets
from typing import Any

from infra.errors import Unavailable
from infra.redis import RedisConfig
from streams.delivery import log
from streams.protocol import DeliveryPolicy
from streams.redis.consumer import RedisConsumer
from streams.redis.dead_letters import RedisDeadLetters
from streams.redis.following import Inbox
from streams.redis.link import Link
from streams.redis.publisher import RedisPublisher


class RedisTransport(RedisPublisher, RedisConsumer, RedisDeadLetters):
    """The transport's promises, kept on Redis Streams.

    `consumer` names this process among handlers and edges; it need not be unique. `middlewares` are
    FastStream's, around every delivery and control command.
    """

    def __init__(
        self, config: RedisConfig, policy: DeliveryPolicy, *, consumer: str, middlewares: tuple[Any, ...] = ()
    ) -> None:
        link = Link(config, policy)
        inbox = Inbox(link, f"{consumer}.{secrets.token_hex(4)}")
        RedisPublisher.__init__(self, link, inbox)
        RedisConsumer.__init__(self, link, consumer, middlewares)
        RedisDeadLetters.__init__(self, link)

    async def start(self) -> None:
        try:
            seconds = await self.ping()
            log.info("broker_found", broker=self._link.config.where(), ping_s=round(seconds, 4))
        except Unavailable as away:
            log.warning("broker_away", reason=away.message)

    async def close(self) -> None:
        self.drain()
        await self._inbox.close()
        await self._link.aclose()
