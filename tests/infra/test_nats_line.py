"""Messages of NATS on a line of ours: against a real server, and against one that says what it likes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from nats import errors as nats_errors

from infra import nats_line
from infra.errors import Unavailable
from infra.nats import NatsConfig, connect
from infra.nats_line import NatsLine
from infra.nats_words import LINE_BYTES_MAX, Message, Reader, publication
from tests.nats_servers import NatsProcess, find_nats

BOUND_S = 20.0
GREETING = b'INFO {"server_id":"x","version":"2.15.1","headers":true,"max_payload":1048576}\r\n'

Hear = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def server() -> Iterator[NatsProcess]:
    """A real one."""
    process = NatsProcess(find_nats())
    process.start()
    yield process
    process.close()


@pytest.fixture
async def line(server: NatsProcess) -> AsyncIterator[NatsLine]:
    """A line to it."""
    made = await connect(server.config, lambda: None, "test")
    yield made
    made.close()


async def heard(line: NatsLine, subject: str, publish: Callable[[], None], count: int) -> list[Message]:
    """Return the first messages of a subject after `publish`."""
    messages: list[Message] = []
    there = asyncio.Event()

    def hear(message: Message) -> None:
        messages.append(message)
        if len(messages) >= count:
            there.set()

    number = line.subscribe(subject, hear)
    publish()
    async with asyncio.timeout(BOUND_S):
        await there.wait()
    line.unsubscribe(number)
    return messages


async def test_a_message_comes_as_it_was_sent(line: NatsLine) -> None:
    """Subject, headers, body and where to answer."""
    headers = {"Name": "wört: with a colon", "Lines": "one\r\ntwo", "Empty": ""}
    body = b"\r\nMSG a 1 5\r\n\x00"
    [message] = await heard(line, "a.*", lambda: line.publish("a.b", body, headers, "answers"), 1)
    assert (message.subject, message.data, message.reply) == ("a.b", body, "answers")
    assert message.headers == {"Name": "wört: with a colon", "Lines": "one  two", "Empty": ""}


async def test_all_sizes_come_in_order(line: NatsLine) -> None:
    """Also those that take many pieces."""
    sizes = [0, 1, 100_000, 1024 * 1024, 7, 500_000, 0]

    def publish() -> None:
        for size in sizes:
            line.publish("sizes", b"x" * size)

    messages = await heard(line, "sizes", publish, len(sizes))
    assert [len(message.data) for message in messages] == sizes


async def test_a_message_larger_than_the_server_takes_is_refused(line: NatsLine) -> None:
    """Its `max_payload` says how much."""
    with pytest.raises(nats_errors.MaxPayloadError):
        line.publish("a", b"x" * (line.max_payload + 1))


async def test_draining_hears_what_was_on_its_way(line: NatsLine) -> None:
    """And nothing after that."""
    messages: list[Message] = []
    number = line.subscribe("drained", messages.append)
    for _ in range(100):
        line.publish("drained", b"before")
    async with asyncio.timeout(BOUND_S):
        await line.drain(number)
    assert len(messages) == 100

    def publish() -> None:
        for name in ("drained", "other"):
            line.publish(name, b"after")

    assert await heard(line, "other", publish, 1)
    assert len(messages) == 100


async def test_what_was_sent_before_closing_arrives(server: NatsProcess, line: NatsLine) -> None:
    """Closing does not wait, and cuts nothing off."""
    leaving = await connect(server.config, lambda: None, "leaving")
    arrived: asyncio.Queue[Message] = asyncio.Queue()
    line.subscribe("last.words", arrived.put_nowait)
    await heard(line, "other", lambda: line.publish("other", b""), 1)
    leaving.publish("last.words", b"x" * 1_000_000)
    leaving.publish("last.words", b"the end")
    leaving.close()
    async with asyncio.timeout(BOUND_S):
        words = [len((await arrived.get()).data) for _ in range(2)]
    assert words == [1_000_000, len(b"the end")]


async def test_who_sends_waits_while_the_server_does_not_take_it() -> None:
    """So what waits in this process is bounded by those who wait."""
    reading = asyncio.Event()
    async with pretending(lambda said: b"PONG\r\n" if b"CONNECT" in said else b"", reading) as config:
        line = await connect(config, lambda: None, "test")
        async with asyncio.timeout(BOUND_S):
            while not line.is_full:
                line.publish("a", b"x" * 1_000_000)
                await asyncio.sleep(0)
            waiting = asyncio.create_task(line.room())
            await asyncio.sleep(0)
            assert not waiting.done()
            reading.set()
            await waiting
        line.close()


async def test_one_who_fails_to_hear_keeps_nobody_from_it(line: NatsLine) -> None:
    """Anybody may publish anything."""

    def fail(_: Message) -> None:
        raise KeyError("no such header")

    line.subscribe("public", fail)
    assert await heard(line, "public", lambda: line.publish("public", b""), 1)
    assert not line.is_closed


async def test_a_server_that_goes_away_ends_the_line_once() -> None:
    """Whoever made it is told, and nothing more is sent."""
    server = NatsProcess(find_nats())
    server.start()
    ends: list[None] = []
    over = asyncio.Event()

    def closed() -> None:
        ends.append(None)
        over.set()

    line = await connect(server.config, closed, "test")
    server.close()
    async with asyncio.timeout(BOUND_S):
        await over.wait()
    line.close()
    assert line.is_closed
    assert len(ends) == 1
    with pytest.raises(nats_errors.ConnectionClosedError):
        line.publish("a", b"")


async def test_a_silent_server_is_gone_after_two_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """However open the connection looks."""
    monkeypatch.setattr(nats_line, "PING_S", 0.05)
    over = asyncio.Event()
    async with pretending(lambda said: b"PONG\r\n" if b"CONNECT" in said else b"") as config:
        line = await connect(config, over.set, "test")
        async with asyncio.timeout(BOUND_S):
            await over.wait()
    assert line.is_closed


async def test_other_words_than_those_of_nats_end_the_line() -> None:
    """Nobody guesses what was meant."""
    over = asyncio.Event()
    async with pretending(lambda _: b"PONG\r\nHTTP/1.1 400 Bad Request\r\n") as config:
        with contextlib.suppress(Unavailable):  # the client may see it before us
            await connect(config, over.set, "test")
            async with asyncio.timeout(BOUND_S):
                await over.wait()


async def test_a_ping_that_comes_with_the_greeting_is_answered() -> None:
    """What the client had read by then is not lost."""
    answered = asyncio.Event()

    def say(said: bytes) -> bytes:
        if b"PONG" in said:
            answered.set()
        return b"PONG\r\nPING\r\n" if b"CONNECT" in said else b""

    async with pretending(say) as config:
        line = await connect(config, lambda: None, "test")
        async with asyncio.timeout(BOUND_S):
            await answered.wait()
        line.close()


@contextlib.asynccontextmanager
async def pretending(say: Hear, may_read: asyncio.Event | None = None) -> AsyncIterator[NatsConfig]:
    """Run a server that greets, and then answers what it hears with what `say` returns.

    After its first words it reads on only when it may.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        while said := await reader.read(65536):
            writer.write(say(said))
            if may_read is not None and b"CONNECT" not in said:
                await may_read.wait()
        writer.close()

    serving: Awaitable[asyncio.Server] = asyncio.start_server(serve, "127.0.0.1", 0)
    server = await serving
    async with server:
        yield NatsConfig(servers=(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}",))


def test_it_does_not_matter_in_what_pieces_the_bytes_come() -> None:
    """A message is there when its last byte is."""
    words = b"".join(
        (
            b"PING\r\n",
            b"MSG a.b 7 answer 5\r\nhello\r\n",
            b"MSG a 1 0\r\n\r\n",
            b"HMSG a 2 17 19\r\nNATS/1.0\r\nA:b\r\n\r\nhi\r\n",
            b"HMSG a 3 r 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n",
            b"+OK\r\n",
        )
    )
    for size in range(1, len(words) + 1):
        reader = Reader()
        found = [item for at in range(0, len(words), size) for item in reader.feed(words[at : at + size])]
        assert [item for item in found if isinstance(item, bytes)] == [b"PING", b"+OK"]
        messages = [item for item in found if isinstance(item, Message)]
        assert [(m.subject, m.sid, m.reply, m.data) for m in messages] == [
            ("a.b", 7, "answer", b"hello"),
            ("a", 1, "", b""),
            ("a", 2, "", b"hi"),
            ("a", 3, "r", b""),
        ]
        assert messages[2].headers == {"A": "b"}
        assert messages[3].headers == {"Status": "404", "Description": "No Messages"}


def test_a_line_without_an_end_is_no_nats() -> None:
    """It is not kept in memory for ever."""
    reader = Reader()
    with pytest.raises(ValueError, match="end"):
        reader.feed(b"x" * (LINE_BYTES_MAX + 1))


def test_a_publication_is_written_with_its_sizes() -> None:
    """The head counts for both."""
    assert publication("a", b"hi", None, "") == b"PUB a 2\r\nhi\r\n"
    assert publication("a", b"hi", {}, "r") == b"PUB a r 2\r\nhi\r\n"
    head = b"NATS/1.0\r\nB: c\r\n\r\n"
    assert publication("a", b"hi", {"B": "c"}, "r") == b"HPUB a r 18 20\r\n" + head + b"hi\r\n"
