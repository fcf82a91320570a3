"""Which transport the operator wants, built from the settings: the one place that knows all of them."""

from typing import Protocol

from infra.connect import nats_config, redis_config
from infra.errors import Misconfigured
from infra.settings import Settings
from streams.asyncapi import Carrier, Names
from streams.dead_letters import DeadLetters
from streams.protocol import DeliveryPolicy, Transport
from streams.topology import Subjects, Topology


class Broker(Transport, DeadLetters, Protocol):
    """Every side of one transport."""


def build_transport(settings: Settings, name: str) -> Broker:
    """Return the transport that `MILLRACE_TRANSPORT` names, not started. Raises `Misconfigured`.

    `name` is what this process is listed under at the broker. Bodies are imported only when chosen.
    """
    policy = DeliveryPolicy(**settings.delivery_policy())
    match settings.millrace_transport:
        case "redis":
            from streams.redis import RedisTransport  # noqa: PLC0415

            return RedisTransport(redis_config(settings), policy, consumer=name)
        case "nats":
            from streams.jetstream import JetStreamTransport  # noqa: PLC0415

            return JetStreamTransport(nats_config(settings), policy, name=name)
        case "memory":
            raise Misconfigured("MILLRACE_TRANSPORT=memory: it lives inside one process; use redis or nats")


def import_for_consuming(settings: Settings) -> None:
    """Import what only consumers need: it takes most of a second, in which no loop should stand still."""
    match settings.millrace_transport:
        case "redis":
            import streams.redis.faststream_app  # noqa: PLC0415
        case "nats":
            import streams.jetstream.faststream_app  # noqa: F401, PLC0415
        case "memory":
            pass


def carrier_of(settings: Settings) -> Carrier:
    """Return what outsiders have to speak to publish and consume."""
    return "nats" if settings.millrace_transport == "nats" else "redis"


def names_of(settings: Settings) -> Names:
    """Return how the streams are called there."""
    if carrier_of(settings) == "nats":
        return Subjects(settings.nats_subject_prefix)
    return Topology(settings.redis_key_prefix)
