"""Publish a job straight onto the stream and read its log: no HTTP, nothing of Millrace, a bare Redis client.

REDIS_URL=unix://$HOME/.local/share/millrace/broker/broker.sock .venv/bin/python examples/streams/publish.py
"""

import json
import os
import secrets

import redis


def main() -> None:
    """Run one job and print its events as they come."""
    broker = redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379"))
    job = f"job-{secrets.token_hex(4)}"  # the idempotency key: publishing it twice still runs it once
    request = {"id": job, "language": "py", "code": "for n in range(3): print('line', n)", "stdin": ""}
    broker.xadd("millrace:requests", {"data": json.dumps(request)})

    last, event = "0", {}
    while event.get("type") != "finished":
        for _, entries in broker.xread({f"millrace:log:{job}": last}, block=60_000):
            for entry, fields in entries:
                last, event = entry, json.loads(fields[b"data"])
                print(
                    f"{event['seq']} {event['type']} {event.get('data', event.get('outcome', ''))}".rstrip()
                )


if __name__ == "__main__":
    main()
