"""What each hop of an execution costs: both sides of the transport in one process, and HTTP alone."""

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import uvloop
from measure import Samples, sample
from service import Service

from infra.nats import NatsConfig
from infra.redis import RedisConfig
from schemas.commands import RunCode
from schemas.digest import digest_of
from schemas.events import Finished, Started
from schemas.ids import ExecutionId
from schemas.wire import decode_run_code
from streams.jetstream import JetStreamTransport
from streams.jetstream import faststream_app as faststream_on_nats
from streams.protocol import Begun, Delivery, DeliveryPolicy, Transport
from streams.redis import RedisTransport, faststream_app

assert faststream_app and faststream_on_nats, "imported before anything is measured: it takes its time"
ROUNDS = 500
WARM = 50
HOPS = {
    "submitted": "",
    "handed out": "",
    "begun and started": "handed out",
    "finished": "begun and started",
    "told": "begun and started",
}
"""What has happened at the end of each, and after what it is counted: "" is before the submission. `told` is
that the follower has the end, which does not wait for the handler's answer."""


def show(service: Service, redis_url: str) -> None:
    """Print p50 and p99 of every hop, in ms."""
    config = RedisConfig(url=redis_url, prefix="bench-hops:")
    http = sample(service.look, ROUNDS, warm=WARM)
    command, hops = uvloop.run(_measure(lambda name: RedisTransport(config, DeliveryPolicy(), consumer=name)))
    _print("", ("HTTP through all rings, broker not asked", http), ("one PING", command), *hops)


def show_on_nats(url: str) -> None:
    """Print the same of NATS JetStream, without HTTP."""
    config = NatsConfig(servers=(url,), prefix="bench-hops.")
    question, hops = uvloop.run(
        _measure(lambda name: JetStreamTransport(config, DeliveryPolicy(), name=name))
    )
    _print(" on NATS", ("one question to a stream's leader", question), *hops)


def _print(where: str, *rows: tuple[str, Samples]) -> None:
    print(f"\neach hop by itself{where}, ms ({ROUNDS} traced){'p50':>14}{'p99':>8}")
    for name, taken in rows:
        print(f"{name:41}{taken.p50:>8.3f}{taken.p99:>8.3f}")


async def _measure(make: Callable[[str], Transport]) -> tuple[Samples, list[tuple[str, Samples]]]:
    edge, handler = make("edge"), make("handler")
    await edge.start()
    await handler.start()
    pings = [await edge.ping() * 1000 for _ in range(WARM + ROUNDS)]
    worker = _Handler(handler)
    consuming = asyncio.create_task(handler.consume(worker.on_delivery, slots=4))
    traces = [await _trace(edge, worker) for _ in range(WARM + ROUNDS)]
    handler.drain()
    await consuming
    await edge.close()
    await handler.close()
    hops = [(name, Samples([trace[name] for trace in traces[WARM:]])) for name in HOPS]
    return Samples(pings[WARM:]), hops


async def _trace(edge: Transport, worker: "_Handler") -> dict[str, float]:
    """Run one execution; return how long each hop took, in ms."""
    command = RunCode(id=ExecutionId(secrets.token_hex(8)), language="py", code="")
    assert command.id is not None
    async with edge.follow(command.id, until_end=True) as batches:
        marks = worker.marks = {"": time.perf_counter()}
        worker.done.clear()
        await edge.submit(command, digest_of(command))
        marks["submitted"] = time.perf_counter()
        async for _ in batches:
            marks["told"] = time.perf_counter()
    await worker.done.wait()
    return {name: (marks[name] - marks[before]) * 1000 for name, before in HOPS.items()}


class _Handler:
    """Takes the lease, says that it started, and that it is over."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.marks: dict[str, float] = {}
        self.done = asyncio.Event()

    async def on_delivery(self, delivery: Delivery) -> None:
        self._mark("handed out")
        command = decode_run_code(delivery.body)
        about: dict[str, Any] = {"execution_id": command.id, "time": datetime.now(UTC)}
        started = Started(seq=2, attempt=1, sandbox="none", language="py", **about)
        begun = await self._transport.begin(delivery, command, digest_of(command), started)
        assert isinstance(begun, Begun) and begun.has_started, "each is begun once"
        self._mark("begun and started")
        await self._transport.finish(begun.lease, [], Finished(seq=0, outcome="exited", attempt=1, **about))
        self._mark("finished")
        self.done.set()

    def _mark(self, name: str) -> None:
        self.marks[name] = time.perf_counter()
