"""Sessions as handlers see them: runs in order, one at a time, whoever dies; and how sessions end."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from handlers.run_code import RunCodeConfig, RunCodeHandler
from handlers.running import Registry
from handlers.sessions import SessionEnder
from infra.redis import build_redis
from infra.stores.file_quota import FileQuota
from infra.stores.file_records import FileRecords
from infra.stores.files import FileStore
from infra.stores.folder_objects import FolderObjects
from infra.stores.session_sweep import SessionSweep
from infra.stores.sessions import RedisSessions
from sandboxes.fake import FakeSandboxes
from sandboxes.fake_script import End, Put, Wait, Write, script
from schemas.commands import CancelExecution, EndSession, RunCode
from schemas.digest import digest_of
from schemas.events import Started
from schemas.limits import SandboxLimits
from schemas.validate import Bounds
from schemas.wire import encode
from streams.memory import MemoryTransport
from streams.protocol import DeliveryPolicy
from tests.handlers.conftest import MemoryFiles, finished_log

LEASE = DeliveryPolicy(lease_s=0.4, attempts_max=9)


class HandlerProcess:
    """A handler process without the process; `kill` ends it as kill -9 does."""

    def __init__(self, broker, now, policy=LEASE, slots=2) -> None:
        self.sandboxes, self.registry = FakeSandboxes(), Registry()
        self.transport = MemoryTransport(broker, policy)
        config = RunCodeConfig(bounds=Bounds(), limits=SandboxLimits(timeout_s=20), policy=policy)
        handler = RunCodeHandler(config, self.transport, self.sandboxes, MemoryFiles(), self.registry, now)
        self._tasks = [
            asyncio.create_task(self.transport.consume(handler.on_delivery, slots)),
            asyncio.create_task(self.transport.listen(self.registry.on_control)),
        ]

    async def kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def start(broker, now):
    """Start handler processes, ended when the test ends."""
    started = []

    def make(**how) -> HandlerProcess:
        started.append(HandlerProcess(broker, now, **how))
        return started[-1]

    yield make
    for process in started:
        await process.kill()


async def publish(transport, name, *steps, **fields) -> RunCode:
    fields = {"session_id": "notebook", "retry": "always", **fields}
    command = RunCode(id=name, language="py", code=script(*steps), **fields)
    await transport.submit(command, digest_of(command))
    return command


def span(events) -> tuple[datetime, datetime]:
    """Return when the attempt that ended began to run, and when it ended."""
    begun = [event.time for event in events if isinstance(event, Started)]
    return begun[-1], events[-1].time


async def test_runs_of_a_session_follow_each_other_among_handlers_that_are_killed(start, transport) -> None:
    """Three handlers, two of them killed on the way; nothing overlaps and nothing overtakes."""
    handlers = [start() for _ in range(3)]
    names = [f"job-{number:02}" for number in range(15)]
    for name in names:
        await publish(transport, name, Write(name), Wait(0.01), End())
    for victim, after in ((0, 3), (1, 8)):
        await finished_log(transport, names[after])
        await handlers[victim].kill()
        start()
    logs = [await finished_log(transport, name) for name in names]
    assert {log[-1].outcome for log in logs} == {"exited"}
    moments = [moment for log in logs for moment in span(log)]
    assert moments == sorted(moments)


async def test_a_session_that_waits_takes_no_slot_and_no_sandbox(start, transport, broker) -> None:
    """A hundred other sessions run through the slot that is left."""
    process = start(policy=DeliveryPolicy(), slots=2)
    await publish(transport, "long", Wait(), End())
    for number in range(5):
        await publish(transport, f"behind-{number}", End())
    for number in range(100):
        await publish(transport, f"other-{number}", End(), session_id=f"session-{number}")
    for number in range(100):
        assert (await finished_log(transport, f"other-{number}"))[-1].outcome == "exited"
    assert process.sandboxes.acquired == 101
    await transport.send(CancelExecution(execution_id="long"))
    for number in range(5):
        assert (await finished_log(transport, f"behind-{number}"))[-1].outcome == "exited"

    async def nobody_waits():
        return not broker.parked and not broker.lines

    await until(nobody_waits)  # the line is left after the end is told


async def test_a_cancel_ends_what_waits_for_its_turn_without_a_sandbox(start, transport) -> None:
    """Before the one in front has ended."""
    process = start(policy=DeliveryPolicy())
    await publish(transport, "long", Wait(), End())
    await publish(transport, "waits", Write("never"))
    await transport.send(CancelExecution(execution_id="waits", reason="not needed"))
    events = await finished_log(transport, "waits")
    assert [type(event).__name__ for event in events] == ["Queued", "Finished"]
    assert (events[-1].outcome, events[-1].message) == ("cancelled", "not needed")
    assert process.sandboxes.acquired == 1


async def test_a_deadline_ends_what_waits_for_its_turn_without_a_sandbox(start, transport) -> None:
    """`expired`, while the one in front still runs."""
    process = start(policy=replace(LEASE, lease_s=0.3))
    await publish(transport, "long", Wait(), End())
    await publish(transport, "late", Write("never"), deadline=datetime.now(UTC) + timedelta(seconds=0.2))
    events = await finished_log(transport, "late")
    assert [type(event).__name__ for event in events] == ["Queued", "Finished"]
    assert (events[-1].outcome, process.sandboxes.acquired) == ("expired", 1)


async def test_the_wait_for_a_turn_counts_as_time_in_the_queue(start, transport) -> None:
    """From its first publication."""
    start()
    await publish(transport, "first", Wait(0.2), End())
    await publish(transport, "second", End())
    assert (await finished_log(transport, "second"))[-1].usage.queued_s >= 0.15


# With real stores


@pytest.fixture
async def redis(redis_config):
    client = build_redis(redis_config)
    yield client
    await client.aclose()


@pytest.fixture
def sessions(redis, redis_config) -> RedisSessions:
    return RedisSessions(redis, redis_config, ttl_s=600, sessions_max=2, id_length=32)


@pytest.fixture
async def files(redis, redis_config, tmp_path):
    """A real store of files, for the fixture `handler` too."""
    quota = FileQuota(files_max=50, file_bytes_max=10_000, session_bytes_max=100_000)
    store = FileStore(FolderObjects(tmp_path / "objects"), FileRecords(redis, redis_config, quota, ttl_s=600))
    yield store
    await store.aclose()


@pytest.fixture
async def registry(sessions, files):
    ender = SessionEnder(SessionSweep(sessions, [files]), sessions, files)
    yield Registry(ender.start)
    await ender.aclose()


@pytest.fixture
def handler(handler, sessions):
    handler._sessions = sessions
    return handler


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.005)


async def test_a_run_opens_its_session_and_lets_it_live_on(run, sessions) -> None:
    """For those who publish without asking the edge."""
    await run(End(), session_id="notebook")
    first = await sessions.find("default", "notebook")
    await run(End(), session_id="notebook")
    again = await sessions.find("default", "notebook")
    assert again.opened_at == first.opened_at and again.used_at > first.used_at


async def test_the_files_of_a_session_live_as_long_as_it_is_used(run, files, redis, redis_config) -> None:
    """Also by runs that do not touch them."""
    await run(Put("out.txt", "x"), session_id="notebook")
    about = f"{redis_config.prefix}millrace:files:{{notebook}}"
    await redis.pexpire(about, 5_000)
    await run(End(), session_id="notebook")
    assert await redis.pttl(about) > 100_000


async def test_a_session_of_another_tenant_is_refused(run, sessions, sandboxes) -> None:
    """As one that is not there, and without a sandbox."""
    await sessions.use("acme", "notebook")
    events = await run(Write("never"), session_id="notebook", tenant="mallory")
    assert (events[-1].outcome, sandboxes.acquired) == ("rejected", 0)
    assert "notebook" in events[-1].message and "acme" not in events[-1].message


async def test_a_session_too_many_is_refused_with_the_limit(run, sessions) -> None:
    """Those that are open go on."""
    for name in ("one", "two"):
        assert (await run(End(), session_id=name))[-1].outcome == "exited"
    assert "2 sessions" in (await run(End(), session_id="three"))[-1].message
    assert (await run(End(), session_id="one"))[-1].outcome == "exited"


async def test_a_run_that_is_its_own_session_counts_for_none(run, sessions) -> None:
    """As in the compatible contract, where every run is."""
    for number in range(4):
        events = await run(End(), id=f"fresh-{number}", session_id=f"fresh-{number}")
        assert events[-1].outcome == "exited"
    assert (await sessions.listing("default", 0, 10))[0] == 0


async def test_ending_a_session_forgets_it_and_its_files(run, transport, sessions, files) -> None:
    """Published on the control stream by anybody, twice, with no word of whose it is."""
    (ref,) = (await run(Put("out.txt", "x"), session_id="notebook"))[-1].files
    for _ in range(2):
        await transport.send(EndSession(session_id="notebook"))

    async def is_gone() -> bool:
        known = await sessions.find("default", "notebook")
        return known is None and await files.find("default", ref.session_id, ref.id) is None

    await until(is_gone)
    assert await files.listing("default", "notebook") == []


async def test_a_session_of_files_only_can_be_ended_as_well(run, transport, files) -> None:
    """That of a run of the compatible contract."""
    (ref,) = (await run(Put("out.txt", "x"), id="fresh", session_id="fresh"))[-1].files
    await transport.send(EndSession(session_id="fresh"))

    async def is_gone() -> bool:
        return await files.find("default", ref.session_id, ref.id) is None

    await until(is_gone)


async def test_ending_the_session_of_another_tenant_ends_nothing(run, transport, sessions, files) -> None:
    """The command names whose session it means; this one is not."""
    (ref,) = (await run(Put("out.txt", "x"), session_id="notebook"))[-1].files
    await transport.send(EndSession(session_id="notebook", tenant="mallory"))
    await transport.send(EndSession(session_id="notebook", tenant="mallory"))
    await run(End(), session_id="notebook")
    assert await sessions.find("default", "notebook")
    assert await files.find("default", ref.session_id, ref.id)


async def test_a_run_goes_on_when_its_session_is_ended(transport, consuming, sessions, sandboxes) -> None:
    """It ends as it is."""
    command = RunCode(
        id="job-1", language="py", code=script(Write("a"), Wait(0.2), Write("b")), session_id="notebook"
    )
    await transport.submit(command, digest_of(command))
    async with transport.follow("job-1", after=2) as batches:
        await anext(aiter(batches))
    await transport.send(EndSession(session_id="notebook", tenant="default"))
    events = await finished_log(transport, "job-1")
    assert events[-1].outcome == "exited"
    assert "".join(event.data for event in events[2:-1]) == "ab"


async def test_a_broken_command_about_a_session_harms_nobody(run, transport) -> None:
    """It is no id of a session."""
    await transport.send(EndSession(session_id="../{x} y"))
    assert (await run(End()))[-1].outcome == "exited"
    assert encode(EndSession(session_id="s")) == b'{"type":"end_session","session_id":"s"}'


async def test_a_session_that_is_not_to_be_listed_is_used_and_not_opened(run, sessions, files) -> None:
    """As `/exec` goes on with sessions; one that is listed lives on by it, somebody else's is refused."""
    for number in range(4):
        events = await run(Put("out.txt", "x"), session_id=f"chat-{number}", session_unlisted=True)
        assert events[-1].files[0].session_id == f"chat-{number}"
    assert (await sessions.listing("default", 0, 10))[0] == 0
    await sessions.use("default", "notebook")
    first = await sessions.find("default", "notebook")
    await run(End(), session_id="notebook", session_unlisted=True)
    assert (await sessions.find("default", "notebook")).used_at > first.used_at
    events = await run(End(), session_id="notebook", session_unlisted=True, tenant="mallory")
    assert events[-1].outcome == "rejected"
