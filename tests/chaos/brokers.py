"""The brokers of a chaos run: real servers, which die too."""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import nats

from infra.nats import NatsConfig
from infra.process.broker import find_server
from tests.brokers import BrokerProcess
from tests.chaos.afterwards import Afterwards
from tests.chaos.nats_world import NatsAfterwards
from tests.chaos.redis_world import RedisAfterwards
from tests.nats_servers import NatsProcess, RoutedCluster, find_nats
from tests.redis_servers import IMPATIENT_MS, Cluster, Sentinels, Server

LAG = timedelta(seconds=1)
"""By how much a replica may be behind its primary."""
REPLACING = timedelta(seconds=6)
"""For how long before and after another one is named a primary may take writes that nobody will have."""
PREFIX = {"REDIS_KEY_PREFIX": "chaos:"}


class Servers(Protocol):
    """One kind of broker, and what befalls it."""

    troubles: Counter[str]

    async def start(self) -> None:
        """Start all servers, and wait until work can begin."""

    async def close(self) -> None:
        """End all servers and remove their data."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What an operator sets to use it."""

    @property
    def afterwards(self) -> Afterwards:
        """Return a client beside those of the crew."""

    async def trouble(self) -> None:
        """Let something befall it that it gets over."""

    def may_forget(self, accepted_at: datetime) -> bool:
        """Whether what was accepted then may never have been."""


class Restarted:
    """A broker of one server. Killed and started again it has everything: its files outlive the process."""

    def __init__(self, dice: random.Random, server: BrokerProcess | NatsProcess) -> None:
        self._dice = dice
        self._server = server
        self.troubles: Counter[str] = Counter()

    async def start(self) -> None:
        await asyncio.to_thread(self._server.start)

    async def close(self) -> None:
        self._server.close()

    async def trouble(self) -> None:
        """Kill it, and start it again a moment later."""
        self.troubles["restarts"] += 1
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(self._dice.uniform(0, 1.5))
        await asyncio.to_thread(self._server.start)

    def may_forget(self, _accepted_at: datetime) -> bool:
        """Nothing that was accepted, ever."""
        return False


class OneRedis(Restarted):
    """One Redis."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(dice, BrokerProcess(find_server()))

    @property
    def settings(self) -> Mapping[str, str]:
        return {"REDIS_URL": self._server.url, **PREFIX}

    @property
    def afterwards(self) -> Afterwards:
        return RedisAfterwards(self.settings)


class BesideRedis:
    """What all kinds of NATS share: sessions and presence stay in a Redis that is left alone."""

    def __init__(self) -> None:
        self._redis = BrokerProcess(find_server())

    def _settings(self, config: NatsConfig) -> Mapping[str, str]:
        return {
            "MILLRACE_TRANSPORT": "nats",
            "NATS_URL": ",".join(config.servers),
            "NATS_REPLICAS": str(config.replicas),
            "REDIS_URL": self._redis.url,
            **PREFIX,
        }


class OneNats(Restarted, BesideRedis):
    """One nats-server."""

    def __init__(self, dice: random.Random) -> None:
        Restarted.__init__(self, dice, NatsProcess(find_nats()))
        BesideRedis.__init__(self)

    async def start(self) -> None:
        await asyncio.to_thread(self._redis.start)
        await super().start()

    async def close(self) -> None:
        await super().close()
        self._redis.close()

    @property
    def settings(self) -> Mapping[str, str]:
        return self._settings(NatsConfig(servers=(self._server.url,)))

    @property
    def afterwards(self) -> Afterwards:
        return NatsAfterwards(self.settings)


class ThreeNats(BesideRedis):
    """Three nats-servers with a copy of everything each; whoever leads is killed, frozen or cut off."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice
        self._servers = RoutedCluster(find_nats())
        self.troubles: Counter[str] = Counter()

    async def start(self) -> None:
        await asyncio.to_thread(self._redis.start)
        await self._servers.open()

    async def close(self) -> None:
        await self._servers.shut()
        self._redis.close()

    @property
    def settings(self) -> Mapping[str, str]:
        return self._settings(self._servers.config)

    @property
    def afterwards(self) -> Afterwards:
        return NatsAfterwards(self.settings)

    def may_forget(self, _accepted_at: datetime) -> bool:
        """Nothing: two of three had it on disk, or in the hands of their kernel, before it was accepted."""
        return False

    async def trouble(self) -> None:
        """Take whoever leads a stream, or all of JetStream, away for a while."""
        leader = await self._leader()
        if leader is None:
            return
        befall: Callable[[NatsProcess], Awaitable[None]]
        befall = self._dice.choice((self._kill, self._freeze, self._cut_off))
        await befall(leader)

    async def _leader(self) -> NatsProcess | None:
        """Return who leads one of the streams now; None while nobody can say."""
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            led = await self._servers.leaders()
            names = sorted(name for name in led.values() if name)
            return self._servers.named(self._dice.choice(names)) if names else None
        return None

    async def _kill(self, leader: NatsProcess) -> None:
        self.troubles["kills"] += 1
        await asyncio.to_thread(leader.kill)
        try:
            await asyncio.sleep(self._dice.uniform(0, 8))
        finally:
            await asyncio.to_thread(leader.start)

    async def _freeze(self, leader: NatsProcess) -> None:
        self.troubles["freezes"] += 1
        await asyncio.to_thread(leader.stop)
        try:
            await asyncio.sleep(self._dice.uniform(1, 10))
        finally:
            leader.go_on()

    async def _cut_off(self, leader: NatsProcess) -> None:
        """Clients still reach it, and it reaches no other server."""
        self.troubles["partitions"] += 1
        await self._servers.cut_off(leader)
        try:
            await asyncio.sleep(self._dice.uniform(1, 10))
        finally:
            self._servers.heal()


class Many:
    """Sentinels or a cluster: a primary dies or falls asleep, and another server takes its place."""

    def __init__(self, dice: random.Random, kind: type[Sentinels] | type[Cluster]) -> None:
        self._dice = dice
        self._servers = kind(secure=False, silence_ms=IMPATIENT_MS)
        self.troubles: Counter[str] = Counter()
        self.spans: list[tuple[datetime, datetime]] = []
        """When primaries were replaced: from when all was well to when it is again."""
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await asyncio.to_thread(self._servers.start)
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._servers.close()

    async def _watch(self) -> None:
        """Note when primaries are replaced, also those that were only slow: on a busy machine they are."""
        before: list[Server] = []
        while True:
            now = await asyncio.to_thread(self._primaries)
            if before and now and now != before:
                self.troubles["replaced"] += 1
                at = datetime.now(UTC)
                self.spans.append((at - REPLACING, at + REPLACING))
            before = now or before
            await asyncio.sleep(0.3)

    def _primaries(self) -> list[Server]:
        with contextlib.suppress(AssertionError, StopIteration):
            return self._servers.primaries()
        return []

    @property
    def settings(self) -> Mapping[str, str]:
        return self._servers.environment(**PREFIX, REDIS_SOCKET_TIMEOUT="2")

    @property
    def afterwards(self) -> Afterwards:
        return RedisAfterwards(self.settings)

    async def trouble(self) -> None:
        """Kill the primary, let it be replaced, and bring it back as a replica."""
        victim = await asyncio.to_thread(self._victim)
        if victim is None:
            return
        began = datetime.now(UTC)
        try:
            await (self._stop(victim) if self._dice.random() < 0.3 else self._kill(victim))
            await asyncio.sleep(5)
        finally:
            self.spans.append((began - LAG, datetime.now(UTC)))

    async def _stop(self, victim: Server) -> None:
        self.troubles["stops"] += 1
        victim.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._dice.uniform(1, 6))
        finally:
            victim.signal(signal.SIGCONT)

    async def _kill(self, victim: Server) -> None:
        self.troubles["failovers"] += 1
        await asyncio.to_thread(victim.kill)
        try:
            await asyncio.sleep(self._dice.uniform(4, 8))
        finally:
            victim.start()

    def may_forget(self, accepted_at: datetime) -> bool:
        """Whether what was accepted then may never have been: a failover keeps what replicas had."""
        return any(began <= accepted_at <= ended for began, ended in self.spans)

    def _victim(self) -> Server | None:
        keys = ("chaos:millrace:requests", "chaos:millrace:results", f"any {self._dice.random()}")
        with contextlib.suppress(AssertionError, StopIteration):
            return self._servers.primary_of(self._dice.choice(keys))
        return None


KINDS: Mapping[str, Callable[[random.Random], Servers]] = {
    "redis": OneRedis,
    "sentinel": lambda dice: Many(dice, Sentinels),
    "cluster": lambda dice: Many(dice, Cluster),
    "nats": OneNats,
    "nats-cluster": ThreeNats,
}
