"""Consume results in a group: each `finished` reaches one member, at least once. A plain Redis client.

REDIS_URL=... .venv/bin/python examples/streams/consume.py GROUP [COUNT]
"""

import json
import os
import socket
import sys
from collections.abc import Iterator

import redis

RESULTS = "millrace:results"
ABANDONED_AFTER_MS = 60_000


def main(group: str, count: float) -> None:
    """Print `count` results, and note each under its key before it is acknowledged."""
    broker = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
    try:
        broker.xgroup_create(RESULTS, group, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):  # another member made it
            raise
    for entry, fields in take(broker, group, f"{socket.gethostname()}-{os.getpid()}"):
        result = json.loads(fields[b"data"])
        # At least once: noted under its key, one that comes twice changes nothing. Acknowledged after that.
        broker.hset(f"{group}:outcomes", result["execution_id"], result["outcome"])
        broker.xack(RESULTS, group, entry)
        print(result["execution_id"], result["outcome"], flush=True)
        count -= 1
        if count <= 0:
            return


def take(broker: redis.Redis, group: str, member: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Yield what a dead member left behind, then what is new, for ever."""
    while True:
        _, left, _ = broker.xautoclaim(RESULTS, group, member, ABANDONED_AFTER_MS)
        yield from left
        for _, entries in broker.xreadgroup(group, member, {RESULTS: ">"}, count=10, block=5000):
            yield from entries


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else float("inf"))
