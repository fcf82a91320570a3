"""What both sides of the JetStream transport stand on: the connection, the names, and how long to try.

One connection a process. When it breaks, everything that waited for an answer fails at once and another
one is made; `generation` tells those who had subscriptions on it. What is sent twice because an answer was
lost carries an id or a condition by which the server knows the repeat.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from nats import errors as nats_errors
from nats.aio.msg import Msg

from infra.errors import RequestRefused, Unavailable
from infra.nats import AWAY as CLIENT_AWAY
from infra.nats import NatsClient, NatsConfig, connect
from streams.backoff import Backoff
from streams.delivery import log
from streams.jetstream.wire import (
    EXPECTED,
    EXPECTED_OF,
    MESSAGE_UNKNOWN,
    NO_RESPONDERS,
    STATUS,
    STREAM_UNKNOWN,
    Conflict,
    Headers,
    Refused,
    Silent,
    Stored,
    answer_of,
    parse_time,
    stored,
)
from streams.protocol import DeliveryPolicy
from streams.signal import Signal
from streams.topology import Subjects

T = TypeVar("T")

SILENT_S = 4.0
"""A broker that does not do what was asked for so long is away."""
ANSWER_S = 2.0
"""How long one question waits. Who leads a stream can die with the question; asking again finds the next."""
READ_BYTES_MAX = 4 * 1024 * 1024

AWAY = (*CLIENT_AWAY, Silent, Unavailable)


class Link:
    """One process's way to one NATS."""

    def __init__(self, config: NatsConfig, policy: DeliveryPolicy, name: str) -> None:
        self.config = config
        self.policy = policy
        self.subjects = Subjects(config.prefix)
        self.name = name
        self.generation = 0
        """Grows with every connection that was made."""
        self.changed = Signal()
        """Notified when a connection is made or lost."""
        self.on_connected: list[Callable[[], None]] = []
        """Called when a connection was made."""
        self.prepare: Callable[[], Awaitable[None]] | None = None
        """Makes the streams, once on every connection and whenever one is missing."""
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

    # The connection

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
            reason = self._last_error or f"NATS at {self.config.where()} cannot be reached"
            raise Unavailable(str(reason)) from None

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
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._client is not None and not self._client.is_closed:
            await self._client.close()
        self._fail_questions()

    async def _keep(self) -> None:
        backoff = self.backoff()
        while True:
            try:
                self._lost.clear()
                client = await connect(self.config, self._on_closed, self.name)
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

    # Questions

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

    # Streams

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: Headers | None = None,
        *,
        expected: int | None = None,
        of: str = "",
    ) -> int:
        """Store one message; return its place in the stream.

        With `expected` only if that is the place of the last message of the subject, or of those that
        match `of`. Raises `Conflict` otherwise.
        """
        sent = dict(headers or {})
        if expected is not None:
            sent[EXPECTED] = str(expected)
            if of:
                sent[EXPECTED_OF] = of
        return int(answer_of(await self.ask(subject, data, sent or None))["seq"])

    async def last(self, stream: str, *subjects: str) -> list[Stored | None]:
        """Return the last message of each subject, as they stood together at one moment.

        Any replica may answer, so that moment may be past: conditions of a write find that out.
        """
        found = await self.ask_for_many(self._direct(stream), {"multi_last": list(subjects)})
        by_subject = {message.subject: message for message in found}
        return [by_subject.get(subject) for subject in subjects]

    async def read(self, stream: str, subject: str, first: int, count: int) -> list[Stored]:
        """Return at most `count` messages of a subject from place `first` on."""
        question = {
            "seq": max(1, first),
            "batch": count,
            "max_bytes": READ_BYTES_MAX,
            "next_by_subj": subject,
        }
        return await self.ask_for_many(self._direct(stream), question)

    async def newest(self, stream: str, subject: str) -> int:
        """Return the place of the last message of a subject, as its leader knows it; 0 if there is none."""
        return await self._place(stream, {"last_by_subj": subject})

    async def holds(self, stream: str, seq: int) -> bool:
        """Whether a message is still there, as its leader knows it."""
        return bool(await self._place(stream, {"seq": seq}))

    async def _place(self, stream: str, question: dict[str, Any]) -> int:
        try:
            answer = await self.api(f"STREAM.MSG.GET.{self.subjects.stream(stream)}", question)
        except Refused as refused:
            if refused.code == MESSAGE_UNKNOWN:
                return 0
            raise
        return int(answer["message"]["seq"])

    async def info(self, stream: str, subjects: str = "") -> Any:
        """Return what JetStream tells of a stream, and how many messages each of `subjects` has."""
        question = {"subjects_filter": subjects} if subjects else None
        return await self.api(f"STREAM.INFO.{self.subjects.stream(stream)}", question)

    async def now(self) -> datetime:
        """Return the broker's time."""
        return parse_time((await self.info("LOG"))["ts"])

    def _direct(self, stream: str) -> str:
        return f"$JS.API.DIRECT.GET.{self.subjects.stream(stream)}"

    # Patience

    async def answer(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Return what `operation` does, tried again for a few seconds. Raises `Unavailable` then."""
        return await self._try(operation, SILENT_S)

    async def persist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeat `operation` while the broker is away, until a lease taken now has run out.

        Raises `Unavailable` then.
        """
        return await self._try(operation, self.policy.lease_s)

    async def _try(self, operation: Callable[[], Awaitable[T]], within_s: float) -> T:
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + within_s
        backoff = self.backoff()
        while True:
            try:
                async with asyncio.timeout_at(give_up_at):
                    return await operation()
            except Conflict:
                await asyncio.sleep(0 if clock() < give_up_at else 0.01)
                error: Exception = Unavailable(f"NATS at {self.config.where()} refuses every write")
            except AWAY as away:
                error = away
                await self.mend(away)
                if clock() < give_up_at:
                    await backoff.pause(away)
            except Refused as refused:
                error = refused
                if refused.code != STREAM_UNKNOWN:
                    raise Unavailable(f"NATS at {self.config.where()}: {refused}") from refused
                await self.mend(refused)
            if clock() >= give_up_at:
                raise Unavailable(f"NATS at {self.config.where()} is away: {error}") from error

    async def mend(self, error: Exception) -> None:
        """Make streams that are missing: then nobody answers for them."""
        if self.prepare is not None and isinstance(error, (Silent, Refused)) and self.client is not None:
            try:
                await self.prepare()
            except (*AWAY, Refused) as failed:
                log.debug("streams_not_made", reason=str(failed))
