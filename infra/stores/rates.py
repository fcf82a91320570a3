"""Counting who did how much lately, in Redis, so that all processes count together.

| key | type | holds |
|---|---|---|
| `{P}millrace:rate:<what>:<who>` | string, expires with its window | how often, since the window began |

A window begins with the first count in it. One counter a key needs no second one, so it works on a
cluster as it is, at the price that twice the limit may pass around the end of a window.
"""

from infra.redis import RedisClient, RedisConfig, reaching
from infra.redis_script import Script

_COUNT = Script("""
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return { count, redis.call('PTTL', KEYS[1]) }
""")


class Rates:
    """Counters by what is done and who does it."""

    def __init__(self, client: RedisClient, config: RedisConfig) -> None:
        self._client = client
        self._config = config

    async def count(self, what: str, who: str, most: int, window_s: float) -> float | None:
        """Count one more. Returns the seconds until the window ends if that was more than `most`.

        Raises `Unavailable`.
        """
        key = f"{self._config.prefix}millrace:rate:{what}:{who}"
        async with reaching(self._config):
            count, left_ms = await _COUNT.run(self._client, [key], [int(window_s * 1000)])
        return None if count <= most else max(0, left_ms) / 1000
