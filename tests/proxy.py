"""A bad network between a client and a server: cut, slow, or half open, as a test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Self


class Proxy:
    """Passes bytes between whoever connects to `port` and a server of this machine, as well as it may."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self._passes = asyncio.Event()
        self._passes.set()
        self.port = 0
        self.delay_s = 0.0
        """How long every piece of data takes, in each direction."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._end_connections()

    async def cut(self) -> None:
        """End all connections, and every new one as soon as it comes."""
        self._is_cut = True
        await self._end_connections()

    def silence(self) -> None:
        """Let nothing through any more. Connections stay and new ones are taken: it is half open."""
        self._passes.clear()

    def heal(self, *, forget: bool = True) -> None:
        """Let everything through again; `forget`: what was silent stays so for ever, only new ones work."""
        self._is_cut, self.delay_s = False, 0.0
        if forget and not self._passes.is_set():
            self._passes = asyncio.Event()  # those that are there wait for the old one
        self._passes.set()

    async def _end_connections(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if not self._is_cut:
                await self._join(reader, writer, self._passes)
        except (OSError, asyncio.CancelledError):
            pass  # there is no server, or `cut` ended it: to the client it is all the same
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event
    ) -> None:
        async with _connected(self._server_port) as (from_server, to_server):
            there = asyncio.create_task(self._pass_on(reader, to_server, passes))
            back = asyncio.create_task(self._pass_on(from_server, writer, passes))
            try:
                await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.wait([there, back])

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await passes.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
