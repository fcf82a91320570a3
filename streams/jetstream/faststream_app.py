"""FastStream's part: the broker that carries middlewares, context and documentation around our handlers.

FastStream dispatches every entry; taking them from the server stays with us, for the same reasons as on
Redis (docs/decisions). It is imported only by processes that consume.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from faststream._internal.endpoint.subscriber import SubscriberUsecase
from faststream._internal.endpoint.subscriber.call_item import CallsCollection
from faststream.middlewares import AckPolicy
from faststream.nats import NatsBroker
from faststream.nats.configs import NatsBrokerConfig
from faststream.nats.message import NatsMessage
from faststream.nats.subscriber.config import NatsSubscriberConfig, NatsSubscriberSpecificationConfig
from faststream.nats.subscriber.specification import NatsSubscriberSpecification
from faststream.nats.subscriber.usecases.core_subscriber import CoreSubscriber
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

Handler = Callable[[Any], Awaitable[None]]


class _Fed(Msg):
    """A message that was taken already, with what was made of it."""

    fed: object = None


class _Broker(NatsBroker):
    """A broker that connects nowhere: what it would receive is fed to it."""

    async def _connect(self) -> Any:
        return None


class FedSubscriber(CoreSubscriber):
    """A subscriber that is fed its messages instead of subscribing."""

    async def start(self) -> None:
        # All of starting but the subscription: what it would take could not be given back.
        await SubscriberUsecase.start(self)
        self._post_start()

    async def feed(self, subject: str, entry: str, message: object) -> None:
        """Pass one entry, as `message`, through the middlewares to the handler. Raises what that raises.

        Without middlewares nothing comes between: no scopes, no message made of what is decoded already.
        """
        if not self._broker_middlewares:
            with self.lock:
                await self.calls[0].handler(message)
            return
        raw = _Fed(cast("Any", None), subject, entry)
        raw.fed = message
        await self.process_message(raw)


class FastStreamApp:
    """One FastStream broker, connected to nothing, with a fed subscriber per subject."""

    def __init__(self, middlewares: tuple[Any, ...] = ()) -> None:
        self.broker = _Broker(logger=None, apply_types=False, middlewares=middlewares)

    async def subscribe(self, subject: str, handler: Handler) -> FedSubscriber:
        """Attach `handler`, which is given the messages that are fed, and start."""
        outer = cast("NatsBrokerConfig", self.broker.config)
        config = NatsSubscriberConfig(
            subject=subject,
            sub_config=ConsumerConfig(),
            _outer_config=outer,
            _ack_policy=AckPolicy.MANUAL,
            no_reply=True,
        )
        calls: CallsCollection[Any] = CallsCollection()
        described = NatsSubscriberSpecificationConfig(
            subject=subject, queue=None, title_=subject, description_=None
        )
        specification = NatsSubscriberSpecification(outer, described, calls)
        subscriber = FedSubscriber(config, specification, calls, queue="")
        subscriber.add_call(parser_=_parse, decoder_=_decode, dependencies_=())
        subscriber(handler)
        self.broker._subscribers.add(subscriber)
        await self.broker.connect()
        await subscriber.start()
        return subscriber


async def _parse(raw: _Fed) -> NatsMessage:
    return NatsMessage(
        raw_message=raw,
        body=b"",
        message_id=raw.reply,
        correlation_id=raw.reply,
    )


async def _decode(message: NatsMessage) -> object:
    return cast("_Fed", message.raw_message).fed
