"""The NATS examples run as they stand, in every language; none has Millrace in it."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest

from schemas.results import Result
from schemas.wire import decode_result
from streams.jetstream import JetStreamTransport
from streams.protocol import DeliveryPolicy
from tests.brokers import NatsProcess
from tests.process.stream_examples import EXAMPLES, LANGUAGES, Commands
from tests.streams.helpers import command, consuming, run_to_the_end, submit

pytestmark = pytest.mark.timeout(300)
_WITHIN_S = 120


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with tempfile.TemporaryDirectory() as folder:
        yield Commands(EXAMPLES / "nats", Path(folder), cli="nats")


@pytest.fixture
def server(nats_binary: Path) -> Iterator[NatsProcess]:
    """A server of the test's own: the examples use the names as they are, without a prefix."""
    server = NatsProcess(nats_binary)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
async def transport(server: NatsProcess) -> AsyncIterator[JetStreamTransport]:
    """Where a handler runs whatever is published, and writes two lines of output for it."""
    transport = JetStreamTransport(server.config, DeliveryPolicy(), name="test")
    await transport.start()
    async with consuming(transport, lambda delivery: run_to_the_end(transport, delivery, "one\n", "two\n")):
        yield transport
    await transport.close()


async def run(server: NatsProcess, *words: str) -> list[str]:
    """Run an example beside the handler that lives in this process; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env={**os.environ, "NATS_URL": server.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complaints = await asyncio.wait_for(process.communicate(), _WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, said + complaints
    return said.decode().splitlines()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_publisher_reads_the_log_of_its_job(
    server: NatsProcess, transport: JetStreamTransport, commands: Commands, language: str
) -> None:
    """Numbered from 1, to its one end."""
    words = await asyncio.to_thread(commands.of, language, "publish")
    lines = await run(server, *words)
    assert [line.split()[:2] for line in lines] == [
        ["1", "queued"], ["2", "started"], ["3", "output"], ["4", "output"], ["5", "finished"],
    ]  # fmt: skip
    assert lines[-1].endswith("finished exited")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_group_gets_every_result(
    server: NatsProcess, transport: JetStreamTransport, commands: Commands, language: str
) -> None:
    """Those of before it was made too; nothing is left to acknowledge."""
    words = await asyncio.to_thread(commands.of, language, "consume")
    jobs = [f"job-{number}" for number in range(3)]
    for job in jobs:
        await submit(transport, command(job))
        async with asyncio.timeout(30):
            while (await newest(server)) != job:
                await asyncio.sleep(0.02)
    assert await run(server, *words, "group", "3") == [f"{job} exited" for job in jobs]
    async with await nats.connect(server.url) as client:
        group = await client.jetstream().consumer_info("MILLRACE_RESULTS", "group")
    assert (group.num_ack_pending, group.num_pending) == (0, 0)


async def newest(server: NatsProcess) -> str:
    """Return which execution the newest result is of."""
    async with await nats.connect(server.url) as client:
        try:
            message = await client.jetstream().get_last_msg("MILLRACE_RESULTS", "millrace.results")
        except nats.js.errors.NotFoundError:
            return ""
    result: Result = decode_result(message.data or b"")
    return result.execution_id
