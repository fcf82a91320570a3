"""Consume results in a group: each `finished` reaches one member, at least once. A bare NATS client.

NATS_URL=nats://localhost:4222 .venv/bin/python examples/streams/nats/consume.py GROUP [COUNT]
"""

import asyncio
import json
import os
import sys

import nats
import nats.errors


async def main(group: str, count: float) -> None:
    """Print `count` results."""
    connection = await nats.connect(os.environ.get("NATS_URL", "nats://localhost:4222"))
    results = await connection.jetstream().pull_subscribe("millrace.results", durable=group)
    while count > 0:
        try:
            messages = await results.fetch(int(min(count, 10)), timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            result = json.loads(message.data)
            # At least once: write it under its execution_id, so that the second time changes nothing. Only
            # then acknowledge. What a member that died had taken comes to another one after a while.
            print(result["execution_id"], result["outcome"], flush=True)
            await message.ack_sync()
            count -= 1
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else float("inf")))
