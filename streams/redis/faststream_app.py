"""FastStream's part: the broker that carries middlewares, context and documentation around our handlers.

FastStream dispatches every entry; reading them stays with us (docs/decisions/faststream-on-redis.md).
It is imported only by processes that consume: it costs most of a second and 50 MB.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from faststream._internal.endpoint.subscriber import SubscriberUsecase
from faststream._internal.endpoint.subscriber.call_item import CallsCollection
from faststream.middlewares import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.configs import ConnectionState, RedisBrokerConfig
from faststream.redis.message import FAKE_CONSUMER, DefaultStreamMessage, RedisStreamMessage
from faststream.redis.subscriber.config import RedisSubscriberConfig, RedisSubscriberSpecificationConfig
from faststream.redis.subscriber.specification import StreamSubscriberSpecification
from faststream.redis.subscriber.usecases import StreamSubscriber

from infra.redis import RedisClient

T = TypeVar("T")
MESSAGE = b"message"
"""Under this key a fed message travels through FastStream's own."""
Handler = Callable[[Any], Awaitable[None]]


class _OurConnection(ConnectionState[Any]):
    """A connection FastStream uses and does not own."""

    def __init__(self, client: RedisClient) -> None:
        super().__init__()
        self._client = client

    async def connect(self) -> RedisClient:
        self._connected = True
        return cast("RedisClient", self._client)

    async def disconnect(self) -> None:
        self._connected = False


class _Broker(RedisBroker):
    """A broker on the client we built, whatever its mode."""

    def __init__(self, client: RedisClient, **kwargs: Any) -> None:
        self._our_client = client
        super().__init__("redis://broker", **kwargs)

    def _make_connection_state(self, *_: Any) -> ConnectionState[Any]:
        return _OurConnection(self._our_client)


class FedSubscriber(StreamSubscriber):
    """A stream subscriber that is fed its entries instead of reading them."""

    async def start(self) -> None:
        # All of starting but the reading loop, whose traps cannot be configured away.
        await SubscriberUsecase.start(self)
        self._post_start()
        self._is_bare = not self._broker_middlewares  # each look gathers them anew

    def get_log_context(self, message: Any) -> dict[str, str]:
        # FastStream's own copies the whole subscription for every message.
        return self.build_log_context(message, self._stream_sub.name)

    async def feed(self, stream: str, entry: str, message: object) -> None:
        """Pass one entry, as `message`, through the middlewares to the handler. Raises what that raises.

        Without middlewares nothing comes between: no scopes, no message made of what is decoded already, and
        no lock, by which FastStream would wait for what runs when it is stopped: `Intake` waits for that.
        """
        if self._is_bare:
            await self.calls[0].handler(message)
            return
        raw = DefaultStreamMessage(
            type="stream",
            channel=stream,
            message_ids=[entry.encode()],
            data=cast("dict[bytes, bytes]", {MESSAGE: message}),
        )
        await self.process_message(raw)


class FastStreamApp:
    """One FastStream broker with a fed subscriber per stream."""

    def __init__(self, client: RedisClient, middlewares: tuple[Any, ...] = ()) -> None:
        self.broker = _Broker(client, logger=None, apply_types=False, middlewares=middlewares)

    async def subscribe(self, sub: "StreamSub[Any]", handler: Handler) -> FedSubscriber:
        """Attach `handler`, which is given the messages that are fed, and start."""
        outer = cast("RedisBrokerConfig", self.broker.config)
        config = RedisSubscriberConfig(
            stream_sub=sub, _outer_config=outer, _ack_policy=AckPolicy.MANUAL, no_reply=True
        )
        calls: CallsCollection[Any] = CallsCollection()
        described = RedisSubscriberSpecificationConfig(title_=sub.name, description_=None)
        specification = StreamSubscriberSpecification(outer, described, calls, stream_sub=sub)
        subscriber = FedSubscriber(config, specification, calls)
        subscriber.add_call(parser_=_parse, decoder_=_decode, dependencies_=())
        subscriber(handler)
        self.broker._subscribers.add(subscriber)
        await self.broker.connect()
        await subscriber.start()
        return subscriber


async def _parse(raw: DefaultStreamMessage) -> RedisStreamMessage:
    entry = raw["message_ids"][0].decode()
    return RedisStreamMessage(
        raw_message=raw,
        body=b"",
        message_id=entry,
        correlation_id=entry,
        consumer=FAKE_CONSUMER,
        group=None,
    )


async def _decode(message: RedisStreamMessage) -> object:
    return message.raw_message["data"][MESSAGE]
