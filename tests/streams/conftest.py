"""The bodies that the contract is held to, behind one face for the tests.

`world` is one broker of each kind in turn: memory, Valkey in one place and as a cluster, where a script
reaches one slot only, and NATS; by `make test-brokers` the oldest Redis we support behind sentinels as well,
and for some tests every arrangement.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from infra.nats import NatsConfig
from infra.redis import RedisConfig, build_redis
from schemas.results import Result
from schemas.wire import decode_result
from streams.jetstream import JetStreamTransport
from streams.memory import MemoryBroker, MemoryTransport
from streams.protocol import DeliveryPolicy, Transport
from streams.redis import RedisTransport
from streams.topology import Subjects, Topology
from tests.brokers import BrokerProcess, running
from tests.nats_servers import NatsProcess
from tests.redis_servers import arrangements

PATIENT = DeliveryPolicy(lease_s=600.0)
"""Nothing runs out, however busy the machine is."""
SHORT = DeliveryPolicy(lease_s=0.6)
"""For tests in which a handler dies, and only those: on a busy machine it runs out in anybody's hands."""


class World(Protocol):
    """One broker, seen from outside, and transports on it."""

    async def transport(self, policy: DeliveryPolicy = PATIENT) -> Transport:
        """Return a started transport, as of one more process."""

    async def publish(self, body: bytes) -> None:
        """Put an entry on the requests stream as an outsider does."""

    async def publish_all(self, bodies: Sequence[bytes]) -> None:
        """Put many there, in order, as fast as the broker takes them."""

    async def results(self) -> list[Result]:
        """Return all of the results stream."""

    async def dead(self) -> list[dict[str, str]]:
        """Return all dead letters."""

    async def replies(self, stream: str) -> list[bytes]:
        """Return what a publisher's own stream was sent."""

    async def flush(self) -> None:
        """Forget everything on the broker."""

    async def close(self) -> None:
        """Close all transports."""


class MemoryWorld:
    """A broker in memory."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self._made: list[MemoryTransport] = []

    async def transport(self, policy: DeliveryPolicy = PATIENT) -> Transport:
        self._made.append(MemoryTransport(self.broker, policy))
        await self._made[-1].start()
        return self._made[-1]

    async def publish(self, body: bytes) -> None:
        self.broker.publish(body)

    async def publish_all(self, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            self.broker.publish(body)

    async def results(self) -> list[Result]:
        return [decode_result(line) for line in self.broker.results]

    async def dead(self) -> list[dict[str, str]]:
        fields = [letter.fields() for letter in self.broker.dead.values()]
        return [{name: _text(value) for name, value in letter.items()} for letter in fields]

    async def replies(self, stream: str) -> list[bytes]:
        return list(self.broker.replies[stream])

    async def flush(self) -> None:
        self.broker.flush()

    async def close(self) -> None:
        for transport in self._made:
            await transport.close()


class RedisWorld:
    """A Redis, in any mode. Its own client does what outsiders do."""

    def __init__(self, config: RedisConfig) -> None:
        self.config = config
        self.names = Topology(config.prefix)
        self.client: Any = build_redis(config)
        self._made: list[RedisTransport] = []

    async def transport(self, policy: DeliveryPolicy = PATIENT) -> Transport:
        self._made.append(RedisTransport(self.config, policy, consumer="test"))
        await self._made[-1].start()
        return self._made[-1]

    async def publish(self, body: bytes) -> None:
        await self.client.xadd(self.names.requests, {"data": body})

    async def publish_all(self, bodies: Sequence[bytes]) -> None:
        for some in _thousands(bodies):
            pipeline = self.client.pipeline(transaction=False)
            for body in some:
                pipeline.xadd(self.names.requests, {"data": body})
            await pipeline.execute()

    async def results(self) -> list[Result]:
        return [decode_result(fields[b"data"]) for _, fields in await self.client.xrange(self.names.results)]

    async def dead(self) -> list[dict[str, str]]:
        entries = await self.client.xrange(self.names.dead)
        return [{_text(name): _text(value) for name, value in fields.items()} for _, fields in entries]

    async def replies(self, stream: str) -> list[bytes]:
        return [fields[b"data"] for _, fields in await self.client.xrange(stream)]

    async def flush(self) -> None:
        async for key in self.client.scan_iter(match=f"*{self.config.prefix}*", count=1000):
            await self.client.delete(key)

    async def close(self) -> None:
        for transport in self._made:
            await transport.close()
        await self.client.aclose()


class NatsWorld:
    """A NATS, of one server or several. Its own client does what outsiders do."""

    def __init__(self, config: NatsConfig) -> None:
        self.config = config
        self.names = Subjects(config.prefix)
        self._client: Client | None = None
        self._made: list[JetStreamTransport] = []

    async def transport(self, policy: DeliveryPolicy = PATIENT) -> Transport:
        if not self._made:
            await self.outsider()
        self._made.append(JetStreamTransport(self.config, policy, name="test"))
        await self._made[-1].start()
        return self._made[-1]

    async def outsider(self) -> Client:
        """Return a plain client. Replies under this test's prefix are kept for it."""
        if self._client is None:
            self._client = await nats.connect(
                list(self.config.servers), reconnect_time_wait=0.05, max_reconnect_attempts=-1
            )
            await self._client.jetstream().add_stream(
                name=self.names.stream("REPLIES"), subjects=[f"{self.config.prefix}backend:answers"]
            )
        return self._client

    async def publish(self, body: bytes) -> None:
        client = await self.outsider()
        await client.jetstream().publish(self.names.requests, body)

    async def publish_all(self, bodies: Sequence[bytes]) -> None:
        jetstream = (await self.outsider()).jetstream()
        for some in _thousands(bodies):
            await asyncio.gather(*(jetstream.publish(self.names.requests, body) for body in some))

    async def results(self) -> list[Result]:
        return [decode_result(message.data) for message in await self.all("RESULTS", self.names.results)]

    async def dead(self) -> list[dict[str, str]]:
        letters = await self.all("DEAD", self.names.dead)
        return [
            {"data": letter.data.decode()}
            | {
                name.removeprefix("Millrace-").lower(): value
                for name, value in (letter.headers or {}).items()
                if name.startswith("Millrace-")
            }
            for letter in letters
        ]

    async def replies(self, stream: str) -> list[bytes]:
        return [message.data for message in await self.all("REPLIES", stream)]

    async def all(self, stream: str, subject: str) -> list[Any]:
        """Return all messages of one subject."""
        jetstream = (await self.outsider()).jetstream()
        name, found, seq = self.names.stream(stream), [], 1
        with suppress(NotFoundError):
            while True:
                message = await jetstream.get_msg(name, seq=seq, subject=subject, next=True)
                found.append(message)
                seq = (message.seq or 0) + 1
        return found

    async def flush(self) -> None:
        jetstream = (await self.outsider()).jetstream()
        for stream in await jetstream.streams_info():
            if stream.config.name and stream.config.name.startswith(self.names.stream("")):
                await jetstream.delete_stream(stream.config.name)

    async def close(self) -> None:
        for transport in self._made:
            await transport.close()
        if self._client is not None:
            with suppress(nats.errors.Error, OSError):
                if self._client.is_connected:  # else the server is gone
                    await self.flush()
            # TypeError: what asyncio of Python 3.12 and 3.13.0 makes of writing to a connection that is gone.
            with suppress(nats.errors.Error, OSError, TypeError):
                await self._client.close()


@pytest.fixture(scope="session")
def redis_cluster(broker_binary: Path) -> Iterator[BrokerProcess]:
    """A cluster of one node, which is as strict about slots as one of many."""
    with running(BrokerProcess(broker_binary, cluster=True)) as server:
        yield server


USUAL = ("memory", "redis", "one-node cluster", "nats")
"""Those that the whole contract is held against each time."""
OLDEST = ("sentinel",)
"""The whole contract again, by `make test-brokers`: the oldest Redis we support."""
FURTHER = ("standalone", "secure standalone", "cluster", "secure cluster", "secure sentinel")
"""Those of which tests marked `everywhere` are convinced besides: every arrangement, with and without TLS."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a `world` over every body, and over the further ones if it is so marked."""
    if "world" in metafunc.fixturenames:
        everywhere = metafunc.definition.get_closest_marker("everywhere")
        metafunc.parametrize(
            "world", [*USUAL, *arrangements(*OLDEST, *(FURTHER if everywhere else ()))], indirect=True
        )


@pytest.fixture
async def world(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[World]:
    """Every kind of broker in turn."""
    made = _make(request, redis_prefix)
    try:
        yield made
    finally:
        await made.close()


def _make(request: pytest.FixtureRequest, prefix: str) -> World:
    match request.param:
        case "memory":
            return MemoryWorld()
        case "redis":
            return RedisWorld(replace(request.getfixturevalue("redis_server").config, prefix=prefix))
        case "one-node cluster":
            return RedisWorld(replace(request.getfixturevalue("redis_cluster").config, prefix=prefix))
        case "nats":
            config = request.getfixturevalue("nats_server").config
            return NatsWorld(replace(config, prefix=prefix.replace(":", ".")))
        case name:
            return RedisWorld(request.getfixturevalue("arranged")(name).config(prefix))


@pytest.fixture
async def nats_world(nats_server: NatsProcess, redis_prefix: str) -> AsyncIterator[NatsWorld]:
    """The shared NATS, seen from outside."""
    world = NatsWorld(replace(nats_server.config, prefix=redis_prefix.replace(":", ".")))
    yield world
    await world.close()


@pytest.fixture
async def redis_world(redis_config: RedisConfig) -> AsyncIterator[RedisWorld]:
    """The shared broker, seen from outside."""
    world = RedisWorld(redis_config)
    yield world
    await world.close()


def _thousands(bodies: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield as many at a time as a broker is sent before it has answered."""
    return (bodies[first : first + 1000] for first in range(0, len(bodies), 1000))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
