"""An edge over the transport in memory, and a handler that acts out small scripts instead of running code."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from edge.app import Stores, create_app
from edge.config import EdgeConfig
from edge.keys import Keyring
from edge.server import Binding, serve
from infra.errors import Unavailable
from infra.redis import RedisConfig, build_redis
from infra.stores.file_quota import FileQuota
from infra.stores.file_records import FileRecords
from infra.stores.files import FileStore
from infra.stores.folder_objects import FolderObjects
from infra.stores.rates import Rates
from infra.stores.sessions import RedisSessions
from infra.stores.state import StateStore, StateTerms
from infra.stores.tool_answers import ToolAnswers
from schemas.commands import ControlCommand, RunCode
from schemas.digest import digest_of
from schemas.events import Finished, Output, Started, ToolCall, ToolCallsRequested
from schemas.presence import HandlerPresence, LanguagePresence, PoolPresence
from schemas.wire import decode_run_code
from streams.memory import MemoryBroker, MemoryTransport
from streams.protocol import Begun, Control, Delivery, DeliveryPolicy, Lease

KEY = "the-key-of-these-tests"
OTHER_KEY = "the-key-of-somebody-else"


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Act:
    """One execution as a script sees it: what to write to its log."""

    transport: MemoryTransport
    lease: Lease
    command: RunCode
    controls: asyncio.Queue[ControlCommand]
    spoke: asyncio.Event

    def _fields(self) -> dict[str, Any]:
        return {"execution_id": self.command.id, "seq": self.lease.seq + 1, "time": utc_now()}

    async def start(self) -> None:
        started = Started(**self._fields(), attempt=1, sandbox="fake", language=self.command.language)
        await self.transport.append(self.lease, [started])

    async def say(self, data: str, stream: str = "stdout", **more: Any) -> None:
        await self.transport.append(self.lease, [Output(**self._fields(), stream=stream, data=data, **more)])
        self.spoke.set()

    async def call(self, *calls: ToolCall) -> None:
        """Call tools; `controls` gets the results."""
        asked = ToolCallsRequested(**self._fields(), calls=list(calls))
        await self.transport.append(self.lease, [asked])

    async def finish(self, outcome: str = "exited", **more: Any) -> None:
        fields = {"attempt": 1, "exit_code": 0 if outcome == "exited" else None, **more}
        await self.transport.finish(self.lease, [], Finished(**self._fields(), outcome=outcome, **fields))


Script = Callable[[Act], Awaitable[None]]


async def greet(act: Act) -> None:
    """What code does that no script is written for."""
    await act.start()
    await act.say("hello\n")
    await act.finish()


async def until_cancelled(act: Act) -> None:
    """Say one line, then run until somebody cancels."""
    await act.start()
    await act.say("working\n")
    while type(await act.controls.get()).__name__ != "CancelExecution":
        pass
    await act.finish("cancelled", message="The execution was cancelled.")


@dataclass
class ScriptedHandler:
    """Takes every request and acts out the script that its code names."""

    transport: MemoryTransport
    scripts: dict[str, Script] = field(default_factory=dict)
    seen: list[RunCode] = field(default_factory=list)
    heard: list[ControlCommand] = field(default_factory=list)
    _inboxes: dict[str, asyncio.Queue[ControlCommand]] = field(default_factory=dict)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    took: asyncio.Event = field(default_factory=asyncio.Event)
    spoke: asyncio.Event = field(default_factory=asyncio.Event)
    """Something of any program's output is in the log."""

    async def on_delivery(self, delivery: Delivery) -> None:
        command = decode_run_code(delivery.body)
        assert command.id is not None
        begun = await self.transport.begin(delivery, command, digest_of(command))
        if not isinstance(begun, Begun):
            return
        self.seen.append(command)
        self.took.set()
        act = Act(self.transport, begun.lease, command, self._inbox(command.id), self.spoke)
        await self.scripts.get(command.code, greet)(act)

    async def on_control(self, control: Control) -> None:
        self.heard.append(control.command)
        self._inbox(control.command.execution_id).put_nowait(control.command)
        self.told.set()

    def _inbox(self, execution_id: str) -> asyncio.Queue[ControlCommand]:
        return self._inboxes.setdefault(execution_id, asyncio.Queue())


@dataclass
class ScriptedPresence:
    """Handlers and pools that say what a test wants them to say."""

    alive: list[HandlerPresence] = field(default_factory=list)
    at_work: list[PoolPresence] = field(default_factory=list)
    away: bool = False

    async def handlers(self) -> list[HandlerPresence]:
        if self.away:
            raise Unavailable("Redis is away.")
        return self.alive

    async def pools(self) -> list[PoolPresence]:
        if self.away:
            raise Unavailable("Redis is away.")
        return self.at_work

    async def announce(self, handler: HandlerPresence) -> None:
        self.alive.append(handler)

    async def leave(self, handler_id: str) -> None:
        self.alive = [handler for handler in self.alive if handler.id != handler_id]


@dataclass
class House:
    """One edge with everything behind it."""

    app: Starlette
    client: httpx.AsyncClient
    broker: MemoryBroker
    transport: MemoryTransport
    handler: ScriptedHandler
    presence: ScriptedPresence
    closing: asyncio.Event
    base_url: str = ""


MakeHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def file_store(redis_config: RedisConfig, tmp_path: Path) -> AsyncIterator[FileStore]:
    """A real store in a folder; a session may hold four files of 1000 bytes, 3000 together."""
    client = build_redis(redis_config)
    quota = FileQuota(files_max=4, file_bytes_max=1000, session_bytes_max=3000)
    store = FileStore(
        FolderObjects(tmp_path / "objects"), FileRecords(client, redis_config, quota, ttl_s=600)
    )
    yield store
    await store.aclose()
    await client.aclose()


@pytest.fixture
async def rates(redis_config: RedisConfig) -> AsyncIterator[Rates]:
    """Real counters."""
    client = build_redis(redis_config)
    yield Rates(client, redis_config)
    await client.aclose()


@pytest.fixture
async def sessions(redis_config: RedisConfig) -> AsyncIterator[RedisSessions]:
    """Real sessions, three of each owner at a time."""
    client = build_redis(redis_config)
    yield RedisSessions(client, redis_config, ttl_s=600, sessions_max=3, id_length=32)
    await client.aclose()


@pytest.fixture
async def states(redis_config: RedisConfig, tmp_path: Path) -> AsyncIterator[StateStore]:
    """Real states, archived in a folder."""
    client = build_redis(redis_config)
    terms = StateTerms(ttl_s=600, archive_ttl=timedelta(days=7))
    yield StateStore(client, redis_config, FolderObjects(tmp_path / "objects"), terms)
    await client.aclose()


@pytest.fixture
async def answers(redis_config: RedisConfig) -> AsyncIterator[ToolAnswers]:
    """Really known answers."""
    client = build_redis(redis_config)
    yield ToolAnswers(client, redis_config, ttl_s=600)
    await client.aclose()


@pytest.fixture
async def make_house(
    file_store: FileStore, rates: Rates, sessions: RedisSessions, states: StateStore, answers: ToolAnswers
) -> AsyncIterator[MakeHouse]:
    """Build houses: `served=True` behind a real server, `publisher=` to put a broken one in front."""
    async with AsyncExitStack() as stack:

        async def make(
            *,
            served: bool = False,
            publisher: Any = None,
            files: Any = None,
            handled: bool = True,
            grace_s: float = 5.0,
            **config: Any,
        ) -> House:
            broker = MemoryBroker()
            transport = MemoryTransport(broker, DeliveryPolicy())
            handler = ScriptedHandler(transport)
            presence = ScriptedPresence()
            closing = asyncio.Event()
            config = {"keys": Keyring(KEY, [OTHER_KEY]), "access_logs": False, **config}
            app = create_app(
                EdgeConfig(**config),
                publisher or transport,
                Stores(presence, files or file_store, rates, sessions, states, answers),
                closing=closing,
            )
            if handled:
                await _background(stack, transport.consume(handler.on_delivery, 64))
                await _background(stack, transport.listen(handler.on_control))
            base_url = await _served(stack, app, closing, grace_s) if served else "http://edge"
            client = httpx.AsyncClient(
                transport=None if served else httpx.ASGITransport(app),
                base_url=base_url,
                headers={"x-api-key": KEY},
                timeout=60,
                trust_env=False,
            )
            await stack.enter_async_context(client)
            return House(app, client, broker, transport, handler, presence, closing, base_url)

        yield make


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    """The usual house, asked without a network."""
    return await make_house()


async def _background(stack: AsyncExitStack, work: Any) -> None:
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)
    await asyncio.sleep(0)


async def _served(stack: AsyncExitStack, app: Starlette, closing: asyncio.Event, grace_s: float) -> str:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    binding = Binding(host="127.0.0.1", port=0)
    serving = asyncio.create_task(serve(app, binding, closing, grace_s=grace_s, on_ready=ready.set_result))

    async def stop() -> None:
        closing.set()
        await serving

    stack.push_async_callback(stop)
    done, _ = await asyncio.wait({ready, serving}, return_when=asyncio.FIRST_COMPLETED)
    if serving in done:
        await serving
    return ready.result()


@pytest.fixture
def keys() -> tuple[str, str]:
    """Two keys of two tenants."""
    return KEY, OTHER_KEY


@pytest.fixture
def scripts() -> dict[str, Script]:
    """Scripts that several tests use."""
    return {"greet": greet, "until_cancelled": until_cancelled}


@pytest.fixture
def handler_presence() -> HandlerPresence:
    """A handler that runs Python, three of them warm, and misses Go."""
    return HandlerPresence(
        id="h1",
        started_at=utc_now(),
        seen_at=utc_now(),
        kind="fake",
        tier=None,
        slots=4,
        running=1,
        languages=[
            LanguagePresence(code="py", available=True, version="3.11.2", warm=3),
            LanguagePresence(code="go", available=False, missing="apt install golang-go"),
        ],
    )
