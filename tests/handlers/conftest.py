"""A broker in memory, and executions begun on it: what most tests of handlers start from."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from msgspec import UNSET

from handlers.run_code import RunCodeConfig, RunCodeHandler
from handlers.running import Registry
from infra.errors import RequestRefused, Unavailable
from infra.stores.files import PLAIN
from infra.stores.stored_file import FileAttributes
from sandboxes.fake import FakeSandboxes
from sandboxes.fake_script import script
from schemas.commands import RunCode
from schemas.digest import digest_of
from schemas.files import FileRef
from schemas.ids import new_execution_id, new_id
from schemas.limits import SandboxLimits
from schemas.validate import Bounds
from schemas.wire import decode_event, encode
from streams.memory import MemoryBroker, MemoryTransport
from streams.protocol import Begun, Delivery, DeliveryPolicy


@dataclass
class KeptFile:
    """A stored file, as much of it as handlers look at."""

    ref: FileRef
    owner: str
    attributes: FileAttributes = PLAIN


class MemoryFiles:
    """As much of a file store as handlers use. `away` makes it fail."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[KeptFile, bytes]] = {}
        self.away = False
        self.full: set[str] = set()
        """Sessions that take no more."""

    async def save(self, owner, session_id, name, content, attributes=PLAIN):
        if self.away:
            raise Unavailable("The store is away.")
        if session_id in self.full:
            raise RequestRefused("The session is full.", field="files")
        data = b"".join([chunk async for chunk in content])
        ref = FileRef(
            id=new_id(),
            session_id=session_id,
            name=name,
            size_bytes=len(data),
            content_type="text/plain",
            modified_from=attributes.modified_from or UNSET,
        )
        self.kept[ref.id] = KeptFile(ref, owner, attributes), data
        return ref

    async def find(self, owner, session_id, file_id):
        stored, _ = self.kept.get(file_id, (None, b""))
        return stored if stored and (stored.owner, stored.ref.session_id) == (owner, session_id) else None

    async def read(self, stored):
        if self.away:
            raise Unavailable("The store is away.")
        yield self.kept[stored.ref.id][1]


async def finished_log(transport, execution_id: str):
    """Follow an execution to its end; return its events, checked to be numbered without gaps."""
    events = []
    async with asyncio.timeout(20), transport.follow(execution_id) as batches:
        async for batch in batches:
            events += batch
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), "seq has a gap"
    return [decode_event(event.data) for event in events]


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


@pytest.fixture
def sandboxes():
    return FakeSandboxes()


@pytest.fixture
def files():
    return MemoryFiles()


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def handler(transport, sandboxes, files, registry, policy, now):
    config = RunCodeConfig(
        bounds=Bounds(), limits=SandboxLimits(timeout_s=20), policy=policy, sandbox_patience_s=0.2
    )
    return RunCodeHandler(config, transport, sandboxes, files, registry, now)


@pytest.fixture
async def consuming(transport, handler, registry):
    """A handler process without the process: it consumes and listens while the test runs."""
    tasks = [
        asyncio.create_task(transport.consume(handler.on_delivery, slots=4)),
        asyncio.create_task(transport.listen(registry.on_control)),
    ]
    yield
    transport.drain()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def run(transport, consuming):
    """Submit a script and return its events once it finished."""

    async def submit(*steps, **fields):
        command = RunCode(**{"id": new_execution_id(), "language": "py", "code": script(*steps), **fields})
        await transport.submit(command, digest_of(command))
        return await finished_log(transport, command.id)

    return submit
