"""A broker in memory, and executions begun on it: what most tests of handlers start from."""

from datetime import UTC, datetime

import pytest

from schemas.digest import digest_of
from schemas.wire import decode_event, encode
from streams.memory import MemoryBroker, MemoryTransport
from streams.protocol import Begun, Delivery, DeliveryPolicy


@pytest.fixture
def now():
    """The wall clock that handlers are given."""
    return lambda: datetime.now(UTC)


@pytest.fixture
def policy():
    return DeliveryPolicy()


@pytest.fixture
def broker():
    return MemoryBroker()


@pytest.fixture
def transport(broker, policy):
    return MemoryTransport(broker, policy)


@pytest.fixture
def delivery_of(now):
    """An entry of the requests stream with the given body."""

    def make(body: bytes, entry: str = "1-0") -> Delivery:
        return Delivery(entry=entry, stream="millrace:requests", body=body, deliveries=1, published_at=now())

    return make


@pytest.fixture
def begin(transport, delivery_of):
    """Take the lease of a command, as the first handler to see it."""

    async def take(command):
        begun = await transport.begin(delivery_of(encode(command)), command, digest_of(command))
        assert isinstance(begun, Begun)
        return begun

    return take


@pytest.fixture
def events_of(transport):
    """All events of an execution, checked to be numbered without gaps."""

    async def read(execution_id):
        logged = await transport.read(execution_id, count=100_000)
        assert [event.seq for event in logged] == list(range(1, len(logged) + 1)), "seq has a gap"
        return [decode_event(event.data) for event in logged]

    return read
