"""Commands to one Redis server: on a line that all share, or on one that is theirs alone for a while.

What blocks, or brings megabytes, would keep everybody behind it waiting. Such commands take a line of their
own, of which there are at most as many as the operator allows connections; the others share one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError

from infra.redis_line import Line
from infra.tasks import end_tasks

_LARGE_BYTES = 64 * 1024
"""A command of so many bytes is large enough to be sent alone."""
_AGAIN = (RedisConnectionError, ReadOnlyError)
_once = Retry(NoBackoff(), retries=0)
_patiently = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), retries=4, supported_errors=_AGAIN)


class RedisLines:
    """Sends what `execute_command` of redis-py's client would send, on connections made by that client.

    As there, a command is sent again, for about a second, when its connection breaks: whoever sends it makes
    sure that this does no harm. Raises redis-py's errors; a server that is silent for `silent_s` is away.
    """

    def __init__(self, client: Redis, silent_s: float, connections_max: int) -> None:
        self._client = client
        self._silent_s = silent_s
        self._shared: Line | None = None
        self._opening: asyncio.Task[Line] | None = None
        self._idle: list[Line] = []
        self._room = asyncio.Semaphore(max(1, connections_max - 1))
        self._shapes: dict[str, Callable[[Any], Any] | None] = {}

    async def execute_command(self, *command: Any) -> Any:
        """Return the answer to one command, which shares its line with others."""
        packed = _packed(command)
        ask = self._together if len(packed) < _LARGE_BYTES else self._apart
        return self._shaped(command, await _until_answered(ask, packed, self._silent_s))

    async def alone(self, *command: Any, blocks_s: float = 0.0) -> Any:
        """Return the answer to one command that may block for `blocks_s`, or that brings much."""
        within_s = self._silent_s + blocks_s
        return self._shaped(command, await _until_answered(self._apart, _packed(command), within_s))

    async def aclose(self) -> None:
        """Close every line. The client is left to whoever made it."""
        if self._opening is not None:
            await end_tasks(self._opening)
        for line in (self._shared, *self._idle):
            if line is not None:
                line.close()

    def _shaped(self, command: tuple[Any, ...], answer: Any) -> Any:
        """Return the answer in the shape redis-py gives it; scripts answer what they like."""
        name = command[0]
        if name not in self._shapes:  # redis-py looks them up by any spelling, which takes its time
            self._shapes[name] = self._client.response_callbacks.get(name)
        shape = self._shapes[name]
        return answer if shape is None else shape(answer)

    async def _together(self, packed: bytes, within_s: float) -> Any:
        line = self._shared
        if line is None or line.is_closed:
            line = await self._open_shared()
        return await line.ask(packed, within_s)

    async def _apart(self, packed: bytes, within_s: float) -> Any:
        async with self._room:
            line = self._take_idle() or await self._connect()
            try:
                return await line.ask(packed, within_s)
            except asyncio.CancelledError:
                line.close()  # what it waits for may come yet, and must not be the answer to anything else
                raise
            finally:
                if not line.is_closed:
                    self._idle.append(line)

    def _take_idle(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if not line.is_closed:
                return line
        return None

    async def _open_shared(self) -> Line:
        """Open the line that all share, once for everybody who waits for it."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect(), name="redis line")
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: "asyncio.Task[Line]") -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._shared = opening.result()

    async def _connect(self) -> Line:
        connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        connection.retry = _once
        try:
            async with asyncio.timeout(self._silent_s):
                await connection.connect()
            return Line(connection)
        except TimeoutError:
            connection._close()
            raise RedisTimeoutError(f"no connection within {self._silent_s} s") from None
        except BaseException:
            connection._close()
            raise


def _packed(command: tuple[Any, ...]) -> bytes:
    """Return a command as it is sent. The name of some has two words: `XINFO STREAM`."""
    packed: bytes = pack_command((*command[0].split(), *command[1:]) if " " in command[0] else command)
    return packed


async def _until_answered(
    ask: Callable[[bytes, float], Awaitable[Any]], packed: bytes, within_s: float
) -> Any:
    try:
        return await ask(packed, within_s)
    except _AGAIN:
        return await _patiently.call_with_retry(lambda: ask(packed, within_s), _go_on)


async def _go_on(_: Exception) -> None:
    """Do nothing before the next try: whoever lost the connection has closed it."""
