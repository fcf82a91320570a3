"""The head of an answer and its body in one piece, and waiting that can be ended from several sides."""

import asyncio
from typing import Any, cast

import pytest

from edge.http_protocol import HttpProtocol, _Joining
from edge.server import Binding, _uvicorn_config
from edge.waiting import first_ending

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Written:
    """A transport that keeps what is written, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closed_after: int | None = None

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def close(self) -> None:
        self.closed_after = len(self.pieces)


def joining(written: Written) -> _Joining:
    return _Joining(cast("asyncio.Transport", written))


async def test_a_head_leaves_with_its_body() -> None:
    """One piece, also where the connection is closed behind it."""
    written = Written()
    transport = joining(written)
    transport.write(HEAD)
    transport.write(b"body")
    transport.close()
    assert (written.pieces, written.closed_after) == ([HEAD + b"body"], 1)


async def test_a_head_does_not_wait_for_a_body_that_comes_later() -> None:
    """A stream begins when its head is there."""
    written = Written()
    transport = joining(written)
    transport.write(HEAD)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert written.pieces == [HEAD]
    transport.write(b"data: 1\n\n")
    transport.write(HEAD)
    transport.close()
    assert (written.pieces[1:], written.closed_after) == ([b"data: 1\n\n", HEAD], 3)


async def test_a_large_body_is_not_copied() -> None:
    """It stands by itself, in its place."""
    written, body = Written(), b"x" * 100_000
    transport = joining(written)
    transport.write(HEAD)
    transport.write(body)
    assert written.pieces == [HEAD, body]


def test_the_edge_speaks_through_it() -> None:
    """Or all this would be for nothing."""
    app: Any = None
    assert _uvicorn_config(app, Binding(), 1.0).http_protocol_class is HttpProtocol


async def never() -> Any:
    await asyncio.Event().wait()


async def gone() -> Any:
    return {"type": "http.disconnect"}


async def test_whatever_ends_first_is_told() -> None:
    """Work, the client, our patience or our own end; what did not end is cancelled."""
    cancelled = []

    async def work() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    closing = asyncio.Event()
    closing.set()
    assert await first_ending(asyncio.sleep(0), never, 60.0, None) == "done"
    assert await first_ending(work(), gone, 60.0, None) == "client_left"
    assert await first_ending(work(), never, 0.01, None) == "timed_out"
    assert await first_ending(work(), never, 60.0, closing) == "closing"
    assert len(cancelled) == 3
    await asyncio.sleep(0.02)  # nothing is left that would cancel us


async def test_what_work_raises_is_raised() -> None:
    """And ends the waiting."""

    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await first_ending(fail(), never, 60.0, None)


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Though the client left in the same moment."""
    left = asyncio.Event()

    async def leave() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    for both in (False, True):
        waiting = asyncio.create_task(first_ending(never(), leave, 60.0, None))
        await asyncio.sleep(0.01)
        if both:
            left.set()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_cancellation_that_was_swallowed_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a timeout that ended at the same moment (infra/tasks.py)."""
    monkeypatch.setattr("edge.waiting._STOPS_WITHIN_S", 0.01)

    async def deaf_once() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            await never()

    assert await first_ending(deaf_once(), gone, 60.0, None) == "client_left"
