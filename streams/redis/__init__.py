"""The transport on Redis Streams: standalone, sentinel and cluster, Redis 7 or newer, or Valkey."""

from streams.redis.transport import RedisTransport

__all__ = ["RedisTransport"]
