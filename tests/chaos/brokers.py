"""The brokers of a chaos run: real servers, which die too."""

import asyncio
import random
import signal
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.brokers import BrokerProcess
from tests.chaos.nats_world import NatsAfterwards
from tests.chaos.redis_world import RedisAfterwards
from tests.nats_servers import NatsProcess
from tests.redis_servers import IMPATIENT_MS, Cluster, Sentinels, Server

LAG = timedelta(seconds=1)
"""By how much a replica may be behind its primary."""


class Alone:
    """One Redis. Killed and started again it has everything: its file outlives the process."""

    def __init__(self, dice: random.Random) -> None:
        from infra.process.broker import find_server

        self._dice = dice
        self._server = BrokerProcess(find_server())
        self.troubles: Counter[str] = Counter()

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        self._server.close()

    @property
    def settings(self) -> dict[str, str]:
        return {"REDIS_URL": self._server.url, "REDIS_KEY_PREFIX": "chaos:"}

    @property
    def afterwards(self) -> RedisAfterwards:
        return RedisAfterwards(self.settings)

    def may_forget(self, _accepted_at: datetime) -> bool:
        """Nothing that was accepted, ever."""
        return False

    async def trouble(self) -> None:
        """Kill it, and start it again a moment later."""
        self.troubles["restarts"] += 1
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(self._dice.uniform(0, 1.5))
        await asyncio.to_thread(self._server.start)


class Nats:
    """One nats-server, killed and started again; sessions and presence stay in a Redis that is left alone."""

    def __init__(self, dice: random.Random) -> None:
        from infra.process.broker import find_server

        beside = Path(sys.executable).parent / "nats-server"
        self._dice = dice
        self._server = NatsProcess(beside if beside.exists() else "nats-server")
        self._redis = BrokerProcess(find_server())
        self.troubles: Counter[str] = Counter()

    def start(self) -> None:
        self._redis.start()
        self._server.start()

    def close(self) -> None:
        self._server.close()
        self._redis.close()

    @property
    def settings(self) -> dict[str, str]:
        return {
            "MILLRACE_TRANSPORT": "nats",
            "NATS_URL": self._server.url,
            "REDIS_URL": self._redis.url,
            "REDIS_KEY_PREFIX": "chaos:",
        }

    @property
    def afterwards(self) -> NatsAfterwards:
        return NatsAfterwards(self.settings)

    def may_forget(self, _accepted_at: datetime) -> bool:
        """Nothing that was accepted, ever."""
        return False

    async def trouble(self) -> None:
        """Kill it, and start it again a moment later."""
        self.troubles["restarts"] += 1
        await asyncio.to_thread(self._server.kill)
        await asyncio.sleep(self._dice.uniform(0, 1.5))
        await asyncio.to_thread(self._server.start)


class Many:
    """Sentinels or a cluster: a primary dies or falls asleep, and another server takes its place."""

    def __init__(self, dice: random.Random, kind: type[Sentinels] | type[Cluster]) -> None:
        self._dice = dice
        self._servers = kind(secure=False, silence_ms=IMPATIENT_MS)
        self.troubles: Counter[str] = Counter()
        self.spans: list[tuple[datetime, datetime]] = []
        """When primaries were replaced: from when all was well to when it is again."""

    def start(self) -> None:
        self._servers.start()

    def close(self) -> None:
        self._servers.close()

    @property
    def settings(self) -> dict[str, str]:
        return self._servers.environment(REDIS_KEY_PREFIX="chaos:", REDIS_SOCKET_TIMEOUT="2")

    @property
    def afterwards(self) -> RedisAfterwards:
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
        try:
            if isinstance(self._servers, Sentinels):
                return self._servers.primary()
            keys = ("chaos:millrace:requests", "chaos:millrace:results", f"any {self._dice.random()}")
            return self._servers.primary_of(self._dice.choice(keys))
        except (AssertionError, StopIteration):
            return None


Servers = Alone | Many | Nats


def broker(name: str, dice: random.Random) -> Servers:
    """Return the broker of that name, not started."""
    match name:
        case "redis":
            return Alone(dice)
        case "sentinel":
            return Many(dice, Sentinels)
        case "cluster":
            return Many(dice, Cluster)
        case "nats":
            return Nats(dice)
        case _:
            raise SystemExit(f"BROKER must be redis, sentinel, cluster or nats, not {name!r}")
