"""Publish a job straight onto JetStream and read its log: nothing of Millrace, a bare NATS client.

NATS_URL=nats://localhost:4222 .venv/bin/python examples/streams/nats/publish.py
"""

import asyncio
import json
import os
import secrets
from contextlib import suppress

import nats
import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig


async def main() -> None:
    """Run one job and print its events as they come."""
    connection = await nats.connect(os.environ.get("NATS_URL", "nats://localhost:4222"))
    jetstream = connection.jetstream()
    job = f"job-{secrets.token_hex(4)}"  # the idempotency key: publishing it twice still runs it once
    request = {"id": job, "language": "py", "code": "for n in range(3): print('line', n)", "stdin": ""}
    await jetstream.publish("millrace.requests", json.dumps(request).encode())

    reading = ConsumerConfig(ack_policy=AckPolicy.NONE)
    log = await jetstream.pull_subscribe(f"millrace.log.{job}", config=reading)
    event = {}
    while event.get("type") != "finished":
        with suppress(nats.errors.TimeoutError):  # it may wait for long
            for message in await log.fetch(10, timeout=60):
                event = json.loads(message.data)
                print(
                    f"{event['seq']} {event['type']} {event.get('data', event.get('outcome', ''))}".rstrip()
                )
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
