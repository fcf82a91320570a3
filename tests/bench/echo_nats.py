"""The other side of the bare JetStream round trip: takes, answers, acknowledges, and promises nothing."""

import asyncio
import sys

import nats
import uvloop
from nats.js.errors import NotFoundError


async def main(url: str) -> None:
    """Answer each message of `bench.there` on `bench.back`, acknowledged, for ever."""
    client = await nats.connect(url)
    stream = client.jetstream()
    while True:
        try:
            there = await stream.subscribe("bench.there", durable="g", manual_ack=True)
            break
        except NotFoundError:
            await asyncio.sleep(0.05)
    async for message in there.messages:
        await stream.publish("bench.back", message.data)
        await message.ack()


uvloop.run(main(sys.argv[1]))
