"""The transport on NATS JetStream: one server or a cluster of them, 2.11 or newer."""

from streams.jetstream.transport import JetStreamTransport

__all__ = ["JetStreamTransport"]
