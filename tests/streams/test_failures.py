"""A broker away, back, slow to answer or half done: accepted work goes on, whichever broker it is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis import exceptions as redis_errors

from infra.errors import LeaseLost, Unavailable
from infra.nats import NatsConfig
from infra.redis import RedisConfig
from schemas.ids import ExecutionId
from streams.jetstream import JetStreamTransport
from streams.jetstream import link as nats_link
from streams.jetstream.wire import Silent
from streams.protocol import Begun, DeliveryPolicy, Transport
from streams.redis import RedisTransport
from streams.redis import link as redis_link
from tests.brokers import BrokerProcess
from tests.conftest import StartBroker
from tests.nats_servers import NatsProcess
from tests.streams.conftest import SHORT, NatsWorld, RedisWorld
from tests.streams.helpers import (
    as_started,
    begin,
    command,
    consuming,
    finished,
    lease_of,
    output,
    run_halted,
    run_to_the_end,
    started,
    submit,
    take,
    types,
    whole_log,
)

JOB = ExecutionId("job-1")
PATIENT = DeliveryPolicy(lease_s=30.0)
AWAY: dict[str, Callable[[], Any]] = {
    "redis": lambda: RedisTransport(
        RedisConfig(url="redis://user:hunter2@127.0.0.1:1/0", connect_timeout_s=0.2), PATIENT, consumer="test"
    ),
    "nats": lambda: JetStreamTransport(
        NatsConfig(servers=("nats://user:hunter2@127.0.0.1:1",), connect_timeout_s=0.2), PATIENT, name="test"
    ),
}
BROKERS = list(AWAY)


class Own:
    """A broker of this test's own, running, and its world."""

    def __init__(self, server: BrokerProcess | NatsProcess) -> None:
        self.server = server
        self.world = (
            NatsWorld(server.config) if isinstance(server, NatsProcess) else RedisWorld(server.config)
        )

    async def start(self) -> None:
        await asyncio.to_thread(self.server.start)


@pytest.fixture(params=BROKERS)
async def own(
    request: pytest.FixtureRequest, start_broker: StartBroker, own_nats: NatsProcess
) -> AsyncIterator[Own]:
    """One of each kind in turn."""
    made = Own(own_nats if request.param == "nats" else start_broker())
    if request.param == "nats":
        await made.start()
    yield made
    await made.world.close()


@pytest.fixture(params=BROKERS)
def shared(request: pytest.FixtureRequest) -> RedisWorld | NatsWorld:
    """The shared one of each kind, seen from outside."""
    world: RedisWorld | NatsWorld = request.getfixturevalue(f"{request.param}_world")
    return world


@pytest.mark.parametrize("broker", BROKERS)
async def test_a_broker_that_is_away_is_said_quickly_and_without_secrets(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A front door answers 503 within seconds; the message says where it looked."""
    for module, name in ((redis_link, "PUBLISH_S"), (nats_link, "PUBLISH_S"), (nats_link, "SILENT_S")):
        monkeypatch.setattr(module, name, 0.5)
    transport = AWAY[broker]()
    await transport.start()
    async with asyncio.timeout(60):
        calls = (submit(transport, command()), transport.depth(), transport.ping(), transport.read(JOB))
        answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, Unavailable)
        assert "127.0.0.1:1" in answer.message
        assert "hunter2" not in str(answer)
    assert "hunter2" not in repr(transport._link.config)
    await transport.close()


async def nobody_answers(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away is said to be, by who does not wait for it as long as usual."""
    with monkeypatch.context() as impatient, pytest.raises(Unavailable):
        impatient.setattr(nats_link, "SILENT_S", 0.5)
        await transport.ping()


async def test_work_goes_on_when_the_broker_comes_back(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle: the reader resumes, the writer repeats, the consumer takes new work."""
    edge, handler = await own.world.transport(PATIENT), await own.world.transport(PATIENT)
    written, killed = asyncio.Event(), asyncio.Event()

    async with consuming(handler, lambda delivery: run_halted(handler, delivery, written, killed, 50)):
        reading = asyncio.create_task(whole_log(edge, "job-1"))
        await submit(edge, command("job-1"))
        await written.wait()
        own.server.kill()
        killed.set()
        await nobody_answers(edge, monkeypatch)
        await own.start()
        async with asyncio.timeout(60):
            assert [event.seq for event in await reading] == list(range(1, 54))
            await submit(edge, command("job-2"))
            assert types(await whole_log(edge, "job-2"))[-1] == "finished"
    assert {result.execution_id for result in await own.world.results()} == {"job-1", "job-2"}


async def test_a_process_may_start_before_its_broker(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps trying, makes what is missing once the broker is there, and works."""
    own.server.kill()
    transports = {
        RedisWorld: lambda config: RedisTransport(config, PATIENT, consumer="test"),
        NatsWorld: lambda config: JetStreamTransport(config, PATIENT, name="test"),
    }
    edge, handler = [transports[type(own.world)](own.server.config) for _ in range(2)]
    async with consuming(handler, lambda delivery: run_to_the_end(handler, delivery)):
        reading = asyncio.create_task(whole_log(edge, JOB))
        await nobody_answers(edge, monkeypatch)
        await own.start()
        async with asyncio.timeout(60):
            await submit(edge, command())
            assert types(await reading) == ["queued", "started", "finished"]
    for transport in (edge, handler):
        await transport.close()


async def test_a_writer_gives_up_when_its_lease_must_have_run_out(own: Own) -> None:
    """Then another handler may own the execution, and nothing more may be written."""
    edge, handler = await own.world.transport(SHORT), await own.world.transport(SHORT)
    await submit(edge, command())
    lease = await lease_of(handler, await take(handler))
    own.server.kill()
    with pytest.raises(LeaseLost, match="ran out"):
        async with asyncio.timeout(20):
            await handler.append(lease, [started(lease)])


async def test_a_write_whose_answer_was_lost_is_not_written_twice(
    shared: RedisWorld | NatsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeat finds its own events at the end of the log."""
    edge, handler = await shared.transport(PATIENT), await shared.transport(PATIENT)
    is_nats = isinstance(shared, NatsWorld)
    if is_nats:
        lose_every_first_answer(edge, monkeypatch)
    assert (await submit(edge, command())).result == "accepted"
    delivery = await take(handler)  # with its answer an entry would be lost for the time of a lease
    lose_every_first_answer(handler, monkeypatch)
    lease = await lease_of(handler, delivery)
    assert lease.attempt == 1
    await handler.append(lease, [started(lease), output(lease, "x", 1)])
    if is_nats:  # on Redis the next heartbeat does what one lost
        await handler.renew(lease)
    await handler.append(lease, [output(lease, "x")])
    await handler.finish(lease, [output(lease, "y")], finished(JOB))
    events = await whole_log(edge, JOB)
    assert types(events) == ["queued", "started", "output", "output", "output", "finished"]
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
    assert len(await shared.results()) == 1


async def test_a_lease_whose_answer_was_lost_says_once_that_it_started(
    shared: RedisWorld | NatsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeat knows its own lease and its own `started`, and takes neither for another attempt's."""
    edge, handler = await shared.transport(PATIENT), await shared.transport(PATIENT)
    await submit(edge, command())
    delivery = await take(handler)
    lose_every_first_answer(handler, monkeypatch)
    begun = await begin(handler, delivery, as_started(JOB))
    assert isinstance(begun, Begun)
    assert (begun.lease.attempt, begun.started_before) == (1, False)
    assert begun.has_started
    await handler.finish(begun.lease, [], finished(JOB))
    assert types(await whole_log(edge, JOB)) == ["queued", "started", "finished"]


def lose_every_first_answer(transport: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything be done, and nobody hear of it the first time."""
    its_link = transport._link
    name = "run" if isinstance(its_link, redis_link.Link) else "ask"
    really, lost = getattr(its_link, name), set()

    async def call(what: Any, *more: Any) -> Any:
        answer = await really(what, *more)
        told = repr((what, more))
        if not told.startswith("('$JS.API") and told not in lost:
            lost.add(told)
            raise redis_errors.ConnectionError("lost") if name == "run" else Silent("the answer was lost")
        return answer

    monkeypatch.setattr(its_link, name, call)
