"""Who waits for answers on one connection, and until when. One timer looks for all of them."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.nats_words import Message


@dataclass(slots=True)
class _Question:
    answer: "asyncio.Future[Any]"
    hear: Callable[[Message], None]
    until: float


class Questions:
    """Questions that each wait for `within_s`."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._numbers = itertools.count()
        self._open: dict[str, _Question] = {}
        """In the order in which they end."""
        self._watch: asyncio.TimerHandle | None = None

    def open(self, answer: "asyncio.Future[Any]", hear: Callable[[Message], None]) -> str:
        """Pass what comes for one question to `hear`; return the token that ends its subject.

        `answer` raises `TimeoutError` if nobody has set it in time.
        """
        token = str(next(self._numbers))
        loop = asyncio.get_running_loop()
        until = loop.time() + self._within_s
        self._open[token] = _Question(answer, hear, until)
        if self._watch is None:
            self._watch = loop.call_at(until, self._look)
        return token

    def close(self, token: str) -> None:
        """Hear no more of a question."""
        self._open.pop(token, None)

    def hear(self, message: Message) -> None:
        """Take one answer; one that nobody waits for any more is dropped."""
        if question := self._open.get(message.subject.rpartition(".")[2]):
            question.hear(message)

    def fail(self, error: Exception) -> None:
        """Tell all who wait."""
        for question in self._open.values():
            if not question.answer.done():
                question.answer.set_exception(error)

    def _look(self) -> None:
        self._watch = None
        loop = asyncio.get_running_loop()
        for question in self._open.values():
            if question.until > loop.time():
                self._watch = loop.call_at(question.until, self._look)
                return
            if not question.answer.done():
                question.answer.set_exception(TimeoutError("no answer in time"))
