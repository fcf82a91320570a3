"""Feeding a program's standard input while it runs, whether it reads or not."""

import asyncio
import os

_BUFFER_BYTES_MAX = 4 * 1024 * 1024


class Stdin:
    """Bytes wait here until the program has a pipe, and then until the pipe has room."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._fd = -1
        self._eof = False
        self._over = False
        self._room = asyncio.Event()
        self._room.set()

    async def write(self, data: bytes, *, eof: bool = False) -> None:
        """Queue `data`; waits while too much is queued. Nothing happens after the end."""
        await self._room.wait()
        if self._over or self._eof:
            return
        self._buffer += data
        self._eof = eof
        self._push()

    def prepend(self, data: bytes, *, eof: bool) -> None:
        """Put what the program starts with before all that came early; `eof` forgets the latter."""
        self._buffer[:0] = data
        if eof:
            del self._buffer[len(data) :]
            self._eof = True

    def open(self, fd: int) -> None:
        """Give it the pipe's write end."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._push()

    def close(self) -> None:
        """The program is over: forget the rest, let go of the pipe."""
        self._over = True
        self._buffer.clear()
        self._room.set()
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _push(self) -> None:
        if self._fd >= 0:
            self._write_some()
        if self._over:
            return
        if len(self._buffer) >= _BUFFER_BYTES_MAX:
            self._room.clear()
        else:
            self._room.set()

    def _write_some(self) -> None:
        try:
            while self._buffer:
                del self._buffer[: os.write(self._fd, self._buffer)]
        except BlockingIOError:
            self._loop.add_writer(self._fd, self._push)
            return
        except BrokenPipeError:
            self.close()
            return
        self._loop.remove_writer(self._fd)
        if self._eof:
            self.close()
