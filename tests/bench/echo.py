"""The other side of the bare round trip: what a handler would be if it did nothing and promised nothing."""

import contextlib
import sys

import redis.asyncio
import uvloop


async def main(url: str) -> None:
    """Answer each entry of `bench:there` on `bench:back`, acknowledged, for ever."""
    client = redis.asyncio.Redis.from_url(url)
    while True:
        for _, entries in await client.xreadgroup("g", "c", {"bench:there": ">"}, count=16, block=1000) or ():
            for entry, fields in entries:
                pipeline = client.pipeline(transaction=False)
                pipeline.xadd("bench:back", fields, maxlen=1000)
                pipeline.xack("bench:there", "g", entry)
                await pipeline.execute()


with contextlib.suppress(redis.RedisError):  # the streams are gone, for the measuring is over
    uvloop.run(main(sys.argv[1]))
