"""Ten thousand executions that wait: what each of them costs the broker, and what it costs our processes."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import redis
import uvloop
from raw_http import RawClient, request_of
from rows import Row
from service import Service, broker, serve

COUNT = 10_000
CONNECTIONS = 16
CODE = json.dumps({"do": "sleep"}) + "\n" + "#" * 280
BROKER_BYTES_MAX = 4096.0
PROCESS_BYTES_MAX = 512.0
"""What docs/delivery.md promises for each: its record and its log on the broker, nothing anywhere else."""


def measure(folder: Path) -> Iterator[Row]:
    """Yield the rows, on a broker and a service of their own whose one slot is taken for good."""
    limits = {"MAX_CONCURRENT_EXECUTIONS": "1", "MILLRACE_TENANT_QUEUE_MAX": "20000"}
    with (
        broker(folder / "waiting-broker") as url,
        serve(url, folder / "waiting", sandbox="fake", MILLRACE_QUEUE_MAX="20000", **limits) as service,
        redis.Redis.from_url(url) as client,
    ):
        _submit(service, 500)
        before, processes = _used(client), [process.memory_info().rss for process in service.own_processes()]
        _submit(service, COUNT)
        grown = [
            (process.memory_info().rss - rss) / COUNT
            for process, rss in zip(service.own_processes(), processes, strict=True)
        ]
        each = (_used(client) - before) / COUNT
        client.flushall()  # so that the service can end without running them
    yield Row("a queued execution on the broker", each, BROKER_BYTES_MAX, "B", 1.0)
    yield Row("the same in the process it costs most", max(grown), PROCESS_BYTES_MAX, "B", 1.0)


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])  # type: ignore[index]


def _submit(service: Service, count: int) -> None:
    uvloop.run(_submit_all(service.port, count))


async def _submit_all(port: int, count: int) -> None:
    request = request_of("/executions", {"language": "py", "code": CODE})

    async def submit() -> None:
        client = await RawClient.open(port)
        for _ in range(count // CONNECTIONS):
            await client.send(request, 202)
        client.close()

    await asyncio.gather(*(submit() for _ in range(CONNECTIONS)))
