"""The NATS examples run as they stand, in every language; none has Millrace in it."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import nats
import pytest

from schemas.results import Result
from schemas.wire import decode_result
from streams.jetstream import JetStreamTransport
from streams.protocol import DeliveryPolicy
from tests.brokers import running
from tests.nats_servers import NatsProcess
from tests.process.processes import ROOT
from tests.process.stream_examples import EXAMPLES, LANGUAGES, Commands
from tests.streams.helpers import command, consuming, run_to_the_end, submit

pytestmark = pytest.mark.timeout(300)
PAGE = ROOT / "docs" / "streams.md"
_WITHIN_S = 120


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with tempfile.TemporaryDirectory() as folder:
        yield Commands(EXAMPLES / "nats", Path(folder), cli="nats")


@pytest.fixture
def server(nats_binary: Path) -> Iterator[NatsProcess]:
    """A server of the test's own, with the users of the page; and the names without a prefix."""
    server = NatsProcess(nats_binary)
    [users] = re.findall(r"^(\{ user: publisher.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    server.more = f"authorization {{ users = [\n{{ user: millrace, password: all }}\n{users}] }}\n"
    with running(server):
        yield server


@pytest.fixture
async def transport(server: NatsProcess) -> AsyncIterator[JetStreamTransport]:
    """Where a handler runs whatever is published, and writes two lines of output for it."""
    config = replace(server.config, servers=(as_user(server, "millrace", "all"),))
    transport = JetStreamTransport(config, DeliveryPolicy(), name="test")
    await transport.start()
    async with consuming(transport, lambda delivery: run_to_the_end(transport, delivery, "one\n", "two\n")):
        yield transport
    await transport.close()


def as_user(server: NatsProcess, name: str, password: str = "password") -> str:
    return server.url.replace("//", f"//{name}:{password}@")


async def run(server: NatsProcess, user: str, *words: str) -> list[str]:
    """Run an example as a user of the page, beside the handler in this process; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env={**os.environ, "NATS_URL": as_user(server, user)},
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
    lines = await run(server, "publisher", *words)
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
    assert await run(server, "consumer", *words, "group", "3") == [f"{job} exited" for job in jobs]
    async with await nats.connect(as_user(server, "millrace", "all")) as client:
        group = await client.jetstream().consumer_info("MILLRACE_RESULTS", "group")
    assert (group.num_ack_pending, group.num_pending) == (0, 0)


async def newest(server: NatsProcess) -> str:
    """Return which execution the newest result is of."""
    async with await nats.connect(as_user(server, "millrace", "all")) as client:
        try:
            message = await client.jetstream().get_last_msg("MILLRACE_RESULTS", "millrace.results")
        except nats.js.errors.NotFoundError:
            return ""
    result: Result = decode_result(message.data or b"")
    return result.execution_id


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("publisher", "millrace.results"),
        ("publisher", "millrace.log.job-1"),
        ("publisher", "$JS.API.STREAM.DELETE.MILLRACE_LOG"),
        ("publisher", "$JS.API.CONSUMER.CREATE.MILLRACE_REQUESTS"),
        ("consumer", "millrace.requests"),
        ("consumer", "millrace.results"),
        ("consumer", "$JS.API.STREAM.PURGE.MILLRACE_RESULTS"),
    ],
)
async def test_the_users_of_the_page_can_do_nothing_else(
    server: NatsProcess, user: str, subject: str
) -> None:
    """The server itself says no."""
    refused: asyncio.Queue[Exception] = asyncio.Queue()
    async with await nats.connect(as_user(server, user), error_cb=refused.put) as client:
        await client.publish(subject, b"{}")
        await client.flush()
        said = await asyncio.wait_for(refused.get(), 20)
    assert subject.lower() in str(said).lower()
