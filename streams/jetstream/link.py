"""What both sides of the JetStream transport stand on: the streams, the names, and how long to try.

What is sent again because its answer was lost has an id, or a condition, by which the server knows it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from infra.errors import Unavailable
from infra.nats import NatsConfig
from streams.backoff import repeated
from streams.delivery import log
from streams.jetstream.connection import ANSWER_S, AWAY, Connection
from streams.jetstream.wire import (
    EXPECTED,
    EXPECTED_OF,
    MESSAGE_UNKNOWN,
    STREAM_UNKNOWN,
    Conflict,
    Headers,
    Refused,
    Silent,
    Stored,
    answer_of,
    parse_time,
)
from streams.protocol import DeliveryPolicy
from streams.topology import Subjects

T = TypeVar("T")

PUBLISH_S = 10.0
"""How long a publisher keeps trying: long enough for most elections, short enough for whoever waits."""
SILENT_S = 4.0
"""A broker that does not answer for so long is away."""
READ_BYTES_MAX = 4 * 1024 * 1024


class Link(Connection):
    """One process's way to one NATS."""

    def __init__(self, config: NatsConfig, policy: DeliveryPolicy, name: str) -> None:
        super().__init__(config, name)
        self.policy = policy
        self.subjects = Subjects(config.prefix)
        self.prepare: Callable[[], Awaitable[None]] | None = None
        """Makes the streams that are missing."""

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

    async def publish_first(self, subject: str, data: bytes, headers: Headers) -> bool:
        """Store one message; return whether the server knew none by its id."""
        return not answer_of(await self.ask(subject, data, headers)).get("duplicate")

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

    async def info(self, stream: str, subjects: str = "", *, deleted: bool = False) -> Any:
        """Return what JetStream tells of a stream.

        With `subjects`, also how many messages each of them has; with `deleted` the places that are empty.
        """
        question = {"subjects_filter": subjects, "deleted_details": deleted}
        return await self.api(f"STREAM.INFO.{self.subjects.stream(stream)}", question)

    async def now(self) -> datetime:
        """Return the broker's time."""
        return parse_time((await self.info("LOG"))["ts"])

    def _direct(self, stream: str) -> str:
        return f"$JS.API.DIRECT.GET.{self.subjects.stream(stream)}"

    async def answer(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Return what `operation` does, tried again for a few seconds. Raises `Unavailable` then."""
        return await self._try(operation, SILENT_S)

    async def publish_on(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeat `operation` while the broker is away or elects a leader. Raises `Unavailable` at last."""
        return await self._try(operation, PUBLISH_S)

    async def persist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Repeat `operation` while the broker is away, until a lease taken now has run out.

        Raises `Unavailable` then.
        """
        return await self._try(operation, self.policy.lease_s)

    async def _try(self, operation: Callable[[], Awaitable[T]], within_s: float) -> T:
        backoff = self.backoff()

        async def pause(error: Exception) -> None:
            if isinstance(error, Conflict):
                await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311
                return
            if isinstance(error, Refused) and error.code != STREAM_UNKNOWN:
                raise error
            await self.mend(error)
            if not isinstance(error, Refused):
                await backoff.pause(error)

        try:
            ends_by_itself = within_s >= ANSWER_S + ANSWER_S
            return await repeated(
                operation, within_s, (Conflict, Refused, *AWAY), pause, ends_by_itself=ends_by_itself
            )
        except Conflict as conflict:
            raise Unavailable(f"NATS at {self.config.where()} refuses every write") from conflict
        except Refused as refused:
            raise Unavailable(f"NATS at {self.config.where()}: {refused}") from refused
        except AWAY as error:
            raise self.away(error) from error

    async def mend(self, error: Exception) -> None:
        """Make streams that are missing: then nobody answers for them."""
        if self.prepare is not None and isinstance(error, (Silent, Refused)) and self.client is not None:
            try:
                await self.prepare()
            except (*AWAY, Refused) as failed:
                log.debug("streams_not_made", reason=str(failed))
