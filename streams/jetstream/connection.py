"""The connection of one process to NATS, and questions over it.

When it breaks, everything that waited for an answer fails at once and another one is made; `generation`
tells those who had subscriptions on it.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from nats import errors as nats_errors

from infra.errors import RequestRefused, Unavailable
from infra.nats import AWAY as CLIENT_AWAY
from infra.nats import NatsConfig, connect
from infra.nats_line import NatsLine
from infra.nats_words import Message
from infra.tasks import end_tasks
from streams.backoff import Backoff
from streams.jetstream.questions import Questions
from streams.jetstream.wire import NO_RESPONDERS, STATUS, Headers, Silent, Stored, answer_of, stored
from streams.signal import Signal

T = TypeVar("T")

ANSWER_S = 2.0
"""How long one question waits. Who leads a stream can die with the question; asking again finds the next."""

AWAY = (*CLIENT_AWAY, Silent, Unavailable)


class Connection:
    """One connection at a time, made anew whenever it is lost."""

    def __init__(self, config: NatsConfig, name: str) -> None:
        self.config = config
        self.generation = 0
        """Grows with every connection that was made."""
        self.changed = Signal()
        """Notified when a connection is made or lost."""
        self.on_connected: list[Callable[[], None]] = []
        """Called when a connection was made."""
        self._name = name
        self._where = f"nats {config.where()}"
        self._client: NatsLine | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._closed = False
        self._last_error: Exception | None = None
        self._inbox = ""
        self._questions = Questions(ANSWER_S)

    def backoff(self) -> Backoff:
        """Return pauses that say where this looks for NATS."""
        return Backoff(self._where)

    @property
    def client(self) -> NatsLine | None:
        """The connection, if there is one now."""
        client = self._client
        return client if client is not None and not client.is_closed else None

    async def connected(self) -> NatsLine:
        """Return a connection. Raises `Unavailable` if none can be had within `ANSWER_S`."""
        if client := self.client:
            return client
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    changed = self.changed.ticket()
                    self.open()
                    if client := self.client:
                        return client
                    await changed.wait()
        except TimeoutError:
            raise self.away(None) from None

    def away(self, error: Exception | None) -> Unavailable:
        """Return what to say when NATS cannot be used: why there is no connection, or else `error`."""
        if self.client is None and self._last_error is not None:
            return Unavailable(str(self._last_error))
        said = f": {error}" if error and str(error) else ""
        return Unavailable(f"NATS at {self.config.where()} does not answer{said}")

    def open(self) -> None:
        """Begin to connect, and to connect again whenever the connection is lost."""
        if self._closed:
            raise Unavailable("this transport is closed")
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="nats")

    async def close(self) -> None:
        """Let go of the connection for good."""
        self._closed = True
        if self._keeper is not None:
            await end_tasks(self._keeper)
        if self._client is not None:
            self._client.close()
        self._on_closed()

    async def _keep(self) -> None:
        backoff = self.backoff()
        while True:
            try:
                self._lost.clear()
                client = await connect(self.config, self._on_closed, self._name)
                self._inbox = new_inbox()
                client.subscribe(f"{self._inbox}.*", self._questions.hear)
            except AWAY as error:
                self._last_error = error
                await backoff.pause(error)
                continue
            backoff.reset()
            self._client = client
            self.generation += 1
            self.changed.notify()
            for call in self.on_connected:
                call()
            await self._lost.wait()
            self.changed.notify()

    def _on_closed(self) -> None:
        self._lost.set()
        self._questions.fail(Silent("the connection was lost"))

    def tell(self, subject: str, data: bytes) -> None:
        """Put one message on its way, if there is a connection, on which nobody waits for it."""
        if client := self.client:
            client.publish(subject, data)

    async def send(self, subject: str, data: bytes, headers: Headers | None = None, reply: str = "") -> None:
        """Put one message on its way; nobody says that it arrived."""
        self._publish(await self._with_room(), subject, data, headers, reply)

    async def ask(self, subject: str, data: bytes = b"", headers: Headers | None = None) -> Message:
        """Return the one answer to a message. Raises what is in `AWAY`."""
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await self._ask(subject, data, headers, answer, lambda message: _answered(answer, message))

    async def ask_for_many(self, subject: str, question: dict[str, Any]) -> list[Stored]:
        """Return all messages of the answer to a direct get."""
        found: list[Stored] = []
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def hear(message: Message) -> None:
            if (status := message.headers.get(STATUS)) is None:
                found.append(stored(message))
            else:
                _answered(end, status)

        if await self._ask(subject, msgspec.json.encode(question), None, end, hear) == NO_RESPONDERS:
            raise Silent("no server has the stream")
        return found

    async def api(self, verb: str, body: object = None) -> Any:
        """Return the answer of the JetStream API. Raises `Refused` as well."""
        data = b"" if body is None else msgspec.json.encode(body)
        return answer_of(await self.ask(f"$JS.API.{verb}", data))

    async def _ask(
        self,
        subject: str,
        data: bytes,
        headers: Headers | None,
        answer: "asyncio.Future[T]",
        hear: Callable[[Message], None],
    ) -> T:
        """Return what `hear` makes of the answer to a message."""
        client = await self._with_room()
        token = self._questions.open(answer, hear)
        try:
            self._publish(client, subject, data, headers, f"{self._inbox}.{token}")
            return await answer
        finally:
            self._questions.close(token)

    async def _with_room(self) -> NatsLine:
        """Return a connection whose server takes what is sent. Raises what is in `AWAY`."""
        client = self.client or await self.connected()
        if client.is_full:
            async with asyncio.timeout(ANSWER_S):
                await client.room()
        return client

    def _publish(
        self, client: NatsLine, subject: str, data: bytes, headers: Headers | None, reply: str
    ) -> None:
        try:
            client.publish(subject, data, headers, reply)
        except nats_errors.MaxPayloadError:
            limit = client.max_payload
            raise RequestRefused(
                f"{len(data)} bytes are more than the NATS server takes in one message ({limit})", limit=limit
            ) from None


def new_inbox() -> str:
    """Return a subject below which nobody else listens."""
    return f"_INBOX.{secrets.token_hex(11)}"


def _answered(answer: "asyncio.Future[T]", what: T) -> None:
    if not answer.done():
        answer.set_result(what)
