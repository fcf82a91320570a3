"""The connection of one process to NATS, and questions over it.

When it breaks, everything that waited for an answer fails at once and another one is made; `generation`
tells those who had subscriptions on it.
"""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from nats import errors as nats_errors
from nats.aio.msg import Msg

from infra.errors import RequestRefused, Unavailable
from infra.nats import AWAY as CLIENT_AWAY
from infra.nats import NatsClient, NatsConfig, connect
from infra.tasks import end_tasks
from streams.backoff import Backoff
from streams.jetstream.wire import NO_RESPONDERS, STATUS, Headers, Silent, Stored, answer_of, stored
from streams.signal import Signal

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
        self._client: NatsClient | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._closed = False
        self._last_error: Exception | None = None
        self._inbox = ""
        self._numbers = itertools.count()
        self._answers: dict[str, Callable[[Msg], None]] = {}
        self._asking: set[asyncio.Future[Any]] = set()

    def backoff(self) -> Backoff:
        """Return pauses that say where this looks for NATS."""
        return Backoff(f"nats {self.config.where()}")

    @property
    def client(self) -> NatsClient | None:
        """The connection, if there is one now."""
        client = self._client
        return client if client is not None and client.is_connected else None

    async def connected(self) -> NatsClient:
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
        if self._client is not None and not self._client.is_closed:
            with suppress(*AWAY):
                await self._client.close()
        self._fail_questions()

    async def _keep(self) -> None:
        backoff = self.backoff()
        while True:
            try:
                self._lost.clear()
                client = await connect(self.config, self._on_closed, self._name)
                self._inbox = client.new_inbox()
                await client.subscribe(f"{self._inbox}.*", cb=self._on_answer, pending_bytes_limit=0)
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

    async def _on_closed(self) -> None:
        self._lost.set()
        self._fail_questions()

    def _fail_questions(self) -> None:
        for question in self._asking:
            if not question.done():
                question.set_exception(Silent("the connection was lost"))

    async def _on_answer(self, message: Msg) -> None:
        if hear := self._answers.get(message.subject.rpartition(".")[2]):
            hear(message)

    async def send(self, subject: str, data: bytes, headers: Headers | None = None, reply: str = "") -> None:
        """Put one message on its way; nobody says that it arrived."""
        client = await self.connected()
        try:
            await client.publish(subject, data, reply=reply, headers=dict(headers) if headers else None)
        except nats_errors.MaxPayloadError:
            limit = client.max_payload
            raise RequestRefused(
                f"{len(data)} bytes are more than the NATS server takes in one message ({limit})", limit=limit
            ) from None

    async def ask(self, subject: str, data: bytes = b"", headers: Headers | None = None) -> Msg:
        """Return the one answer to a message. Raises what is in `AWAY`."""
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        token = str(next(self._numbers))
        self._answers[token] = lambda message: None if answer.done() else answer.set_result(message)
        self._asking.add(answer)
        try:
            async with asyncio.timeout(ANSWER_S + ANSWER_S):
                await self.connected()
                await self.send(subject, data, headers, reply=f"{self._inbox}.{token}")
                async with asyncio.timeout(ANSWER_S):
                    return await answer
        finally:
            del self._answers[token]
            self._asking.discard(answer)

    async def ask_for_many(self, subject: str, question: dict[str, Any]) -> list[Stored]:
        """Return all messages of the answer to a direct get."""
        found: list[Stored] = []
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def hear(message: Msg) -> None:
            if (status := (message.headers or {}).get(STATUS)) is None:
                found.append(stored(message))
            elif not end.done():
                end.set_result(status)

        token = str(next(self._numbers))
        self._answers[token] = hear
        self._asking.add(end)
        try:
            await self.connected()
            await self.send(subject, msgspec.json.encode(question), reply=f"{self._inbox}.{token}")
            async with asyncio.timeout(ANSWER_S):
                if await end == NO_RESPONDERS:
                    raise Silent("no server has the stream")
            return found
        finally:
            del self._answers[token]
            self._asking.discard(end)

    async def api(self, verb: str, body: object = None) -> Any:
        """Return the answer of the JetStream API. Raises `Refused` as well."""
        data = b"" if body is None else msgspec.json.encode(body)
        return answer_of(await self.ask(f"$JS.API.{verb}", data))
