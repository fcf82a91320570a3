"""A bad network between clients, or other servers, and a server: cut, slow, or half open, as a test says."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, Self

HERE = "127.0.0.1"
"""Where everything comes from that was not told to come from elsewhere."""


class Wire:
    """What one host has with the server behind a proxy: its connections, and what befalls them."""

    def __init__(self) -> None:
        self._connections: set[asyncio.Task[None]] = set()
        self._is_cut = False
        self._passes = asyncio.Event()
        self._passes.set()
        self._delay_s = 0.0

    async def cut(self) -> None:
        """End all connections, and every new one as soon as it comes."""
        self._is_cut = True
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def silence(self) -> None:
        """Let nothing through any more. Connections stay and new ones are taken: it is half open."""
        self._passes.clear()

    async def slow(self, delay_s: float) -> None:
        """Let every piece of data take so long, in each direction."""
        self._delay_s = delay_s

    def heal(self, *, forget: bool = True) -> None:
        """Let everything through again; `forget`: what was silent stays so for ever, only new ones work."""
        self._is_cut, self._delay_s = False, 0.0
        if forget and not self._passes.is_set():
            self._passes = asyncio.Event()  # those that are there wait for the old one
        self._passes.set()

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server_port: int
    ) -> None:
        """Pass on what one connection has to say, both ways, as well as it may be."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if not self._is_cut:
                await self._join(reader, writer, server_port, self._passes)
        except (OSError, asyncio.CancelledError):
            pass  # there is no server, or `cut` ended it: to the client it is all the same
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_port: int,
        passes: asyncio.Event,
    ) -> None:
        async with _connected(server_port) as (from_server, to_server):
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
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(data)
                await writer.drain()


Trouble = Callable[[Wire], Awaitable[None]]
"""What may befall a wire: `Wire.cut`, say."""


class Network(Protocol):
    """What a test breaks, and mends again."""

    async def suffer(self, trouble: Trouble) -> None:
        """Let something befall it."""

    def heal(self, *, forget: bool = True) -> None:
        """See `Wire.heal`."""


class Wires:
    """Several that break and are mended together."""

    def __init__(self, *wires: Wire) -> None:
        self._wires = wires

    async def suffer(self, trouble: Trouble) -> None:
        """Let something befall all of them."""
        for wire in self._wires:
            await trouble(wire)

    def heal(self, *, forget: bool = True) -> None:
        """See `Wire.heal`."""
        for wire in self._wires:
            wire.heal(forget=forget)


class Proxy:
    """Passes bytes between whoever connects to `port` and a server of this machine.

    Each host has a wire of its own: servers that connect from another address of the loopback may go on
    seeing one another while clients do not.
    """

    def __init__(self, server_port: int, port: int = 0) -> None:
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._wires: defaultdict[str, Wire] = defaultdict(Wire)
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, HERE, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for wire in self._wires.values():
            await wire.cut()

    def wire(self, host: str = HERE) -> Wire:
        """Return the one of a host, whether it has connected yet or not."""
        return self._wires[host]

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("peername")[0]
        await self.wire(host).carry(reader, writer, self._server_port)


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HERE, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
