"""Brokers that fail over, restart, or sit behind a bad network, under load: accepted work is finished.

Every story is the same: an edge submits without pause and follows, handlers run, something breaks in the
middle, and at the end each accepted execution has one whole log, one result at least, and nothing waits.
"""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from infra.errors import Unavailable
from infra.nats import NatsConfig
from infra.redis import RedisConfig
from schemas.ids import ExecutionId
from streams.backoff import Backoff
from streams.protocol import Begun, Delivery, DeliveryPolicy, LoggedEvent, Transport
from tests.conftest import StartBroker
from tests.nats_servers import NatsProcess
from tests.proxy import Network, Proxy, Trouble, Wire, Wires
from tests.redis_network import RedisNetwork, Whom
from tests.redis_servers import IMPATIENT_MS, PATIENT_MS, Arrangement, Cluster, Sentinels
from tests.streams.conftest import NatsWorld, RedisWorld
from tests.streams.helpers import (
    begin,
    command,
    consuming,
    eventually,
    finished,
    output,
    started,
    submit,
    whole_log,
)

pytestmark = pytest.mark.brokers
OUTPUTS = 5
PREFIX = "theirs:"
REQUESTS = f"{PREFIX}millrace:requests"
POLICY = DeliveryPolicy(lease_s=20.0)
Config = RedisConfig | NatsConfig


class Load:
    """One edge and two handlers on a broker, at work until told to stop."""

    def __init__(self, config: Config, edge: Config | None = None, outsider: Config | None = None) -> None:
        self._world = _world(config)
        self._edges = _world(edge or config)
        """Where the edge is, if it reaches the broker another way."""
        self._outside = _world(outsider or config)
        """Where the test looks from."""
        self.accepted: list[str] = []
        self.followed: dict[str, list[int]] = {}
        self.runs: Counter[str] = Counter()
        self.refused = 0

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Work while the block runs, then bring everything accepted to its end, and look at what is left."""
        self._edge, *self._handlers = [
            await world.transport(POLICY) for world in (self._edges, self._world, self._world)
        ]
        async with contextlib.AsyncExitStack() as stack:
            for handler in self._handlers:
                run = self._runner(handler)
                await stack.enter_async_context(consuming(handler, run))
            submitting = asyncio.create_task(self._submit_for_ever(self._edge))
            yield
            submitting.cancel()
            await asyncio.wait([submitting])
            async with asyncio.timeout(60):
                await asyncio.gather(*self._followers)
            await eventually(lambda: self._nothing_left(self._edge), "everything to be acknowledged", 60)
            await eventually(self._has_results, "a result of everything", 60)
            await self._check(self._edge)
        for world in (self._edges, self._world, self._outside):
            await world.close()

    async def until(self, count: int) -> None:
        """Wait until so many more executions have been followed to their end."""
        enough = len(self.followed) + count

        async def is_enough() -> bool:
            return len(self.followed) >= enough

        await eventually(is_enough, f"{count} executions to end", 60)

    async def is_told_that_it_is_away(self) -> None:
        """See that a question about the requests ends with that answer, and no handler claims to consume."""
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable):
                await self._edge.depth()

        async def nobody_consumes() -> bool:
            return not any(handler.is_consuming() for handler in self._handlers)

        await eventually(nobody_consumes, "handlers to notice", 60)

    def _runner(self, handler: Transport) -> Callable[[Delivery], Awaitable[None]]:
        async def run(delivery: Delivery) -> None:
            begun = await begin(handler, delivery)
            if not isinstance(begun, Begun):
                return
            lease = begun.lease
            if not begun.started_before:
                await handler.append(lease, [started(lease)])
                self.runs[lease.execution_id] += 1
                for number in range(OUTPUTS):
                    await handler.append(lease, [output(lease, str(number))])
            await handler.finish(lease, [], finished(lease.execution_id))

        return run

    async def _submit_for_ever(self, edge: Transport) -> None:
        self._followers: list[asyncio.Task[None]] = []
        while True:
            name = f"job-{len(self.accepted) + self.refused}"
            try:
                await submit(edge, command(name))
            except Unavailable:
                self.refused += 1
                continue
            self.accepted.append(name)
            self._followers.append(asyncio.create_task(self._follow(edge, name)))
            await asyncio.sleep(0.02)

    async def _follow(self, edge: Transport, name: str) -> None:
        self.followed[name] = [event.seq for event in await whole_log(edge, name)]

    async def _nothing_left(self, edge: Transport) -> bool:
        depth = await edge.depth()
        return depth.waiting == depth.pending == 0

    async def _has_results(self) -> bool:
        """Whether all have a result. For some seconds a sentinel may name a primary that was replaced."""
        found = {result.execution_id for result in await self._outside.results()}
        return found >= set(self.accepted)

    async def _check(self, edge: Transport) -> None:
        assert sorted(self.followed) == sorted(self.accepted)
        for name in self.accepted:
            log = await _read(edge, name)
            numbers = [event.seq for event in log]
            assert numbers == list(range(1, len(log) + 1)) == self.followed[name], name
            kinds = Counter(event.type for event in log)
            assert kinds["finished"] == kinds["started"] == kinds["queued"] == self.runs[name] == 1, name
            assert kinds["output"] == OUTPUTS, name


async def _read(edge: Transport, name: str) -> list[LoggedEvent]:
    """Return a whole log, however slow the broker answers."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Unavailable):
                return await edge.read(ExecutionId(name))


@pytest.fixture(params=["secure sentinel", "secure cluster"])
def many(request: pytest.FixtureRequest) -> Iterator[Arrangement]:
    """Servers of which one may die."""
    kind = Cluster if request.param.endswith("cluster") else Sentinels
    made = kind(secure=request.param.startswith("secure"), silence_ms=IMPATIENT_MS)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.mark.timeout(240)
async def test_a_primary_that_is_killed_costs_time_and_nothing_else(many: Arrangement) -> None:
    """The one that has the requests; it comes back as a replica later on."""
    load = Load(many.config(PREFIX))
    async with load.at_work():
        await load.until(20)
        primary = await asyncio.to_thread(many.primary_of, REQUESTS)
        primary.kill()
        await load.until(30)
        primary.start()
        await load.until(10)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", [Sentinels, Cluster])
async def test_a_primary_that_only_falls_silent_is_replaced_as_well(kind: type[Arrangement]) -> None:
    """Nobody closes its connections: the kernel keeps them open for a process that is stopped."""
    many = kind(secure=False, silence_ms=IMPATIENT_MS)
    try:
        await asyncio.to_thread(many.start)
        load = Load(replace(many.config(PREFIX), socket_timeout_s=2.0))
        async with load.at_work():
            await load.until(20)
            primary = await asyncio.to_thread(many.primary_of, REQUESTS)
            primary.signal(signal.SIGSTOP)
            await load.until(30)
            primary.signal(signal.SIGCONT)
            await load.until(10)
    finally:
        many.close()


async def test_a_broker_that_is_restarted_loses_nothing(start_broker: StartBroker) -> None:
    """Twice, while everybody works on it."""
    broker = start_broker()
    load = Load(broker.config)
    async with load.at_work():
        for _ in range(2):
            await load.until(20)
            broker.kill()
            await asyncio.to_thread(broker.start)
        await load.until(20)


@pytest.fixture(
    params=[
        *((broker, who) for broker in ("redis", "nats") for who in ("everybody", "the edge", "handlers")),
        *((broker, whom) for broker in ("sentinel", "cluster") for whom in ("clients", "everybody")),
    ],
    ids=" ".join,
)
async def bad_network(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Network, Load]]:
    """Load on servers that some of it reaches over a network the test may break.

    Where there are several servers it is broken for too short a time to replace any: a failover that is
    broken off in the middle may lose what was accepted (docs/delivery.md).
    """
    broker, who = request.param
    if broker.endswith(("sentinel", "cluster")):
        async with _among(broker, who) as network:
            yield network
        return
    port, reached = _nats(request) if broker == "nats" else _redis(request)
    async with Proxy(port) as proxy:
        badly, well = reached(proxy.port), reached(port)
        handlers, edge = (well if who == other else badly for other in ("the edge", "handlers"))
        yield Wires(proxy.wire()), Load(handlers, edge, well)


@contextlib.asynccontextmanager
async def _among(name: str, whom: Whom, silence_ms: int = PATIENT_MS) -> AsyncIterator[tuple[Network, Load]]:
    """Give servers and the network around their primary; `silence_ms`: how soon they replace it."""
    kind = Cluster if name.endswith("cluster") else Sentinels
    many = kind(secure=name.startswith("secure"), silence_ms=silence_ms, behind_proxies=True)
    async with RedisNetwork(many, REQUESTS, whom) as network:
        try:
            await asyncio.to_thread(many.start)
            yield network, Load(replace(many.config(PREFIX), socket_timeout_s=2.0))
        finally:
            many.close()


def _redis(request: pytest.FixtureRequest) -> tuple[int, Callable[[int], Config]]:
    """Return the port of a Redis, and how it is reached over another one."""
    server: Arrangement = request.getfixturevalue("arranged")("standalone")
    port = server.servers[0].port
    config = server.config(f"test-{random.randrange(1 << 40)}:")

    def reached(over: int) -> Config:
        url = (config.url or "").replace(f":{port}/", f":{over}/")
        return replace(config, url=url, socket_timeout_s=2.0)

    return port, reached


def _nats(request: pytest.FixtureRequest) -> tuple[int, Callable[[int], Config]]:
    """Return the port of a NATS, and how it is reached over another one."""
    server: NatsProcess = request.getfixturevalue("own_nats")
    server.start()

    def reached(over: int) -> Config:
        return replace(server.config, servers=(f"nats://127.0.0.1:{over}",))

    return server.port, reached


def _world(config: Config) -> RedisWorld | NatsWorld:
    return NatsWorld(config) if isinstance(config, NatsConfig) else RedisWorld(config)


async def test_a_network_that_is_cut_and_mended_loses_nothing(bad_network: tuple[Network, Load]) -> None:
    """Connections die and new ones are refused for a while."""
    network, load = bad_network
    async with load.at_work():
        for _ in range(3):
            await load.until(10)
            await network.suffer(Wire.cut)
            await asyncio.sleep(0.5)
            network.heal()
        await load.until(20)


async def test_a_slow_network_only_makes_everything_slower(bad_network: tuple[Network, Load]) -> None:
    """Nobody is taken for dead because of it."""
    network, load = bad_network
    async with load.at_work():
        await load.until(10)
        await network.suffer(lambda wire: wire.slow(0.1))
        await load.until(10)
        network.heal()
        await load.until(10)


@pytest.mark.parametrize("forget", [True, False])
async def test_a_half_open_network_is_noticed(bad_network: tuple[Network, Load], forget: bool) -> None:
    """Nothing answers and nothing is closed; what was on its way is lost, or arrives much later."""
    network, load = bad_network
    async with load.at_work():
        await load.until(10)
        await network.suffer(Wire.silence)
        await asyncio.sleep(3.0)
        network.heal(forget=forget)
        await load.until(20)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("trouble", [Wire.cut, Wire.silence], ids=["cut off", "half open"])
@pytest.mark.parametrize("name", ["secure sentinel", "cluster"])
async def test_a_primary_nobody_reaches_is_replaced_and_does_no_harm_when_it_is_back(
    name: str, trouble: Trouble
) -> None:
    """Work goes on without it; of what it was sent too late it takes nothing."""
    async with _among(name, "everybody", IMPATIENT_MS) as (network, load), load.at_work():
        await load.until(20)
        await network.suffer(trouble)
        await load.until(30)
        network.heal(forget=False)
        await load.until(20)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("trouble", [Wire.cut, Wire.silence], ids=["cut off", "half open"])
@pytest.mark.parametrize("name", ["sentinel", "secure cluster"])
async def test_who_asks_a_primary_that_no_client_reaches_is_told_so(name: str, trouble: Trouble) -> None:
    """Servers see it, so nobody takes its place; a question waits no longer than a server may be silent."""
    async with _among(name, "clients") as (network, load), load.at_work():
        await load.until(10)
        await network.suffer(trouble)
        await load.is_told_that_it_is_away()
        network.heal()
        await load.until(10)


async def test_pauses_are_short_and_not_the_same_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the broker is back, nobody sleeps for seconds, and not all come at once."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    backoff = Backoff("somewhere")
    for _ in range(200):
        await backoff.pause(OSError("away"))
    assert max(pauses) <= 0.5
    assert len(set(pauses)) == len(pauses)
