"""Sixty-four clients at once: what gets through over HTTP without a sandbox, and through two bare streams."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import baselines
import redis.asyncio
import uvloop
from raw_http import RawClient, request_of
from rows import Row
from service import Service

Act = Callable[[], Awaitable[None]]

CLIENTS = 64
SECONDS = 4.0


def measure(service: Service, url: str) -> Iterator[Row]:
    """Yield the row. `service` runs programs of the pretended sandbox."""
    bare = _bare(url)
    ours = uvloop.run(_over_http(service.port))
    yield Row(f"HTTP per second, {CLIENTS} clients, no sandbox", ours, bare, "/s", 0.4, at_least=True)


def _bare(url: str) -> float:
    with baselines.echoing(url):
        return uvloop.run(_there_and_back(url))


async def _there_and_back(url: str) -> float:
    """Each client adds an entry and waits for its own; one reader hands out what comes, as in an edge."""
    broker = redis.asyncio.Redis.from_url(url)
    waiting: dict[bytes, asyncio.Future[None]] = {}
    reading = asyncio.create_task(_hand_out(broker, waiting))

    async def client(number: int) -> Act:
        name = f"client-{number}"

        async def once() -> None:
            back = waiting[name.encode()] = asyncio.get_running_loop().create_future()
            await broker.xadd("bench:there", {"data": '{"id":"1"}', "for": name}, maxlen=1000)
            await back

        return once

    try:
        return await _per_second(client)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await broker.aclose()


async def _hand_out(broker: redis.asyncio.Redis, waiting: dict[bytes, "asyncio.Future[None]"]) -> None:
    last = "0"
    while True:
        for _, entries in await broker.xread({"bench:back": last}, block=10_000) or ():
            for entry, fields in entries:
                last = entry
                waiting.pop(fields[b"for"]).set_result(None)


async def _over_http(port: int) -> float:
    request = request_of("/exec", {"lang": "py", "code": '{"do":"exit"}'})

    async def client(_number: int) -> Act:
        connection = await RawClient.open(port)
        return lambda: connection.send(request, 200)

    return await _per_second(client)


async def _per_second(make: Callable[[int], Awaitable[Act]]) -> float:
    """Return how often a second all clients together are done with what `make` gives each of them."""
    clients = [await make(number) for number in range(CLIENTS)]
    begin = time.perf_counter()
    count = 0

    async def repeat(once: Act) -> None:
        nonlocal count
        while time.perf_counter() < begin + SECONDS:
            await once()
            count += 1

    await asyncio.gather(*map(repeat, clients))
    return count / (time.perf_counter() - begin)
